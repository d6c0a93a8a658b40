package reception

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

const segmentTime = 400 * time.Millisecond

func segment(n int) string { return fmt.Sprintf("v-%05d.m4s", n) }

// content is what a segment consists of: chunks that tell what they are.
func chunk(n, k int) string {
	return fmt.Sprintf("segment %d chunk %d %s\n", n, k, strings.Repeat("x", 2000))
}

func content(n int) string {
	var b strings.Builder
	for k := range 10 {
		b.WriteString(chunk(n, k))
	}
	return b.String()
}

// broadcast makes segments, each in ten chunks, and a playlist, until stop is called.
func (s *sender) broadcast() (stop func(), newest func() int) {
	done := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex
	last := 0
	group.Go(func() {
		put := func(name, body string, kind service.Kind, generation uint64) {
			o, err := s.svc.Begin(service.Meta{Name: name, Generation: generation, Kind: kind, Length: int64(len(body))})
			if err == nil {
				_ = o.Write([]byte(body), true)
				_ = o.Commit()
			}
		}
		put("init.mp4", "init", service.Init, 1)
		for n := 1; ; n++ {
			o, err := s.svc.Begin(service.Meta{Name: segment(n), Generation: 1, Kind: service.Media, Length: -1, Track: route.Track{
				Stem: "v-$TOI%05d$.m4s", Number: uint32(n), Run: 1, Kind: route.Video,
			}})
			if err != nil {
				return
			}
			mu.Lock()
			last = n
			mu.Unlock()
			for k := range 10 {
				select {
				case <-done:
					o.Abort(errClosed)
					return
				case <-time.After(segmentTime / 10):
				}
				_ = o.Write([]byte(chunk(n, k)), true)
			}
			_ = o.Commit()
			list := "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI=\"init.mp4\"\n"
			first := max(1, n-7)
			list += fmt.Sprintf("#EXT-X-MEDIA-SEQUENCE:%d\n", first)
			for k := first; k <= n; k++ {
				list += "#EXTINF:0.4,\n" + segment(k) + "\n"
			}
			_ = s.svc.PutManifest(service.Meta{Name: "v.m3u8", ContentType: "application/vnd.apple.mpegurl", Generation: uint64(n) + 1}, []byte(list))
		}
	})
	var once sync.Once
	return func() { once.Do(func() { close(done) }); group.Wait() }, func() int {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// serve serves a sender's objects over HTTP, as a parent does.
func (s *sender) serve(store *cache.Store) string {
	mux := http.NewServeMux()
	mux.Handle(repair.PathPrefix, &repair.Handler{Backend: s.depot})
	mux.Handle("/", edge.New(edge.Config{Store: store, Services: func(name string) *service.Service {
		if name == "live" {
			return s.svc
		}
		return nil
	}, Via: "parent"}))
	srv := httptest.NewServer(mux)
	s.t.Cleanup(srv.Close)
	return srv.URL
}

// witness is what a RELAY's sender would get.
type witness struct {
	mu      sync.Mutex // guards below
	objects map[string]*strings.Builder
	whole   map[string]bool
	parent  map[string]bool
}

func (w *witness) Begin(m service.Meta) service.ObjectSink {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects[m.Name] = new(strings.Builder)
	w.parent[m.Name] = m.Fallback
	if m.Kind == service.Media && m.Track.Stem != "v-$TOI%05d$.m4s" {
		panic(m.Track.Stem)
	}
	return &witnessed{w, m.Name, w.objects[m.Name]}
}

func (w *witness) Manifest(service.Meta, []byte) {}

// has waits for a whole object and returns whether a parent gave it.
func (w *witness) has(t *testing.T, name, want string) (parent bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.whole[name]
	}, 5*time.Second, 10*time.Millisecond, name)
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Equal(t, want, w.objects[name].String())
	return w.parent[name]
}

type witnessed struct {
	w    *witness
	name string
	b    *strings.Builder
}

func (o *witnessed) Write(p []byte, _ bool) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.b.Write(p)
}

func (o *witnessed) Commit() {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.whole[o.name] = true
}

func (o *witnessed) Abort(error) {}

