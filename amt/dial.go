package amt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/gmp"
	"github.com/treedn/treedn/amt/ssm"
)

// Mode says by which ways [Dial] receives a channel.
type Mode uint8

const (
	// ModeAuto receives natively, and through a relay when nothing has arrived for
	// NativeTimeout, or the channel cannot be joined natively. The native membership
	// stays, or is tried again, and when packets come by it the tunnel is given up.
	ModeAuto Mode = iota
	// ModeNative uses no relay.
	ModeNative
	// ModeTunnel uses relays only.
	ModeTunnel
	// ModeAdaptive is ModeAuto without the waiting: it begins both at once, takes
	// what comes first, and keeps to native reception if there is any. When that
	// pauses, it has a relay deliver beside it for a while, and goes over to it if
	// native reception loses more.
	ModeAdaptive
)

// DialConfig configures [Dial].
type DialConfig struct {
	Mode Mode
	// Gateway configures the tunnels. Without Relays, ModeTunnel fails and the
	// other modes are ModeNative, unless RelaysLater.
	//
	// Each Conn has tunnels of its own, from a port of its own: to the relay, two
	// Conns are two gateways, and packets for both come twice.
	Gateway GatewayConfig
	// RelaysLater says that relays may come by [Conn.SetRelays], so that their
	// absence at first changes nothing: tunnels begin once there are any.
	RelaysLater bool
	// NativeTimeout is how long nothing may arrive natively before a relay is
	// used. Default: 3 s.
	NativeTimeout time.Duration
	// Interface is where to join natively, by name or index. Default: the one on
	// the route to the source.
	Interface string
	// Local are addresses of this machine, of either family, to speak to relays
	// from. Default: the system's choice.
	Local []netip.Addr
	// ReceiveBuffer is the size in octets to ask for each socket. Default: 4 MiB.
	ReceiveBuffer int
	// Queue is the number of messages, of up to 64 KiB, that wait for ReadBatch.
	// What arrives beyond that is dropped, see [ConnStats]. Default: 64.
	Queue int
	// Other is told of packets of the channel's source and group that come through
	// the tunnel for other UDP ports, such as those of signalling beside the media:
	// a second Conn would make the relay send everything twice. While two relays
	// deliver, packets come twice. It is called from one goroutine at a time and
	// must neither block, nor call the Conn, nor keep the packet. Default: nobody.
	Other func(p *Packet)
	// OnEvent is told what happens. It is called from one goroutine at a time and
	// must neither block nor close the Conn. Default: nobody.
	OnEvent func(ConnEvent)
	// Logger is told about what goes wrong. Default: silent.
	Logger *slog.Logger
}

// ConnEventType says what happened to a [Conn].
type ConnEventType uint8

// Types of event.
const (
	// ConnStarted: the first packet has arrived, by To.
	ConnStarted ConnEventType = 1 + iota
	// ConnSwitched: packets now come by To instead of From. If Planned, nothing was
	// lost or doubled, unless the path itself did so; else no packet came for Gap.
	ConnSwitched
	// ConnNativeFailed: the channel cannot be joined natively, or not any more, for
	// the reason in Err. It is tried again, after 1 s at first and every 30 s in the
	// end; the same reason is told once.
	ConnNativeFailed
	// ConnRelay: a relay has been told what is wanted.
	ConnRelay
	// ConnRelayLost: the relay is left for the reason in Err.
	ConnRelayLost
	// ConnNoRelay: no relay works; they are tried again.
	ConnNoRelay
	// ConnNativeJoined: the channel has been joined natively after all.
	ConnNativeJoined
	// ConnRelaySilent: the relay answers, but delivers nothing. Others are tried, and
	// it stays in use until one of them has answered.
	ConnRelaySilent
	// ConnWorse: packets come natively again, but more of them are lost than by the
	// relay. They are looked at again later.
	ConnWorse
)

// String returns a few words.
func (t ConnEventType) String() string {
	return eventName(uint8(t), "started", "switched", "native failed", "relay", "relay lost", "no relay", "native joined", "relay silent", "worse natively")
}

