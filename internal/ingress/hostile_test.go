package ingress_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/hostile"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

var session = route.Session{Source: netip.MustParseAddr("192.0.2.1"), Group: netip.MustParseAddr("232.1.2.3"), Port: 4001}

// wire is a service.Sink that sends, as an egress does, to whoever hears it, in virtual time.
type wire struct {
	mu     sync.Mutex
	sender *route.Sender
	hop    *sealing.Hop
	seals  [][]byte
	now    func() time.Time
	hear   func(hostile.Packet)
}

func newWire(t *testing.T, now func() time.Time, state string, hear func(hostile.Packet)) *wire {
	hop, err := sealing.NewHop(sealing.HopConfig{Service: "live", Key: key(2), Source: session.Source, Group: session.Group, Port: session.Port, State: state})
	require.NoError(t, err)
	return &wire{hop: hop, now: now, hear: hear, sender: route.NewSender(route.SenderConfig{
		Session: session, FirstTSI: uint32(now().Unix()), Rate: 20_000_000, After: hop.Time(),
	})}
}

func key(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(append(make([]byte, 31), n)) }

func public(n byte) ed25519.PublicKey { return key(n).Public().(ed25519.PublicKey) }

func (w *wire) Begin(m service.Meta) service.ObjectSink {
	out := route.Outgoing{Name: m.Name, Generation: m.Generation, ContentType: m.ContentType, Carousel: m.Kind == service.Init}
	if m.Kind == service.Media {
		out.Track = m.Track
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tx, err := w.sender.Begin(w.now(), out)
	if err != nil {
		panic(err)
	}
	return &wired{w, tx}
}

func (w *wire) Manifest(m service.Meta, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	part := sls.Part{ContentType: cache.ContentType(m.Name), Location: m.Name, Generation: m.Generation, Body: bytes.Clone(body)}
	if err := w.sender.SetManifest(w.now(), part); err != nil {
		panic(err)
	}
}

func (w *wire) Seal(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seals = append(w.seals, b)
}

type wired struct {
	w  *wire
	tx *route.Transmission
}

func (o *wired) do(f func()) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	f()
}
func (o *wired) Write(p []byte, end bool) {
	o.do(func() {
		if err := o.tx.Append(o.w.now(), p); err != nil {
			panic(err)
		}
		if end {
			o.tx.Cut()
		}
	})
}
func (o *wired) Commit()     { o.do(func() { _ = o.tx.End(o.w.now()) }) }
func (o *wired) Abort(error) { o.do(func() { o.tx.Abort() }) }

// send sends what is due.
func (w *wire) send() {
	w.mu.Lock()
	now := w.now()
	body, generation := w.sender.STSID()
	if err := w.hop.Announce(now, body, generation); err != nil {
		panic(err)
	}
	seals := w.seals
	w.seals = nil
	for b, ok := w.hop.Poll(now); ok; b, ok = w.hop.Poll(now) {
		seals = append(seals, b)
	}
	var packets [][]byte
	for {
		for work, ok := w.sender.PollWork(); ok; work, ok = w.sender.PollWork() {
			work.Run()
			w.sender.Finish(now, work)
		}
		b, ok := w.sender.Poll(now, nil)
		if !ok {
			break
		}
		packets = append(packets, b)
	}
	w.mu.Unlock()
	for _, b := range seals {
		w.hear(hostile.Packet{Bytes: b, Seal: true})
	}
	for _, b := range packets {
		w.hear(hostile.Packet{Bytes: b})
	}
}

// above is the root of a tree: a source of two tracks, sealed and sent.
type above struct {
	t      *testing.T
	svc    *service.Service
	store  *cache.Store
	sealer *sealing.Sealer
	wire   *wire
	mux    *http.ServeMux
	base   uint64 // of generations

	mu      sync.Mutex
	objects map[string][]byte // as far as they are there
	begun   []string
}

func newAbove(t *testing.T, offset time.Duration, hear func(hostile.Packet)) *above {
	now := func() time.Time { return time.Now().Add(offset) }
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	a := &above{t: t, store: store, wire: newWire(t, now, "", hear), objects: map[string][]byte{}, base: uint64(now().UnixMicro())}
	a.svc = service.New(service.Config{Name: "live", Store: store})
	a.sealer, err = sealing.NewSealer(sealing.SealerConfig{Service: a.svc, Store: store, Key: key(1), Now: now})
	require.NoError(t, err)
	a.svc.AddSink(a.wire)
	a.handle()
	return a
}

