package lab_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
)

// channel is the name of the one channel.
const channel = "live"

// object is one file as the publisher pushed it.
type object struct {
	name   string
	stream int // of a media segment; -1 for all else
	number int
	begun  time.Time

	// Guarded by the source.
	ended  time.Time // when its last octet left the publisher; zero before that
	taken  bool      // CAST has accepted it in whole
	broken bool      // it never will
	stamps []stamp
	body   []byte
}

// stamp says that an object's octets up to n had left the publisher at that
// time.
type stamp struct {
	at time.Time
	n  int
}

// source is what a publisher pushes to CAST, from the node that it runs on: the
// built-in clip, or what FFmpeg encodes.
type source struct {
	l         *lab
	publish   func(context.Context) error // until the context ends, and its error then
	tracks    []int                       // the streams that a player plays
	transport http.RoundTripper
	stop      context.CancelFunc
	done      chan error

	mu      sync.Mutex        // guards below
	objects []*object         // in the order of their beginnings
	streams map[int][]*object // media segments, likewise
	changed chan struct{}
}

func (l *lab) push(node, target string) *source {
	s := l.newSource([]int{0, 2}, l.client(node).Transport)
	s.publish = func(ctx context.Context) error {
		return clip.Push(ctx, target, clip.PushConfig{
			Client: &http.Client{Transport: s},
			Header: http.Header{"Authorization": {"Bearer " + streamKey}},
		})
	}
	s.start()
	return s
}

func (l *lab) newSource(tracks []int, transport http.RoundTripper) *source {
	s := &source{
		l: l, tracks: tracks, transport: transport, stop: func() {},
		streams: make(map[int][]*object), changed: make(chan struct{}),
	}
	l.t.Cleanup(s.kill)
	return s
}

// start begins with the first segment.
func (s *source) start() {
	ctx, cancel := context.WithCancel(s.l.t.Context())
	s.stop, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.publish(ctx) }()
}

// kill ends the publisher in the middle of what it sends.
func (s *source) kill() {
	s.stop()
	if s.done == nil {
		return
	}
	if err := <-s.done; !errors.Is(err, context.Canceled) {
		s.l.t.Error("publisher:", err)
	}
	s.done = nil
}