// ConnEvent is what [DialConfig.OnEvent] is told.
type ConnEvent struct {
	Type     ConnEventType
	From, To Way
	Planned  bool
	// Gap is the time without packets before a switch that was not planned.
	Gap   time.Duration
	Relay netip.AddrPort
	// Candidate is what has led to the relay: its address, or a discovery address.
	Candidate netip.AddrPort
	// RTT is the round trip to the relay of ConnRelay, see [GatewayEvent]; 0: not known.
	RTT time.Duration
	Err error
}

// Way is a way by which packets come.
type Way struct {
	// Relay is the relay at the other end of the tunnel; invalid for native
	// reception.
	Relay netip.AddrPort
}

// String returns "native" or "relay" and its address.
func (w Way) String() string {
	if w.Relay.IsValid() {
		return "relay " + w.Relay.String()
	}
	return "native"
}

// ConnStats counts what a [Conn] did. All counters rise only.
type ConnStats struct {
	Packets uint64 // delivered
	Octets  uint64 // of their UDP payload
	Dropped uint64 // packets lost since ReadBatch was not called often enough
	// Truncated are packets whose end was lost since the buffer to read them to was
	// too small.
	Truncated uint64
	Switches  uint64
	Native    ssm.Stats
	Gateway   GatewayStats
}

// anyRelay reports whether any candidate has an address: others are passed over.
func anyRelay(relays []Candidate) bool {
	return slices.ContainsFunc(relays, func(c Candidate) bool { return c.Address.IsValid() })
}

// ErrNoRelays is returned by [Dial] for modes that need relays, and by [NewChain] and
// [NewBridge].
var ErrNoRelays = errors.New("amt: no relays")

// nativePath is the path of native reception; those of a gateway begin with 1.
const nativePath Path = 0

// Conn receives one channel. It is a [net.PacketConn] that cannot send. The
// methods are safe for concurrent use.
//
// It has a goroutine, and for each way that it receives by another one and a socket with
// 64 KiB to read to, which become 512 KiB where packets come fast, besides what Queue
// allows for.
type Conn struct {
	config  DialConfig
	channel ssm.Channel
	ctx     context.Context
	cancel  context.CancelCauseFunc
	host    *ssm.Host

	queue chan *ssm.Message
	free  pool
	read  deadline

	reading sync.Mutex   // guards below; held while a reader waits
	rest    *ssm.Message // partly read
	at      int          // up to where

	uplink

	// Guarded by the mutex of uplink:
	switcher
	native     native
	leave      context.CancelFunc // ends native reception; nil: there is none
	relayEvent ConnEvent          // what went wrong last on the way to a relay; 0: nothing
	by         Way                // of the merger's current path
	fragments  reassembler
	out        *ssm.Message // that is being filled
	stats      ConnStats
}

