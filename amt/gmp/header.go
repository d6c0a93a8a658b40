package gmp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// What can be wrong with a packet. Errors of [Message.Parse] match one of the first
// four, and [ErrMalformed] in any case; errors of [Message.Validate] match
// [ErrHeader].
var (
	ErrMalformed = errors.New("malformed")
	ErrShort     = errors.New("too short")
	ErrChecksum  = errors.New("wrong checksum")
	ErrProtocol  = errors.New("neither IGMP nor MLD")
	ErrType      = errors.New("unknown type")
	ErrHeader    = errors.New("unexpected IP header")
)

// PacketError says which part of a packet is wrong and in which way.
type PacketError struct {
	Part string // "IPv4", "IPv6", "IGMP", "MLD", inside them "query" and "report", or what is odd in a header
	Err  error
}

// Error returns the part and the cause.
func (e *PacketError) Error() string { return "gmp: " + e.Part + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *PacketError) Unwrap() error { return e.Err }

// Is reports that target is ErrMalformed, unless the error is about values that
// are merely unexpected.
func (e *PacketError) Is(target error) bool { return target == ErrMalformed && e.Err != ErrHeader }

// Made once, so that hostile packets cost no allocation.
var (
	errNoIP         = &PacketError{"IP", ErrProtocol}
	errIPv4Short    = &PacketError{"IPv4", ErrShort}
	errIPv4Checksum = &PacketError{"IPv4", ErrChecksum}
	errIPv4Protocol = &PacketError{"IPv4", ErrProtocol}
	errIPv6Short    = &PacketError{"IPv6", ErrShort}
	errIPv6Protocol = &PacketError{"IPv6", ErrProtocol}
	errIGMPShort    = &PacketError{"IGMP", ErrShort}
	errIGMPChecksum = &PacketError{"IGMP", ErrChecksum}
	errIGMPType     = &PacketError{"IGMP", ErrType}
	errMLDShort     = &PacketError{"MLD", ErrShort}
	errMLDChecksum  = &PacketError{"MLD", ErrChecksum}
	errMLDType      = &PacketError{"MLD", ErrType}
	errQueryShort   = &PacketError{"query", ErrShort}
	errReportShort  = &PacketError{"report", ErrShort}
	errTTL          = &PacketError{"TTL is not 1", ErrHeader}
	errRouterAlert  = &PacketError{"no Router Alert", ErrHeader}
	errDestination  = &PacketError{"destination", ErrHeader}
	errSource       = &PacketError{"source is not link-local", ErrHeader}
)

// Addresses that messages are sent to.
var (
	allSystems4  = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	allRouters4  = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	igmpRouters  = netip.AddrFrom4([4]byte{224, 0, 0, 22})
	allNodes6    = netip.AddrFrom16([16]byte{0xff, 2, 15: 1})
	allRouters6  = netip.AddrFrom16([16]byte{0xff, 2, 15: 2})
	mldRouters   = netip.AddrFrom16([16]byte{0xff, 2, 15: 0x16})
	unspecified4 = netip.AddrFrom4([4]byte{})
	unspecified6 = netip.AddrFrom16([16]byte{})
)

const (
	protocolIGMP   = 2
	protocolHopOpt = 0
	protocolICMPv6 = 58

	// Both kinds of header, with the Router Alert option that RFC 3376 section 4
	// and RFC 3810 section 5 ask for.
	sizeIPv4 = 24
	sizeIPv6 = 48
)

// Header holds what matters of the IP header of a message.
type Header struct {
	Source      netip.Addr
	Destination netip.Addr
	TTL         uint8 // or hop limit
	RouterAlert bool
}

// Validate reports what RFC 3376 section 4 or RFC 3810 section 5 would not have
// in the header of m, apart from its source: AMT lifts the rules for that (RFC
// 7450 sections 5.2.1 and 5.3.1). The error matches [ErrHeader].
func (m *Message) Validate() error {
	h := &m.Header
	if h.TTL != 1 {
		return errTTL
	}
	if !h.RouterAlert && !(h.Destination.Is4() && m.Version == 1) {
		return errRouterAlert
	}
	if h.Destination != destination(m.Type, m.Version, h.Destination.Is6(), m.Query.Group) {
		return errDestination
	}
	return nil
}

// checkLink reports why a node drops a message that came over its link. MLD
// has to show that nothing forwarded it (RFC 3810 sections 6.2, 7.4 and 7.6, RFC
// 3590 section 4); IGMP asks for less: hosts ignore a General Query that is sent
// elsewhere, and one without Router Alert, which IGMPv1 does not have (RFC 3376
// section 9.1). A message is also taken if it is sent to the node alone (section
// 4.1.12).
func (m *Message) checkLink() error {
	h := &m.Header
	if m.IPv6() {
		switch {
		case h.TTL != 1:
			return errTTL
		case !h.RouterAlert:
			return errRouterAlert
		case !h.Source.IsLinkLocalUnicast():
			return errSource
		}
		return nil
	}
	switch {
	case m.Type != TypeQuery:
	case m.Version > 1 && !h.RouterAlert:
		return errRouterAlert
	case m.General() && h.Destination.IsMulticast() && h.Destination != allSystems4:
		return errDestination
	}
	return nil
}

