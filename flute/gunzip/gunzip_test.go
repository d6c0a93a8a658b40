package gunzip_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/gunzip"
)

func pack(tb testing.TB, octets int) []byte {
	b, err := gunzip.Append(nil, make([]byte, octets))
	require.NoError(tb, err)
	return b
}

func TestInflateBounds(t *testing.T) {
	_, err := gunzip.Limits{}.Inflate(pack(t, 1<<20))
	require.ErrorIs(t, err, gunzip.ErrSize, "by its ratio")
	_, err = gunzip.Limits{Ratio: 2000}.Inflate(pack(t, 5<<20))
	require.ErrorIs(t, err, gunzip.ErrSize, "by its size")
	b, err := gunzip.Limits{}.Inflate(pack(t, 60<<10))
	require.NoError(t, err, "small enough to be harmless")
	require.Len(t, b, 60<<10)
	_, err = gunzip.Limits{Octets: 10}.Inflate(pack(t, 11))
	require.ErrorIs(t, err, gunzip.ErrSize)
	_, err = gunzip.Limits{Octets: 10}.Inflate(pack(t, 10))
	require.NoError(t, err)
}

func TestInflateRefuses(t *testing.T) {
	cut := pack(t, 1000)
	for n := range len(cut) - 1 {
		_, err := gunzip.Limits{}.Inflate(cut[:n])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, n)
	}
	_, err := gunzip.Limits{}.Inflate([]byte("\x1f\x8b\x01\x00\x00\x00\x00\x00\x00\x00"))
	require.ErrorIs(t, err, gzip.ErrHeader)
	b, err := gunzip.Limits{}.Inflate(append(pack(t, 10), "\x00padding"...))
	require.NoError(t, err)
	require.Len(t, b, 10)
}

func FuzzInflate(f *testing.F) {
	f.Add(pack(f, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := gunzip.Limits{Octets: 1 << 16}.Inflate(b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(out), 1<<16)
		packed, err := gunzip.Append(nil, out)
		require.NoError(t, err)
		again, err := gunzip.Limits{Octets: 1 << 16}.Inflate(packed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(out, again))
	})
}

func Example() {
	bomb, err := gunzip.Append(nil, make([]byte, 10<<20))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = gunzip.Limits{}.Inflate(bomb)
	fmt.Println(errors.Is(err, gunzip.ErrSize))
	// Output: true
}
