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

	"github.com/treedn/treedn/amt/internal/udpio"
)

// ServerConfig configures a [Server]. Listen and Upstream are required.
type ServerConfig struct {
	// Listen are the addresses to take messages on; port 0 means [Port]. A
	// wildcard address also answers on anycast addresses of the machine.
	Listen []netip.AddrPort
	// Relay configures the protocol. IPv4 and IPv6 default to the addresses in
	// Listen, of which a wildcard cannot be advertised. PathMTU defaults to the MTU of
	// the interface with the first of these addresses, if it is less than 1500.
	Relay RelayConfig
	// Upstream brings the packets. It is closed at the end of Run.
	Upstream Upstream
	// Plane copies packets of channels that it takes on. It is not closed. Default:
	// the sockets of the server copy all.
	Plane Plane
	// Logger is told about what goes wrong. Default: silent.
	Logger *slog.Logger
	// NoOffload turns UDP_SEGMENT and UDP_GRO off.
	NoOffload bool
}

// Upstream is where a relay gets packets from: see [Native].
type Upstream interface {
	// Join asks for packets of a source and a group; source is the zero address
	// for all sources. They are given to deliver as whole IP packets, in order,
	// several at a time and from one goroutine per channel. Deliver does not keep
	// them. Join is called for a channel at most once before Leave.
	Join(source, group netip.Addr, deliver func(packets [][]byte)) error
	// Leave ends Join. Packets that are on their way may still come.
	Leave(source, group netip.Addr)
	// Close ends everything.
	Close() error
}

// Server is a relay with sockets.
type Server struct {
	config ServerConfig
	conns  []*udpio.Conn
	log    *slog.Logger

	mu       sync.Mutex // guards below
	relay    *Relay
	wishes   wishes  // for who joins and leaves upstream
	doing    channel // that it is at, or zero
	armed    time.Time
	notes    []Event   // for the log: tunnels
	missed   int       // that did not go into notes
	fullness EventType // EventFull or EventReady, for the log
	sent     ServerStats
	have     map[channel]bool      // joined upstream
	joins    uint64                // changes of have, from 1
	failed   map[channel]time.Time // could not be joined, until it is tried again
	again    []failedJoin          // the same in the order of the times, with some that are failed no more
	untold   joinFailures
	told     time.Time                // when the log was last told of those
	icmp     map[netip.Addr]time.Time // when the source was last told of the MTU

	wake   chan struct{} // loop
	work   chan struct{} // upstream
	closed chan struct{}
	once   sync.Once
	done   sync.WaitGroup
}

// ServerStats counts what was forwarded. All counters but Unjoined, and those of
// RelayStats that say so, rise only.
type ServerStats struct {
	RelayStats
	Unjoined   int    // channels that gateways want now and that cannot be joined upstream
	JoinErrors uint64 // that the upstream returned

	Packets    uint64 // from upstream
	Copies     uint64 // sent
	Octets     uint64 // of these, with the inner IP headers
	Refused    uint64 // copies that the kernel refused
	Fragmented uint64 // packets cut for a tunnel
	TooBig     uint64 // packets that do not fit a tunnel and may not be cut
	Malformed  uint64 // packets from upstream that are no multicast
}

// NewServer opens the sockets. Run serves until it is closed.
func NewServer(config ServerConfig) (*Server, error) {
	if config.Upstream == nil || len(config.Listen) == 0 {
		return nil, fmt.Errorf("amt: server: %w: Listen and Upstream are required", ErrConfig)
	}
	s := &Server{
		config: config, log: LimitLog(config.Logger), wake: make(chan struct{}, 1), work: make(chan struct{}, 1), closed: make(chan struct{}),
		joins: 1, have: make(map[channel]bool), failed: make(map[channel]time.Time), icmp: make(map[netip.Addr]time.Time),
	}
	rc := config.Relay
	for _, a := range config.Listen {
		switch addr := a.Addr(); {
		case addr.IsUnspecified():
		case addr.Is4() && !rc.IPv4.IsValid():
			rc.IPv4 = addr
		case addr.Is6() && !rc.IPv6.IsValid():
			rc.IPv6 = addr.WithZone("")
		}
	}
	if rc.PathMTU <= 0 {
		rc.PathMTU = linkMTU(rc.IPv4, rc.IPv6)
	}
	var err error
	if s.relay, err = NewRelay(time.Now(), rc); err != nil {
		return nil, err
	}
	for _, a := range config.Listen {
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), Port)
		}
		// All gateways ask again at once after a restart: room for 50,000 of them.
		const buffer = 64 << 20
		c, err := udpio.Listen(a, udpio.Config{ReceiveBuffer: buffer, SendBuffer: 4 << 20, NoOffload: config.NoOffload})
		if err != nil {
			s.closeSockets()
			return nil, fmt.Errorf("amt: server: %w", err)
		}
		if c.ReceiveBuffer() < buffer {
			s.log.Warn("receive buffer is smaller than asked for: Requests may be lost when many gateways come at once",
				"octets", c.ReceiveBuffer(), "asked", buffer, "remedy", udpio.Remedy(buffer))
		}
		if err := c.SelfTest(); err != nil {
			s.log.Warn("packets are sent one by one: the system does not cut what is joined as it should", "socket", c.LocalAddr(), "err", err)
		}
		s.conns = append(s.conns, c)
	}
	return s, nil
}

