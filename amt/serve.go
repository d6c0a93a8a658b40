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

	"github.com/treedn/treedn/amt/internal/udpio"
)

// ServerConfig configures a [Server]. Listen and Upstream are required.
type ServerConfig struct {
	// Listen are the addresses to take messages on; port 0 means [Port]. A
	// wildcard address also answers on anycast addresses of the machine.
	Listen []netip.AddrPort
	// Relay configures the protocol. IPv4 and IPv6 default to the addresses in
	// Listen, of which a wildcard cannot be advertised.
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

	mu     sync.Mutex // guards below
	relay  *Relay
	todo   []Event // for the loop that joins and leaves
	armed  time.Time
	sent   ServerStats
	have   map[[2]netip.Addr]bool      // joined upstream
	failed map[[2]netip.Addr]time.Time // could not be joined, until it is tried again
	icmp   map[netip.Addr]time.Time    // when the source was last told of the MTU

	wake   chan struct{}
	closed chan struct{}
	once   sync.Once
	done   sync.WaitGroup
}

// ServerStats counts what was forwarded.
type ServerStats struct {
	RelayStats
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
		config: config, log: config.Logger, wake: make(chan struct{}, 1), closed: make(chan struct{}),
		have: make(map[[2]netip.Addr]bool), failed: make(map[[2]netip.Addr]time.Time), icmp: make(map[netip.Addr]time.Time),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
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
	s.loop()
	s.done.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return net.ErrClosed
}

// Close ends Run. Gateways are not told: they find the next relay by
// themselves, the faster if Drain was called a while before.
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

// Drain makes the server take no new tunnels.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relay.Drain()
}

// Stats returns the counters.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.sent
	st.RelayStats = s.relay.Stats()
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
			s.relay.HandlePathMTU(e.To, e.MTU)
		} else {
			s.relay.HandleUnreachable(time.Now(), e.To)
		}
		s.after()
		s.mu.Unlock()
	}
}

// after passes on what the relay has to say. The mutex is held.
func (s *Server) after() {
	work := false
	for {
		e, ok := s.relay.PollEvent()
		if !ok {
			break
		}
		switch e.Type {
		case EventFull:
			s.log.Warn("the relay is nearly full: withdraw its anycast prefix")
		case EventJoin, EventLeave:
			s.todo = append(s.todo, e)
			work = true
		}
	}
	if at := s.relay.NextTimeout(); work || !at.IsZero() && (s.armed.IsZero() || at.Before(s.armed)) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// loop handles timeouts, and joins and leaves upstream, which may take time.
func (s *Server) loop() {
	defer func() { _ = s.config.Upstream.Close() }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		s.relay.HandleTimeout(time.Now())
		s.after()
		retry, again := s.retry(time.Now())
		todo := append(retry, s.todo...)
		s.todo = nil
		s.armed = sooner(s.relay.NextTimeout(), again)
		wait := time.Hour
		if !s.armed.IsZero() {
			wait = max(time.Until(s.armed), time.Millisecond)
		}
		s.mu.Unlock()
		for i := range todo {
			s.upstream(&todo[i])
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

func (s *Server) upstream(e *Event) {
	key := [2]netip.Addr{e.Source, e.Group}
	if e.Type == EventLeave {
		s.mu.Lock()
		joined := s.have[key]
		delete(s.have, key)
		delete(s.failed, key)
		s.mu.Unlock()
		if joined {
			s.config.Upstream.Leave(e.Source, e.Group)
		}
		return
	}
	f := &forwarder{server: s, source: e.Source, group: e.Group}
	err := s.config.Upstream.Join(e.Source, e.Group, f.forward)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.have[key] = true
		delete(s.failed, key)
		return
	}
	if s.failed[key].IsZero() {
		s.log.Error("cannot join a channel that gateways want; it is tried again",
			"source", e.Source, "group", e.Group, "err", err)
	}
	s.failed[key] = time.Now().Add(retryJoin)
}

// retry returns the joins that failed and are due again, and when the next one
// is. The mutex is held.
func (s *Server) retry(now time.Time) (todo []Event, next time.Time) {
	for key, at := range s.failed {
		if at.After(now) {
			next = sooner(next, at)
			continue
		}
		todo = append(todo, Event{Type: EventJoin, Source: key[0], Group: key[1]})
	}
	return todo, next
}

// retryJoin is the time after which a join that failed is tried again.
const retryJoin = 5 * time.Second
