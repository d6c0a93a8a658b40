package gf256

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// bitwise multiplies polynomials bit by bit.
func bitwise(a, b uint8) uint8 {
	x := 0
	for i := range 8 {
		if b>>i&1 != 0 {
			x ^= int(a) << i
		}
	}
	for i := 14; i >= 8; i-- {
		if x>>i&1 != 0 {
			x ^= 0x11d << (i - 8)
		}
	}
	return uint8(x)
}

func TestField(t *testing.T) {
	for a := range 256 {
		a := uint8(a)
		for b := range 256 {
			require.Equal(t, bitwise(a, uint8(b)), Mul(a, uint8(b)))
		}
		if a != 0 {
			require.EqualValues(t, 1, Mul(a, Inv(a)))
			require.Equal(t, a, Exp(Log(a)))
			require.Equal(t, a, Exp(Log(a)+255))
		}
		x := Spread8(a)
		y := Double8(0x0102030405060708*uint64(a&1) ^ x)
		for i := range 8 {
			require.Equal(t, a>>i&1, uint8(x>>(8*i)))
			e := uint8((0x0102030405060708*uint64(a&1) ^ x) >> (8 * i))
			require.Equal(t, Mul(2, e), uint8(y>>(8*i)))
		}
	}
	require.EqualValues(t, 0x1d, Double8(0x80))
}
