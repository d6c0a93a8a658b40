package amt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
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
	// Upstream brings the packets.
	Upstream Upstream
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
			local := netip.AddrPortFrom(c.LocalAddr().Addr(), c.LocalAddr().Port())
			if m.Local.IsValid() {
				local = netip.AddrPortFrom(m.Local, local.Port())
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

// forwarder sends the packets of one channel, or of a group with all its
// sources, to the tunnels that want them.
type forwarder struct {
	server        *Server
	source, group netip.Addr
	routes        map[netip.Addr]*route // by source
	buf           []byte
	fragment      []byte
}

// route is where packets of one source go to, as of a version.
type route struct {
	version [2]uint64
	known   bool
	tunnels []Tunnel
	copies  []fan
	minMTU  int
	ecn     bool // some want the ECN field copied
}

// fan is the copies that leave by one socket.
type fan struct {
	writer *udpio.Writer
	conn   *udpio.Conn
	list   []udpio.Copy
	first  int // of its tunnels in route.tunnels
}

const maxRoutes = 256 // of a group with all its sources

func (f *forwarder) forward(packets [][]byte) {
	for len(packets) > 0 {
		var p Packet
		if p.Parse(packets[0]) != nil || p.Destination.Addr() != f.group {
			f.server.count(func(st *ServerStats) { st.Malformed++ })
			packets = packets[1:]
			continue
		}
		// As many as go together: one size, but for the last, of one source.
		n := 1
		for n < len(packets) && len(packets[n]) == len(packets[0]) && sameSource(packets[0], packets[n]) {
			n++
		}
		if n < len(packets) && len(packets[n]) < len(packets[0]) && sameSource(packets[0], packets[n]) {
			n++
		}
		f.run(&p, packets[:n])
		packets = packets[n:]
	}
}

func sameSource(a, b []byte) bool {
	if len(a) < 40 || len(b) < 40 || a[0]>>4 != b[0]>>4 {
		return false
	}
	if a[0]>>4 == 4 {
		return [8]byte(a[12:]) == [8]byte(b[12:])
	}
	return [32]byte(a[8:]) == [32]byte(b[8:])
}

func (s *Server) count(do func(st *ServerStats)) {
	s.mu.Lock()
	do(&s.sent)
	s.mu.Unlock()
}

// run sends packets that go together.
func (f *forwarder) run(p *Packet, packets [][]byte) {
	s := f.server
	source := p.Source.Addr()
	r := f.route(source)
	if len(r.tunnels) == 0 {
		s.count(func(st *ServerStats) { st.Packets += uint64(len(packets)) })
		return
	}
	if len(packets[0]) > r.minMTU {
		for i := range packets {
			f.large(r, packets[i])
		}
		return
	}
	octets := 0
	f.buf = f.buf[:0]
	for _, packet := range packets {
		f.buf = append(f.buf, byte(TypeData), 0)
		f.buf = append(f.buf, packet...)
		octets += len(packet)
	}
	size := sizeData + len(packets[0])
	refused := 0
	for i := range r.copies {
		if r.ecn {
			for j := range r.copies[i].list {
				if r.tunnels[r.copies[i].first+j].ECN {
					r.copies[i].list[j].ECN = innerECN(packets[0])
				}
			}
		}
		n, err := r.copies[i].writer.WriteCopies(f.buf, size, r.copies[i].list)
		refused += n
		if err != nil {
			return // closed
		}
	}
	s.mu.Lock()
	for i := range r.tunnels {
		s.relay.Count(&r.tunnels[i], uint64(len(packets)), uint64(octets))
	}
	s.sent.Packets += uint64(len(packets))
	s.sent.Copies += uint64(len(packets)*len(r.tunnels) - refused)
	s.sent.Octets += uint64(octets * len(r.tunnels))
	s.sent.Refused += uint64(refused)
	s.mu.Unlock()
}

func innerECN(packet []byte) uint8 {
	if packet[0]>>4 == 4 {
		return packet[1] & 3
	}
	return packet[1] >> 4 & 3
}

// large sends a packet that does not fit all tunnels: whole to those that it
// fits, in fragments to the others if it may be cut (RFC 7450 section
// 5.3.3.6.2).
func (f *forwarder) large(r *route, packet []byte) {
	s := f.server
	var copies, refused, fragmented, tooBig uint64
	send := func(fan *fan, j int, b []byte) {
		f.buf = append(append(f.buf[:0], byte(TypeData), 0), b...)
		n, _ := fan.writer.WriteCopies(f.buf, len(f.buf), fan.list[j:j+1])
		copies++
		refused += uint64(n)
	}
	smallest := 1 << 16
	for i := range r.copies {
		fan := &r.copies[i]
		for j := range fan.list {
			t := &r.tunnels[fan.first+j]
			if len(packet) <= int(t.MTU) {
				send(fan, j, packet)
				continue
			}
			if f.fragment == nil {
				f.fragment = make([]byte, 0, 1<<16)
			}
			if Fragment(packet, int(t.MTU), f.fragment, func(b []byte) bool { send(fan, j, b); return true }) {
				fragmented++
			} else {
				tooBig++
				smallest = min(smallest, int(t.MTU))
			}
		}
	}
	s.mu.Lock()
	for i := range r.tunnels {
		s.relay.Count(&r.tunnels[i], 1, uint64(len(packet)))
	}
	s.sent.Packets++
	s.sent.Copies += copies - refused
	s.sent.Octets += copies * uint64(len(packet))
	s.sent.Refused += refused
	s.sent.Fragmented += fragmented
	s.sent.TooBig += tooBig
	s.mu.Unlock()
	if tooBig > 0 {
		f.tooBig(packet, smallest)
	}
}

// tooBig tells a source of source-specific multicast about the MTU, at most once
// a second.
func (f *forwarder) tooBig(packet []byte, mtu int) {
	var p Packet
	if p.Parse(packet) != nil {
		return
	}
	s := f.server
	source := p.Source.Addr()
	now := time.Now()
	s.mu.Lock()
	recent := now.Sub(s.icmp[source]) < time.Second
	if !recent {
		if len(s.icmp) >= 1024 {
			clear(s.icmp)
		}
		s.icmp[source] = now
	}
	from := s.relay.config.IPv4
	if source.Is6() {
		from = s.relay.config.IPv6
	}
	s.mu.Unlock()
	if recent || !from.IsValid() {
		return
	}
	if icmp, ok := AppendTooBig(nil, from, packet, mtu); ok {
		if err := sendICMP(from, source, icmp); err != nil && !errors.Is(err, os.ErrPermission) {
			s.log.Warn("cannot tell a source that its packets are too big", "source", source, "mtu", mtu, "err", err)
		} else if err != nil {
			s.log.Warn("packets are too big for tunnels, and telling the source needs CAP_NET_RAW",
				"source", source, "octets", len(packet), "mtu", mtu)
		}
	}
}

// sendICMP sends the ICMP message of an IP packet through a raw socket, which
// puts another IP header before it.
func sendICMP(from, to netip.Addr, packet []byte) error {
	network, header := "ip4:icmp", 20
	if to.Is6() {
		network, header = "ip6:ipv6-icmp", 40
	}
	c, err := net.ListenPacket(network, from.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo(packet[header:], &net.IPAddr{IP: to.AsSlice()})
	return err
}

// route returns where packets of the source go to.
func (f *forwarder) route(source netip.Addr) *route {
	if f.routes == nil {
		f.routes = make(map[netip.Addr]*route)
	}
	r := f.routes[source]
	if r == nil {
		if len(f.routes) >= maxRoutes {
			clear(f.routes)
		}
		r = new(route)
		f.routes[source] = r
	}
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.source.IsValid() && s.have[[2]netip.Addr{source, f.group}] {
		return &route{} // the one of that source forwards them
	}
	version := s.relay.Version(source, f.group)
	if r.known && r.version == version {
		return r
	}
	r.known, r.version = true, version
	r.tunnels, _ = s.relay.AppendTunnels(r.tunnels[:0], nil, source, f.group)
	r.sort(s)
	return r
}

// sort groups the tunnels by the socket that serves them. The mutex is held.
func (r *route) sort(s *Server) {
	old := r.copies
	r.copies = nil
	r.minMTU, r.ecn = 1<<16, false
	var sorted []Tunnel
	for _, c := range s.conns {
		f := fan{conn: c, first: len(sorted)}
		for i := range r.tunnels {
			t := &r.tunnels[i]
			local := s.relay.Local(t)
			if !serves(c, local, s.conns) {
				continue
			}
			sorted = append(sorted, *t)
			f.list = append(f.list, udpio.Copy{To: t.Gateway(), From: local.Addr()})
			r.minMTU = min(r.minMTU, int(t.MTU))
			r.ecn = r.ecn || t.ECN
		}
		if len(f.list) == 0 {
			continue
		}
		for i := range old {
			if old[i].conn == c {
				f.writer = old[i].writer
			}
		}
		if f.writer == nil {
			f.writer = c.NewWriter()
		}
		r.copies = append(r.copies, f)
	}
	r.tunnels = sorted
}

// serves reports whether c is the socket that takes messages to a local address.
func serves(c *udpio.Conn, local netip.AddrPort, all []*udpio.Conn) bool {
	if c.LocalAddr() == local {
		return true
	}
	for _, other := range all {
		if other.LocalAddr() == local {
			return false
		}
	}
	return c.LocalAddr().Addr().IsUnspecified() && c.LocalAddr().Port() == local.Port() &&
		c.LocalAddr().Addr().Is4() == local.Addr().Is4()
}
