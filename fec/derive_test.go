package fec

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeriveRaptorQ(t *testing.T) {
	b, err := os.ReadFile("testdata/rfc6330_objects.json")
	require.NoError(t, err)
	var v struct {
		Cases []struct {
			F, WS, Kt, Z, N uint64
			Pprime, SS, T   int
			Al              uint8
		} `json:"derive_4_3"`
	}
	require.NoError(t, json.Unmarshal(b, &v))
	require.Len(t, v.Cases, 6)
	for _, c := range v.Cases {
		o, err := Derivation{Payload: c.Pprime, Memory: c.WS, Alignment: c.Al, SubSymbol: c.SS}.RaptorQ(c.F)
		require.NoError(t, err)
		require.EqualValues(t, c.Kt, o.symbols())
		require.Equal(t, ObjectInfo{
			ID: RaptorQ, TransferLength: c.F, SymbolSize: uint16(c.T),
			SourceBlocks: uint16(c.Z), SubBlocks: uint16(c.N), Alignment: c.Al,
		}, o)
	}
	o, err := Derivation{Payload: 1347}.RaptorQ(1_000_000)
	require.NoError(t, err)
	require.EqualValues(t, 1344, o.SymbolSize)
	o, err = Derivation{Payload: 1344}.RaptorQ(0)
	require.NoError(t, err)
	require.Zero(t, o.Blocks())
	for _, c := range []struct {
		d      Derivation
		length uint64
	}{{Derivation{}, 1}, {Derivation{Payload: 7}, 1}, {Derivation{Payload: 1344, Memory: 100}, 1}, {Derivation{Payload: 64}, 1 << 39}} {
		_, err := c.d.RaptorQ(c.length)
		require.ErrorIs(t, err, ErrInvalid)
	}
}

// Figures by RFC 5053 section 4.2, by hand.
func TestDeriveRaptor(t *testing.T) {
	for _, c := range []struct {
		length      uint64
		group, size int
		z, n        uint16
	}{
		{100_000, 10, 136, 1, 1},    // G = min(ceil(1376*1024/100000), 172, 10)
		{1_000_000, 2, 688, 1, 1},   // G = ceil(1.409)
		{20_000_000, 1, 1376, 2, 1}, // 14535 symbols
		{30_000_000, 1, 1376, 3, 1}, // 7268 symbols of 1376 octets in 10 MiB
	} {
		o, group, err := Derivation{Payload: 1380}.Raptor(c.length)
		require.NoError(t, err)
		require.Equal(t, c.group, group)
		require.EqualValues(t, c.size, o.SymbolSize)
		require.Equal(t, [2]uint16{c.z, c.n}, [2]uint16{o.SourceBlocks, o.SubBlocks})
	}
	o, _, err := Derivation{Payload: 1380, Memory: 100_000}.Raptor(1_000_000)
	require.NoError(t, err)
	require.EqualValues(t, 11, o.SubBlocks) // ceil(1454*688/100000)
	for _, c := range []struct {
		d      Derivation
		length uint64
	}{{Derivation{}, 1}, {Derivation{Payload: 1380}, 31}, {Derivation{Payload: 1380}, 1 << 44}, {Derivation{Payload: 65528, Memory: 1}, 1 << 30}} {
		_, _, err := c.d.Raptor(c.length)
		require.ErrorIs(t, err, ErrInvalid)
	}
}
