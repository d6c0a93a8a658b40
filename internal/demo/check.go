package demo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

// Report is what a check found.
type Report struct {
	OK      bool         `json:"ok"`
	Seconds float64      `json:"seconds"`
	Nodes   []NodeReport `json:"nodes"`
	// Problems say in words why OK is false.
	Problems []string `json:"problems,omitempty"`
}

// NodeReport is what came of one node. Objects are segments and init segments.
type NodeReport struct {
	Name           string  `json:"name"`
	Role           string  `json:"role"`
	Objects        int     `json:"objects"`
	Bytes          int64   `json:"bytes"`
	Missing        int     `json:"missing"`
	Different      int     `json:"different"`
	Packets        uint64  `json:"packets"`
	PacketsLost    uint64  `json:"packets_lost"`
	PacketsDropped uint64  `json:"packets_dropped"` // by the system, before the node read them
	FECOctets      uint64  `json:"fec_octets"`
	RepairOctets   uint64  `json:"repair_octets"`
	FallbackOctets uint64  `json:"fallback_octets"`
	RejectedOctets uint64  `json:"rejected_octets"`
	Latency        Latency `json:"latency_ms"`

	faults []string // names of objects that are missing or differ
}

// Latency is the time from the end of an object at CAST to the end of the answer that a reader gets from the node, who
// asked when the object began. In milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// A witness sees every object as CAST took it in.
type witness struct {
	dump string
	now  func() time.Time

	mu      sync.Mutex // guards below
	objects map[string]*witnessed
	begun   func(name string) // called for each new object
	failed  error             // of the first object that could not be written to dump
}

type witnessed struct {
	name string
	gen  uint64
	body []byte
	end  time.Time // zero while it grows
	bad  bool      // broken off
}

// Begin implements service.Sink.
func (w *witness) Begin(m service.Meta) service.ObjectSink {
	o := &witnessed{name: m.Name, gen: m.Generation}
	w.mu.Lock()
	w.objects[m.Name] = o
	begun := w.begun
	w.mu.Unlock()
	begun(m.Name)
	return &witnessSink{w, o}
}

// Manifest implements service.Sink.
func (w *witness) Manifest(service.Meta, []byte) {}

type witnessSink struct {
	w *witness
	o *witnessed
}

func (s *witnessSink) Write(p []byte, _ bool) {
	s.w.mu.Lock()
	s.o.body = append(s.o.body, p...)
	s.w.mu.Unlock()
}

func (s *witnessSink) Commit() {
	s.w.mu.Lock()
	s.o.end = s.w.now()
	body := s.o.body
	s.w.mu.Unlock()
	if s.w.dump == "" {
		return
	}
	if err := writeObject(s.w.dump, "cast", s.o.name, body); err != nil {
		s.w.mu.Lock()
		s.w.failed = cmp.Or(s.w.failed, err)
		s.w.mu.Unlock()
	}
}

func (s *witnessSink) Abort(error) {
	s.w.mu.Lock()
	s.o.bad = true
	s.w.mu.Unlock()
}

