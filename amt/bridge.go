package amt

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/treedn/treedn/amt/internal/rawip"
	"github.com/treedn/treedn/amt/ssm"
)

// BridgeConfig configures [NewBridge]. Interface is required, and so is
// Gateway.Relays unless RelaysLater.
type BridgeConfig struct {
	// Interface is where the channels are sent, by name or index.
	Interface string
	// Gateway configures the tunnel.
	Gateway GatewayConfig
	// RelaysLater says that relays may come by SetRelays, as for [DialConfig].
	RelaysLater bool
	// Local are addresses of this machine, of either family, to speak to relays
	// from. Default: the system's choice.
	Local []netip.Addr
	// ReceiveBuffer is the size in octets to ask for each socket. Default: 4 MiB.
	ReceiveBuffer int
	// StandBy is for how long nobody else must have sent a channel on the
	// interface before it is sent there; up to twice the time is added at random.
	// Default: 1 s.
	StandBy time.Duration
	// OnEvent is told of relays: [ConnRelay], [ConnRelayLost], [ConnRelaySilent],
	// [ConnNoRelay]. It is called from one goroutine at a time and must not block.
	// Default: nobody.
	OnEvent func(ConnEvent)
	// Logger is told about relays and what goes wrong. Default: silent.
	Logger *slog.Logger
}

// Bridge brings channels out of a tunnel onto a network as native multicast, for
// hosts that know nothing of AMT. The packets keep the address of their source,
// for which CAP_NET_RAW on Linux is needed.
//
// Multicast that goes round in circles takes a network down. Hence a Bridge
//   - takes one off the time to live of a packet, and drops one that has but one
//     left;
//   - drops a packet that it has sent before and that comes again with a lower
//     time to live;
//   - does not bridge channels whose source is this machine;
//   - listens on the interface, and stands by for as long as somebody else sends
//     the channel there: a router, or another bridge. Of two bridges that begin
//     together one goes on, and the other takes over when that one ends.
type Bridge struct {
	uplink
	standBy time.Duration
	ifi     *net.Interface
	out     *rawip.Injector
	in      *rawip.Capture
	member  rawip.Memberships

	// Guarded by the mutex of uplink:
	channels map[[2]netip.Addr]*bridged
	wanted   wantedGroups
	guard    *loopGuard
	stats    BridgeStats
}

// bridged is a channel on the interface.
type bridged struct {
	standBy time.Time // until when; zero: not
}

// BridgeStats counts what a [Bridge] did. All counters but StandingBy and Relay
// rise only.
type BridgeStats struct {
	GatewayStats
	Sent       uint64 // packets
	SentOctets uint64 // of these, with their IP headers
	Refused    uint64 // packets that the kernel did not send: most are too big
	Expired    uint64 // packets whose time to live was over
	Looped     uint64 // packets that had been sent before
	Foreign    uint64 // packets that others sent on the interface
	Withheld   uint64 // packets not sent while standing by

	StandingBy int            // channels that others send now
	Relay      netip.AddrPort // in use; invalid: none
}

// ErrLoop is matched by errors about what would go round in circles.
var ErrLoop = errors.New("amt: a loop")

// NewBridge returns a bridge without channels. The error matches
// [os.ErrPermission] without CAP_NET_RAW.
func NewBridge(config BridgeConfig) (*Bridge, error) {
	if !anyRelay(config.Gateway.Relays) && !config.RelaysLater {
		return nil, ErrNoRelays
	}
	if config.Interface == "" {
		return nil, fmt.Errorf("amt: bridge: %w: Interface is required", ErrConfig)
	}
	orDefault(&config.ReceiveBuffer, 4<<20)
	orDefault(&config.StandBy, time.Second)
	ifi, err := ssm.InterfaceFor(config.Interface, netip.Addr{})
	if err != nil {
		return nil, err
	}
	b := &Bridge{
		standBy: config.StandBy, ifi: ifi,
		channels: make(map[[2]netip.Addr]*bridged), wanted: make(wantedGroups), guard: newLoopGuard(time.Now()),
	}
	if b.out, err = rawip.NewInjector(ifi); err != nil {
		return nil, fmt.Errorf("amt: bridge: sending packets of others needs CAP_NET_RAW on Linux: %w", err)
	}
	if b.in, err = rawip.Open(ifi, config.ReceiveBuffer); err != nil {
		_ = b.out.Close()
		return nil, fmt.Errorf("amt: bridge: listening for others: %w", err)
	}
	b.open(config.Gateway, uplinkConfig{
		local: config.Local, receiveBuffer: config.ReceiveBuffer, log: config.Logger,
		packet: b.take, event: b.logRelay, told: config.OnEvent,
	})
	b.done.Go(b.run)
	b.done.Go(b.listen)
	return b, nil
}

