package checksum_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// The example of RFC 1071 section 3, and sums of all lengths against one word at
// a time.
func TestSum(t *testing.T) {
	require.Equal(t, ^uint16(0xddf2), checksum.Of([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}))
	for name, octet := range map[string]func(int) byte{
		"mixed": func(i int) byte { return byte(i*i + 251) }, "ones": func(int) byte { return 255 }, "zeros": func(int) byte { return 0 },
	} {
		b := make([]byte, 400)
		for i := range b {
			b[i] = octet(i)
		}
		for n := range b {
			var s uint32
			for i, c := range b[:n] {
				s += uint32(c) << (8 * (1 - i&1))
				s = s>>16 + s&0xffff
			}
			require.Equal(t, ^uint16(s), checksum.Of(b[:n]), "%s, %d octets", name, n)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	datagram := make([]byte, 1324)
	for i := range datagram {
		datagram[i] = byte(i * 7)
	}
	b.SetBytes(int64(len(datagram)))
	for b.Loop() {
		checksum.Add(1, datagram)
	}
}

func TestUDP(t *testing.T) {
	addresses, datagram := []byte{10, 12, 0, 1, 232, 1, 1, 1}, []byte{1, 2, 3, 4, 0, 9, 0, 0, 77}
	sum := checksum.UDP(addresses, datagram)
	datagram[6], datagram[7] = byte(sum>>8), byte(sum)
	require.Zero(t, checksum.Fold(checksum.Add(checksum.Add(17+9, addresses), datagram)))
}
