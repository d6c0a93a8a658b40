package amtr

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
)

// record is a message that passed.
type record struct {
	at             time.Time
	gateway, relay netip.AddrPort
	nonce          uint32
	length         int // of the UDP payload
	typ            amt.Type
	flags          amt.Flags

	// Of Multicast Data: packets, more than one if the device was to cut them up,
	// and octets of these. Of others: 1 and 0.
	packets, octets uint64
}

// verdict says what a frame is.
type verdict uint8

const (
	verdictMessage verdict = iota
	verdictOther
	verdictMalformed
	verdictFragment
	verdictUnexpected
)

// maxHeaders is how much of a frame parse looks at: Ethernet with two VLAN tags,
// the longest IPv4 header, UDP, and a Teardown.
const maxHeaders = 14 + 8 + 60 + 8 + 30

// parse finds the message in a frame of size octets, of which b is the beginning.
// It does what bpf/track.c does.
func (r *record) parse(b []byte, size int, outgoing bool, port uint16) verdict {
	*r = record{packets: 1}
	if len(b) < 14 {
		return verdictOther
	}
	proto := binary.BigEndian.Uint16(b[12:])
	b, size = b[14:], size-14
	for range 2 { // IEEE 802.1Q and 802.1ad
		if proto != 0x8100 && proto != 0x88a8 {
			break
		}
		if len(b) < 4 {
			return verdictOther
		}
		proto = binary.BigEndian.Uint16(b[2:])
		b, size = b[4:], size-4
	}
	var source, destination netip.Addr
	first := false // of several fragments
	const udp, fragment = 17, 44
	switch {
	case proto == 0x0800 && len(b) >= 20 && b[0]>>4 == 4 && b[9] == udp:
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header < 20 {
			return verdictOther
		}
		field := binary.BigEndian.Uint16(b[6:])
		if field&0x1fff != 0 {
			return verdictFragment
		}
		first = field&0x2000 != 0
		size = min(size, total) - header
		source, destination = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		if len(b) < header || size < 0 {
			return verdictOther
		}
		b = b[header:]
	case proto == 0x86dd && len(b) >= 40 && b[0]>>4 == 6:
		if b[6] == fragment {
			return verdictFragment
		}
		if b[6] != udp {
			return verdictOther
		}
		size = min(size-40, int(binary.BigEndian.Uint16(b[4:])))
		source, destination = netip.AddrFrom16([16]byte(b[8:])).Unmap(), netip.AddrFrom16([16]byte(b[24:])).Unmap()
		b = b[40:]
	default:
		return verdictOther
	}
	if len(b) < 8 {
		return verdictOther
	}
	from := netip.AddrPortFrom(source, binary.BigEndian.Uint16(b))
	to := netip.AddrPortFrom(destination, binary.BigEndian.Uint16(b[2:]))
	r.gateway, r.relay = from, to
	if outgoing {
		r.gateway, r.relay = to, from
	}
	if r.relay.Port() != port {
		return verdictOther
	}
	if first {
		return verdictFragment
	}
	r.length = int(binary.BigEndian.Uint16(b[4:])) - 8
	if r.length < 8 || r.length+8 > size {
		return verdictMalformed
	}
	b = b[8:]
	b = b[:min(len(b), r.length)]
	return r.parseMessage(b, outgoing)
}

// parseMessage goes on with the message.
func (r *record) parseMessage(b []byte, outgoing bool) verdict {
	if len(b) < min(12, r.length) || b[0]>>4 != 0 {
		return verdictMalformed
	}
	r.typ, r.flags = amt.Type(b[0]), amt.Flags(b[1])
	switch r.typ {
	case amt.TypeAdvertisement, amt.TypeQuery, amt.TypeData:
		if !outgoing {
			return verdictUnexpected
		}
	case amt.TypeDiscovery, amt.TypeRequest, amt.TypeUpdate, amt.TypeTeardown:
		if outgoing {
			return verdictUnexpected
		}
	default:
		return verdictUnexpected
	}
	switch r.typ {
	case amt.TypeDiscovery, amt.TypeRequest, amt.TypeAdvertisement:
		r.nonce = binary.BigEndian.Uint32(b[4:])
		if r.typ == amt.TypeAdvertisement && r.length != 12 && r.length != 24 {
			return verdictMalformed
		}
	case amt.TypeQuery, amt.TypeUpdate:
		if r.length < 12 {
			return verdictMalformed
		}
		r.nonce = binary.BigEndian.Uint32(b[8:])
	case amt.TypeTeardown:
		if r.length < 30 || len(b) < 30 {
			return verdictMalformed
		}
		var m amt.Message
		if m.Unmarshal(b) != nil {
			return verdictMalformed
		}
		// It is about an endpoint that the gateway had before.
		r.nonce, r.gateway = m.Nonce, netip.AddrPortFrom(m.Gateway.Addr().Unmap(), m.Gateway.Port())
	case amt.TypeData:
		// One that the device is to cut up (UDP_SEGMENT) has the size of its segments
		// in the first.
		inner := 0
		switch b[2] >> 4 {
		case 4:
			inner = int(binary.BigEndian.Uint16(b[4:]))
		case 6:
			inner = 40 + int(binary.BigEndian.Uint16(b[6:]))
		}
		if inner < 20 || inner+2 > r.length {
			return verdictMalformed
		}
		n := (r.length + inner + 1) / (inner + 2)
		r.packets, r.octets = uint64(n), uint64(r.length-2*n)
	}
	return verdictMessage
}
