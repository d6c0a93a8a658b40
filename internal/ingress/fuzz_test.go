package ingress_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/hostile"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// world is a root and a node below it, between which a script decides what arrives, in virtual time. Both may be started
// anew, and their clocks may step.
type world struct {
	t      *testing.T
	state  string
	chance *rand.Rand

	mu        sync.Mutex
	rootClock time.Duration // how far its clock is off
	nodeClock time.Duration
	root      *above
	node      *below
	endRoot   func()
	endNode   func()
	truth     map[identity][]byte
	whole     map[identity]bool
	current   map[string]identity // the newest of a name
	open      map[string]*service.Object
	run       uint64
	base      uint64 // generation of the segments of this run
	number    uint32

	loss     int // of 100 packets, and of all seals at 100
	loseSeal bool
	forge    int // packets beside each true one
	held     []hostile.Packet
	hold     bool
	evil     *hostile.Attacker
}

type identity struct {
	name       string
	generation uint64
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, state: filepath.Join(t.TempDir(), "live"), chance: rand.New(rand.NewPCG(3, 3)), evil: hostile.New("live", session, 9),
		truth: map[identity][]byte{}, whole: map[identity]bool{}, current: map[string]identity{},
	}
	w.bootRoot()
	w.bootNode()
	return w
}

func start(run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() { cancel(); <-done }
}

// bootRoot starts the root, with other octets for the same names.
func (w *world) bootRoot() {
	w.base, w.number = w.generation(), 0
	w.open = map[string]*service.Object{}
	clear(w.current)
	now := func() time.Time { return time.Now().Add(w.rootClock) }
	store, err := cache.Open(cache.Config{})
	require.NoError(w.t, err)
	a := &above{t: w.t, store: store, wire: newWire(w.t, now, w.state+".hop", w.carry)}
	a.svc = service.New(service.Config{Name: "live", Store: store})
	a.sealer, err = sealing.NewSealer(sealing.SealerConfig{Service: a.svc, Store: store, Key: key(1), State: w.state, Now: now})
	require.NoError(w.t, err)
	a.svc.AddSink(a.wire)
	a.handle()
	w.mu.Lock()
	w.root = a
	w.mu.Unlock()
	w.endRoot = start(func(ctx context.Context) {
		defer store.Close()
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() { a.sealer.Run(ctx) })
		for ctx.Err() == nil {
			a.wire.send()
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// parent is the root of the moment.
func (w *world) parent() *above {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.root
}

func (w *world) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	return w.parent().Fetch(ctx, r, begin)
}

func (w *world) Repair(ctx context.Context, want ingress.Wanted, supply func(int64, []byte, int64) error) error {
	return w.parent().Repair(ctx, want, supply)
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) { return w.parent().RoundTrip(r) }

func (w *world) bootNode() {
	store, err := cache.Open(cache.Config{})
	require.NoError(w.t, err)
	b := &below{t: w.t, store: store}
	base, _ := url.Parse("http://parent")
	client := &sealing.Client{HTTP: &http.Client{Transport: w}, Parents: func() []*url.URL { return []*url.URL{base} }}
	fetcher := &sealing.Fetcher{Inner: w, Client: client}
	now := func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.nodeClock)
	}
	b.svc = service.New(service.Config{Name: "live", Store: store, Parents: fetcher})
	b.gate, err = sealing.NewGate(sealing.GateConfig{
		Service: b.svc, Store: store, Forward: true, Client: client, Retention: time.Minute, Now: now,
		Anchors: []seal.Anchor{{Kind: seal.Content, Key: public(1)}, {Kind: seal.Hop, Key: public(2)}},
	})
	require.NoError(w.t, err)
	fetcher.Gate = b.gate
	b.in = ingress.New(ingress.Config{Service: b.svc, Receiver: route.ReceiverConfig{Session: session}, Repair: w, Gate: b.gate, Fetch: fetcher})
	b.svc.AddSink(&reader{w})
	w.mu.Lock()
	w.node = b
	w.mu.Unlock()
	w.endNode = start(func(ctx context.Context) {
		defer store.Close()
		b.run(ctx)
	})
}

// carry is the network.
func (w *world) carry(p hostile.Packet) {
	w.evil.Hear(p)
	w.mu.Lock()
	node := w.node
	deliver := []hostile.Packet{p}
	switch {
	case w.hold:
		w.held = append(w.held, hostile.Packet{Bytes: bytes.Clone(p.Bytes), Seal: p.Seal})
		deliver = nil
	case p.Seal && w.loseSeal, w.chance.IntN(100) < w.loss:
		deliver = nil
	}
	for range w.forge {
		deliver = append(deliver, w.evil.Any())
	}
	w.mu.Unlock()
	for _, p := range deliver {
		node.hear(p)
	}
}

