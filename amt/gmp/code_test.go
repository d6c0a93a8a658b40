package gmp

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCodes(t *testing.T) {
	for c, v := range map[byte]int{0: 0, 0x7d: 125, 0x80: 128, 0x8f: 248, 0x90: 256, 0xff: 31744} {
		require.Equal(t, v, decode8(c))
		require.Equal(t, c, encode8(v))
	}
	for v, c := range map[int]byte{200: 0x89, 255: 0x8f, 3600: 0xcc, 31745: 0xff, math.MaxInt32: 0xff, -1: 0} {
		require.Equal(t, c, encode8(v))
	}
	for c, v := range map[uint16]int{0: 0, 0x7fff: 32767, 0x8000: 32768, 0x8fff: 65528, 0xffff: 8387584} {
		require.Equal(t, v, decode16(c))
		require.Equal(t, c, encode16(v))
	}
	require.Equal(t, uint16(0xffff), encode16(math.MaxInt32))
	require.Equal(t, uint16(0), encode16(-1))
}

// What a code stands for encodes to the same code, and what lies between two
// codes to the lower one.
func TestCodesRoundDown(t *testing.T) {
	for c := range 256 {
		require.Equal(t, byte(c), encode8(decode8(byte(c))))
	}
	for v := range 40000 {
		require.LessOrEqual(t, decode8(encode8(v)), v)
	}
	for c := range 1 << 16 {
		if uint16(c) != encode16(decode16(uint16(c))) {
			t.Fatal(c)
		}
	}
}
