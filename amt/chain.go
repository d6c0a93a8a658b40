package amt

import (
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// ChainConfig configures [NewChain]. Gateway.Relays is required unless RelaysLater.
type ChainConfig struct {
	// Gateway configures the tunnel to the other relay.
	Gateway GatewayConfig
	// RelaysLater says that relays may come by SetRelays, as for [DialConfig].
	RelaysLater bool
	// Local are addresses of this machine, of either family, to speak to relays
	// from. Default: the system's choice.
	Local []netip.Addr
	// ReceiveBuffer is the size in octets to ask for each socket. Default: 4 MiB.
	ReceiveBuffer int
	// OnEvent is told of relays: [ConnRelay], [ConnRelayLost], [ConnRelaySilent],
	// [ConnNoRelay]. It is called from one goroutine at a time and must not block.
	// Default: nobody.
	OnEvent func(ConnEvent)
	// Logger is told about relays and what goes wrong. Default: silent.
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
	uplink

	// Guarded by the mutex of uplink:
	channels map[[2]netip.Addr]*mailbox
	wanted   wantedGroups
	touched  []*mailbox // with packets that nobody has been told of
	guard    *loopGuard
	stats    ChainStats
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
	if !anyRelay(config.Gateway.Relays) && !config.RelaysLater {
		return nil, ErrNoRelays
	}
	c := &Chain{channels: make(map[[2]netip.Addr]*mailbox), wanted: make(wantedGroups), guard: newLoopGuard(time.Now())}
	c.open(config.Gateway, uplinkConfig{
		local: config.Local, receiveBuffer: config.ReceiveBuffer, log: config.Logger,
		packet: c.take, batch: c.flush, event: c.logRelay, told: config.OnEvent,
	})
	c.done.Go(c.run)
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
	if err := c.want(source, group, true); err != nil {
		_ = c.want(source, group, false)
		return err
	}
	c.channels[[2]netip.Addr{source, group}] = m
	c.done.Go(func() { m.run(deliver) })
	return nil
}

// want tells the gateway whether a channel is wanted. The mutex is held, as in what
// follows.
func (c *Chain) want(source, group netip.Addr, wanted bool) error {
	now := time.Now()
	err := c.gateway.SetFilter(now, group, c.wanted.set(source, group, wanted))
	c.follow(now)
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
			c.up.log.Warn("packets come back to this relay: its upstream has it as upstream",
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

// flush tells those that wait for the packets.
func (c *Chain) flush() {
	for _, m := range c.touched {
		m.flush()
	}
	c.touched = c.touched[:0]
}

// Leave is for [Server].
func (c *Chain) Leave(source, group netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]netip.Addr{source, group}
	if m := c.channels[key]; m != nil {
		delete(c.channels, key)
		m.close()
		_ = c.want(source, group, false) // to want less is always possible
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

// Close leaves the relay and waits until nothing is delivered any more. It may
// be called more than once.
func (c *Chain) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.goodbye(time.Now())
		for _, m := range c.channels {
			m.close()
		}
	}
	c.mu.Unlock()
	c.done.Wait()
	return nil
}