// linkMTU returns the least MTU of the interfaces with one of the addresses, where packets
// to gateways leave first (RFC 7450 section 5.3.3.6.1), and 1500 if it is more: paths
// beyond the link seldom have as much, and not all say so.
func linkMTU(addrs ...netip.Addr) int {
	mtu := 1500
	list, err := net.Interfaces()
	if err != nil {
		return mtu
	}
	for i := range list {
		of, err := list[i].Addrs()
		if err != nil {
			continue
		}
		for _, a := range of {
			p, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if a, ok := netip.AddrFromSlice(p.IP); ok && slices.Contains(addrs, a.Unmap()) {
				mtu = min(mtu, list[i].MTU)
			}
		}
	}
	return mtu
}

// Serve runs a relay until ctx ends, and returns the cause.
func Serve(ctx context.Context, config ServerConfig) error {
	s, err := NewServer(config)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Run(ctx)
}

// Addrs returns the addresses that the server listens on.
func (s *Server) Addrs() (list []netip.AddrPort) {
	for _, c := range s.conns {
		list = append(list, c.LocalAddr())
	}
	return list
}

// Run serves until ctx ends or the server is closed, and returns the cause of
// the context or [net.ErrClosed].
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	for _, c := range s.conns {
		s.done.Go(func() { s.read(c) })
	}
	if s.config.Plane != nil {
		s.done.Go(s.runPlane)
	}
	s.done.Go(s.upstream)
	s.loop()
	s.done.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return net.ErrClosed
}

// Close ends Run. Gateways are not told, for which AMT has no message: they notice, and
// find the next relay by themselves. Without a gap they do so after Drain.
func (s *Server) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.closeSockets()
	})
	return nil
}

func (s *Server) closeSockets() {
	for _, c := range s.conns {
		_ = c.Close()
	}
}

// Drain makes the server take no new tunnels, for a planned end: discoveries stay without
// an answer, and Queries have the L flag, upon which gateways like ours move to another
// relay, make before break, at their next Request. It waits until the last tunnel has
// gone, and returns nil, or until ctx or the server ends, and returns why. Nothing else
// ends by it, and there is no way back.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.relay.Drain()
	s.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		tunnels := len(s.relay.endpoints)
		s.mu.Unlock()
		if tunnels == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.closed:
			return net.ErrClosed
		case <-tick.C:
		}
	}
}

// SetLimits changes limits of each tunnel as [Relay.SetLimits] does.
func (s *Server) SetLimits(maxGroups, maxSources, maxChannelsPerTunnel int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relay.SetLimits(maxGroups, maxSources, maxChannelsPerTunnel)
}

// Stats returns the counters.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.sent
	st.RelayStats = s.relay.Stats()
	st.Unjoined = len(s.failed)
	return st
}