// release delivers what was held, in another order, some of it twice.
func (w *world) release() {
	w.mu.Lock()
	w.hold = false
	held, node := w.held, w.node
	w.held = nil
	w.chance.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	w.mu.Unlock()
	for i, p := range held {
		node.hear(p)
		if i%7 == 0 {
			node.hear(p)
		}
	}
}

// reader is a sink of the node: whatever it is given must be a beginning of what was sealed under that name and
// generation.
type reader struct{ w *world }

func (r *reader) Begin(m service.Meta) service.ObjectSink {
	return &readObject{r.w, identity{m.Name, m.Generation}, nil}
}

func (r *reader) Manifest(m service.Meta, body []byte) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if want := r.w.truth[identity{m.Name, m.Generation}]; !bytes.Equal(want, body) {
		r.w.t.Errorf("manifest %s of generation %d is not the root's", m.Name, m.Generation)
	}
}

type readObject struct {
	w *world
	identity
	got []byte
}

func (o *readObject) Write(p []byte, _ bool) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.got = append(o.got, p...)
	if !bytes.HasPrefix(o.w.truth[o.identity], o.got) {
		o.w.t.Errorf("%s of generation %d: %d octets are not the root's", o.name, o.generation, len(o.got))
	}
}

func (o *readObject) Commit() {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if !o.w.whole[o.identity] || len(o.got) != len(o.w.truth[o.identity]) {
		o.w.t.Errorf("%s of generation %d is taken for whole with %d octets", o.name, o.generation, len(o.got))
	}
}

func (o *readObject) Abort(error) {}

// generation is one that no clock makes fall.
func (w *world) generation() uint64 {
	w.run++
	return w.run
}

func (w *world) begin(init bool) {
	w.number++
	m := service.Meta{Name: fmt.Sprintf("v-%05d.m4s", w.number), Kind: service.Media, Length: -1}
	m.Generation = w.base
	m.Track = route.Track{Stem: "v-$TOI%05d$.m4s", Number: w.number, Run: w.base, Kind: route.Video}
	if init {
		m.Name, m.Kind, m.Track, m.Generation = "init.mp4", service.Init, route.Track{}, w.generation()
	}
	if w.open[m.Name] != nil {
		return
	}
	o, err := w.root.svc.Begin(m)
	if err != nil {
		return
	}
	id := identity{m.Name, m.Generation}
	w.mu.Lock()
	w.truth[id], w.current[m.Name] = nil, id
	w.mu.Unlock()
	w.open[m.Name] = o
	if init {
		w.write(m.Name, append([]byte{0, 0, 0, 8, 'f', 't', 'y', 'p'}, octets(m.Generation, 600)...))
	}
	w.manifest()
}

func (w *world) manifest() {
	body := playlist("v", w.number)
	id := identity{"v.m3u8", w.generation()}
	w.mu.Lock()
	w.truth[id] = body
	w.mu.Unlock()
	require.NoError(w.t, w.root.svc.PutManifest(service.Meta{Name: id.name, Generation: id.generation}, body))
}

func (w *world) write(name string, p []byte) {
	o := w.open[name]
	w.mu.Lock()
	w.truth[w.current[name]] = append(w.truth[w.current[name]], p...)
	w.mu.Unlock()
	require.NoError(w.t, o.Write(p, true))
}

// each calls f for the objects that grow, in the order of their names.
func (w *world) each(f func(name string, o *service.Object)) {
	for n := uint32(0); n <= w.number; n++ {
		name := fmt.Sprintf("v-%05d.m4s", n)
		if n == 0 {
			name = "init.mp4"
		}
		if o := w.open[name]; o != nil {
			f(name, o)
		}
	}
}

func (w *world) end(name string, o *service.Object, broken bool) {
	delete(w.open, name)
	if broken {
		o.Abort(io.ErrUnexpectedEOF)
		w.mu.Lock()
		delete(w.current, name)
		w.mu.Unlock()
		return
	}
	w.mu.Lock()
	w.whole[w.current[name]] = true
	w.mu.Unlock()
	require.NoError(w.t, o.Commit())
}

