package amt

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/treedn/treedn/amt/internal/udpio"
)

// forwarder sends the packets of one channel, or of a group with all its
// sources, to the tunnels that want them.
type forwarder struct {
	server        *Server
	source, group netip.Addr
	routes        map[netip.Addr]*route // by source
	buf           []byte
	fragment      []byte
	failed        []udpio.Failure // of the packets at hand, by tunnel
	counts        [][2]uint64     // packets and octets of the packet at hand, by tunnel
}

// route is where packets of one source go to, as of a version.
type route struct {
	version [2]uint64
	known   bool
	tunnels []Tunnel
	copies  []fan
	minMTU  int
	built   time.Time
	cost    time.Duration // of building
}

// fan is the copies that leave by one socket.
type fan struct {
	*udpio.Fan
	one   []*udpio.Fan // for packets that not all tunnels take alike; made when needed
	conn  *udpio.Conn
	list  []udpio.Copy
	first int // of its tunnels in route.tunnels
}

// single returns what sends to one of the copies alone.
func (f *fan) single(i int) *udpio.Fan {
	if f.one == nil {
		f.one = make([]*udpio.Fan, len(f.list))
	}
	if f.one[i] == nil {
		f.one[i] = f.conn.NewFan(f.list[i : i+1])
	}
	return f.one[i]
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
	ecn := innerECN(packets[0])
	refused := 0
	f.failed = f.failed[:0]
	for i := range r.copies {
		fan := &r.copies[i]
		if err := fan.Write(f.buf, size, ecn); err != nil {
			return // closed
		}
		for _, x := range fan.Failed() {
			f.failed = append(f.failed, udpio.Failure{Copy: fan.first + x.Copy, Datagrams: x.Datagrams})
			refused += x.Datagrams
		}
	}
	f.account(r, packets, octets, refused)
}

// account counts packets that went to the tunnels of a route, but for those in
// f.failed.
func (f *forwarder) account(r *route, packets [][]byte, octets, refused int) {
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Packets += uint64(len(packets))
	s.sent.Copies += uint64(len(packets)*len(r.tunnels) - refused)
	s.sent.Octets += uint64(octets * len(r.tunnels))
	s.sent.Refused += uint64(refused)
	failed := f.failed
	for i := range r.tunnels {
		n, o := len(packets), octets
		if len(failed) > 0 && failed[0].Copy == i {
			// Of a run the first go or none; all but the last are of one size.
			lost := failed[0].Datagrams
			n -= lost
			o = 0
			for _, p := range packets[:n] {
				o += len(p)
			}
			s.sent.Octets -= uint64(octets - o)
			failed = failed[1:]
		}
		s.relay.Count(&r.tunnels[i], uint64(n), uint64(o))
	}
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
	var refused, fragmented, tooBig uint64
	ecn := innerECN(packet)
	var sent [2]uint64 // packets and octets of one tunnel
	send := func(fan *fan, j int, b []byte) {
		f.buf = append(append(f.buf[:0], byte(TypeData), 0), b...)
		one := fan.single(j)
		if one.Write(f.buf, len(f.buf), ecn) != nil || len(one.Failed()) > 0 {
			refused++
			return
		}
		sent[0]++
		sent[1] += uint64(len(b))
	}
	counts := f.counts[:0]
	smallest := 1 << 16
	for i := range r.copies {
		fan := &r.copies[i]
		for j := range fan.list {
			t := &r.tunnels[fan.first+j]
			sent = [2]uint64{}
			switch {
			case len(packet) <= int(t.MTU):
				send(fan, j, packet)
			case f.cut(packet, int(t.MTU), func(b []byte) bool { send(fan, j, b); return true }):
				fragmented++
			default:
				tooBig++
				smallest = min(smallest, int(t.MTU))
			}
			counts = append(counts, sent)
		}
	}
	f.counts = counts
	s.mu.Lock()
	for i := range r.tunnels {
		s.relay.Count(&r.tunnels[i], counts[i][0], counts[i][1])
		s.sent.Copies += counts[i][0]
		s.sent.Octets += counts[i][1]
	}
	s.sent.Packets++
	s.sent.Refused += refused
	s.sent.Fragmented += fragmented
	s.sent.TooBig += tooBig
	s.mu.Unlock()
	if tooBig > 0 {
		f.tooBig(packet, smallest)
	}
}

// cut is Fragment with a buffer.
func (f *forwarder) cut(packet []byte, mtu int, yield func(fragment []byte) bool) bool {
	if f.fragment == nil {
		f.fragment = make([]byte, 0, 1<<16)
	}
	return Fragment(packet, mtu, f.fragment, yield)
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
	now := time.Now()
	if !f.source.IsValid() && s.have[[2]netip.Addr{source, f.group}] {
		return &route{} // the one of that source forwards them
	}
	version := s.relay.Version(source, f.group)
	if r.known && (r.version == version || now.Sub(r.built) < 4*r.cost) {
		return r
	}
	r.known, r.version = true, version
	r.tunnels, _ = s.relay.AppendTunnels(r.tunnels[:0], nil, source, f.group)
	r.sort(s)
	// While very many gateways join, the list is not made for each of them.
	r.built = time.Now()
	r.cost = min(r.built.Sub(now), 50*time.Millisecond)
	return r
}

// sort groups the tunnels by the socket that serves them. The mutex is held.
func (r *route) sort(s *Server) {
	r.copies = nil
	r.minMTU = 1 << 16
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
			to := udpio.Copy{To: t.Gateway(), ECN: t.ECN}
			if c.LocalAddr().Addr().IsUnspecified() { // else both are the socket's
				to.From = local.Addr()
				to.To = netip.AddrPortFrom(to.To.Addr().WithZone(local.Addr().Zone()), to.To.Port())
			}
			f.list = append(f.list, to)
			r.minMTU = min(r.minMTU, int(t.MTU))
		}
		if len(f.list) > 0 {
			f.Fan = c.NewFan(f.list)
			r.copies = append(r.copies, f)
		}
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
