// Package gf256 is the arithmetic of GF(2^8) modulo x^8+x^4+x^3+x^2+1, with
// alpha = 2, that RFC 6330 section 5.7 and RFC 5510 section 8.1 share, and of
// vectors over it: sums, multiples and products with matrices, in assembly for
// AVX-512 with GFNI, AVX2 and NEON and in plain Go for the rest. All give the
// same octets.
package gf256

var (
	exp = makeExp()
	log = makeLog()
)

// makeExp returns the powers of alpha, twice over so that a sum of two
// logarithms needs no reduction.
func makeExp() (t [512]uint8) {
	x := 1
	for i := range t {
		t[i] = uint8(x)
		if x <<= 1; x > 255 {
			x ^= 0x11d
		}
	}
	return t
}

func makeLog() (t [256]uint8) {
	for i := range 255 {
		t[exp[i]] = uint8(i)
	}
	return t
}

// Exp returns alpha^n, for n from 0 to 511.
func Exp(n int) uint8 { return exp[n&511] }

// Log returns the n below 255 for which alpha^n is a. Zero has none.
func Log(a uint8) int { return int(log[a]) }

// Mul returns a*b.
func Mul(a, b uint8) uint8 {
	if a == 0 || b == 0 {
		return 0
	}
	return exp[int(log[a])+int(log[b])]
}

// Inv returns 1/a; a must not be zero.
func Inv(a uint8) uint8 { return exp[255-int(log[a])] }

// Double8 multiplies each of the eight elements in x by alpha.
func Double8(x uint64) uint64 {
	const low7 = 0x7f7f7f7f7f7f7f7f
	return (x&low7)<<1 ^ (x>>7&0x0101010101010101)*0x1d
}

// Spread8 turns bit i of b into the element 0 or 1 in octet i.
func Spread8(b uint8) uint64 {
	x := uint64(b) * 0x0101010101010101 & 0x8040201008040201
	return (x + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101
}