// read takes the messages of one socket.
func (s *Server) read(c *udpio.Conn) {
	ms := udpio.NewMessages(64)
	w := c.NewWriter()
	var answers []udpio.Datagram
	arena := make([]byte, 0, 64<<10)
	for {
		n, err := c.ReadBatch(ms)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("reading AMT messages", "socket", c.LocalAddr(), "err", err)
			}
			_ = s.Close()
			return
		}
		if n == 0 {
			s.readICMP(c)
			continue
		}
		answers, arena = answers[:0], arena[:0]
		now := time.Now()
		s.mu.Lock()
		for i := range ms[:n] {
			m := &ms[i]
			local := c.LocalAddr()
			if local.Addr().IsUnspecified() && m.Local.IsValid() {
				// The zone of a gateway with a link-local address is where to send to it.
				local = netip.AddrPortFrom(m.Local.WithZone(m.Remote.Addr().Zone()), local.Port())
			}
			for b := range m.Segments {
				start := len(arena)
				arena = s.relay.HandleDatagram(now, &Datagram{Local: local, Remote: m.Remote, Payload: b}, arena)
				if len(arena) > start {
					// Answers come from where the message was sent to (RFC 7450 section
					// 5.3.3.2).
					answers = append(answers, udpio.Datagram{
						Payload: arena[start:len(arena):len(arena)], To: m.Remote, From: m.Local,
					})
				}
			}
		}
		s.after()
		s.mu.Unlock()
		if _, err := w.WriteBatch(answers); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Error("answering AMT messages", "socket", c.LocalAddr(), "err", err)
		}
	}
}

func (s *Server) readICMP(c *udpio.Conn) {
	for {
		e, ok := c.ReadICMP()
		if !ok {
			return
		}
		s.mu.Lock()
		if e.MTU > 0 {
			s.relay.HandlePathMTU(time.Now(), e.To, e.MTU)
		} else {
			s.relay.HandleUnreachable(time.Now(), e.To)
		}
		s.after()
		s.mu.Unlock()
	}
}

// after passes on what the relay has to say. The mutex is held.
func (s *Server) after() {
	for {
		e, ok := s.relay.PollEvent()
		if !ok {
			break
		}
		s.note(&e)
	}
	if s.wishes.len() > 0 {
		poke(s.work)
	}
	if at := s.relay.NextTimeout(); len(s.notes) > 0 || s.fullness != 0 || !at.IsZero() && (s.armed.IsZero() || at.Before(s.armed)) {
		poke(s.wake)
	}
}

// maxNotes bounds what the log is to be told of tunnels: its handler may be slow.
const maxNotes = 4096

// note takes an event of the relay. The mutex is held.
func (s *Server) note(e *Event) {
	switch e.Type {
	case EventJoin, EventLeave:
		s.wish([2]netip.Addr{e.Source, e.Group}, e.Type == EventJoin)
	case EventFull, EventReady:
		s.fullness = e.Type // the last one is what holds
	default:
		switch {
		case !s.log.Enabled(context.Background(), slog.LevelDebug):
		case len(s.notes) < maxNotes:
			s.notes = append(s.notes, *e)
		default:
			s.missed++
		}
	}
}

// loop handles timeouts and tells the log.
func (s *Server) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		s.mu.Lock()
		s.relay.HandleTimeout(now)
		s.after()
		notes, missed, fullness := s.notes, s.missed, s.fullness
		s.notes, s.missed, s.fullness = nil, 0, 0
		report, next := s.failures(now)
		s.armed = sooner(s.relay.NextTimeout(), next)
		wait := time.Hour
		if !s.armed.IsZero() {
			wait = max(time.Until(s.armed), time.Millisecond)
		}
		s.mu.Unlock()
		s.tell(notes, missed, fullness)
		if report.fresh > 0 {
			s.log.Error("channels that gateways want cannot be joined; they are tried again",
				"new", report.fresh, "now", report.now, "err", report.last)
		}
		timer.Reset(wait)
		select {
		case <-s.closed:
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

func (s *Server) tell(notes []Event, missed int, fullness EventType) {
	for i := range notes {
		switch e := &notes[i]; e.Type {
		case EventTunnelUp:
			s.log.Debug("a gateway has a tunnel", "gateway", e.Gateway)
		case EventTunnelDown:
			s.log.Debug("a tunnel has ended", "gateway", e.Gateway, "reason", e.Reason, "packets", e.Packets, "octets", e.Octets)
		}
	}
	if missed > 0 {
		s.log.Debug("tunnels have come or gone of which the log is too slow to be told", "events", missed)
	}
	switch fullness {
	case EventFull:
		s.log.Warn("the relay is nearly full: withdraw its anycast prefix")
	case EventReady:
		s.log.Info("the relay has room again")
	}
}
