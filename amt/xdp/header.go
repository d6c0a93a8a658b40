package xdp

import (
	"encoding/binary"
	"net/netip"
)

// Sizes in octets, with the 14 of Ethernet, 8 of UDP and 2 of AMT.
const (
	headroom4 = 14 + 20 + 8 + 2
	headroom6 = 14 + 40 + 8 + 2

	// Overheads of tunnels: what the headers after that of Ethernet add.
	overhead4 = headroom4 - 14
	overhead6 = headroom6 - 14
)

type mac [6]byte

// appendHeader appends the headers of copies for a tunnel, with lengths, ECN and
// checksums still 0.
func appendHeader(b []byte, from, to mac, local, gateway netip.AddrPort) []byte {
	const protocolUDP, hops = 17, 64
	b = append(append(b, to[:]...), from[:]...)
	if gateway.Addr().Is4() {
		// RFC 7450 section 5.3.3.6.3: DF is set; the identification of a packet that
		// is never cut means nothing (RFC 6864).
		b = append(b, 0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0x40, 0, hops, protocolUDP, 0, 0)
		s, d := local.Addr().As4(), gateway.Addr().As4()
		b = append(append(b, s[:]...), d[:]...)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocolUDP, hops)
		s, d := local.Addr().As16(), gateway.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, gateway.Port())
	b = append(b, 0, 0, 0, 0)
	return append(b, 6, 0) // Multicast Data
}

// nativeSum adds octets up as the kernel's program does: as 16-bit words in the
// order of the processor, which does not change the sum but for its octets'
// order (RFC 1071 section 2).
func nativeSum(b []byte) (sum uint32) {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.NativeEndian.Uint16(b))
	}
	return sum
}

// headerSum is the sum of an IPv4 header, 0xffff if its checksum is right.
func headerSum(b []byte) uint32 {
	s := nativeSum(b)
	s = s&0xffff + s>>16
	return s&0xffff + s>>16
}

// sums returns what is known beforehand of the UDP checksum and of that of the
// IPv4 header.
func sums(header []byte) (udp, ip uint32) {
	var protocol [2]byte
	protocol[1] = 17
	if len(header) == headroom4 {
		ip = nativeSum(header[14:34])
		return nativeSum(header[26:]) + nativeSum(protocol[:]), ip
	}
	return nativeSum(header[22:]) + nativeSum(protocol[:]), 0
}
