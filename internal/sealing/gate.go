package sealing

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/service"
)

// GateConfig configures a Gate. Service and Anchors are required.
type GateConfig struct {
	Service *service.Service
	// Store is where the seals of objects are kept for children; nil on a node that has none.
	Store   *cache.Store
	Anchors []seal.Anchor
	// Forward sends seals on to the sinks of the service.
	Forward bool
	// Client asks the parents for seals; nil if there are none.
	Client *Client
	// Retention is how long objects of the service are kept, and their seals are of use.
	Retention time.Duration
	// TrustFirst believes the first seals to be of the present.
	TrustFirst bool
	Now        func() time.Time // default time.Now
	Logger     *slog.Logger     // default silent
}

// Gate decides which octets of a service may be read. Its methods are safe for concurrent use.
type Gate struct {
	cfg  GateConfig
	wake chan struct{}
	asks chan struct{} // bounds the requests to parents under way
	told time.Time     // when a conflict was logged; used by Run

	mu        sync.Mutex // guards below
	verifier  *seal.Verifier
	forwarder *seal.Forwarder
	objects   map[*seal.Object]*Object
	asking    map[string]bool // names
	contact   [2]bool         // by kind: what is of the present is not known
	contactAt time.Time       // when the parents are asked about that
	budget    budget
	flooded   time.Time // when a seal went unchecked last, or too many had to be asked for; zero: never
	following context.CancelFunc
	followAt  time.Time // not to be done again before
}

// maxAsks bounds the requests for seals that a service makes at a time. One goes on for as long as its object grows.
const maxAsks = 16

// NewGate returns a Gate through which nothing has passed. Run does what has to be done in time.
func NewGate(cfg GateConfig) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	g := &Gate{
		cfg: cfg, wake: make(chan struct{}, 1), asks: make(chan struct{}, maxAsks),
		objects: make(map[*seal.Object]*Object), asking: make(map[string]bool), budget: budget{tokens: asksAtOnce},
	}
	var err error
	vc := seal.VerifierConfig{Service: cfg.Service.Name(), Anchors: cfg.Anchors, Retention: cfg.Retention}
	if cfg.TrustFirst {
		vc.FirstContact = -1
	}
	g.verifier, err = seal.NewVerifier(vc)
	if err != nil {
		return nil, err
	}
	if cfg.Forward {
		g.forwarder = seal.NewForwarder(seal.ForwarderConfig{})
	}
	return g, nil
}

// SetAnchors replaces the keys whose seals are believed. What has passed stays readable.
func (g *Gate) SetAnchors(anchors []seal.Anchor) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verifier.SetAnchors(anchors)
}

// Stats returns the counters of the verifier.
func (g *Gate) Stats() seal.VerifierStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verifier.Stats()
}

// Busy tells how much of the signatures that may be checked in a second are.
func (g *Gate) Busy() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verifier.Busy(g.cfg.Now())
}

// Newest returns the newest datagram by keys of a kind that is known to be of the present; nil if none is.
func (g *Gate) Newest(kind seal.Kind) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.verifier.Newest(kind); s != nil {
		return s.Bytes()
	}
	return nil
}

// Known returns the newest generation of a name that a seal tells of, and false if none does.
func (g *Gate) Known(name string) (generation uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verifier.Known(name)
}

// Push handles one datagram, which is not kept. The error tells why it was dropped; there is no need to act on it.
func (g *Gate) Push(datagram []byte, via seal.Path) error {
	g.mu.Lock()
	now := g.cfg.Now()
	err := g.verifier.Push(now, datagram, via)
	begins := false
	if e, ok := err.(*seal.RejectError); ok && e.Reason == seal.RejectLimit {
		begins = now.Sub(g.flooded) > floodTime
		g.flooded = now
	}
	g.mu.Unlock()
	if err == nil || begins {
		g.poke()
	}
	return err
}

func (g *Gate) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Notice tells the owner of an Object what has become of it.
type Notice uint8

const (
	// Sealed: more of it may be readable.
	Sealed Notice = iota
	// Refused: its octets have to go; a newer generation has begun, or too many octets stand unverified.
	Refused
	// Wanted: a reader waits for the object, and it shall be fetched from the parents. Who has begun to give it to readers
	// goes on; everybody else releases it at once.
	Wanted
)

// Object is an object whose octets come, by one way. Its methods are safe for concurrent use.
type Object struct {
	g      *Gate
	o      *seal.Object
	notify func(Notice)

	content bool // not signalling
}

