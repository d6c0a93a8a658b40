package fec

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec/raptorq"
)

// splitmix returns n octets of the generator that the vectors are made with.
func splitmix(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		seed += 0x9E3779B97F4A7C15
		z := seed
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		b = binary.LittleEndian.AppendUint64(b, z^z>>31)
	}
	return b[:n]
}

func TestSubBlocks(t *testing.T) {
	for _, c := range loadObjects(t).SubBlocks {
		object := splitmix(c.Seed, c.K*c.T)
		o := OTI{TransferLength: uint64(len(object)), SymbolSize: uint16(c.T), SourceBlocks: 1, SubBlocks: c.N, Alignment: c.Al}
		require.NoError(t, o.Validate())
		require.Equal(t, unhex(t, c.Symbol0), o.AppendSourceSymbol(nil, object, c.K, 0))
		require.Equal(t, unhex(t, c.Symbol1), o.AppendSourceSymbol(nil, object, c.K, 1))

		var source []byte
		again := make([]byte, len(object))
		for m := range c.K {
			s := o.AppendSourceSymbol(nil, object, c.K, m)
			o.PutSourceSymbol(again, c.K, m, s)
			source = append(source, s...)
		}
		require.Equal(t, object, again)
		e, err := raptorq.NewEncoder(source, c.T)
		require.NoError(t, err)
		for esi, want := range c.Repair {
			require.Equal(t, unhex(t, want), e.AppendSymbol(nil, esi))
		}
	}
}

// The end of the object may lie anywhere, and then the last sub-block is short.
func TestSubBlocksOfShortBlock(t *testing.T) {
	o := OTI{TransferLength: 33, SymbolSize: 12, SourceBlocks: 1, SubBlocks: 2, Alignment: 4}
	require.NoError(t, o.Validate())
	k, _, length := o.Block(0)
	require.Equal(t, 3, k)
	object := splitmix(1, int(length))
	again := make([]byte, length)
	for m := range k {
		s := o.AppendSourceSymbol(nil, object, k, m)
		require.Len(t, s, 12)
		o.PutSourceSymbol(again, k, m, s)
	}
	require.Equal(t, object, again)
	require.Equal(t, append(object[16:24:24], 0, 0, 0, 0), append(o.AppendSourceSymbol(nil, object[:24], k, 2)[0:8], 0, 0, 0, 0))
	require.Empty(t, o.AppendSourceSymbol(nil, object, k, 3))
	o.PutSourceSymbol(again, k, 2, nil)
	o.PutSourceSymbol(nil, k, 2, make([]byte, 12))
	require.Equal(t, object, again)
}