// handle gives out seals.
func (a *above) handle() {
	a.mux = http.NewServeMux()
	a.mux.Handle(sealing.PathPrefix, &sealing.Handler{Store: a.store, Newest: func(string) (list [][]byte, ok bool) {
		a.wire.mu.Lock()
		defer a.wire.mu.Unlock()
		if b := a.sealer.Newest(); b != nil {
			list = append(list, b)
		}
		if s, ok := a.wire.hop.Newest(); ok {
			list = append(list, s.Seal)
		}
		return list, true
	}})
	a.mux.Handle(sealing.SignallingPrefix, &sealing.SignallingHandler{Lookup: func(_, name string) (s sealing.Signalling, ok bool) {
		a.wire.mu.Lock()
		defer a.wire.mu.Unlock()
		if name != a.wire.hop.Name() {
			return s, false
		}
		return a.wire.hop.Newest()
	}})
}

const (
	segmentTime = time.Second
	chunkTime   = 200 * time.Millisecond
)

// run plays until ctx ends. seed tells runs apart.
func (a *above) run(ctx context.Context, seed uint64) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { a.sealer.Run(ctx) })
	group.Go(func() {
		for ctx.Err() == nil {
			a.wire.send()
			time.Sleep(time.Millisecond)
		}
	})
	for _, track := range []string{"v", "a"} {
		init := append([]byte{0, 0, 0, 8, 'f', 't', 'y', 'p'}, octets(seed, 700)...)
		a.write(a.begin(service.Meta{Name: "init-" + track + ".mp4", Kind: service.Init}), "init-"+track+".mp4", init, true)
	}
	generation := a.base + 1000
	for n := uint32(1); ctx.Err() == nil; n++ {
		var open [2]*service.Object
		for i, track := range []string{"v", "a"} {
			m := service.Meta{Name: fmt.Sprintf("%s-%05d.m4s", track, n), Kind: service.Media}
			m.Track = route.Track{Stem: track + "-$TOI%05d$.m4s", Number: n, Run: a.base, Kind: []route.TrackKind{route.Video, route.Audio}[i]}
			open[i] = a.begin(m)
			generation++
			body := playlist(track, n)
			if err := a.svc.PutManifest(service.Meta{Name: track + ".m3u8", Generation: generation}, body); err != nil {
				panic(err)
			}
		}
		for c := range 5 {
			for i, track := range []string{"v", "a"} {
				size := []int{40_000, 3000}[i]
				name := fmt.Sprintf("%s-%05d.m4s", track, n)
				a.write(open[i], name, octets(seed*100_000+uint64(n)*10+uint64(c*2+i), size), c == 4)
			}
			time.Sleep(chunkTime)
		}
	}
}

// playlist announces segments up to n, the newest of which grows.
func playlist(track string, n uint32) []byte {
	first := uint32(max(1, int(n)-12))
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=\"init-%s.mp4\"\n", first, track)
	for i := first; i <= n; i++ {
		fmt.Fprintf(&b, "#EXTINF:1.0,\n%s-%05d.m4s\n", track, i)
	}
	return []byte(b.String())
}

func (a *above) begin(m service.Meta) *service.Object {
	m.Generation, m.Length = a.base, -1
	o, err := a.svc.Begin(m)
	if err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun = append(a.begun, m.Name)
	return o
}

func (a *above) write(o *service.Object, name string, p []byte, end bool) {
	a.mu.Lock()
	a.objects[name] = append(a.objects[name], p...)
	a.mu.Unlock()
	if err := o.Write(p, true); err != nil {
		panic(err)
	}
	if end {
		if err := o.Commit(); err != nil {
			panic(err)
		}
	}
}

func (a *above) truth(name string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects[name]
}

// Fetch implements service.Fetcher for the node below.
func (a *above) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	o, ok := a.store.Lookup(cache.Key{Service: "live", Name: r.Name})
	if !ok || r.Offset > 0 && o.Meta().Generation != r.Generation {
		return service.ErrNotFound
	}
	w, err := begin(service.Meta{Name: r.Name, Generation: o.Meta().Generation, Length: -1})
	if err != nil {
		return err
	}
	from, err := o.NewReader(ctx, r.Offset)
	if err != nil {
		return err
	}
	defer from.Close()
	n, err := io.Copy(w, from)
	if e, ok := w.(service.Ender); ok && err == nil {
		err = e.End(r.Offset + n)
	}
	return err
}