// Dial receives the UDP packets that source sends to group, natively, through a
// relay, or by what works, see [Mode]. It does not wait for the first packet. The
// connection ends with ctx.
//
// The source may be the zero address, for all sources of a group outside the
// source-specific ranges; native reception then needs an Interface.
func Dial(ctx context.Context, source netip.Addr, group netip.AddrPort, config DialConfig) (*Conn, error) {
	ch := ssm.Channel{Source: source, Group: group.Addr(), Port: group.Port()}
	if err := ch.Validate(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !anyRelay(config.Gateway.Relays) && !config.RelaysLater {
		if config.Mode == ModeTunnel {
			return nil, ErrNoRelays
		}
		config.Mode = ModeNative
	}
	orDefault(&config.NativeTimeout, 3*time.Second)
	orDefault(&config.Queue, 64)
	c := &Conn{
		config: config, channel: ch, queue: make(chan *ssm.Message, config.Queue), free: newPool(config.Queue),
		read: makeDeadline(),
	}
	now := time.Now()
	c.switcher = switcher{merger: newMerger(), mode: config.Mode, timeout: config.NativeTimeout, output: c, nativeAt: now}
	c.merger.alone = config.Mode == ModeNative || config.Mode == ModeTunnel
	c.open(config.Gateway, uplinkConfig{
		local: config.Local, receiveBuffer: config.ReceiveBuffer, log: config.Logger,
		packet: c.packet, batch: c.flush, event: c.event, due: c.due, told: config.OnEvent,
	})
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.host = ssm.NewHost(ssm.Config{Interface: config.Interface, ReceiveBuffer: config.ReceiveBuffer, Logger: c.up.log})
	if err := c.begin(now); err != nil {
		c.cancel(err)
		return nil, err
	}
	c.done.Go(c.run)
	context.AfterFunc(c.ctx, c.shutdown)
	return c, nil
}

// begin joins the channel: what cannot work at all is an error of Dial.
func (c *Conn) begin(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == ModeTunnel {
		err := c.useTunnel(now, true)
		c.tunnel = err == nil
		return err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	m, err := c.joinNative(ctx)
	if err != nil && c.mode == ModeNative {
		cancel()
		return err
	}
	c.leave = cancel
	c.done.Go(func() { c.receiveNatively(ctx, m, err) })
	return nil
}

// The mutex is held in all that follows, up to Channel.

func (c *Conn) started(path Path) {
	c.by = c.way(path)
	c.note(ConnEvent{Type: ConnStarted, To: c.by})
}

func (c *Conn) switched(now time.Time, to Path, planned bool, gap time.Duration) {
	c.stats.Switches++
	before := c.by // whose path may be closed by now
	c.by = c.way(to)
	c.note(ConnEvent{Type: ConnSwitched, From: before, To: c.by, Planned: planned, Gap: gap})
	if to != nativePath && before != (Way{}) {
		c.gateway.Commit(now)
	}
}

func (c *Conn) refused(path Path) {
	c.note(ConnEvent{Type: ConnWorse, From: c.by, To: c.way(path)})
}

func (c *Conn) way(path Path) Way {
	if p := c.paths[path]; p != nil {
		return Way{p.relay}
	}
	return Way{}
}

func (c *Conn) activePath() Path {
	_, path := c.gateway.Active()
	return path
}

// deliver appends a payload to the message that is being filled.
func (c *Conn) deliver(payload []byte, source netip.AddrPort) {
	m := c.out
	if m != nil && (m.Source != source || len(payload) > m.SegmentSize || m.N%m.SegmentSize != 0 || m.N+len(payload) > len(m.Buffer)) {
		c.flush()
		m = nil
	}
	if len(payload) == 0 {
		return // an empty datagram says nothing to a reader of a stream
	}
	if m == nil {
		if m = c.free.take(); m == nil {
			c.stats.Dropped++
			return
		}
		m.N, m.SegmentSize, m.Source, m.Destination = 0, len(payload), source, c.channel.Group
		c.out = m
	}
	m.N += copy(m.Buffer[m.N:], payload)
	c.stats.Packets++
	c.stats.Octets += uint64(len(payload))
}

// flush hands the message that is being filled to the reader.
func (c *Conn) flush() {
	if c.out != nil {
		c.queue <- c.out // there are as many places as messages
		c.out = nil
	}
}

func (c *Conn) useTunnel(now time.Time, on bool) error {
	var filter gmp.Filter
	switch {
	case !on:
		c.relayEvent = ConnEvent{}
	case c.channel.Source.IsValid():
		// In packets addresses have no zone.
		filter.Sources = []netip.Addr{c.channel.Source.WithZone("")}
	default:
		filter.Mode = gmp.Exclude
	}
	err := c.gateway.SetFilter(now, c.channel.Group, filter)
	if err != nil {
		c.up.log.Error("joining through a relay", "channel", c.channel, "err", err)
	}
	return err
}

// packet takes a packet from a tunnel.
func (c *Conn) packet(now time.Time, path Path, p *Packet) {
	if p.Fragment() {
		whole, ok := c.fragments.add(now, p)
		if !ok {
			return
		}
		p = &whole
	} else if p.ParseUDP() != nil {
		return
	}
	if p.Destination.Port() != c.channel.Port {
		if c.config.Other != nil {
			c.config.Other(p)
		}
		return
	}
	c.fromTunnel(now, path, p.Payload, p.Source)
}

// event follows what happens to the gateway.
func (c *Conn) event(now time.Time, e *GatewayEvent) {
	switch e.Type {
	case GatewayMoving:
		c.tunnelMoving(e.Path)
	case GatewayMoved:
		c.tunnelMoved(now, e.Path)
		c.flush()
	case GatewayLost:
		c.relayEvent = ConnEvent{Type: ConnRelayLost, Relay: e.Relay, Err: e.Err}
	case GatewaySilent:
		c.relayEvent = ConnEvent{Type: ConnRelaySilent, Relay: e.Relay, Err: e.Err}
	}
}

func (c *Conn) due(now time.Time) (next time.Time) {
	next = c.decide(now)
	c.flush()
	return next
}

// Channel returns what is received.
func (c *Conn) Channel() ssm.Channel { return c.channel }

// Way returns by which way packets come; false before the first.
func (c *Conn) Way() (Way, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by, c.merger.started
}

// Move starts a planned move to another of the relays, and reports whether that
// is possible: it is while a relay is in use.
func (c *Conn) Move(relay netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	ok := c.gateway.Move(now, relay)
	c.follow(now)
	return ok
}

// SetMode changes the mode, as when an interface is about to go, or its owner wants the
// packets to come by another way. A change of way that follows is planned, in either
// direction: the way in use stays until the other one delivers and both are aligned, and
// [ConnSwitched] tells when it has been left. If the other one never delivers it stays.
// An error is returned, which matches [ErrNoRelays] or [net.ErrClosed], if nothing
// changes.
func (c *Conn) SetMode(mode Mode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("amt: %v: %w", c.channel, context.Cause(c.ctx))
	}
	if len(c.gateway.candidates) == 0 && !c.config.RelaysLater {
		if mode == ModeTunnel {
			return ErrNoRelays
		}
		mode = ModeNative
	}
	now := time.Now()
	c.merger.pair()
	c.setMode(now, mode)
	c.flush()
	c.follow(now)
	return nil
}

// Stats returns the counters.
func (c *Conn) Stats() ConnStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Gateway = c.gateway.Stats()
	s.Native = c.native.stats()
	return s
}

