package route

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// The example of growing.md.
func TestGrowingWire(t *testing.T) {
	g := growingBlock{start: 25_000, length: 24_700, size: 1344, lead: 25_000 % 1344}
	require.True(t, g.valid())
	require.Equal(t, 19, g.symbols())
	pkt := growingBytes(1<<31|7, 42, g, 19, 14, []byte{1, 2, 3, 4})
	require.Equal(t, "10a00400"+"00000000"+"80000007"+"0000002a"+
		"000061a8"+"05400328"+"00607c"+"000013"+"000e"+"01020304", hex.EncodeToString(pkt))
	pkt = append(pkt, make([]byte, 1340)...)
	p, ok := parseGrowing(pkt[16:])
	require.True(t, ok)
	require.Equal(t, growingPacket{growingBlock: g, esi: 19, seq: 14, symbols: pkt[32:]}, p)
}

func FuzzGrowingID(f *testing.F) {
	g := growingBlock{start: 25_000, length: 24_700, size: 1344, lead: 25_000 % 1344}
	f.Add(append(appendGrowingID(nil, g, 19, 14), make([]byte, 1344)...))
	f.Add(append(appendGrowingID(nil, growingBlock{1<<32 - 9, 8, 8, 0}, 1, 0), make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseGrowing(b)
		if !ok {
			return
		}
		require.Equal(t, b, append(appendGrowingID(nil, p.growingBlock, p.esi, p.seq), p.symbols...))
		require.LessOrEqual(t, p.growingBlock.symbols(), maxGrowingSymbols)
		require.LessOrEqual(t, p.growingBlock.symbols()*p.size, maxGrowingBlock)
		require.LessOrEqual(t, p.end(), int64(maxObject))
		covered := 0
		for i := range p.growingBlock.symbols() {
			start, end, zeros := p.symbol(i)
			require.Less(t, start, end)
			require.True(t, i == 0 || zeros == 0)
			covered += int(end - start)
		}
		require.Equal(t, p.length, covered)
	})
}
