package reception

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// Service is one service that is received.
type Service struct {
	*service.Service
	set     *Set
	ctx     context.Context
	cancel  context.CancelFunc
	parents *parent.Client
	gate    *sealing.Gate    // nil: the service is unsigned
	fetcher *sealing.Fetcher // likewise
	keys    keyring
	delay   telemetry.Latency
	group   sync.WaitGroup
	follow  *follower

	mu         sync.Mutex // guards below
	cfg        config.Service
	receptions []*reception // the last one is that of cfg, those before it are being replaced
	past       counters     // of receptions that have ended
	closed     bool
}

// reception is one session that is received, and what it feeds.
type reception struct {
	in     *ingress.Ingress
	ways   ways
	cancel context.CancelFunc
	ended  chan struct{} // closed when nothing comes from in any more
}

func newService(s *Set, c config.Service) (*Service, error) {
	x := &Service{set: s, cfg: c, parents: parent.New(parent.Config{Node: s.cfg.Via})}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	sc := service.Config{Name: c.Name, Store: s.cfg.Store, Parents: x.parents, Now: s.cfg.Now, Logger: s.cfg.Logger}
	if c.Upstream.Unsigned {
		s.cfg.Logger.Warn("service is unsigned: whatever comes is believed", "service", c.Name)
		x.Service = service.New(sc)
		x.follow = newFollower(x, x.parents, x.packets)
		return x, nil
	}
	client := &sealing.Client{HTTP: x.parents.HTTP(), Parents: x.parents.Reachable}
	x.fetcher = &sealing.Fetcher{Inner: x.parents, Client: client}
	sc.Parents, sc.Runs = x.fetcher, true
	x.Service = service.New(sc)
	gc := sealing.GateConfig{
		Service: x.Service, Anchors: anchors(c.Upstream), Forward: s.cfg.Children, Client: client, Retention: c.Retention,
		TrustFirst: c.Upstream.TrustFirst,
		Now:        s.cfg.Now, Logger: s.cfg.Logger,
	}
	if s.cfg.Children {
		gc.Store = s.cfg.Store
	}
	var err error
	if x.gate, err = sealing.NewGate(gc); err != nil {
		x.cancel()
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	x.fetcher.Gate = x.gate
	x.follow = newFollower(x, x.fetcher, x.packets)
	x.group.Go(func() { x.gate.Run(x.ctx) })
	return x, nil
}

// anchors returns the keys that an upstream's seals must be by.
func anchors(u config.Upstream) (list []seal.Anchor) {
	add := func(kind seal.Kind, from []config.Anchor) {
		for _, a := range from {
			x := seal.Anchor{Kind: kind, Key: a.Key()}
			x.NotBefore, x.NotAfter = a.Validity()
			list = append(list, x)
		}
	}
	add(seal.Content, u.Anchors)
	add(seal.Hop, u.HopAnchors)
	return list
}

// Sealed tells whether the service is not unsigned.
func (x *Service) Sealed() bool { return x.gate != nil }

// NewestSeal returns the newest datagram that seals content; nil if none is known to be of the present.
func (x *Service) NewestSeal() []byte { return x.gate.Newest(seal.Content) }

// packets counts the packets of the service's objects, those of objects that come by another way included, but not the
// repeats of signalling and of initialization segments: a node that has lost its own parents goes on to send these.
func (x *Service) packets() (n uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.receptions {
		st := r.in.Stats().Receiver
		n += st.SourcePackets + st.RepairPackets + st.Ignored
	}
	return n
}

// adopt makes the configured parents those that are asked.
func (x *Service) adopt(c config.Service) error {
	list := make([]*url.URL, len(c.Upstream.Parents))
	for i, p := range c.Upstream.Parents {
		list[i] = p.URL()
	}
	if err := x.parents.SetParents(list); err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	return nil
}

// maxMemory bounds the octets of incomplete objects of one service.
const maxMemory = 64 << 20

// maxUnverified bounds the octets of one service that no seal covers yet. It is the verifier's default.
const maxUnverified = 32 << 20

// maxChecks bounds the signatures that are checked in a second, maxObject one object in octets. Both are defaults.
const (
	maxChecks = 300
	maxObject = 64 << 20
)

// receive joins the group and starts to feed the service. It is called with mu held.
func (x *Service) receive(c config.Service) error {
	up := c.Upstream
	ctx, cancel := context.WithCancel(x.ctx)
	seals := up.SealPort
	if x.gate == nil {
		seals = 0
	}
	way, err := x.open(ctx, &up, ssm.Channel{Source: up.Source, Group: up.Group, Port: up.Port}, seals)
	if err != nil {
		cancel()
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	r := &reception{ways: ways{main: way}, cancel: cancel, ended: make(chan struct{})}
	r.in = ingress.New(ingress.Config{
		Service: x.Service,
		Receiver: route.ReceiverConfig{
			Session:   route.Session{Source: up.Source, Group: up.Group, Port: up.Port},
			AnySource: up.AnySource,
			MaxMemory: maxMemory,
		},
		Repair: x.parents, Gate: x.gate, Fetch: x.fetcher, Plain: x.parents,
		Join: func(ctx context.Context, s route.Session) (ingress.Source, error) {
			w, err := x.open(ctx, &up, ssm.Channel{Source: s.Source, Group: s.Group, Port: s.Port}, 0)
			if err != nil {
				return nil, err
			}
			return r.ways.join(w), nil
		},
		Loss: x.set.cfg.Loss, Delay: &x.delay, Now: x.set.cfg.Now, Logger: x.set.cfg.Logger,
	})
	x.receptions = append(x.receptions, r)
	x.group.Go(func() {
		defer close(r.ended)
		if err := r.in.Run(ctx, way.media); err != nil && x.ctx.Err() == nil {
			x.set.cfg.Logger.Error("reception has ended", "service", c.Name, "session", up.Session, "error", err)
		}
	})
	if way.seals != nil {
		x.group.Go(func() {
			if err := r.in.RunSeals(ctx, way.seals); err != nil && x.ctx.Err() == nil {
				x.set.cfg.Logger.Error("reception of seals has ended", "service", c.Name, "session", up.Session, "error", err)
			}
		})
	}
	return nil
}

var errClosed = errors.New("reception: service is closed")

// prepare makes all of a change that can fail, and returns how to complete it and how to take it back, of which one is
// to be called. Where the session changes, the old one is received on until the new one delivers.
func (x *Service) prepare(c config.Service) (commit, undo func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, nil, errClosed
	}
	if x.cfg.Upstream.Unsigned != c.Upstream.Unsigned {
		return nil, nil, errSealed
	}
	var undos []func() // with mu held
	back := func() {
		for _, f := range slices.Backward(undos) {
			f()
		}
	}
	defer func() {
		if err != nil {
			back()
		}
	}()
	have, keys := x.cfg, x.keys
	var old *reception
	if elsewhere(&have.Upstream, &c.Upstream) {
		old = x.receptions[len(x.receptions)-1]
		if err := x.receive(c); err != nil {
			return nil, nil, err
		}
		begun := x.receptions[len(x.receptions)-1]
		undos = append(undos, func() { x.drop(begun) })
	}
	if !reflect.DeepEqual(have.Upstream.Parents, c.Upstream.Parents) {
		if err := x.adopt(c); err != nil {
			return nil, nil, err
		}
		undos = append(undos, func() { _ = x.adopt(have) }) // it could be before
	}
	if err := x.set.store(x, c); err != nil {
		return nil, nil, err
	}
	undos = append(undos, func() {
		x.keys = keys
		_ = x.set.store(x, have) // likewise
	})
	if x.gate != nil {
		// The last one: seals must not be refused for what is taken back.
		if err := x.gate.SetAnchors(anchors(c.Upstream)); err != nil {
			return nil, nil, fmt.Errorf("service %s: %w", c.Name, err)
		}
		undos = append(undos, func() { _ = x.gate.SetAnchors(anchors(have.Upstream)) }) // likewise
	}
	commit = func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.cfg = c
		if old != nil {
			x.group.Go(func() { x.replace(old) })
		}
	}
	undo = func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		back()
	}
	return commit, undo, nil
}