// Multicast falls silent and comes back. The node's own children get every segment, each at its time.
func TestFollowAndReturn(t *testing.T) {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	s := newSenderOf(t, store)
	session := newSession(t)
	s.to(session)
	stop, newest := s.broadcast()
	defer stop()
	parent := s.serve(store)
	b := newBase(t, config.Cache{}, lossy.Config{})
	x, err := b.Services.Add(live(session, parent))
	require.NoError(t, err)
	w := &witness{objects: make(map[string]*strings.Builder), whole: make(map[string]bool), parent: make(map[string]bool)}
	x.AddSink(w)

	status := func() telemetry.Service { st, _ := x.Status(); return st }
	first := newest() + 2
	require.False(t, w.has(t, segment(first), content(first)))
	require.Equal(t, telemetry.SourceMulticast, status().Source.Kind)

	require.NoError(t, s.out.Change(config.Downstream{}, nil)) // what has begun is sent to its end
	silent := newest()
	require.Eventually(t, func() bool { return status().Source.Kind == telemetry.SourceParent }, 5*time.Second, 10*time.Millisecond)
	require.NotEmpty(t, status().Source.Why)
	later := newest() + 3
	for n := first; n <= later; n++ {
		if parent := w.has(t, segment(n), content(n)); n > silent+1 {
			require.True(t, parent, n)
		}
	}
	require.Equal(t, telemetry.StateRunning, status().State)
	// The playlist moves, too: it lists what is complete at the parent.
	require.Eventually(t, func() bool {
		o := x.Complete("v.m3u8")
		if o == nil {
			return false
		}
		body := make([]byte, 4096)
		n, _ := o.ReadAt(body, 0)
		return strings.Contains(string(body[:n]), segment(newest()-1))
	}, time.Second, 10*time.Millisecond)

	s.to(session)
	require.Eventually(t, func() bool { return status().Source.Kind == telemetry.SourceMulticast }, 5*time.Second, 10*time.Millisecond)
	end := newest() + 2
	require.False(t, w.has(t, segment(end), content(end)))
	for n := later; n <= end; n++ {
		w.has(t, segment(n), content(n))
	}
	require.Zero(t, status().ObjectsLost)
}

// A node that starts after the others fills its window; what is older than its start is not for its sinks.
func TestStartFillsTheWindow(t *testing.T) {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	s := newSenderOf(t, store)
	session := newSession(t)
	s.to(session)
	stop, newest := s.broadcast()
	defer stop()
	require.Eventually(t, func() bool { return newest() >= 6 }, 5*time.Second, 10*time.Millisecond)
	parent := s.serve(store)
	b := newBase(t, config.Cache{}, lossy.Config{})
	x, err := b.Services.Add(live(session, parent))
	require.NoError(t, err)
	w := &witness{objects: make(map[string]*strings.Builder), whole: make(map[string]bool), parent: make(map[string]bool)}
	x.AddSink(w)
	for n := 5; n >= 3; n-- {
		require.Eventually(t, func() bool { return x.Complete(segment(n)) != nil }, 5*time.Second, 10*time.Millisecond, n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NotContains(t, w.objects, segment(4))
}

// A node that no packet reaches finds everything at its parent.
func TestNothingIsHeard(t *testing.T) {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	s := newSenderOf(t, store)
	stop, newest := s.broadcast()
	defer stop()
	parent := s.serve(store)
	b := newBase(t, config.Cache{}, lossy.Config{})
	x, err := b.Services.Add(live(newSession(t), parent))
	require.NoError(t, err)
	w := &witness{objects: make(map[string]*strings.Builder), whole: make(map[string]bool), parent: make(map[string]bool)}
	x.AddSink(w)
	require.Eventually(t, func() bool { return x.Complete("init.mp4") != nil }, 8*time.Second, 10*time.Millisecond)
	n := newest() + 2
	require.True(t, w.has(t, segment(n), content(n)))
	st, _ := x.Status()
	require.Equal(t, telemetry.StateRunning, st.State)
	require.Equal(t, telemetry.SourceParent, st.Source.Kind)
	require.Contains(t, st.Source.Why, "no packet has come yet")
}

// Without parents an object that stands is left to multicast, which goes on after a pause.
func TestPauseWithoutParents(t *testing.T) {
	t.Parallel()
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{})
	session := newSession(t)
	_, err := b.Services.Add(live(session))
	require.NoError(t, err)
	s.to(session)
	pass(t, s, b)
	o, err := s.svc.Begin(service.Meta{Name: segment(1), Generation: 1, Kind: service.Media, Length: -1, Track: route.Track{
		Stem: "v-$TOI%05d$.m4s", Number: 1, Run: 1, Kind: route.Video,
	}})
	require.NoError(t, err)
	for k := range 10 {
		if k == 5 {
			time.Sleep(4 * time.Second)
		}
		require.NoError(t, o.Write([]byte(chunk(1, k)), true))
	}
	require.NoError(t, o.Commit())
	got, err := read(b, segment(1))
	require.NoError(t, err)
	require.Equal(t, content(1), got)
}
