// Package checksum is the Internet checksum (RFC 1071).
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Add adds the 16-bit words of b to a ones' complement sum; an odd octet at the
// end counts as if a zero followed.
func Add(s uint64, b []byte) uint64 {
	// Words of 64 bits add up to the same, with what is carried out of them, and so do
	// those in the other order of octets until the sum is turned; RFC 1071 section 2 has
	// why. Two sums do not wait for each other.
	var x, y, carryX, carryY uint64
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		x, carryX = bits.Add64(x, binary.LittleEndian.Uint64(p[0:]), carryX)
		x, carryX = bits.Add64(x, binary.LittleEndian.Uint64(p[8:]), carryX)
		x, carryX = bits.Add64(x, binary.LittleEndian.Uint64(p[16:]), carryX)
		x, carryX = bits.Add64(x, binary.LittleEndian.Uint64(p[24:]), carryX)
		y, carryY = bits.Add64(y, binary.LittleEndian.Uint64(p[32:]), carryY)
		y, carryY = bits.Add64(y, binary.LittleEndian.Uint64(p[40:]), carryY)
		y, carryY = bits.Add64(y, binary.LittleEndian.Uint64(p[48:]), carryY)
		y, carryY = bits.Add64(y, binary.LittleEndian.Uint64(p[56:]), carryY)
		b = b[64:]
	}
	turned := x>>32 + x&0xffffffff + carryX + y>>32 + y&0xffffffff + carryY
	for len(b) >= 8 {
		v := binary.LittleEndian.Uint64(b)
		turned += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		turned += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		turned += uint64(b[0])
	}
	return s + uint64(bits.ReverseBytes16(fold(turned)))
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// Fold returns the checksum of a sum.
func Fold(s uint64) uint16 { return ^fold(s) }

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
