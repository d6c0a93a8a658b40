package amt

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// What can be wrong with the IP packet in a Multicast Data message.
var (
	// ErrPacket: the packet is malformed.
	ErrPacket = errors.New("amt: malformed packet")
	// ErrFragment: it is a fragment, or not UDP and so without ports.
	ErrFragment = errors.New("amt: no whole UDP datagram")
)

// Packet is a multicast IP packet as it comes out of a tunnel. It aliases the
// message.
type Packet struct {
	// Source and Destination are the addresses, with ports once ParseUDP has been
	// successful.
	Source, Destination netip.AddrPort
	// TTL is the time to live or hop limit.
	TTL uint8
	// Raw is the whole packet, without what followed it.
	Raw []byte
	// Payload is what follows the headers of IP, and of UDP after ParseUDP.
	Payload []byte

	protocol uint8
	fragment bool
	offset   int
	more     bool
	id       uint32
	pseudo   uint64
}

const protocolUDP = 17

// Parse parses the headers of a packet to a multicast group. Octets behind the
// packet are padding. It allocates nothing.
func (p *Packet) Parse(b []byte) error {
	*p = Packet{}
	if len(b) == 0 {
		return ErrPacket
	}
	switch b[0] >> 4 {
	case 4:
		return p.parseIPv4(b)
	case 6:
		return p.parseIPv6(b)
	}
	return ErrPacket
}

func (p *Packet) parseIPv4(b []byte) error {
	if len(b) < 20 {
		return ErrPacket
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || total > len(b) || checksum.Of(b[:header]) != 0 {
		return ErrPacket
	}
	destination := netip.AddrFrom4([4]byte(b[16:]))
	if !destination.IsMulticast() || b[16] == 224 && b[17] == 0 && b[18] == 0 {
		return ErrPacket
	}
	p.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
	p.Destination = netip.AddrPortFrom(destination, 0)
	p.TTL = b[8]
	p.protocol = b[9]
	p.Raw = b[:total:total]
	p.Payload = b[header:total:total]
	field := binary.BigEndian.Uint16(b[6:])
	p.offset, p.more = int(field&0x1fff)*8, field&0x2000 != 0
	p.fragment = p.offset != 0 || p.more
	p.id = uint32(binary.BigEndian.Uint16(b[4:]))
	p.pseudo = checksum.Add(uint64(p.protocol), b[12:20])
	return nil
}

func (p *Packet) parseIPv6(b []byte) error {
	if len(b) < 40 {
		return ErrPacket
	}
	total := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return ErrPacket
	}
	destination := netip.AddrFrom16([16]byte(b[24:]))
	if !destination.IsMulticast() || b[25]&0xf <= 2 { // confined to a link or a node
		return ErrPacket
	}
	p.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
	p.Destination = netip.AddrPortFrom(destination, 0)
	p.TTL = b[7]
	p.Raw = b[:total:total]
	next, rest := b[6], b[40:total:total]
	for range 8 { // extension headers, RFC 8200 section 4
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(rest) < 8 || len(rest) < 8+8*int(rest[1]) {
				return ErrPacket
			}
			next, rest = rest[0], rest[8+8*int(rest[1]):]
			continue
		case 44: // fragment
			if len(rest) < 8 {
				return ErrPacket
			}
			field := binary.BigEndian.Uint16(rest[2:])
			p.offset, p.more = int(field&^7), field&1 != 0
			p.fragment = p.offset != 0 || p.more
			p.id = binary.BigEndian.Uint32(rest[4:])
			next, rest = rest[0], rest[8:]
		}
		break
	}
	p.protocol = next
	p.Payload = rest
	p.pseudo = checksum.Add(uint64(next), b[8:40])
	return nil
}

// Fragment reports whether it is one of the fragments of a packet.
func (p *Packet) Fragment() bool { return p.fragment }

// ParseUDP goes on to the UDP header, which fills in the ports and makes the
// Payload that of UDP. A checksum must be right unless it is 0.
func (p *Packet) ParseUDP() error {
	if p.fragment || p.protocol != protocolUDP {
		return ErrFragment
	}
	return p.parseUDP(p.Payload)
}

func (p *Packet) parseUDP(b []byte) error {
	if len(b) < 8 {
		return ErrPacket
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < 8 || length > len(b) {
		return ErrPacket
	}
	b = b[:length:length]
	if b[6]|b[7] != 0 && checksum.Fold(checksum.Add(p.pseudo+uint64(length), b)) != 0 {
		return ErrPacket
	}
	p.Source = netip.AddrPortFrom(p.Source.Addr(), binary.BigEndian.Uint16(b))
	p.Destination = netip.AddrPortFrom(p.Destination.Addr(), binary.BigEndian.Uint16(b[2:]))
	p.Payload = b[8:]
	return nil
}

// AppendUDP appends an IP packet that carries payload as a UDP datagram: what a
// relay makes of what a socket gave it. Both addresses are of one family.
func AppendUDP(b []byte, source, destination netip.AddrPort, ttl uint8, payload []byte) []byte {
	start := len(b)
	length := 8 + len(payload)
	header := 20
	if source.Addr().Is4() {
		s, d := source.Addr().As4(), destination.Addr().As4()
		b = append(b, 0x45, 0, byte((20+length)>>8), byte(20+length), 0, 0, 0x40, 0, ttl, protocolUDP, 0, 0)
		b = append(b, s[:]...)
		b = append(b, d[:]...)
		binary.BigEndian.PutUint16(b[start+10:], checksum.Of(b[start:]))
	} else {
		header = 40
		s, d := source.Addr().As16(), destination.Addr().As16()
		b = append(b, 0x60, 0, 0, 0, byte(length>>8), byte(length), protocolUDP, ttl)
		b = append(b, s[:]...)
		b = append(b, d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, source.Port())
	b = binary.BigEndian.AppendUint16(b, destination.Port())
	b = append(b, byte(length>>8), byte(length), 0, 0)
	b = append(b, payload...)
	addresses := b[start+12 : start+20]
	if header == 40 {
		addresses = b[start+8 : start+40]
	}
	udp := b[start+header:]
	binary.BigEndian.PutUint16(udp[6:], checksum.UDP(addresses, udp))
	return b
}

// decapsulateECN applies the ECN field of the outer header to the inner one (RFC
// 6040 section 4.2). It reports false if the packet is to be dropped.
func decapsulateECN(b []byte, outer uint8) bool {
	if len(b) < 2 {
		return true
	}
	var inner uint8
	v4 := b[0]>>4 == 4
	if v4 {
		inner = b[1] & 3
	} else {
		inner = b[1] >> 4 & 3
	}
	const notECT, ect1, ce = 0, 1, 3
	result := inner
	switch outer & 3 {
	case ce:
		if inner == notECT {
			return false
		}
		result = ce
	case ect1:
		if inner == 2 {
			result = ect1
		}
	}
	if result == inner {
		return true
	}
	if !v4 {
		b[1] = b[1]&^0x30 | result<<4
		return true
	}
	b[1] = b[1]&^3 | result
	if header := int(b[0]&0xf) * 4; header >= 20 && header <= len(b) {
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], checksum.Of(b[:header]))
	}
	return true
}
