package amt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/gmp"
	"github.com/treedn/treedn/amt/ssm"
)

// Mode says by which ways [Dial] receives a channel.
type Mode uint8

const (
	// ModeAuto receives natively, and through a relay when nothing has arrived for
	// NativeTimeout. The native membership stays, and when packets come by it
	// again, the tunnel is given up.
	ModeAuto Mode = iota
	// ModeNative uses no relay.
	ModeNative
	// ModeTunnel uses relays only.
	ModeTunnel
	// ModeAdaptive is ModeAuto without the waiting: it begins both at once, takes
	// what comes first, and keeps to native reception if there is any.
	ModeAdaptive
)

// DialConfig configures [Dial].
type DialConfig struct {
	Mode Mode
	// Gateway configures the tunnels. Without Relays, ModeTunnel fails and the
	// other modes are ModeNative, unless RelaysLater.
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
	// must not block. Default: nobody.
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
	// ConnNativeFailed: the channel cannot be joined natively, for the reason in
	// Err.
	ConnNativeFailed
	// ConnRelay: a relay has been told what is wanted.
	ConnRelay
	// ConnRelayLost: the relay is left for the reason in Err.
	ConnRelayLost
	// ConnNoRelay: no relay works; they are tried again.
	ConnNoRelay
)

// ConnEvent is what [DialConfig.OnEvent] is told.
type ConnEvent struct {
	Type     ConnEventType
	From, To Way
	Planned  bool
	Gap      time.Duration
	Relay    netip.AddrPort
	Err      error
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
	Packets  uint64 // delivered
	Octets   uint64 // of their UDP payload
	Dropped  uint64 // packets lost since ReadBatch was not called often enough
	Switches uint64
	Native   ssm.Stats
	Gateway  GatewayStats
}

// ErrNoRelays is returned by [Dial] for modes that need relays.
var ErrNoRelays = errors.New("amt: no relays")

// nativePath is the path of native reception; those of a gateway begin with 1.
const nativePath Path = 0