// Open begins with an object. notify is called, by a goroutine that holds no lock, when there is something to look at; it
// may still be called once after Release. The errors are those of seal.Verifier.
func (g *Gate) Open(name string, generation uint64, notify func(Notice)) (*Object, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, err := g.verifier.Open(g.cfg.Now(), name, generation)
	if err != nil {
		return nil, err
	}
	x := &Object{g: g, o: o, notify: notify, content: seal.KindOf(name) == seal.Content}
	g.objects[o] = x
	return x, nil
}

// Claim is Open for somebody who fetches an object because nobody gives it to readers: who holds it otherwise is asked to
// release it. It may be one of whom no true octet ever came.
func (g *Gate) Claim(name string, generation uint64, notify func(Notice)) (x *Object, err error) {
	for range claims {
		if x, err = g.Open(name, generation, notify); !errors.Is(err, seal.ErrOpen) {
			break
		}
		g.mu.Lock()
		yield := func(Notice) {}
		for o, holder := range g.objects {
			if o.Generation() == generation && o.Name() == name {
				yield = holder.notify
			}
		}
		g.mu.Unlock()
		yield(Wanted)
	}
	return x, err
}

// claims is how often an object is claimed: packets that come in between open it again.
const claims = 3

// Verdict is what the Gate finds out about octets.
type Verdict struct {
	seal.Verdict
	// Seal is the datagram that makes the object readable up to Readable; nil if there is none.
	Seal []byte
	// Sealed is how many octets there are at least, as the newest seal says.
	Sealed int64
}

// Advance looks at octets that have arrived, or at seals that have.
func (x *Object) Advance(in seal.Octets) Verdict {
	return x.look(func() seal.Verdict { return x.g.verifier.Advance(x.g.cfg.Now(), x.o, in) })
}

// Check is Advance for octets from off on that are apart from others, see seal.Verifier.Check.
func (x *Object) Check(off int64, p []byte) Verdict {
	return x.look(func() seal.Verdict { return x.g.verifier.Check(x.o, off, p) })
}

func (x *Object) look(f func() seal.Verdict) Verdict {
	g := x.g
	g.mu.Lock()
	before := x.o.Seal()
	v := Verdict{Verdict: f()}
	s := x.o.Seal()
	if s != nil {
		v.Seal = s.Bytes()
	}
	v.Sealed = x.o.Sealed()
	// The signalling of a session is nobody's business behind the next hop.
	forward := g.forwarder != nil && s != nil && s != before && x.content
	if forward {
		g.forwarder.Forward(g.cfg.Now(), s)
	}
	g.mu.Unlock()
	if forward {
		g.poke()
	}
	return v
}

// Release ends the interest in the octets of the object.
func (x *Object) Release() {
	x.g.mu.Lock()
	defer x.g.mu.Unlock()
	x.g.verifier.Release(x.o)
	delete(x.g.objects, x.o)
}

// idle bounds how long Run sleeps: octets that stand without a seal set no timer by themselves.
const idle = 50 * time.Millisecond

// Run sends seals on, asks for those that are missing and tells the owners of objects what is new, until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		wait := idle
		if next := g.step(ctx, &group); !next.IsZero() {
			wait = min(wait, max(time.Millisecond/4, next.Sub(g.cfg.Now())))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
		}
	}
}

