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
	// Upstream brings the packets.
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
	todo   []Event // for the loop that joins, leaves and logs
	armed  time.Time
	sent   ServerStats
	have   map[[2]netip.Addr]bool      // joined upstream
	joins  uint64                      // changes of have, from 1
	failed map[[2]netip.Addr]time.Time // could not be joined, until it is tried again
	again  []failedJoin                // the same in the order of the times, with some that are failed no more
	untold joinFailures
	told   time.Time                // when the log was last told of those
	icmp   map[netip.Addr]time.Time // when the source was last told of the MTU

	wake   chan struct{}
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
		config: config, log: LimitLog(config.Logger), wake: make(chan struct{}, 1), closed: make(chan struct{}),
		joins: 1, have: make(map[[2]netip.Addr]bool), failed: make(map[[2]netip.Addr]time.Time), icmp: make(map[netip.Addr]time.Time),
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
	work := false
	for {
		e, ok := s.relay.PollEvent()
		if !ok {
			break
		}
		if (e.Type == EventTunnelUp || e.Type == EventTunnelDown) && !s.log.Enabled(context.Background(), slog.LevelDebug) {
			continue
		}
		s.todo = append(s.todo, e)
		work = true
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
		todo := append(s.retry(time.Now()), s.todo...)
		s.todo = nil
		s.mu.Unlock()
		for i := range todo {
			s.handle(&todo[i])
		}
		s.mu.Lock()
		report, next := s.failures(time.Now())
		s.armed = sooner(s.relay.NextTimeout(), next)
		wait := time.Hour
		if !s.armed.IsZero() {
			wait = max(time.Until(s.armed), time.Millisecond)
		}
		s.mu.Unlock()
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

// handle does what comes of an event of the relay.
func (s *Server) handle(e *Event) {
	switch e.Type {
	case EventJoin:
		s.join(e.Source, e.Group)
	case EventLeave:
		s.leave(e.Source, e.Group)
	case EventTunnelUp:
		s.log.Debug("a gateway has a tunnel", "gateway", e.Gateway)
	case EventTunnelDown:
		s.log.Debug("a tunnel has ended", "gateway", e.Gateway, "reason", e.Reason, "packets", e.Packets, "octets", e.Octets)
	case EventFull:
		s.log.Warn("the relay is nearly full: withdraw its anycast prefix")
	case EventReady:
		s.log.Info("the relay has room again")
	}
}

func (s *Server) leave(source, group netip.Addr) {
	key := [2]netip.Addr{source, group}
	s.mu.Lock()
	joined := s.have[key]
	delete(s.have, key)
	s.joins++
	delete(s.failed, key)
	s.mu.Unlock()
	if joined {
		s.config.Upstream.Leave(source, group)
	}
}

func (s *Server) join(source, group netip.Addr) {
	key := [2]netip.Addr{source, group}
	f := &forwarder{server: s, source: source, group: group}
	err := s.config.Upstream.Join(source, group, f.forward)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.have[key] = true
		s.joins++
		delete(s.failed, key)
		return
	}
	s.sent.JoinErrors++
	if s.failed[key].IsZero() {
		s.untold.fresh++
		s.untold.last = &JoinError{Source: source, Group: group, Err: err}
	}
	at := time.Now().Add(retryJoin)
	s.failed[key] = at
	s.again = append(s.again, failedJoin{key, at})
}

// JoinError is why a channel that gateways want could not be joined upstream, as the
// attribute "err" of what a [Server] logs about it.
type JoinError struct {
	Source, Group netip.Addr // Source is the zero address for all sources
	Err           error      // what the upstream returned
}

func (e *JoinError) Error() string {
	source := "*"
	if e.Source.IsValid() {
		source = e.Source.String()
	}
	return fmt.Sprintf("joining (%s,%v): %v", source, e.Group, e.Err)
}

// Unwrap returns what the upstream returned.
func (e *JoinError) Unwrap() error { return e.Err }

// failedJoin is due to be tried again, if Server.failed has the same time.
type failedJoin struct {
	key [2]netip.Addr
	at  time.Time
}

// joinFailures are those that the log has not been told of.
type joinFailures struct {
	fresh int // channels
	now   int // those that cannot be joined now
	last  *JoinError
}

const (
	// retryJoin is the time after which a join that failed is tried again.
	retryJoin = 5 * time.Second
	// maxRetries bounds those that are tried together. Gateways may want very many
	// channels that cannot be joined, and new ones are not to wait for all of them.
	maxRetries = 64
)

// retry returns joins that failed and are due again. The mutex is held, as in what
// follows.
func (s *Server) retry(now time.Time) (todo []Event) {
	n := 0
	for ; n < len(s.again) && len(todo) < maxRetries; n++ {
		f := &s.again[n]
		if s.failed[f.key] != f.at { // left meanwhile, or another failure
			continue
		}
		if f.at.After(now) {
			break
		}
		todo = append(todo, Event{Type: EventJoin, Source: f.key[0], Group: f.key[1]})
	}
	if s.again = s.again[n:]; len(s.again) == 0 {
		s.again = nil
	}
	return todo
}

// failures returns what the log is to be told of joins that failed, those of a minute
// together, and when the next thing is due: that, or the next retry.
func (s *Server) failures(now time.Time) (report joinFailures, next time.Time) {
	if len(s.again) > 0 {
		next = s.again[0].at
	}
	if s.untold.fresh == 0 {
		return report, next
	}
	if at := s.told.Add(logInterval); at.After(now) && !s.told.IsZero() {
		return report, sooner(next, at)
	}
	report, s.untold, s.told = s.untold, joinFailures{}, now
	report.now = len(s.failed)
	return report, next
}