// destination is where a message goes: a query for a group, a report of the
// older versions to the group itself.
func destination(t Type, version int, v6 bool, group netip.Addr) netip.Addr {
	older := version < 3
	if v6 {
		older = version < 2
	}
	switch {
	case t == TypeQuery && group.IsUnspecified() && v6:
		return allNodes6
	case t == TypeQuery && group.IsUnspecified():
		return allSystems4
	case t == TypeQuery:
		return group
	case t == TypeLeave && v6:
		return allRouters6
	case t == TypeLeave:
		return allRouters4
	case older:
		return group
	case v6:
		return mldRouters
	}
	return igmpRouters
}

// parseIPv4 returns the payload of an IGMP packet. It wants the lengths and the
// checksum right, all else is for Validate.
func parseIPv4(p []byte, h *Header) ([]byte, error) {
	if len(p) < 20 {
		return nil, errIPv4Short
	}
	headerLength := int(p[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(p[2:]))
	if headerLength < 20 || total < headerLength || total > len(p) {
		return nil, errIPv4Short
	}
	if p[9] != protocolIGMP || binary.BigEndian.Uint16(p[6:])&0x3fff != 0 { // another protocol, or a fragment
		return nil, errIPv4Protocol
	}
	if checksum.Fold(checksum.Add(0, p[:headerLength])) != 0 {
		return nil, errIPv4Checksum
	}
	h.Source = netip.AddrFrom4([4]byte(p[12:]))
	h.Destination = netip.AddrFrom4([4]byte(p[16:]))
	h.TTL = p[8]
	for o := p[20:headerLength]; len(o) > 0 && o[0] != 0; {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return nil, errIPv4Short
		}
		if o[0] == 0x94 && o[1] == 4 { // RFC 2113
			h.RouterAlert = true
		}
		o = o[o[1]:]
	}
	return p[headerLength:total], nil
}

// parseIPv6 returns the ICMPv6 message of an MLD packet.
func parseIPv6(p []byte, h *Header) ([]byte, error) {
	if len(p) < 40 {
		return nil, errIPv6Short
	}
	length := int(binary.BigEndian.Uint16(p[4:]))
	if length > len(p)-40 {
		return nil, errIPv6Short
	}
	h.Source = netip.AddrFrom16([16]byte(p[8:]))
	h.Destination = netip.AddrFrom16([16]byte(p[24:]))
	h.TTL = p[7]
	next, b := p[6], p[40:40+length]
	if next == protocolHopOpt {
		if len(b) < 8 || len(b) < 8+8*int(b[1]) {
			return nil, errIPv6Short
		}
		next = b[0]
		options := b[2 : 8+8*int(b[1])]
		b = b[8+8*int(b[1]):]
		for len(options) > 0 {
			if options[0] == 0 { // Pad1
				options = options[1:]
				continue
			}
			if len(options) < 2 || 2+int(options[1]) > len(options) {
				return nil, errIPv6Short
			}
			if options[0] == 5 && options[1] == 2 { // RFC 2711
				h.RouterAlert = true
			}
			options = options[2+int(options[1]):]
		}
	}
	if next != protocolICMPv6 {
		return nil, errIPv6Protocol
	}
	return b, nil
}

// appendIPv4 appends the header of an IGMP packet; finishIPv4 completes it once
// the message is behind it.
func appendIPv4(b []byte, source, destination netip.Addr) []byte {
	s, d := source.As4(), destination.As4()
	// TOS 0xc0 is Internetwork Control (RFC 3376 section 4); DF is set since
	// there is no identification.
	b = append(b, 0x46, 0xc0, 0, 0, 0, 0, 0x40, 0, 1, protocolIGMP, 0, 0)
	b = append(b, s[:]...)
	b = append(b, d[:]...)
	return append(b, 0x94, 4, 0, 0)
}

// finishIPv4 fills in the length and both checksums of the packet p.
func finishIPv4(p []byte) {
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[10:], checksum.Fold(checksum.Add(0, p[:sizeIPv4])))
	binary.BigEndian.PutUint16(p[sizeIPv4+2:], checksum.Fold(checksum.Add(0, p[sizeIPv4:])))
}

// appendIPv6 appends the headers of an MLD packet.
func appendIPv6(b []byte, source, destination netip.Addr) []byte {
	s, d := source.As16(), destination.As16()
	b = append(b, 0x60, 0, 0, 0, 0, 0, protocolHopOpt, 1)
	b = append(b, s[:]...)
	b = append(b, d[:]...)
	return append(b, protocolICMPv6, 0, 5, 2, 0, 0, 1, 0)
}

// finishIPv6 fills in the length and the checksum of the packet p.
func finishIPv6(p []byte) {
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	message := p[sizeIPv6:]
	binary.BigEndian.PutUint16(message[2:], checksum.Fold(checksum.Add(pseudoHeader(p, len(message), protocolICMPv6), message)))
}

// pseudoHeader is the sum of the IPv6 pseudo-header of a packet with this
// header (RFC 8200 section 8.1).
func pseudoHeader(ip []byte, length int, protocol byte) uint64 {
	return checksum.Add(uint64(length)+uint64(protocol), ip[8:40])
}