// writeObject writes below dir/node, wherever the name points.
func writeObject(dir, node, name string, body []byte) error {
	base := filepath.Join(dir, node)
	if err := os.MkdirAll(base, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer root.Close()
	if d := filepath.Dir(filepath.FromSlash(name)); d != "." {
		if err := root.MkdirAll(d, 0o777); err != nil {
			return err
		}
	}
	return root.WriteFile(filepath.FromSlash(name), body, 0o666)
}

// A reader reads every object from the HTTP port of one node, as a player at the live edge would.
type reader struct {
	name, role, url string
	client          *http.Client

	mu       sync.Mutex // guards below
	got      map[string]answer
	manifest bool // the node has it
}

type answer struct {
	body []byte
	at   time.Time
}

// read asks until it has the whole object or ctx ends. Like a player it begins with the manifest.
func (r *reader) read(ctx context.Context, name string) {
	for !r.announced(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	for ctx.Err() == nil {
		body, err := r.get(ctx, name)
		if err == nil {
			r.mu.Lock()
			r.got[name] = answer{body, time.Now()}
			r.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// announced tells whether the node has the manifest.
func (r *reader) announced(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.manifest {
		_, err := r.get(ctx, "manifest.mpd")
		r.manifest = err == nil
	}
	return r.manifest
}

func (r *reader) get(ctx context.Context, name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/"+channel+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// CheckOptions say what to check.
type CheckOptions struct {
	Duration time.Duration
	// Dump is a directory for every object as CAST took it in and as each BEACON served it; empty: none.
	Dump string
	// Loss is what the second BEACON is known to lose, NoUnicast whether the nodes may ask their parents.
	Loss      float64
	NoUnicast bool
	// SegmentsPerSecond is how many objects the source makes at least.
	SegmentsPerSecond float64
}

// grace is how long before the end an object may still be on its way.
const grace = 2 * time.Second

// A Check watches a tree. Start it before the source.
type Check struct {
	o       CheckOptions
	t       *Tree
	w       *witness
	readers []*reader
	started time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	group   sync.WaitGroup
}

// StartCheck begins to read all that the tree delivers.
func StartCheck(ctx context.Context, t *Tree, o CheckOptions) *Check {
	c := &Check{o: o, t: t, started: time.Now()}
	c.ctx, c.cancel = context.WithCancel(ctx)
	for _, n := range []struct{ name, role, url string }{
		{"relay", "relay", t.Relay.URL()},
		{BeaconName(0), "beacon", t.Beacons[0].URL()},
		{BeaconName(1), "beacon", t.Beacons[1].URL()},
	} {
		c.readers = append(c.readers, &reader{
			name: n.name, role: n.role, url: n.url, got: make(map[string]answer),
			client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		})
	}
	c.w = &witness{dump: o.Dump, now: time.Now, objects: make(map[string]*witnessed), begun: func(name string) {
		for _, r := range c.readers {
			c.group.Go(func() { r.read(c.ctx, name) })
		}
	}}
	t.Cast.Service(channel).AddSink(c.w)
	return c
}

// Wait lets the time pass and reports.
func (c *Check) Wait() *Report {
	// What comes while a busy machine is late in ending the check is not due.
	end := c.started.Add(c.o.Duration)
	select {
	case <-c.ctx.Done():
		end = time.Now()
	case <-time.After(time.Until(end)):
	}
	c.t.Cast.Service(channel).RemoveSink(c.w)
	c.cancel()
	c.group.Wait()
	for _, r := range c.readers {
		r.client.CloseIdleConnections()
	}
	return c.report(end)
}

func (c *Check) report(end time.Time) *Report {
	rep := &Report{Seconds: end.Sub(c.started).Seconds()}
	status := make(map[string]telemetry.Status)
	for _, s := range c.t.Nodes() {
		status[s.Node.Name] = s
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	due := make(map[string]*witnessed)
	root := NodeReport{Name: "cast", Role: "cast"}
	for name, o := range c.w.objects {
		if o.bad || o.end.IsZero() {
			continue
		}
		root.Objects++
		root.Bytes += int64(len(o.body))
		if end.Sub(o.end) > grace {
			due[name] = o
		}
	}
	root.Packets = total(status["cast"], func(s *telemetry.Service) uint64 { return s.PacketsSent })
	rep.Nodes = append(rep.Nodes, root)
	if want := int((rep.Seconds - 2*grace.Seconds() - 2) * c.o.SegmentsPerSecond); len(due) < max(1, want) {
		rep.problem("only %d objects came in %.0f s, at least %d should have", len(due), rep.Seconds, max(1, want))
	}
	for i, r := range c.readers {
		n := c.node(r, due, status[r.name])
		rep.Nodes = append(rep.Nodes, n)
		if n.Missing > 0 || n.Different > 0 {
			rep.problem("%s: %d objects are missing and %d differ: %s", n.Name, n.Missing, n.Different, strings.Join(n.faults, ", "))
		}
		c.judge(rep, &n, i == 2)
	}
	if c.w.failed != nil {
		rep.problem("objects could not be written: %v", c.w.failed)
	}
	rep.OK = len(rep.Problems) == 0
	return rep
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func total(s telemetry.Status, value func(*telemetry.Service) uint64) (n uint64) {
	for i := range s.Services {
		n += value(&s.Services[i])
	}
	return n
}

func (c *Check) node(r *reader, due map[string]*witnessed, st telemetry.Status) NodeReport {
	n := NodeReport{
		Name: r.name, Role: r.role,
		Packets:     total(st, func(s *telemetry.Service) uint64 { return s.Packets }),
		PacketsLost: total(st, func(s *telemetry.Service) uint64 { return s.PacketsLost }),
		PacketsDropped: total(st, func(s *telemetry.Service) uint64 {
			if s.Way == nil {
				return 0
			}
			return s.Way.Dropped
		}),
		FECOctets:      total(st, func(s *telemetry.Service) uint64 { return s.FECOctets }),
		RepairOctets:   total(st, func(s *telemetry.Service) uint64 { return s.RepairOctets }),
		FallbackOctets: total(st, func(s *telemetry.Service) uint64 { return s.FallbackOctets }),
		RejectedOctets: total(st, func(s *telemetry.Service) (n uint64) {
			for _, v := range s.RejectedOctets {
				n += v
			}
			return n
		}),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var late []time.Duration
	for name, a := range r.got {
		o := c.w.objects[name]
		n.Objects++
		n.Bytes += int64(len(a.body))
		if c.o.Dump != "" && r.role == "beacon" {
			if err := writeObject(c.o.Dump, r.name, name, a.body); err != nil {
				c.w.failed = cmp.Or(c.w.failed, err)
			}
		}
		switch {
		case o == nil || o.end.IsZero():
		case !bytes.Equal(a.body, o.body):
			n.Different++
			n.faults = append(n.faults, name)
		default:
			late = append(late, max(0, a.at.Sub(o.end)))
		}
	}
	for name := range due {
		if _, ok := r.got[name]; !ok {
			n.Missing++
			n.faults = append(n.faults, name)
		}
	}
	if len(late) > 0 {
		slices.Sort(late)
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		n.Latency = Latency{P50: ms(late[len(late)/2]), P99: ms(late[(len(late)*99+99)/100-1]), Max: ms(late[len(late)-1])}
	}
	return n
}

// judge holds a node's counters against the loss that was injected.
func (c *Check) judge(rep *Report, n *NodeReport, lossy bool) {
	if c.o.NoUnicast && n.RepairOctets+n.FallbackOctets > 0 {
		rep.problem("%s: unicast is off, yet %d octets came that way", n.Name, n.RepairOctets+n.FallbackOctets)
	}
	if n.Packets == 0 {
		rep.problem("%s: no packet came by multicast", n.Name)
		return
	}
	if !lossy || c.o.Loss == 0 {
		return
	}
	injected := c.t.Beacons[1].Injected()
	share := float64(injected) / float64(injected+n.Packets)
	if d := share - c.o.Loss; d > 0.05 || d < -0.05 {
		rep.problem("%s: %.1f %% of the packets were dropped, not %.1f %%", n.Name, 100*share, 100*c.o.Loss)
	}
	// The receiver estimates its loss from holes; it cannot know of lost packets that repeat what it has.
	if lost := float64(n.PacketsLost); lost < 0.4*float64(injected) || lost > 1.3*float64(injected)+10 {
		rep.problem("%s: counted %d lost packets where %d were dropped", n.Name, n.PacketsLost, injected)
	}
	if n.FECOctets+n.RepairOctets+n.FallbackOctets == 0 && injected > 20 {
		rep.problem("%s: %d packets were dropped, yet nothing was recovered", n.Name, injected)
	}
}