// Conn receives one channel. It is a [net.PacketConn] that cannot send. The
// methods are safe for concurrent use, except that only one goroutine at a time
// may read.
type Conn struct {
	config  DialConfig
	channel ssm.Channel
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelCauseFunc
	host    *ssm.Host

	queue chan *ssm.Message
	free  chan *ssm.Message
	rest  *ssm.Message // partly read by ReadFrom
	at    int          // up to where
	read  deadline

	wake chan struct{}
	done sync.WaitGroup
	once sync.Once

	mu sync.Mutex // guards below
	uplink
	native     *ssm.Receiver
	nativeDead bool // cannot be joined
	nativeAt   time.Time
	tunnel     bool // the gateway has been asked for the channel
	merger     *merger
	fragments  reassembler
	out        *ssm.Message
	stats      ConnStats
	events     []ConnEvent
	armed      time.Time // when loop wakes
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
	if len(config.Gateway.Relays) == 0 && !config.RelaysLater {
		if config.Mode == ModeTunnel {
			return nil, ErrNoRelays
		}
		config.Mode = ModeNative
	}
	orDefault(&config.NativeTimeout, 3*time.Second)
	orDefault(&config.ReceiveBuffer, 4<<20)
	orDefault(&config.Queue, 64)
	c := &Conn{
		config: config, channel: ch, log: config.Logger,
		queue: make(chan *ssm.Message, config.Queue), free: make(chan *ssm.Message, config.Queue),
		wake: make(chan struct{}, 1), merger: newMerger(), read: makeDeadline(),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.uplink = newUplink(config.Gateway, uplinkConfig{
		local: config.Local, receiveBuffer: config.ReceiveBuffer, log: c.log, lock: &c.mu, done: &c.done,
		packet: c.fromTunnel,
		after:  func(now time.Time) { c.flush(); c.after(now) },
	})
	for range config.Queue {
		c.free <- new(ssm.Message)
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	now := time.Now()
	c.nativeAt = now
	if config.Mode != ModeTunnel {
		if err := c.joinNative(); err != nil {
			if config.Mode == ModeNative {
				c.cancel(err)
				return nil, err
			}
			c.nativeDead = true
			c.events = append(c.events, ConnEvent{Type: ConnNativeFailed, Err: err})
		}
	}
	c.done.Go(c.loop)
	context.AfterFunc(c.ctx, func() { c.shutdown() })
	return c, nil
}

func (c *Conn) joinNative() error {
	c.host = ssm.NewHost(ssm.Config{Interface: c.config.Interface, ReceiveBuffer: c.config.ReceiveBuffer, Logger: c.log})
	r, err := c.host.Join(c.ctx, c.channel, "")
	if err != nil {
		return err
	}
	c.native = r
	c.done.Go(func() { c.readNative(r) })
	return nil
}

func (c *Conn) readNative(r *ssm.Receiver) {
	ms := ssm.NewMessages(8)
	for {
		n, err := r.ReadBatch(ms)
		if err != nil {
			return // closed
		}
		now := time.Now()
		c.mu.Lock()
		for i := range ms[:n] {
			for payload := range ms[i].Segments {
				c.fromNative(now, payload, ms[i].Source)
			}
		}
		c.flush()
		c.after(now)
		c.mu.Unlock()
	}
}

// fromNative takes a payload that arrived natively. The mutex is held, as in all
// that follows.
func (c *Conn) fromNative(now time.Time, payload []byte, source netip.AddrPort) {
	c.nativeAt = now
	if c.merger.started && c.merger.current != nativePath {
		c.merger.begin(nativePath)
	}
	c.push(now, nativePath, payload, source)
}

// push gives a payload to the merger and delivers what that lets through.
func (c *Conn) push(now time.Time, path Path, payload []byte, source netip.AddrPort) {
	if !c.merger.started {
		c.note(ConnEvent{Type: ConnStarted, To: c.way(path)})
	}
	if c.merger.push(now, path, payload) {
		c.deliver(payload, source)
		return
	}
	if c.merger.waiting && c.merger.next == path {
		from := c.merger.current
		if list, ok := c.merger.align(now); ok {
			c.switched(now, from, path, true, 0, list, source)
		}
	}
}

// switched delivers what a switch has set free, and gives up the former way.
func (c *Conn) switched(now time.Time, from, to Path, planned bool, gap time.Duration, list [][]byte, source netip.AddrPort) {
	for _, p := range list {
		c.deliver(p, source)
	}
	c.stats.Switches++
	c.note(ConnEvent{Type: ConnSwitched, From: c.way(from), To: c.way(to), Planned: planned, Gap: gap})
	if to == nativePath {
		c.leaveTunnel(now)
	} else if from != nativePath {
		c.gateway.Commit(now)
	}
}

func (c *Conn) way(path Path) Way {
	if p := c.paths[path]; p != nil {
		return Way{p.relay}
	}
	return Way{}
}

func (c *Conn) note(e ConnEvent) {
	if c.config.OnEvent != nil {
		c.events = append(c.events, e)
	}
	c.poke()
}

func (c *Conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
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
		select {
		case m = <-c.free:
		default:
			c.stats.Dropped++
			return
		}
		if len(m.Buffer) < ssm.MaxDatagram {
			m.Buffer = make([]byte, ssm.MaxDatagram)
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

func (c *Conn) joinTunnel(now time.Time) {
	if c.tunnel || c.config.Mode == ModeNative {
		return
	}
	c.tunnel = true
	filter := gmp.Filter{Sources: []netip.Addr{c.channel.Source}}
	if !c.channel.Source.IsValid() {
		filter = gmp.Filter{Mode: gmp.Exclude}
	}
	if err := c.gateway.SetFilter(now, c.channel.Group, filter); err != nil {
		c.log.Error("joining through a relay", "channel", c.channel, "err", err)
	}
}

func (c *Conn) leaveTunnel(now time.Time) {
	if !c.tunnel || c.config.Mode == ModeTunnel {
		return
	}
	c.tunnel = false
	_ = c.gateway.SetFilter(now, c.channel.Group, gmp.Filter{}) // nothing: always possible
}

func (c *Conn) fromTunnel(now time.Time, path Path, p *Packet) {
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
	m := c.merger
	if m.started && m.current != path && !(m.waiting && m.next == path) {
		_, active := c.gateway.Active()
		switch {
		case m.current == nativePath && now.Sub(c.nativeAt) < c.config.NativeTimeout:
			return // native reception has come back
		case path == active:
			// The way in use has failed.
			from := m.current
			list, gap := m.force(now, path)
			c.switched(now, from, path, false, gap, list, p.Source)
		default:
			return
		}
	}
	c.push(now, path, p.Payload, p.Source)
}

// after sends what the gateway has to say, and follows its events.
func (c *Conn) after(now time.Time) {
	if c.closed {
		return
	}
	c.transmit()
	for {
		e, ok := c.gateway.PollEvent()
		if !ok {
			break
		}
		if p := c.paths[e.Path]; p != nil && e.Relay.IsValid() {
			p.relay = e.Relay
		}
		switch e.Type {
		case GatewayConnected:
			c.note(ConnEvent{Type: ConnRelay, Relay: e.Relay})
		case GatewayMoving:
			if c.merger.started && c.merger.current != nativePath {
				c.merger.begin(e.Path)
			}
			c.note(ConnEvent{Type: ConnRelay, Relay: e.Relay})
		case GatewayMoved:
			if m := c.merger; m.started && m.current != e.Path && m.waiting && m.next == e.Path {
				from := m.current
				list, gap := m.force(now, e.Path)
				c.switched(now, from, e.Path, false, gap, list, netip.AddrPortFrom(c.channel.Source, 0))
				c.flush()
			}
		case GatewayLost:
			c.note(ConnEvent{Type: ConnRelayLost, Relay: e.Relay, Err: e.Err})
		case GatewayExhausted:
			c.note(ConnEvent{Type: ConnNoRelay})
		case GatewayClosed:
			c.closePath(e.Path)
		}
	}
	if at := c.gateway.NextTimeout(); !at.IsZero() && (c.armed.IsZero() || at.Before(c.armed)) {
		c.poke()
	}
}

// loop handles timeouts and calls OnEvent.
func (c *Conn) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		now := time.Now()
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return
		}
		next := c.decide(now)
		if at := c.gateway.NextTimeout(); !at.IsZero() {
			if !at.After(now) {
				c.gateway.HandleTimeout(now)
				c.transmit()
				c.after(now)
				at = c.gateway.NextTimeout()
			}
			next = sooner(next, at)
		}
		c.flush()
		c.armed = next
		events := c.events
		c.events = nil
		c.mu.Unlock()
		if c.config.OnEvent != nil {
			for _, e := range events {
				c.config.OnEvent(e)
			}
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(time.Until(next), time.Millisecond)
		}
		timer.Reset(wait)
	}
}

// decide chooses between native reception and a tunnel, and returns when to do
// so again.
func (c *Conn) decide(now time.Time) (next time.Time) {
	switch c.config.Mode {
	case ModeNative:
		return time.Time{}
	case ModeTunnel, ModeAdaptive:
		if !c.merger.started || c.merger.current != nativePath || c.config.Mode == ModeTunnel {
			c.joinTunnel(now)
		}
	}
	if c.config.Mode != ModeTunnel {
		silentAt := c.nativeAt.Add(c.config.NativeTimeout)
		native := c.merger.started && c.merger.current == nativePath
		switch {
		case c.nativeDead || !silentAt.After(now):
			c.joinTunnel(now)
		case native && c.tunnel:
			c.leaveTunnel(now) // it has come back before the tunnel delivered
			next = silentAt
		case !c.tunnel:
			next = silentAt
		}
		if m := c.merger; m.waiting && m.next == nativePath && now.Sub(c.nativeAt) > time.Second {
			m.drop() // it has fallen silent again
		} else if m.waiting && m.next == nativePath && m.heardFor(now) > maxOverlap {
			from := m.current
			list, gap := m.force(now, nativePath)
			c.switched(now, from, nativePath, false, gap, list, netip.AddrPortFrom(c.channel.Source, 0))
		} else if m.waiting && m.next == nativePath {
			next = sooner(next, now.Add(time.Second))
		}
	}
	c.transmit()
	return next
}

const maxOverlap = 10 * time.Second

// ReadBatch waits for packets and fills at least one and at most len(ms)
// messages, whose Buffers it may exchange for others. It returns an error that
// matches [os.ErrDeadlineExceeded] after the time set by SetReadDeadline, the
// cause of the context given to Dial if that has ended, or [net.ErrClosed] after
// Close.
func (c *Conn) ReadBatch(ms []ssm.Message) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	m, err := c.wait()
	if err != nil {
		return 0, err
	}
	c.take(&ms[0], m)
	n := 1
	for n < len(ms) {
		select {
		case m = <-c.queue:
			c.take(&ms[n], m)
			n++
		default:
			return n, nil
		}
	}
	return n, nil
}

