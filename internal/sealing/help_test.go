package sealing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(make([]byte, 31), n))
}

func anchor(kind seal.Kind, n byte) seal.Anchor {
	return seal.Anchor{Kind: kind, Key: testKey(n).Public().(ed25519.PublicKey)}
}

func octets(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// network carries requests to handlers in this process, by host, in virtual time.
type network map[string]http.Handler

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	h := n[r.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("no route to %s", r.URL.Host)
	}
	pr, pw := io.Pipe()
	w := &response{header: http.Header{}, body: pw, began: make(chan struct{})}
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		defer cancel()
		h.ServeHTTP(w, r.Clone(ctx))
		w.WriteHeader(http.StatusOK)
		pw.Close()
	}()
	context.AfterFunc(ctx, func() {
		if err := r.Context().Err(); err != nil {
			pr.CloseWithError(err)
		}
	})
	select {
	case <-w.began:
	case <-ctx.Done():
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		<-w.began
	}
	return &http.Response{StatusCode: w.status, Status: fmt.Sprint(w.status), Header: w.header, Body: body{pr, cancel}, Request: r}, nil
}

type body struct {
	*io.PipeReader
	cancel func()
}

func (b body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

type response struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	status int
	began  chan struct{}
}

func (w *response) Header() http.Header { return w.header }
func (w *response) WriteHeader(status int) {
	w.once.Do(func() { w.status = status; close(w.began) })
}
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
func (w *response) Flush() {}

// root is a node whose service is sealed, and that gives seals to children.
type root struct {
	t      *testing.T
	svc    *service.Service
	store  *cache.Store
	sealer *sealing.Sealer
	stop   func()
	http.Handler

	mu   sync.Mutex
	sent [][]byte
}

func newStore(t *testing.T) *cache.Store {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func newRoot(t *testing.T, state string) *root {
	r := &root{t: t, store: newStore(t)}
	r.svc = service.New(service.Config{Name: "live", Store: r.store})
	var err error
	r.sealer, err = sealing.NewSealer(sealing.SealerConfig{Service: r.svc, Store: r.store, Key: testKey(1), State: state})
	require.NoError(t, err)
	r.svc.AddSink(r)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.sealer.Run(ctx)
	}()
	r.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(r.stop)
	r.Handler = &sealing.Handler{Store: r.store, Newest: func(name string) ([][]byte, bool) {
		if b := r.sealer.Newest(); b != nil {
			return [][]byte{b}, name == "live"
		}
		return nil, name == "live"
	}, Services: func(name string) *service.Service {
		if name == "live" {
			return r.svc
		}
		return nil
	}}
	return r
}

// Begin implements service.Sink.
func (r *root) Begin(service.Meta) service.ObjectSink { return nil }

// Manifest implements service.Sink.
func (r *root) Manifest(service.Meta, []byte) {}

// Seal implements service.SealSink.
func (r *root) Seal(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, b)
}

// take returns the datagrams that were sent since it was called last.
func (r *root) take() [][]byte {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.sent
	r.sent = nil
	return b
}

func (r *root) begin(name string, generation uint64) *service.Object {
	o, err := r.svc.Begin(service.Meta{
		Name: name, Generation: generation, Kind: service.Media, Length: -1, Track: route.Track{Kind: route.Video},
	})
	require.NoError(r.t, err)
	return o
}

// put makes a whole object of chunks.
func (r *root) put(name string, generation uint64, b []byte, chunk int) {
	o := r.begin(name, generation)
	for len(b) > 0 {
		n := min(chunk, len(b))
		require.NoError(r.t, o.Write(b[:n], true))
		b = b[n:]
	}
	require.NoError(r.t, o.Commit())
}

// child is a node that believes only what is sealed.
type child struct {
	t       *testing.T
	svc     *service.Service
	store   *cache.Store
	gate    *sealing.Gate
	fetcher *sealing.Fetcher
}

type childConfig struct {
	parents []string
	net     network
	anchors []seal.Anchor
	trust   bool
	forward bool
	offset  time.Duration
	inner   service.Fetcher
}

func newChild(t *testing.T, c childConfig) *child {
	x := &child{t: t, store: newStore(t)}
	if c.anchors == nil {
		c.anchors = []seal.Anchor{anchor(seal.Content, 1)}
	}
	client := &sealing.Client{
		HTTP: &http.Client{Transport: c.net},
		Parents: func() (list []*url.URL) {
			for _, p := range c.parents {
				list = append(list, &url.URL{Scheme: "http", Host: p})
			}
			return list
		},
	}
	x.fetcher = &sealing.Fetcher{Inner: c.inner, Client: client}
	sc := service.Config{Name: "live", Store: x.store}
	if c.inner != nil {
		sc.Parents = x.fetcher
	}
	x.svc = service.New(sc)
	gc := sealing.GateConfig{
		Service: x.svc, Store: x.store, Anchors: c.anchors, TrustFirst: c.trust, Forward: c.forward,
		Now: func() time.Time { return time.Now().Add(c.offset) },
	}
	if len(c.parents) > 0 {
		gc.Client = client
	}
	var err error
	x.gate, err = sealing.NewGate(gc)
	require.NoError(t, err)
	x.fetcher.Gate = x.gate
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.gate.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return x
}

// push gives the gate datagrams as multicast does. Repeats are no errors.
func (x *child) push(datagrams ...[]byte) (err error) {
	for _, b := range datagrams {
		err = errors.Join(err, ignoreRepeat(x.gate.Push(b, seal.Multicast)))
	}
	return err
}

func ignoreRepeat(err error) error {
	if errors.Is(err, seal.ErrRepeat) {
		return nil
	}
	return err
}

// announce tells the child's service that segments are to be expected.
func (x *child) announce(names ...string) {
	body := "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
	for _, n := range names {
		body += "#EXTINF:1,\n" + n + "\n"
	}
	require.NoError(x.t, x.svc.PutManifest(service.Meta{Name: "v.m3u8", Generation: 1}, []byte(body)))
}

func (r *root) key(name string) cache.Key { return cache.Key{Service: "live", Name: name} }

func newService(t *testing.T) *service.Service {
	return service.New(service.Config{Name: "live", Store: newStore(t)})
}

func testSession() (source, group netip.Addr) {
	return netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("232.1.2.3")
}