// Join bridges a channel. The error matches [ErrLoop] if its source is this
// machine.
func (b *Bridge) Join(source, group netip.Addr) error {
	if !source.IsValid() {
		return fmt.Errorf("amt: bridge: %w: a source is required", ErrConfig)
	}
	if err := (&ssm.Channel{Source: source, Group: group, Port: 1}).Validate(); err != nil {
		return err
	}
	if isOurs(source) {
		return fmt.Errorf("%w: the source %v is this machine", ErrLoop, source)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return net.ErrClosed
	}
	key := [2]netip.Addr{source, group}
	if b.channels[key] != nil {
		return nil
	}
	// As a member the bridge hears others also behind a switch that looks into
	// IGMP.
	if err := b.member.Join(b.ifi, source, group); err != nil {
		return err
	}
	b.channels[key] = &bridged{}
	if err := b.want(source, group, true); err != nil {
		delete(b.channels, key)
		_ = b.want(source, group, false)
		b.member.Leave(b.ifi, source, group)
		return err
	}
	return nil
}

// want tells the gateway and the capture whether a channel is wanted. The mutex is held,
// as in what follows.
func (b *Bridge) want(source, group netip.Addr, wanted bool) error {
	f := b.wanted.set(source, group, wanted)
	failed := b.in.SetGroup(group, len(f.Sources) > 0)
	now := time.Now()
	err := b.gateway.SetFilter(now, group, f)
	b.follow(now)
	return errors.Join(failed, err)
}

// Leave ends Join.
func (b *Bridge) Leave(source, group netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]netip.Addr{source, group}
	if b.channels[key] == nil {
		return
	}
	delete(b.channels, key)
	b.member.Leave(b.ifi, source, group)
	_ = b.want(source, group, false) // to want less is always possible
}

func (b *Bridge) take(now time.Time, _ Path, p *Packet) {
	c := b.channels[[2]netip.Addr{p.Source.Addr(), p.Destination.Addr()}]
	if c == nil {
		return
	}
	if !c.standBy.IsZero() {
		if now.Before(c.standBy) {
			b.stats.Withheld++
			return
		}
		c.standBy = time.Time{}
		b.up.log.Info("nobody else sends the channel any more: it is bridged", "source", p.Source.Addr(), "group", p.Destination.Addr())
	}
	switch b.guard.pass(now, p) {
	case loopExpired:
		b.stats.Expired++
		return
	case loopSeen:
		if b.stats.Looped == 0 {
			b.up.log.Warn("packets come back through the tunnel: the relay gets them from where they are bridged to",
				"source", p.Source.Addr(), "group", p.Destination.Addr(), "interface", b.ifi.Name)
		}
		b.stats.Looped++
		return
	}
	if err := b.out.Send(p.Raw); err != nil {
		if b.stats.Refused == 0 || !errors.Is(err, syscall.EMSGSIZE) && b.stats.Refused%1000 == 0 {
			b.up.log.Warn("a packet cannot be bridged", "interface", b.ifi.Name, "octets", len(p.Raw), "err", err)
		}
		b.stats.Refused++
		return
	}
	b.stats.Sent++
	b.stats.SentOctets += uint64(len(p.Raw))
}

// listen notices others that send the channels on the interface.
func (b *Bridge) listen() {
	var frames []rawip.Frame
	var err error
	for {
		if frames, err = b.in.Read(frames[:0]); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				b.up.log.Error("listening for others", "interface", b.ifi.Name, "err", err)
			}
			return
		}
		now := time.Now()
		b.mu.Lock()
		for i := range frames {
			var p Packet
			if frames[i].Outgoing || p.Parse(frames[i].Packet) != nil {
				continue
			}
			c := b.channels[[2]netip.Addr{p.Source.Addr(), p.Destination.Addr()}]
			if c == nil {
				continue
			}
			b.stats.Foreign++
			if c.standBy.IsZero() {
				b.up.log.Warn("somebody else sends the channel on the interface: standing by",
					"source", p.Source.Addr(), "group", p.Destination.Addr(), "interface", b.ifi.Name,
					"station", net.HardwareAddr(frames[i].Station[:6]))
			}
			c.standBy = now.Add(b.standBy + rand.N(2*b.standBy))
		}
		b.mu.Unlock()
	}
}

// Stats returns the counters.
func (b *Bridge) Stats() BridgeStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.GatewayStats = b.gateway.Stats()
	s.Relay, _ = b.gateway.Active()
	now := time.Now()
	for _, c := range b.channels {
		if now.Before(c.standBy) {
			s.StandingBy++
		}
	}
	return s
}

// Close leaves the relay. It may be called more than once.
func (b *Bridge) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.goodbye(time.Now())
		_ = b.in.Close()
		_ = b.out.Close()
		_ = b.member.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
	return nil
}
