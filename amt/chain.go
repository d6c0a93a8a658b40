package amt

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// ChainConfig configures [NewChain]. Gateway.Relays is required.
type ChainConfig struct {
	// Gateway configures the tunnel to the other relay.
	Gateway GatewayConfig
	// Local are addresses of this machine, of either family, to speak to relays
	// from. Default: the system's choice.
	Local []netip.Addr
	// ReceiveBuffer is the size in octets to ask for each socket. Default: 4 MiB.
	ReceiveBuffer int
	// Logger is told about what goes wrong. Default: silent.
	Logger *slog.Logger
}

// Chain is an [Upstream] that is a gateway itself: packets come from another
// relay, whole and of all ports, and no privilege is needed. All channels share
// one tunnel. When the other relay fails, the next one takes over as it does for
// [Dial].
//
// Relays that have each other as upstream would send a packet round for ever.
// Hence a packet loses one of its time to live here, as it would in a router,
// one that has but one left is dropped, and so is one that has been here before.
type Chain struct {
	log *slog.Logger

	mu sync.Mutex // guards below
	uplink
	channels map[[2]netip.Addr]*mailbox
	touched  []*mailbox // with packets that nobody has been told of
	guard    *loopGuard
	stats    ChainStats
	pump     *pump
	done     sync.WaitGroup
}

// ChainStats counts what a [Chain] did.
type ChainStats struct {
	GatewayStats
	Expired uint64         // packets whose time to live was over
	Looped  uint64         // packets that had been here before
	Relay   netip.AddrPort // in use; invalid: none
}

// NewChain returns an upstream that takes packets from other relays.
func NewChain(config ChainConfig) (*Chain, error) {
	if len(config.Gateway.Relays) == 0 {
		return nil, ErrNoRelays
	}
	orDefault(&config.ReceiveBuffer, 4<<20)
	c := &Chain{log: config.Logger, channels: make(map[[2]netip.Addr]*mailbox), guard: newLoopGuard(time.Now())}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.uplink = newUplink(config.Gateway, uplinkConfig{
		local: config.Local, receiveBuffer: config.ReceiveBuffer, log: c.log, lock: &c.mu, done: &c.done,
		packet: c.take, after: c.after,
	})
	c.pump = newPump(&c.mu, &c.uplink, c.note)
	c.done.Go(c.pump.run)
	return c, nil
}

// Join is for [Server].
func (c *Chain) Join(source, group netip.Addr, deliver func(packets [][]byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	m := newMailbox()
	c.channels[[2]netip.Addr{source, group}] = m
	if err := c.want(group); err != nil {
		delete(c.channels, [2]netip.Addr{source, group})
		return err
	}
	c.done.Go(func() { m.run(deliver) })
	return nil
}

// want tells the gateway what is wanted of a group. The mutex is held, as in
// what follows.
func (c *Chain) want(group netip.Addr) error {
	var f gmp.Filter
	for key := range c.channels {
		if key[1] != group {
			continue
		}
		if !key[0].IsValid() {
			f = gmp.Filter{Mode: gmp.Exclude}
			break
		}
		f.Sources = append(f.Sources, key[0])
	}
	err := c.gateway.SetFilter(time.Now(), group, f)
	c.pump.after()
	return err
}

func (c *Chain) take(now time.Time, _ Path, p *Packet) {
	source, group := p.Source.Addr(), p.Destination.Addr()
	m := c.channels[[2]netip.Addr{source, group}]
	if m == nil {
		if m = c.channels[[2]netip.Addr{{}, group}]; m == nil {
			return
		}
	}
	switch c.guard.pass(now, p) {
	case loopExpired:
		c.stats.Expired++
	case loopSeen:
		if c.stats.Looped == 0 {
			c.log.Warn("packets come back to this relay: its upstream has it as upstream",
				"source", source, "group", group)
		}
		c.stats.Looped++
	case loopPass:
		m.add(p.Raw)
		if len(c.touched) == 0 || c.touched[len(c.touched)-1] != m {
			c.touched = append(c.touched, m)
		}
	}
}

func (c *Chain) after(time.Time) {
	for _, m := range c.touched {
		m.flush()
	}
	c.touched = c.touched[:0]
	c.pump.after()
}

func (c *Chain) note(e *GatewayEvent) {
	switch e.Type {
	case GatewayConnected:
		c.log.Info("the upstream relay has been told what is wanted", "relay", e.Relay)
	case GatewayLost:
		c.log.Warn("the upstream relay is left", "relay", e.Relay, "reason", e.Err)
	case GatewayExhausted:
		c.log.Warn("no upstream relay works")
	}
}

// Leave is for [Server].
func (c *Chain) Leave(source, group netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]netip.Addr{source, group}
	if m := c.channels[key]; m != nil {
		delete(c.channels, key)
		m.close()
		_ = c.want(group) // to want less is always possible
	}
}

// Stats returns the counters.
func (c *Chain) Stats() ChainStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.GatewayStats = c.gateway.Stats()
	s.Relay, _ = c.gateway.Active()
	return s
}

// SetRelays replaces the candidates. The relay in use stays in use.
func (c *Chain) SetRelays(relays []Candidate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gateway.SetRelays(time.Now(), relays)
	c.pump.after()
}

// Close leaves the relay and waits until nothing is delivered any more. It may
// be called more than once.
func (c *Chain) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.goodbye(time.Now())
		for _, m := range c.channels {
			m.close()
		}
		c.pump.poke()
	}
	c.mu.Unlock()
	c.done.Wait()
	return nil
}

// pump runs the timeouts of an uplink and passes its events on.
type pump struct {
	lock  *sync.Mutex
	up    *uplink
	note  func(e *GatewayEvent) // the mutex is held
	wake  chan struct{}
	armed time.Time // when run wakes
}

func newPump(lock *sync.Mutex, up *uplink, note func(e *GatewayEvent)) *pump {
	return &pump{lock: lock, up: up, note: note, wake: make(chan struct{}, 1)}
}

// after sends what the gateway has to say and follows its events. The mutex is
// held.
func (p *pump) after() {
	u := p.up
	if u.closed {
		return
	}
	u.transmit()
	for {
		e, ok := u.gateway.PollEvent()
		if !ok {
			break
		}
		if e.Type == GatewayClosed {
			u.closePath(e.Path)
		}
		p.note(&e)
	}
	if at := u.gateway.NextTimeout(); !at.IsZero() && (p.armed.IsZero() || at.Before(p.armed)) {
		p.poke()
	}
}

func (p *pump) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pump) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.wake:
		}
		now := time.Now()
		p.lock.Lock()
		if p.up.closed {
			p.lock.Unlock()
			return
		}
		if at := p.up.gateway.NextTimeout(); !at.IsZero() && !at.After(now) {
			p.up.gateway.HandleTimeout(now)
		}
		p.after()
		p.armed = p.up.gateway.NextTimeout()
		wait := time.Hour
		if !p.armed.IsZero() {
			wait = max(time.Until(p.armed), time.Millisecond)
		}
		p.lock.Unlock()
		timer.Reset(wait)
	}
}