// elsewhere tells whether packets come from somewhere else, or another way.
func elsewhere(a, b *config.Upstream) bool {
	return a.Session != b.Session || a.SealPort != b.SealPort || a.AnySource != b.AnySource || !reflect.DeepEqual(a.AMT, b.AMT)
}

const (
	// patience is how long the new session may take to deliver, which is the time that an operator has to change the
	// sender. Then the old one ends all the same: what is configured holds.
	patience = 10 * time.Minute
	// overlap is how long the old session delivers new objects beside the new one. An object that began just before its
	// sender changed may still be on its way.
	overlap = 2 * time.Second
	// rest is how long the old session may take for the objects that it has begun.
	rest = 10 * time.Second
)

// replace ends a reception once one behind it has taken its place. Objects that both bring are taken once.
func (x *Service) replace(old *reception) {
	x.awaitBehind(old)
	select {
	case <-x.ctx.Done():
	case <-time.After(overlap):
	}
	x.leave(old, rest)
}

// leave lets a reception end what it has begun, for some time, and ends it. What it has to give up counts as lost, unless
// the service ends.
func (x *Service) leave(old *reception, within time.Duration) {
	ctx, cancel := context.WithTimeout(x.ctx, within)
	defer cancel()
	old.in.Retire(ctx)
	old.cancel()
	<-old.ended
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(old)
}

// awaitBehind waits until a reception behind the old one delivers.
func (x *Service) awaitBehind(old *reception) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !x.deliversBehind(old) {
		select {
		case <-x.ctx.Done():
			return
		case <-late:
			x.set.cfg.Logger.Warn("the new session has delivered nothing, the old one is left", "service", x.Name())
			return
		case <-tick.C:
		}
	}
}

func (x *Service) deliversBehind(old *reception) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := slices.Index(x.receptions, old)
	return slices.ContainsFunc(x.receptions[i+1:], func(r *reception) bool { return !r.in.Stats().LastPacket.IsZero() })
}

// drop ends a reception and keeps its counters. It is called with mu held.
func (x *Service) drop(r *reception) {
	r.cancel()
	x.past.add(r.in.Stats())
	addWay(&x.past.way, r.ways.status(true))
	x.receptions = slices.DeleteFunc(x.receptions, func(o *reception) bool { return o == r })
}

// feed has the rest of an object fetched that a reception has begun. Without parents it is left to multicast, which may
// go on.
func (x *Service) feed(ctx context.Context, name string) error {
	if len(x.parents.Parents()) == 0 {
		return ingress.ErrNotFed
	}
	x.mu.Lock()
	receptions := slices.Clone(x.receptions)
	x.mu.Unlock()
	for _, r := range slices.Backward(receptions) {
		if err := r.in.Feed(ctx, name); !errors.Is(err, ingress.ErrNotFed) {
			return err
		}
	}
	return ingress.ErrNotFed
}

func (x *Service) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel()
	x.group.Wait()
	x.parents.Close()
}