// step does what is due and returns when there will be more.
func (g *Gate) step(ctx context.Context, group *sync.WaitGroup) (next time.Time) {
	g.mu.Lock()
	now := g.cfg.Now()
	if t := g.verifier.NextTimeout(); !t.IsZero() && !now.Before(t) {
		g.verifier.HandleTimeout(now)
	}
	g.mu.Unlock()
	for {
		g.mu.Lock()
		ev, ok := g.verifier.Poll()
		notify := func(Notice) {}
		if x := g.objects[ev.Object]; x != nil {
			notify = x.notify
			ev.Name, ev.Generation = ev.Object.Name(), ev.Object.Generation()
		}
		g.mu.Unlock()
		if !ok {
			break
		}
		g.handle(ctx, group, ev, notify)
	}
	g.meet(ctx, group)
	g.follow(ctx, group)
	for g.forwarder != nil {
		g.mu.Lock()
		s, ok := g.forwarder.Poll(g.cfg.Now())
		g.mu.Unlock()
		if !ok {
			break
		}
		g.cfg.Service.Seal(s.Bytes())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	next = g.verifier.NextTimeout()
	if g.forwarder != nil {
		if t := g.forwarder.NextTimeout(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

func (g *Gate) handle(ctx context.Context, group *sync.WaitGroup, ev seal.Event, notify func(Notice)) {
	switch ev.Kind {
	case seal.Sealed:
		notify(Sealed)
	case seal.Displaced, seal.Overflow:
		notify(Refused)
	case seal.NeedSeal:
		// Forged packets have names, too: what nobody announces is not asked for.
		if !manifest.IsManifest(ev.Name) && !g.cfg.Service.Index().Expects(ev.Name) {
			return
		}
		g.need(ctx, group, ev.Name, ev.Generation)
	case seal.NeedContact:
		g.mu.Lock()
		g.contact[ev.Keys-1], g.contactAt = true, g.cfg.Now()
		g.mu.Unlock()
	case seal.Begun:
		// The old manifest is good until the new one is here. Nothing else is: it is of another run of the encoder.
		if !manifest.IsManifest(ev.Name) {
			g.cfg.Service.Outdate(ev.Name, ev.Generation)
		}
	case seal.Resealed, seal.Rotated:
		if g.cfg.Store != nil && ev.Name != "" {
			Keep(g.cfg.Store, g.cfg.Service.Name(), ev.Name, ev.Generation, ev.Seal.Bytes())
		}
		if ev.Kind == seal.Rotated {
			g.cfg.Logger.Info("a later key seals now, the earlier ones are retired", "service", g.cfg.Service.Name(), "kind", ev.Keys)
		}
		content := ev.Keys == seal.Content || ev.Kind == seal.Resealed && seal.KindOf(ev.Name) == seal.Content
		if g.forwarder != nil && content {
			g.mu.Lock()
			g.forwarder.Forward(g.cfg.Now(), ev.Seal)
			g.mu.Unlock()
		}
	case seal.Conflict:
		if now := g.cfg.Now(); now.Sub(g.told) > time.Second {
			g.told = now
			g.cfg.Logger.Error("genuine seals contradict each other: a signer is broken, or its key is in two hands",
				"service", g.cfg.Service.Name(), "name", ev.Name)
		}
	}
}

// contactTime is how often the parents are asked for the newest seals until they have told some: they may have begun just
// now themselves.
const contactTime = 100 * time.Millisecond

// meet asks the parents what is of the present, as long as that is not known.
func (g *Gate) meet(ctx context.Context, group *sync.WaitGroup) {
	g.mu.Lock()
	now, need := g.cfg.Now(), false
	for i := range g.contact {
		g.contact[i] = g.contact[i] && g.verifier.Newest(seal.Kind(i+1)) == nil
		need = need || g.contact[i]
	}
	due := need && !now.Before(g.contactAt)
	if due {
		g.contactAt = now.Add(contactTime)
	}
	g.mu.Unlock()
	if due {
		g.ask(ctx, group, "", 0)
	}
}

// need asks the parents for the seals of an object, unless that has been done too often of late: then all seals of the
// service are followed for a while, and the verifier asks again if they do not help.
func (g *Gate) need(ctx context.Context, group *sync.WaitGroup, name string, generation uint64) {
	g.mu.Lock()
	now := g.cfg.Now()
	ok := g.budget.take(now)
	if !ok {
		g.flooded = now
	}
	g.mu.Unlock()
	if ok {
		g.ask(ctx, group, name, generation)
	}
}

// ask asks the parents for the seals of an object, or for the newest one of the service if name is empty.
func (g *Gate) ask(ctx context.Context, group *sync.WaitGroup, name string, generation uint64) {
	if g.cfg.Client == nil {
		return
	}
	g.mu.Lock()
	busy := g.asking[name]
	g.mu.Unlock()
	if busy {
		return
	}
	select {
	case g.asks <- struct{}{}:
	default:
		return // the verifier will ask again
	}
	g.mu.Lock()
	g.asking[name] = true
	g.mu.Unlock()
	group.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		err := g.cfg.Client.Seals(ctx, g.cfg.Service.Name(), name, generation, g.PushParent)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoSeal) {
			g.cfg.Logger.Debug("seals", "service", g.cfg.Service.Name(), "name", name, "error", err)
		}
		g.mu.Lock()
		delete(g.asking, name)
		g.mu.Unlock()
		<-g.asks
	})
}

const askTime = 3 * time.Second

// PushParent handles one datagram that a parent has given.
func (g *Gate) PushParent(datagram []byte) error { return g.Push(datagram, seal.Parent) }

// End is the length of the object, as soon as a seal tells that it is whole or broken; else it is -1.
func (x *Object) End() int64 {
	x.g.mu.Lock()
	defer x.g.mu.Unlock()
	return x.o.End()
}
