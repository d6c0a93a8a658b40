// Package checksum is the Internet checksum (RFC 1071).
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Add adds the 16-bit words of b to a ones' complement sum; an odd octet at the
// end counts as if a zero followed.
func Add(s uint64, b []byte) uint64 {
	// Words of 64 bits add up to the same, with what is carried out of them; RFC 1071
	// section 2 has why.
	var sum, carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	s += sum>>32 + sum&0xffffffff + carry
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

// Fold returns the checksum of a sum.
func Fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// Of is the checksum of b; 0 if b has its own in it and that is right.
func Of(b []byte) uint16 { return Fold(Add(0, b)) }

// UDP returns the checksum of a UDP datagram whose checksum is 0, and of the
// addresses of its IP header.
func UDP(addresses, datagram []byte) uint16 {
	const protocol = 17
	if sum := Fold(Add(Add(protocol+uint64(len(datagram)), addresses), datagram)); sum != 0 {
		return sum
	}
	return 0xffff // 0 stands for none (RFC 768)
}