// Repair implements ingress.Repairer.
func (a *above) Repair(_ context.Context, want ingress.Wanted, supply func(int64, []byte, int64) error) error {
	o, ok := a.store.Lookup(cache.Key{Service: "live", Name: want.Name})
	if !ok || want.Generation != 0 && o.Meta().Generation != want.Generation {
		return service.ErrNotFound
	}
	n, final, err := o.Size()
	if err != nil {
		return err
	}
	total := int64(-1)
	if final {
		total = n
	}
	for _, m := range want.Missing {
		if m.End < 0 || m.End > n {
			m.End = n
		}
		if m.Start >= m.End {
			continue
		}
		b := make([]byte, m.End-m.Start)
		if _, err := o.ReadAt(b, m.Start); err != nil && err != io.EOF {
			return err
		}
		if err := supply(m.Start, b, total); err != nil {
			return err
		}
	}
	return nil
}

// RoundTrip carries requests for seals. Answers end, since nobody follows a recorder.
func (a *above) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	ctx, cancel := context.WithTimeout(r.Context(), 300*time.Millisecond)
	defer cancel()
	a.mux.ServeHTTP(w, r.WithContext(ctx))
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// below is a node that receives.
type below struct {
	t     *testing.T
	above *above
	svc   *service.Service
	store *cache.Store
	gate  *sealing.Gate
	in    *ingress.Ingress

	fetcher *sealing.Fetcher
	anchors []seal.Anchor

	mu       sync.Mutex
	sent     map[string][]byte // what its sinks got
	complete map[string]bool
}

func newBelow(t *testing.T, a *above) *below {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	b := &below{t: t, above: a, store: store, sent: map[string][]byte{}, complete: map[string]bool{}}
	base, _ := url.Parse("http://parent")
	client := &sealing.Client{HTTP: &http.Client{Transport: a}, Parents: func() []*url.URL { return []*url.URL{base} }}
	fetcher := &sealing.Fetcher{Inner: a, Client: client}
	b.fetcher = fetcher
	b.anchors = []seal.Anchor{{Kind: seal.Content, Key: public(1)}, {Kind: seal.Hop, Key: public(2)}}
	b.svc = service.New(service.Config{Name: "live", Store: store, Parents: fetcher})
	b.gate, err = sealing.NewGate(sealing.GateConfig{
		Service: b.svc, Store: store, Forward: true, Client: client, Retention: time.Minute,
		Anchors: b.anchors,
	})
	require.NoError(t, err)
	fetcher.Gate = b.gate
	var log slog.Handler = slog.DiscardHandler
	if testing.Verbose() {
		log = slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	}
	b.in = ingress.New(ingress.Config{
		Service: b.svc, Receiver: route.ReceiverConfig{Session: session}, Repair: a, Gate: b.gate, Fetch: fetcher, Logger: slog.New(log),
	})
	b.svc.AddSink(b)
	return b
}

// source is a socket on which nothing comes: packets are pushed.
type source chan struct{}

func (s source) ReadBatch([]ssm.Message) (int, error) {
	<-s
	return 0, net.ErrClosed
}
func (s source) Close() error { close(s); return nil }

func (b *below) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { b.gate.Run(ctx) })
	if err := b.in.Run(ctx, make(source)); err != nil {
		panic(err)
	}
}

func (b *below) hear(p hostile.Packet) {
	if p.Seal {
		_ = b.gate.Push(p.Bytes, seal.Multicast)
		return
	}
	b.in.Push(netip.AddrPortFrom(session.Source, 5000), p.Bytes)
}

// Begin, Manifest and Seal implement service.SealSink: what a RELAY would send.
func (b *below) Begin(m service.Meta) service.ObjectSink {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sent, m.Name)
	if m.Length >= 0 && int64(len(b.above.truth(m.Name))) != m.Length {
		b.t.Errorf("%s is announced with a length of %d", m.Name, m.Length)
	}
	return &resent{b, m.Name}
}

func (b *below) Manifest(m service.Meta, body []byte) {
	if bytes.Contains(body, hostile.Mark) || bytes.Contains(body, []byte("evil")) {
		b.t.Errorf("manifest %s is forged", m.Name)
	}
}

func (b *below) Seal([]byte) {}

type resent struct {
	b    *below
	name string
}

func (o *resent) Write(p []byte, _ bool) {
	b := o.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[o.name] = append(b.sent[o.name], p...)
	if !bytes.HasPrefix(b.above.truth(o.name), b.sent[o.name]) {
		b.t.Errorf("%s: %d octets that are sent on are not those of the source", o.name, len(b.sent[o.name]))
	}
}

func (o *resent) Commit() {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	o.b.complete[o.name] = true
}

func (o *resent) Abort(error) {}

// delay is how far the player is behind the live edge, and stall how long it can wait for an object.
const (
	delay = 5 * time.Second
	stall = time.Second
)