// do executes one octet of the script.
func (w *world) do(op byte) {
	arg := int(op >> 4)
	switch op & 15 {
	case 0, 1:
		time.Sleep(time.Duration(arg+1) * 20 * time.Millisecond)
	case 2:
		time.Sleep(time.Duration(arg+1) * 500 * time.Millisecond)
	case 3:
		w.begin(arg == 0)
	case 4, 5:
		w.each(func(name string, _ *service.Object) {
			w.write(name, octets(uint64(w.number)<<8|uint64(arg), 500+arg*2500))
		})
	case 6:
		w.each(func(name string, o *service.Object) { w.end(name, o, arg == 0) })
	case 7:
		w.mu.Lock()
		w.loss = min(100, arg*10)
		w.mu.Unlock()
	case 8:
		w.mu.Lock()
		w.loseSeal = arg&1 == 1
		w.mu.Unlock()
	case 9:
		w.mu.Lock()
		w.forge = arg % 4
		w.mu.Unlock()
	case 10:
		w.mu.Lock()
		w.hold = true
		w.mu.Unlock()
	case 11:
		w.release()
	case 12:
		w.endNode()
		w.bootNode()
	case 13:
		if arg < 4 { // the state must outlive it, what grew does not
			w.endRoot()
			w.bootRoot()
		}
	case 14:
		w.mu.Lock()
		w.nodeClock += time.Duration(arg-8) * 13 * time.Minute
		w.mu.Unlock()
	case 15:
		w.manifest()
	}
}

// settle ends all trouble, and looks whether everything can be read.
func (w *world) settle() {
	w.release()
	w.mu.Lock()
	w.loss, w.loseSeal, w.forge = 0, false, 0
	w.mu.Unlock()
	w.each(func(name string, o *service.Object) { w.end(name, o, false) })
	time.Sleep(12 * time.Second)
	w.mu.Lock()
	current, node := map[string]identity{}, w.node
	for name, id := range w.current {
		current[name] = id
	}
	w.mu.Unlock()
	for name, id := range current {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		o, err := node.svc.Open(ctx, name)
		if err == nil {
			var got []byte
			got, err = node.read(ctx, o)
			w.mu.Lock()
			has := identity{name, o.Meta().Generation}
			// Of an object of a new run the node may have heard nothing at all, and have one of the run before.
			known, ok := node.gate.Known(name)
			if err == nil && (has != id && (!ok || known > has.generation) || !bytes.Equal(got, w.truth[has])) {
				err = fmt.Errorf("%d octets of generation %d, known %d %v", len(got), o.Meta().Generation, known, ok)
			}
			w.mu.Unlock()
		}
		if err != nil {
			w.t.Errorf("%s of generation %d: %v; %+v %+v", name, id.generation, err, node.in.Stats(), node.gate.Stats())
		}
		cancel()
	}
	w.endNode()
	w.endRoot()
}

// FuzzDelivery plays scripts: what can be read is always a beginning of what was sealed, and once the trouble ends, all of
// it.
func FuzzDelivery(f *testing.F) {
	f.Add([]byte{0x13, 0x03, 0x45, 0x10, 0x95, 0x20, 0x16, 0x52})
	f.Add([]byte{0x13, 0x37, 0x45, 0x32, 0x95, 0x18, 0x32, 0x16, 0x13, 0x85, 0x52})                                     // loss, lost seals
	f.Add([]byte{0x13, 0x45, 0x12, 0x39, 0x85, 0x22, 0x85, 0x22, 0x16, 0x13, 0x85, 0x22, 0x16})                         // forged packets
	f.Add([]byte{0x13, 0x45, 0x12, 0x0a, 0x85, 0x22, 0x85, 0x22, 0x0b, 0x16, 0x0c, 0x13, 0x85, 0x22, 0x16})             // order, a new node
	f.Add([]byte{0x13, 0x45, 0x12, 0x85, 0x0d, 0x13, 0x65, 0x22, 0x16, 0x0d, 0x13, 0x75, 0x22, 0x06, 0x13, 0x25, 0x16}) // new roots
	f.Add([]byte{0x13, 0x45, 0x12, 0x0e, 0x85, 0xfe, 0x13, 0x65, 0x22, 0x16})                                           // clocks
	f.Fuzz(func(t *testing.T, script []byte) { play(t, script[:min(len(script), 60)]) })
}

func play(t *testing.T, script []byte) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, op := range script {
			w.do(op)
		}
		w.settle()
	})
}

// Scripts that chance makes, among them long ones.
func TestDelivery(t *testing.T) {
	scripts := 40
	if testing.Short() {
		scripts = 10
	}
	chance := rand.New(rand.NewPCG(11, 11))
	for i := range scripts {
		script := make([]byte, 10+chance.IntN(50))
		for j := range script {
			script[j] = byte(chance.Uint32())
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) { play(t, script) })
	}
}
