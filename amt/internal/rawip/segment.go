package rawip

import (
	"encoding/binary"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// offload is what the kernel says about a packet whose last touch it left to the
// network interface: virtio_net_hdr.
type offload struct {
	partial bool // the UDP checksum is not there yet
	segment int  // payload of each of the datagrams to be cut out of it; 0: it is one
}

const (
	offloadSize     = 10
	needsChecksum   = 1
	segmentTypeUDP4 = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
)

// parseOffload parses a virtio_net_hdr in the order of this machine. It reports
// false for packets that are not made of UDP datagrams.
func parseOffload(b []byte) (o offload, ok bool) {
	o.partial = b[0]&needsChecksum != 0
	switch b[1] &^ 0x80 {
	case 0:
	case segmentTypeUDP4:
		o.segment = int(binary.NativeEndian.Uint16(b[4:]))
	default:
		return o, false
	}
	return o, true
}

// finish does to a packet what the network interface would have done, and calls
// yield with each IP packet that comes of it, in packet itself or in arena,
// which it returns longer.
func finish(packet, arena []byte, o offload, yield func(packet []byte)) []byte {
	if !o.partial && o.segment == 0 {
		yield(packet)
		return arena
	}
	header, length, ok := udpAt(packet)
	if !ok {
		return arena
	}
	if o.segment == 0 || o.segment >= length-8 {
		checksumUDP(packet[:header+length], header)
		yield(packet[:header+length])
		return arena
	}
	payload := packet[header+8 : header+length]
	for i := 0; len(payload) > 0; i++ {
		n := min(o.segment, len(payload))
		start := len(arena)
		arena = append(arena, packet[:header+8]...)
		arena = append(arena, payload[:n]...)
		payload = payload[n:]
		p := arena[start:len(arena):len(arena)]
		if p[0]>>4 == 4 {
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
			binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(packet[4:])+uint16(i))
			options := int(p[0]&0xf) * 4
			p[10], p[11] = 0, 0
			binary.BigEndian.PutUint16(p[10:], checksum.Of(p[:options]))
		} else {
			binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		}
		binary.BigEndian.PutUint16(p[header+4:], uint16(8+n))
		checksumUDP(p, header)
		yield(p)
	}
	return arena
}

// udpAt returns where the UDP header is, and the length of the datagram with it.
func udpAt(p []byte) (header, length int, ok bool) {
	const udp = 17
	switch {
	case len(p) >= 28 && p[0]>>4 == 4 && p[9] == udp:
		header = int(p[0]&0xf) * 4
		length = int(binary.BigEndian.Uint16(p[2:])) - header
	case len(p) >= 48 && p[0]>>4 == 6 && p[6] == udp:
		header = 40
		length = int(binary.BigEndian.Uint16(p[4:]))
	default:
		return 0, 0, false
	}
	return header, length, header >= 20 && length >= 8 && header+length <= len(p)
}

// checksumUDP sets the checksum of the UDP datagram that ends p.
func checksumUDP(p []byte, header int) {
	addresses := p[12:20]
	if p[0]>>4 == 6 {
		addresses = p[8:40]
	}
	udp := p[header:]
	udp[6], udp[7] = 0, 0
	binary.BigEndian.PutUint16(udp[6:], checksum.UDP(addresses, udp))
}
