package gmp

import "encoding/binary"

// sum adds the 16-bit words of b to a ones' complement sum (RFC 1071); an odd
// octet at the end counts as if a zero followed.
func sum(s uint64, b []byte) uint64 {
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		s += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// pseudoHeader is the sum of the IPv6 pseudo-header of a packet with this
// header (RFC 8200 section 8.1).
func pseudoHeader(ip []byte, length int, protocol byte) uint64 {
	return sum(uint64(length)+uint64(protocol), ip[8:40])
}