// Receive is ReadBatch without a copy: it waits for packets and calls handle with a run of them, whose octets are valid
// until handle returns. It has the form of [ssm.Receiver.Receive], so that what takes the one takes the other.
func (c *Conn) Receive(handle func(at time.Time, from, to netip.AddrPort, run []byte, size int)) error {
	m, err := c.wait()
	if err != nil {
		return err
	}
	handle(time.Now(), m.Source, c.channel.Destination(), m.Buffer[:m.N], m.SegmentSize)
	c.free <- m // there are as many places as messages
	return nil
}

func (c *Conn) take(to, m *ssm.Message) {
	if len(to.Buffer) >= ssm.MaxDatagram {
		to.Buffer, m.Buffer = m.Buffer, to.Buffer
		to.N = m.N
	} else {
		to.N = copy(to.Buffer, m.Buffer[:m.N])
	}
	to.SegmentSize, to.Source, to.Destination = m.SegmentSize, m.Source, m.Destination
	c.free <- m // there are as many places as messages
}

func (c *Conn) wait() (*ssm.Message, error) {
	if m := c.rest; m != nil {
		c.rest = nil
		m.N = copy(m.Buffer, m.Buffer[c.at:m.N])
		return m, nil
	}
	expired := c.read.wait()
	if isClosed(expired) {
		return nil, errDeadline
	}
	select {
	case m := <-c.queue:
		return m, nil
	default:
	}
	select {
	case m := <-c.queue:
		return m, nil
	case <-expired:
		return nil, errDeadline
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

// ReadFrom waits for a packet and copies its payload to b. The address is a
// [*net.UDPAddr].
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.rest == nil {
		m, err := c.wait()
		if err != nil {
			return 0, nil, err
		}
		c.rest, c.at = m, 0
	}
	m := c.rest
	size := min(m.SegmentSize, m.N-c.at)
	n := copy(b, m.Buffer[c.at:c.at+size])
	from := net.UDPAddrFromAddrPort(m.Source)
	if c.at += size; c.at == m.N {
		c.rest = nil
		c.free <- m
	}
	return n, from, nil
}

// LocalAddr returns group and port.
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.channel.Destination()) }

// WriteTo fails: a channel has one sender, and this is not it.
func (c *Conn) WriteTo([]byte, net.Addr) (int, error) {
	return 0, fmt.Errorf("amt: sending to a channel that is received: %w", errors.ErrUnsupported)
}

// SetDeadline is SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline ends a read that waits now or later at t; the zero time means
// never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Channel returns what is received.
func (c *Conn) Channel() ssm.Channel { return c.channel }

// Way returns by which way packets come; false before the first.
func (c *Conn) Way() (Way, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.way(c.merger.current), c.merger.started
}

// SetRelays replaces the candidates for tunnels. The relay in use stays in use.
func (c *Conn) SetRelays(relays []Candidate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.gateway.SetRelays(now, relays)
	c.after(now)
}

// Move starts a planned move to another of the relays, and reports whether that
// is possible.
func (c *Conn) Move(relay netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	ok := c.gateway.Move(now, relay)
	c.after(now)
	return ok
}

// Stats returns the counters.
func (c *Conn) Stats() ConnStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Gateway = c.gateway.Stats()
	if c.native != nil {
		s.Native = c.native.Stats()
	}
	return s
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
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.goodbye(time.Now())
		if c.host != nil {
			_ = c.host.Close()
		}
	})
}
