// Package emission is what CAST and RELAY have in common: services that leave by multicast, on sessions that may change
// while they run, and whose objects children may ask for.
package emission

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/egress"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

// Config configures an Emission. All fields but Delay are required.
type Config struct {
	Service *service.Service
	Depot   *depot.Depot
	// Delay is told how long chunks wait until their last source packet has left.
	Delay *telemetry.Latency
	// SealState is the file that keeps the time of the seals of the signalling; empty: none does.
	SealState string
	Now       func() time.Time
	Logger    *slog.Logger
}

// Emission sends one service. Its methods are safe for concurrent use.
type Emission struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex // guards below
	dst     config.Downstream
	key     ed25519.PrivateKey
	current *session   // nil while the service is not sent
	ending  []*session // no longer current, with objects to finish
	past    counters   // of sessions that have ended
	nextTSI uint32     // no session has used it or one behind it
	closed  bool
}

// session is one session that is sent.
type session struct {
	out  *egress.Egress
	stop context.CancelFunc
	done chan struct{}
}

// linger is how long a session that was replaced goes on with the objects that it has begun, and is answered for by the
// repair server.
const linger = 10 * time.Second

var errClosed = errors.New("emission: closed")

// New returns an Emission that sends nothing yet; Change begins. Close it.
func New(cfg Config) *Emission {
	e := &Emission{cfg: cfg}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Change makes d where the service goes; the zero value: nowhere. What has begun ends on the old session, what begins
// goes to the new one. A change that keeps the session is applied to it. key seals the session's signalling; nil: the
// service is unsigned.
func (e *Emission) Change(d config.Downstream, key ed25519.PrivateKey) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	if d == e.dst && key.Equal(e.key) {
		return nil
	}
	old, signed := e.current, (key == nil) == (e.key == nil)
	switch {
	case d.IsZero():
		e.current = nil
	case old != nil && signed && sameSession(d, e.dst):
		if err := old.out.Reconfigure(e.config(d, key)); err != nil {
			return err
		}
		e.dst, e.key = d, key
		return nil
	default:
		if err := e.begin(d, key); err != nil {
			return err
		}
	}
	e.dst, e.key = d, key
	if old != nil {
		e.end(old)
	}
	return nil
}

// sameSession tells whether receivers of one get the other.
func sameSession(a, b config.Downstream) bool {
	return a.Source == b.Source && a.Group == b.Group && a.Port == b.Port && a.SealPort == b.SealPort
}

func (e *Emission) config(d config.Downstream, key ed25519.PrivateKey) egress.Config {
	c := egress.FromConfig(d, e.cfg.Now, e.cfg.Logger)
	if key != nil {
		c.SealPort, c.Service, c.HopKey, c.HopState = d.SealPort, e.cfg.Service.Name(), key, e.cfg.SealState
	}
	c.Delay = e.cfg.Delay
	// A session that is left and taken up again within a second must not use a TSI twice.
	c.Sender.FirstTSI = max(c.Sender.FirstTSI, e.nextTSI)
	return c
}

// begin opens a session and makes it the current one. It is called with mu held.
func (e *Emission) begin(d config.Downstream, key ed25519.PrivateKey) error {
	if e.current != nil {
		e.nextTSI = max(e.nextTSI, e.current.out.NextTSI())
	}
	out, err := egress.New(e.config(d, key))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(e.ctx)
	s := &session{out: out, stop: cancel, done: make(chan struct{})}
	e.group.Go(func() {
		defer close(s.done)
		_ = out.Run(ctx)
	})
	// A session that still ends on the same addresses would announce what has passed.
	for _, o := range e.ending {
		if o.out.Session() == out.Session() {
			o.stop()
		}
	}
	e.cfg.Depot.Add(depot.Outlet{Service: e.cfg.Service.Name(), Sender: out})
	e.cfg.Service.AddSink(out)
	e.current = s
	return nil
}

// end lets a session finish what it has begun. The new one has been added by then: what begins in between goes to both.
// It is called with mu held.
func (e *Emission) end(s *session) {
	e.cfg.Service.RemoveSink(s.out)
	e.ending = append(e.ending, s)
	e.group.Go(func() {
		select {
		case <-e.ctx.Done():
		case <-s.done:
		case <-time.After(linger):
		}
		s.stop()
		<-s.done
		e.cfg.Depot.Remove(s.out)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.past.add(s.out)
		e.ending = slices.DeleteFunc(e.ending, func(o *session) bool { return o == s })
	})
}

// Close sends what has begun and ended, until ctx ends, and stops. It may be called more than once.
func (e *Emission) Close(ctx context.Context) {
	e.mu.Lock()
	e.closed = true
	s := e.current
	e.mu.Unlock()
	if s != nil {
		e.cfg.Service.RemoveSink(s.out)
		s.out.Drain(ctx)
		e.cfg.Depot.Remove(s.out)
	}
	e.cancel()
	e.group.Wait()
}

// NewestSeal returns the newest seal of the session's signalling; nil if there is none.
func (e *Emission) NewestSeal() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil {
		return nil
	}
	return e.current.out.NewestSeal()
}

// Signalling returns what a session announces by a name, see sealing.STSIDName; false if that is not here.
func (e *Emission) Signalling(name string) (s sealing.Signalling, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != nil {
		s, ok = e.current.out.Signalling(name)
	}
	for i := 0; i < len(e.ending) && !ok; i++ {
		s, ok = e.ending[i].out.Signalling(name)
	}
	return s, ok
}

// counters are sums over sessions.
type counters struct {
	sent    egress.Sent
	refused uint64
}

func (c *counters) add(out *egress.Egress) {
	st := out.Sent()
	c.sent.Packets += st.Packets
	c.sent.Octets += st.Octets
	c.sent.RepairOctets += st.RepairOctets
	for r := range st.Unsent {
		c.sent.Unsent[r] += st.Unsent[r]
		c.sent.UnsentSeals[r] += st.UnsentSeals[r]
	}
	_, _, refused := out.Waiting()
	c.refused += refused
}

// Status fills in what has been sent.
func (e *Emission) Status(s *telemetry.Service) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := e.past
	for _, o := range e.ending {
		sum.add(o.out)
		s.RateOut += o.out.Rate()
	}
	if e.current != nil {
		sum.add(e.current.out)
		s.RateOut += e.current.out.Rate()
	}
	if e.current != nil {
		octets, most, _ := e.current.out.Waiting()
		s.Limits = append(s.Limits, telemetry.Limit{Name: "send_octets", Used: uint64(octets), Max: uint64(most), Hits: sum.refused})
	}
	s.PacketsSent, s.OctetsSent, s.FECOctetsSent = sum.sent.Packets, sum.sent.Octets, sum.sent.RepairOctets
	s.PacketsUnsent, s.SealsUnsent = byReason(sum.sent.Unsent), byReason(sum.sent.UnsentSeals)
}

func byReason(u egress.Unsent) map[string]uint64 {
	m := make(map[string]uint64, len(u))
	for r, n := range u {
		m[egress.Reason(r).String()] = n
	}
	return m
}
