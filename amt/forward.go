package amt

import (
	"encoding/binary"
	"net/netip"

	"github.com/treedn/treedn/amt/gmp"
	"github.com/treedn/treedn/amt/internal/checksum"
)

// Tunnel is where a relay sends packets of a channel to. It holds no pointers:
// there may be very many.
type Tunnel struct {
	ID TunnelID
	// MTU is that of the tunnel: the largest packet, with its IP header, that
	// fits the path once encapsulated (RFC 7450 section 5.3.3.6.1).
	MTU uint16
	// ECN: the ECN field is copied to the outer header (RFC 9601 section 6.1.4);
	// for others the outer one is Not-ECT.
	ECN bool

	local uint16
	key   endpointKey
}

// NewTunnel returns a tunnel that no relay has, for tests of what takes tunnels.
func NewTunnel(id TunnelID, gateway netip.AddrPort, mtu uint16, ecn bool) Tunnel {
	return Tunnel{ID: id, MTU: mtu, ECN: ecn, key: keyOf(gateway)}
}

// Gateway returns the endpoint to send to.
func (t *Tunnel) Gateway() netip.AddrPort { return t.key.addrPort() }

// Overhead is what encapsulation adds to a packet, in octets: the outer IP and
// UDP headers and that of Multicast Data.
func Overhead(outer netip.Addr) int {
	if outer.Unmap().Is4() {
		return 20 + 8 + sizeData
	}
	return 40 + 8 + sizeData
}

// AppendTunnels appends where packets from source to group go to.
func (r *Relay) AppendTunnels(tunnels []Tunnel, links []gmp.Link, source, group netip.Addr) ([]Tunnel, []gmp.Link) {
	links = r.router.AppendLinks(links[:0], source, group)
	for _, l := range links {
		t := r.tunnel(TunnelID(l))
		mtu := r.config.PathMTU
		if t.pathMTU != 0 {
			mtu = int(t.pathMTU)
		}
		tunnels = append(tunnels, Tunnel{
			ID:    TunnelID(l),
			MTU:   uint16(max(0, mtu-Overhead(netip.AddrFrom16(t.key.addr)))),
			ECN:   t.flags&tunnelECN != 0,
			local: t.local,
			key:   t.key,
		})
	}
	return tunnels, links
}

// Version returns a number that changes when AppendTunnels would append others.
func (r *Relay) Version(source, group netip.Addr) [2]uint64 {
	return [2]uint64{r.router.Version(source, group), uint64(r.changes)}
}

// generation changes when Version would return another one for any channel.
func (r *Relay) generation() [2]uint32 { return [2]uint32{r.router.Changes(), r.changes} }

// Local returns the relay's address that packets of the tunnel come from: the
// one that its Updates are sent to (RFC 7450 section 5.3.3.6.3).
func (r *Relay) Local(t *Tunnel) netip.AddrPort { return r.locals[t.local] }

// Count adds to the counters of a tunnel what was sent to it.
func (r *Relay) Count(t *Tunnel, packets, octets uint64) {
	if u := r.tunnel(t.ID); u.key == t.key {
		u.packets += packets
		u.octets += octets
	}
}

// Counters returns what Count added up for the tunnel of a gateway.
func (r *Relay) Counters(gateway netip.AddrPort) (packets, octets uint64, ok bool) {
	id, ok := r.endpoints[keyOf(gateway)]
	if !ok {
		return 0, 0, false
	}
	t := r.tunnel(id)
	return t.packets, t.octets, true
}

// Fragment cuts an IPv4 packet into fragments that fit a tunnel (RFC 7450
// section 5.3.3.6.2.1), each written into a buffer that is valid until yield
// returns. It reports false, and yields nothing, if the packet may not be cut:
// an IPv6 packet, one with the DF bit, or one whose header is broken.
func Fragment(packet []byte, mtu int, buf []byte, yield func(fragment []byte) bool) bool {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return false
	}
	header := int(packet[0]&0xf) * 4
	field := binary.BigEndian.Uint16(packet[6:])
	if header < 20 || header > len(packet) || field&0x4000 != 0 || mtu < header+8 {
		return false
	}
	rest := packet[header:]
	offset := int(field & 0x1fff)
	size := (mtu - header) &^ 7
	first := true
	for len(rest) > 0 {
		n := min(size, len(rest))
		h := header
		buf = append(buf[:0], packet[:header]...)
		if !first {
			h = 20 + copyOptions(buf[20:header])
			buf = buf[:h]
		}
		buf = append(buf, rest[:n]...)
		rest = rest[n:]
		flags := uint16(offset)
		if len(rest) > 0 || field&0x2000 != 0 {
			flags |= 0x2000
		}
		buf[0] = 0x40 | byte(h/4)
		binary.BigEndian.PutUint16(buf[2:], uint16(len(buf)))
		binary.BigEndian.PutUint16(buf[6:], flags)
		buf[10], buf[11] = 0, 0
		binary.BigEndian.PutUint16(buf[10:], checksum.Of(buf[:h]))
		if !yield(buf) {
			return true
		}
		offset += n / 8
		first = false
	}
	return true
}

// copyOptions keeps the options that RFC 791 has copied to all fragments, and
// returns their length, padded.
func copyOptions(o []byte) int {
	n := 0
	for i := 0; i < len(o) && o[i] != 0; {
		length := 1
		if o[i] != 1 {
			if i+1 >= len(o) || o[i+1] < 2 || i+int(o[i+1]) > len(o) {
				break
			}
			length = int(o[i+1])
		}
		if o[i]&0x80 != 0 {
			n += copy(o[n:], o[i:i+length])
		}
		i += length
	}
	for n%4 != 0 {
		o[n] = 0
		n++
	}
	return n
}

// AppendTooBig appends the ICMP message, as an IP packet from the relay, that
// tells the source of a packet the MTU of the tunnels: "fragmentation needed"
// (RFC 1191) or "packet too big" (RFC 4443 section 3.2).
func AppendTooBig(b []byte, relay netip.Addr, packet []byte, mtu int) ([]byte, bool) {
	start := len(b)
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4 && relay.Is4():
		quoted := packet[:min(len(packet), int(packet[0]&0xf)*4+8)]
		from := relay.As4()
		b = append(b, 0x45, 0xc0, 0, byte(20+8+len(quoted)), 0, 0, 0x40, 0, 64, 1, 0, 0)
		b = append(b, from[:]...)
		b = append(b, packet[12:16]...)
		b = append(b, 3, 4, 0, 0, 0, 0, byte(mtu>>8), byte(mtu))
		b = append(b, quoted...)
		p := b[start:]
		binary.BigEndian.PutUint16(p[10:], checksum.Of(p[:20]))
		binary.BigEndian.PutUint16(p[22:], checksum.Of(p[20:]))
		return b, true
	case len(packet) >= 40 && packet[0]>>4 == 6 && relay.Is6():
		quoted := packet[:min(len(packet), 1280-40-8)]
		from := relay.As16()
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(quoted)))
		b = append(b, 58, 64)
		b = append(b, from[:]...)
		b = append(b, packet[8:24]...)
		b = append(b, 2, 0, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(mtu))
		b = append(b, quoted...)
		p := b[start:]
		s := uint64(58) + uint64(len(p)-40)
		binary.BigEndian.PutUint16(p[42:], checksum.Fold(checksum.Add(checksum.Add(s, p[8:40]), p[40:])))
		return b, true
	}
	return b, false
}
