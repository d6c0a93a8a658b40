package ssm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzSegments(f *testing.F) {
	f.Add([]byte("abcdefgh"), 8, 3)
	f.Add([]byte("abcdefgh"), 0, 0)
	f.Add([]byte("abcdefgh"), 5, 5)
	f.Fuzz(func(t *testing.T, buffer []byte, n, size int) {
		if n < 0 || n > len(buffer) || size < 0 || (n > 0) != (size > 0) {
			return
		}
		m := Message{Buffer: buffer, N: n, SegmentSize: size}
		var joined []byte
		var count int
		for packet := range m.Segments {
			require.NotEmpty(t, packet)
			require.LessOrEqual(t, len(packet), size)
			require.Equal(t, len(packet), cap(packet), "an append must not reach the next packet")
			if count++; count < m.packets() {
				require.Len(t, packet, size)
			}
			joined = append(joined, packet...)
		}
		require.Equal(t, m.packets(), count)
		require.True(t, bytes.Equal(buffer[:n], joined))
	})
}
