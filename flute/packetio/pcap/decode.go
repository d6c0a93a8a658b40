package pcap

import (
	"encoding/binary"
	"net/netip"
)

// Link types (https://www.tcpdump.org/linktypes.html).
const (
	linkNull      = 0 // BSD loopback: the address family in the octet order of the machine
	linkEthernet  = 1
	linkPPP       = 9
	linkPPPHDLC   = 50
	linkRaw       = 101
	linkRawBSD    = 12
	linkRawOpen   = 14
	linkLoop      = 108
	linkCooked    = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkCookedTwo = 276
)

// EtherTypes.
const (
	etherIPv4      = 0x0800
	etherIPv6      = 0x86dd
	etherVLAN      = 0x8100
	etherQinQ      = 0x88a8
	etherQinQOld   = 0x9100 // before IEEE 802.1ad
	etherMPLS      = 0x8847
	etherMPLSMulti = 0x8848
	etherPPPoE     = 0x8864
	etherBridged   = 0x6558 // Ethernet in GRE
)

// Protocols of IP.
const (
	protocolIPv4 = 4
	protocolUDP  = 17
	protocolIPv6 = 41
	protocolGRE  = 47
)

// Protocols of PPP.
const (
	pppIPv4 = 0x0021
	pppIPv6 = 0x0057
)

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
	skip, at := 0, -1 // where the payload begins, and where the EtherType is that tells what it is
	switch link {
	case linkNull, linkLoop:
		skip = 4
	case linkEthernet:
		skip, at = 14, 12
	case linkCooked:
		skip, at = 16, 14
	case linkCookedTwo:
		skip, at = 20, 0
	case linkPPP, linkPPPHDLC:
		if len(f) > 1 && f[0] == 0xff && f[1] == 3 { // address and control of HDLC
			f = f[2:]
		}
		return c.ppp(f, cut)
	case linkRaw, linkRawBSD, linkRawOpen, linkIPv4, linkIPv6:
	default:
		c.stats.UnknownLinks++
		c.stats.UnknownLink = link
		return p, foreign
	}
	switch {
	case len(f) < skip:
		return p, cutOff
	case at < 0:
		return c.ip(f[skip:], cut, 0)
	}
	return c.network(be.Uint16(f[at:]), f[skip:], cut, 0)
}

// network decodes what an EtherType names, behind any number of tags.
func (c *Reader) network(kind uint16, b []byte, cut bool, depth int) (p Packet, how verdict) {
	for {
		switch kind {
		case etherIPv4, etherIPv6:
			return c.ip(b, cut, depth)
		case etherVLAN, etherQinQ, etherQinQOld:
			if len(b) < 4 {
				return p, foreign
			}
			kind, b = be.Uint16(b[2:]), b[4:]
		case etherMPLS, etherMPLSMulti:
			for bottom := false; !bottom; b = b[4:] {
				if len(b) < 4 {
					return p, foreign
				}
				bottom = b[2]&1 != 0 // RFC 3032, section 2.1
			}
			return c.ip(b, cut, depth)
		case etherPPPoE: // RFC 2516, section 4: version and type, code, session, length
			if len(b) < 6 {
				return p, foreign
			}
			return c.ppp(b[6:], cut)
		case etherBridged:
			if len(b) < 14 {
				return p, foreign
			}
			kind, b = be.Uint16(b[12:]), b[14:]
		default:
			return p, foreign
		}
	}
}

// ppp decodes what follows a protocol number of PPP.
func (c *Reader) ppp(b []byte, cut bool) (p Packet, how verdict) {
	if len(b) < 2 || be.Uint16(b) != pppIPv4 && be.Uint16(b) != pppIPv6 {
		return p, foreign
	}
	return c.ip(b[2:], cut, 0)
}

// gre decodes what is in a tunnel of GRE (RFC 2784 section 2.1, RFC 2890).
func (c *Reader) gre(b []byte, cut bool, depth int) (p Packet, how verdict) {
	if len(b) < 4 || b[1]&7 != 0 {
		return p, foreign
	}
	n := 4
	for _, flag := range []byte{0x80, 0x20, 0x10} { // checksum, key, sequence number
		if b[0]&flag != 0 {
			n += 4
		}
	}
	if len(b) < n {
		return p, cutOff
	}
	return c.network(be.Uint16(b[2:]), b[n:], cut, depth)
}

// maxDepth bounds tunnels in tunnels.
const maxDepth = 4

// tunnel decodes what a protocol number of IP names, if it is a tunnel.
func (c *Reader) tunnel(protocol byte, b []byte, cut bool, depth int) (p Packet, how verdict) {
	if depth++; depth > maxDepth {
		return p, foreign
	}
	switch protocol {
	case protocolIPv4, protocolIPv6:
		return c.ip(b, cut, depth)
	case protocolGRE:
		return c.gre(b, cut, depth)
	}
	return p, foreign
}

func (c *Reader) ip(b []byte, cut bool, depth int) (p Packet, how verdict) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return c.ipv4(b, cut, depth)
	case len(b) >= 40 && b[0]>>4 == 6:
		return c.ipv6(b, cut, depth)
	}
	return p, foreign
}

func (c *Reader) ipv4(b []byte, cut bool, depth int) (p Packet, how verdict) {
	head, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	switch b[9] {
	case protocolUDP, protocolIPv4, protocolIPv6, protocolGRE:
	default:
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
	if b[9] != protocolUDP {
		return c.tunnel(b[9], payload, cut, depth)
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

func (c *Reader) ipv6(b []byte, cut bool, depth int) (p Packet, how verdict) {
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next, payload := b[6], b[40:]
	if n := int(be.Uint16(b[4:])); n > len(payload) {
		return p, cutOff
	} else if n > 0 {
		payload = payload[:n]
	}
	for {
		switch next {
		case protocolUDP:
			return udp(src, dst, payload)
		case protocolIPv4, protocolIPv6, protocolGRE:
			return c.tunnel(next, payload, cut, depth)
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

// amtPort is that of AMT, amtData the type of its messages that carry a datagram (RFC 7450 sections 5.1.6, 7.2).
const (
	amtPort = 2268
	amtData = 6
)

// Tunnelled returns the datagram that is in a message of AMT, which a relay sends to a gateway. It is false if p is
// none.
func (c *Reader) Tunnelled(p Packet) (inner Packet, ok bool) {
	b := p.Payload
	if p.Src.Port() != amtPort || len(b) < 2 || b[0] != amtData {
		return inner, false
	}
	inner, how := c.ip(b[2:], false, maxDepth)
	inner.At = p.At
	return inner, how == whole
}