// Reason says why no packets come, as far as that is known: nil while they do, and
// before NativeTimeout is over. The error matches what it consists of, such as
// [ssm.ErrNothingReceived] or what the channel could not be joined for, [ErrNoRelays]
// or what the last relay failed for: [ErrNoAnswer], [ErrUnreachable], [ErrFull],
// [ErrNoData].
func (c *Conn) Reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.merger.last) < c.config.NativeTimeout || c.merger.last.IsZero() && now.Sub(c.nativeAt) < c.config.NativeTimeout {
		return nil
	}
	natively := c.failed
	if natively == nil {
		natively = fmt.Errorf("natively on %s: %w", c.native.name, ssm.ErrNothingReceived)
	}
	var relay error
	switch e := c.relayEvent; {
	case len(c.gateway.candidates) == 0:
		relay = ErrNoRelays
	case e.Type == 0:
		relay = ErrNoData
	default:
		relay = fmt.Errorf("relay %v: %w", e.Relay, e.Err)
	}
	if c.mode == ModeTunnel {
		return fmt.Errorf("amt: %v: %w", c.channel, relay)
	}
	return fmt.Errorf("amt: %v: %w; %w", c.channel, natively, relay)
}

// Close leaves the channel and unblocks readers. It may be called more than
// once.
func (c *Conn) Close() error {
	c.cancel(net.ErrClosed)
	c.shutdown()
	c.done.Wait()
	return nil
}

// shutdown tells the relay and closes the sockets.
func (c *Conn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goodbye(time.Now())
	_ = c.host.Close()
}
