package pcap

import (
	"encoding/binary"
	"net/netip"
)

// Link types (https://www.tcpdump.org/linktypes.html).
const (
	linkNull      = 0 // BSD loopback: the address family in the octet order of the machine
	linkEthernet  = 1
	linkRaw       = 101
	linkRawBSD    = 12
	linkRawOpen   = 14
	linkLoop      = 108
	linkCooked    = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkCookedTwo = 276
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

const protocolUDP = 17

// verdict is what a frame turned out to be.
type verdict uint8

const (
	whole   verdict = iota // a datagram
	foreign                // something else
	cutOff                 // part of one
	held                   // a fragment
)

var be = binary.BigEndian

// decode finds the datagram in a frame, which was captured only in part if cut.
func (c *Reader) decode(link uint32, f []byte, cut bool) (p Packet, how verdict) {
	skip := 0
	switch link {
	case linkNull, linkLoop:
		skip = 4
	case linkEthernet:
		if skip = ethernet(f); skip == 0 {
			return p, foreign
		}
	case linkCooked, linkCookedTwo:
		skip, at := 16, 14
		if link == linkCookedTwo {
			skip, at = 20, 0
		}
		if len(f) < skip || be.Uint16(f[at:]) != etherIPv4 && be.Uint16(f[at:]) != etherIPv6 {
			return p, foreign
		}
		return c.ip(f[skip:], cut)
	case linkRaw, linkRawBSD, linkRawOpen, linkIPv4, linkIPv6:
	default:
		return p, foreign
	}
	if len(f) < skip {
		return p, cutOff
	}
	return c.ip(f[skip:], cut)
}

// ethernet returns the length of the Ethernet header, 0 if IP does not follow it.
func ethernet(f []byte) int {
	n := 12
	for len(f) >= n+2 {
		switch be.Uint16(f[n:]) {
		case etherIPv4, etherIPv6:
			return n + 2
		case etherVLAN, etherQinQ:
			n += 4
		default:
			return 0
		}
	}
	return 0
}

func (c *Reader) ip(b []byte, cut bool) (p Packet, how verdict) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return c.ipv4(b, cut)
	case len(b) >= 40 && b[0]>>4 == 6:
		return c.ipv6(b)
	}
	return p, foreign
}

func (c *Reader) ipv4(b []byte, cut bool) (p Packet, how verdict) {
	head, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if b[9] != protocolUDP {
		return p, foreign
	}
	if total == 0 && !cut {
		total = len(b) // segmentation was left to the interface
	}
	if head < 20 || total < head || total > len(b) {
		return p, cutOff
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	flags := be.Uint16(b[6:])
	payload := b[head:total]
	if flags&0x3fff != 0 { // More Fragments, or an offset
		key := fragmentKey{src, dst, uint32(be.Uint16(b[4:]))}
		if payload = c.parts.add(key, int(flags&0x1fff)*8, payload, flags&0x2000 != 0, &c.stats); payload == nil {
			return p, held
		}
	}
	return udp(src, dst, payload)
}

// Extension headers of IPv6 that may stand before UDP.
const (
	nextHopByHop    = 0
	nextRouting     = 43
	nextFragment    = 44
	nextDestination = 60
)

func (c *Reader) ipv6(b []byte) (p Packet, how verdict) {
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next, payload := b[6], b[40:]
	if n := int(be.Uint16(b[4:])); n > len(payload) {
		return p, cutOff
	} else if n > 0 {
		payload = payload[:n]
	}
	for {
		if next == protocolUDP {
			return udp(src, dst, payload)
		}
		if len(payload) < 8 {
			return p, foreign
		}
		n := 8
		switch next {
		case nextHopByHop, nextRouting, nextDestination:
			n += 8 * int(payload[1])
		case nextFragment:
			word := be.Uint16(payload[2:])
			key := fragmentKey{src, dst, be.Uint32(payload[4:])}
			if payload[0] != protocolUDP {
				return p, foreign
			}
			whole := payload[8:]
			if word&0xfff9 != 0 {
				if whole = c.parts.add(key, int(word&0xfff8), whole, word&1 != 0, &c.stats); whole == nil {
					return p, held
				}
			}
			return udp(src, dst, whole)
		default:
			return p, foreign
		}
		if n > len(payload) {
			return p, cutOff
		}
		next, payload = payload[0], payload[n:]
	}
}

func udp(src, dst netip.Addr, b []byte) (p Packet, how verdict) {
	if len(b) < 8 {
		return p, cutOff
	}
	n := int(be.Uint16(b[4:]))
	if n == 0 {
		n = len(b) // a jumbogram, or left to the interface
	}
	if n < 8 || n > len(b) {
		return p, cutOff
	}
	return Packet{
		Src: netip.AddrPortFrom(src, be.Uint16(b)), Dst: netip.AddrPortFrom(dst, be.Uint16(b[2:])), Payload: b[8:n],
	}, whole
}