// play reads each object some time after it began above, and the manifests meanwhile.
func (b *below) play(ctx context.Context) (read int) {
	began := map[string]time.Time{}
	var group sync.WaitGroup
	var mu sync.Mutex
	defer group.Wait()
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		for _, name := range []string{"v.m3u8", "a.m3u8"} {
			b.svc.Refresh(ctx, name)
			if o, err := b.svc.Open(ctx, name); err == nil {
				if body, err := b.read(ctx, o); err == nil && bytes.Contains(body, hostile.Mark) {
					b.t.Errorf("%s is forged", name)
				}
			}
		}
		b.above.mu.Lock()
		names := slices.Clone(b.above.begun)
		b.above.mu.Unlock()
		for _, name := range names {
			if _, ok := began[name]; ok {
				continue
			}
			began[name] = time.Now()
			group.Go(func() {
				select {
				case <-ctx.Done():
					return
				case <-time.After(delay):
				}
				asked := time.Now()
				o, err := b.svc.Open(ctx, name)
				var got []byte
				if err == nil {
					got, err = b.read(ctx, o)
				}
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					b.t.Errorf("%s: %v", name, err)
				case !bytes.Equal(got, b.above.truth(name)):
					b.t.Errorf("%s: %d octets differ", name, len(got))
				case time.Since(asked) > stall:
					b.t.Errorf("%s came after %v", name, time.Since(asked))
				}
				mu.Lock()
				defer mu.Unlock()
				read++
			})
		}
	}
	return read
}

func (b *below) read(ctx context.Context, o *cache.Object) ([]byte, error) {
	r, err := o.NewReader(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// attacked plays to a node that receives somebody else's packets, too, 10,000 a second, from before it begins.
func attacked(t *testing.T, forge func(a *hostile.Attacker) hostile.Packet, length time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		evil := hostile.New("live", session, 1)
		evil.Past(past(t))
		var receiver atomic.Pointer[below]
		a := newAbove(t, 0, func(p hostile.Packet) {
			evil.Hear(p)
			if b := receiver.Load(); b != nil {
				b.hear(p)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() { a.run(ctx, 1) })
		time.Sleep(2500 * time.Millisecond)
		b := newBelow(t, a)
		receiver.Store(b)
		b.in.Push(netip.AddrPortFrom(session.Source, 5000), forge(evil).Bytes)
		group.Go(func() { b.run(ctx) })
		group.Go(func() {
			for ctx.Err() == nil {
				for range 10 {
					b.hear(forge(evil))
				}
				time.Sleep(time.Millisecond)
			}
		})
		read := 0
		group.Go(func() { read = b.play(ctx) })
		time.Sleep(length)
		b.mu.Lock()
		onward := len(b.complete)
		b.mu.Unlock()
		cancel()
		group.Wait()
		st, g := b.in.Stats(), b.gate.Stats()
		require.GreaterOrEqual(t, read, 2*int((length-delay)/segmentTime)-2, "%+v %+v", st, g)
		// What is held until a seal tells is not rejected: the log below says what became of it.
		require.NotZero(t, st.Receiver.Packets+g.Datagrams)
		require.LessOrEqual(t, st.Receiver.Memory, int64(64<<20))
		t.Logf("%d objects read, %d sent on of %d; %d fetched again, %d announcements by unicast; rejected: packets %v (%d octets), seals %v, %d octets forged",
			read, onward, len(a.begun), st.Forged, st.Announced, st.Receiver.Rejected, st.Receiver.RejectedBytes, g.Rejected, g.MismatchOctets)
	})
}

var pastOnce struct {
	sync.Mutex
	packets []hostile.Packet
}

// past is the true stream of two minutes ago: of another run, with the same keys and names.
func past(t *testing.T) []hostile.Packet {
	pastOnce.Lock()
	defer pastOnce.Unlock()
	if pastOnce.packets != nil {
		return pastOnce.packets
	}
	a := newAbove(t, -2*time.Minute, func(p hostile.Packet) {
		pastOnce.packets = append(pastOnce.packets, hostile.Packet{Bytes: bytes.Clone(p.Bytes), Seal: p.Seal})
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx, 2)
	}()
	time.Sleep(6 * time.Second)
	cancel()
	<-done
	return pastOnce.packets
}

// Each class of forgery alone.
func TestAttacks(t *testing.T) {
	for i, name := range hostile.Classes() {
		t.Run(name, func(t *testing.T) {
			attacked(t, func(a *hostile.Attacker) hostile.Packet { return a.Forge(i) }, 10*time.Second)
		})
	}
}

func TestAllAttacks(t *testing.T) {
	attacked(t, (*hostile.Attacker).Any, 15*time.Second)
}