// RoundTrip sends one request of the publisher and notes its body. Manifests
// are left out.
func (s *source) RoundTrip(r *http.Request) (*http.Response, error) {
	name := path.Base(r.URL.Path)
	if !strings.HasSuffix(name, ".m4s") || r.Method == http.MethodDelete {
		return s.transport.RoundTrip(r)
	}
	o := &object{name: name, stream: -1, begun: time.Now()}
	if rest, ok := strings.CutPrefix(name, "chunk-stream"); ok {
		stream, number, _ := strings.Cut(strings.TrimSuffix(rest, ".m4s"), "-")
		o.stream, _ = strconv.Atoi(stream)
		o.number, _ = strconv.Atoi(number)
	}
	s.mu.Lock()
	s.objects = append(s.objects, o)
	if o.stream >= 0 {
		s.streams[o.stream] = append(s.streams[o.stream], o)
	}
	s.signal()
	s.mu.Unlock()

	r = r.Clone(r.Context())
	if body := r.GetBody; body != nil {
		r.GetBody = func() (io.ReadCloser, error) {
			b, err := body()
			s.mu.Lock()
			defer s.mu.Unlock()
			o.stamps, o.body = nil, nil
			return &recorded{b, s, o}, err
		}
	}
	r.Body = &recorded{r.Body, s, o}
	resp, err := s.transport.RoundTrip(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	o.taken = err == nil && resp.StatusCode/100 == 2
	o.broken = !o.taken
	s.signal()
	return resp, err
}

type recorded struct {
	io.ReadCloser
	s *source
	o *object
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	now := time.Now()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if n > 0 {
		r.o.body = append(r.o.body, p[:n]...)
		r.o.stamps = append(r.o.stamps, stamp{now, len(r.o.body)})
	}
	if err == io.EOF {
		r.o.ended = now
		r.s.signal()
	}
	return n, err
}

// signal wakes all that wait. It is called with mu held.
func (s *source) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait waits until f, called with mu held, holds.
func (s *source) wait(ctx context.Context, f func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := f(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// segment returns a media segment, nil if it has not begun since the publisher
// was started last. It is called with mu held.
func (s *source) segment(stream, number int) *object {
	all := s.streams[stream]
	for i := len(all) - 1; i >= 0 && all[i].number >= number; i-- {
		if all[i].number == number {
			return all[i]
		}
	}
	return nil
}

// number returns the number of the newest segment of the first stream.
func (s *source) number() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.streams[0]; len(all) > 0 {
		n = all[len(all)-1].number
	}
	return n
}

// A reader reads each object from the HTTP port of one node, as soon as the
// publisher begins it.
type reader struct {
	node   string
	base   string
	client *http.Client
	s      *source
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu  sync.Mutex // guards below
	got map[*object]answer
}

type answer struct {
	sum  [sha256.Size]byte
	n    int
	at   time.Time
	errs []string // of requests before the one that brought it
}

// read begins to read from a node, which has to have the manifest. It fetches
// what begins from now on.
func (l *lab) read(node string, s *source) *reader {
	ctx, cancel := context.WithCancel(l.t.Context())
	r := &reader{node: node, base: playerURL(node), client: l.client(node), s: s, cancel: cancel, got: make(map[*object]answer)}
	s.mu.Lock()
	next := len(s.objects)
	s.mu.Unlock()
	r.group.Go(func() {
		for s.wait(ctx, func() bool { return len(s.objects) > next }) == nil {
			s.mu.Lock()
			o := s.objects[next]
			s.mu.Unlock()
			next++
			r.group.Go(func() { r.fetch(ctx, o) })
		}
	})
	l.t.Cleanup(func() { cancel(); r.group.Wait() })
	return r
}

func (r *reader) fetch(ctx context.Context, o *object) {
	var a answer
	for ctx.Err() == nil {
		body, err := get(ctx, r.client, r.base+o.name)
		if err == nil {
			a.sum, a.n, a.at = sha256.Sum256(body), len(body), time.Now()
			r.mu.Lock()
			r.got[o] = a
			r.mu.Unlock()
			return
		}
		a.errs = append(a.errs, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// playerURL is the folder of the channel at a node, for players on that node.
func playerURL(node string) string {
	port := map[bool]string{true: "8080", false: "8088"}[strings.HasPrefix(node, "relay")]
	return "http://127.0.0.1:" + port + "/" + channel + "/"
}

// objectsBetween returns what CAST has taken in that began within a time.
func (s *source) objectsBetween(from, to time.Time) []*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*object
	for _, o := range s.objects {
		if o.taken && o.begun.After(from) && o.begun.Before(to) {
			list = append(list, o)
		}
	}
	return list
}

// compare fails the test unless all objects that began within a time were read
// and are what CAST took in.
func (r *reader) compare(t *testing.T, from, to time.Time) {
	t.Helper()
	objects := r.s.objectsBetween(from, to)
	require.NotEmpty(t, objects)
	octets, retried := 0, 0
	var worst time.Duration
	var latest string
	for _, o := range objects {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			r.mu.Lock()
			_, ok := r.got[o]
			r.mu.Unlock()
			if ok {
				break
			}
		}
		r.mu.Lock()
		a, ok := r.got[o]
		r.mu.Unlock()
		if !ok {
			t.Errorf("%s: %s is missing", r.node, o.name)
			continue
		}
		if a.sum != sha256.Sum256(o.body) {
			t.Errorf("%s: %s differs: %d octets of %d", r.node, o.name, a.n, len(o.body))
		}
		octets += a.n
		retried += len(a.errs)
		if d := a.at.Sub(o.ended); d > worst {
			worst, latest = d, o.name
		}
	}
	t.Logf("%-6s %3d objects, %5.1f kB, equal to what CAST took in; %d requests repeated; the latest came %v after its end (%s)",
		r.node, len(objects), float64(octets)/1000, retried, worst.Round(time.Millisecond), latest)
}
