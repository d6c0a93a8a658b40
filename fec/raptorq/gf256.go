package raptorq

import (
	"crypto/subtle"

	"github.com/klauspost/reedsolomon"
)

// Arithmetic in GF(2^8) modulo x^8+x^4+x^3+x^2+1 (section 5.7). The field is
// the one of package reedsolomon, whose vector kernels do the heavy products.

var (
	octExp = makeOctExp()
	octLog = makeOctLog()
)

// makeOctExp returns OCT_EXP (section 5.7.3), which is twice as long as the
// multiplicative group so that a sum of two logarithms needs no reduction.
func makeOctExp() (t [510]uint8) {
	x := 1
	for i := range t {
		t[i] = uint8(x)
		if x <<= 1; x > 255 {
			x ^= 0x11d
		}
	}
	return t
}

// makeOctLog returns OCT_LOG (section 5.7.4); the entry of zero is unused.
func makeOctLog() (t [256]uint8) {
	for i := range 255 {
		t[octExp[i]] = uint8(i)
	}
	return t
}

func mul(a, b uint8) uint8 {
	if a == 0 || b == 0 {
		return 0
	}
	return octExp[int(octLog[a])+int(octLog[b])]
}

func inverse(a uint8) uint8 {
	return octExp[255-int(octLog[a])]
}

// double8 multiplies eight field elements in one word by alpha.
func double8(x uint64) uint64 {
	const low7 = 0x7f7f7f7f7f7f7f7f
	return (x&low7)<<1 ^ (x>>7&0x0101010101010101)*0x1d
}

// spread8 turns bit i of b into the field element 0 or 1 in byte i.
func spread8(b uint8) uint64 {
	x := uint64(b) * 0x0101010101010101 & 0x8040201008040201
	return (x + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101
}

// add adds src to dst.
func add(dst, src []byte) {
	subtle.XORBytes(dst, dst, src)
}

// addMul adds c*src to dst.
func addMul(dst, src []byte, c uint8) {
	switch c {
	case 0:
	case 1:
		add(dst, src)
	default:
		reedsolomon.LowLevel{}.GalMulSliceXor(c, src, dst)
	}
}

// scale multiplies dst by c.
func scale(dst []byte, c uint8) {
	reedsolomon.LowLevel{}.GalMulSlice(c, dst, dst)
}
