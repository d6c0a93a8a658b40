package gf256

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// product multiplies polynomials bit by bit.
func product(a, b uint8) uint8 {
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
			require.Equal(t, product(a, uint8(b)), Mul(a, uint8(b)))
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

// The kernels treat every length, every start and the octets around them right.
func TestKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	buf, src := make([]byte, 700), make([]byte, 700)
	for range 3000 {
		for i := range buf {
			buf[i], src[i] = uint8(rng.Uint32()), uint8(rng.Uint32())
		}
		n, at, from := rng.IntN(600), rng.IntN(64), rng.IntN(64)
		c := uint8(rng.IntN(256))
		want := append([]byte(nil), buf...)
		for i := range n {
			want[at+i] = Mul(c, want[at+i]) ^ Mul(c, src[from+i]) ^ src[from+i]
		}
		Scale(buf[at:at+n], c)
		AddMul(buf[at:at+n], src[from:from+n], c)
		Add(buf[at:at+n], src[from:from+n])
		require.Equal(t, want, buf)
	}
}
