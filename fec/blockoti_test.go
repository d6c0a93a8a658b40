package fec

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

var blockOTICases = []struct {
	name string
	raw  string
	oti  BlockOTI
}{
	{"no-code", "000000012345" + "0000" + "0400" + "00000040",
		BlockOTI{ID: CompactNoCode, TransferLength: 0x12345, SymbolSize: 1024, MaxBlock: 64}},
	{"no-code, empty object", "000000000000" + "0000" + "0400" + "00000040",
		BlockOTI{ID: CompactNoCode, SymbolSize: 1024, MaxBlock: 64}},
	{"Reed-Solomon", "00000000ffff" + "0578" + "20" + "28",
		BlockOTI{ID: ReedSolomonGF256, TransferLength: 0xffff, SymbolSize: 1400, MaxBlock: 32, MaxSymbols: 40}},
	{"small block", "010000000000" + "0001" + "ffff" + "ffff" + "ffff",
		BlockOTI{ID: SmallBlockSystematic, TransferLength: 1 << 40, Instance: 1, SymbolSize: 65535, MaxBlock: 65535, MaxSymbols: 65535}},
	{"small block with instance data", "000000000100" + "0000" + "0010" + "0008" + "000c" + "02" + "01020304050607",
		BlockOTI{ID: SmallBlockSystematic, TransferLength: 256, SymbolSize: 16, MaxBlock: 8, MaxSymbols: 12,
			SchemeSpecific: []byte{1, 2, 3, 4, 5, 6, 7}}},
}

func TestBlockFTI(t *testing.T) {
	for _, c := range blockOTICases {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.raw)
			got, err := ParseBlockFTI(c.oti.ID, raw)
			require.NoError(t, err)
			require.Equal(t, c.oti, got)
			b, err := c.oti.AppendFTI(nil)
			require.NoError(t, err)
			require.Equal(t, raw, b)
			for n := range raw {
				_, err := ParseBlockFTI(c.oti.ID, raw[:n])
				if n == 14 { // the instance data are optional
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				}
			}
			if c.oti.ID != SmallBlockSystematic {
				_, err = ParseBlockFTI(c.oti.ID, append(raw, 0))
				require.ErrorIs(t, err, ErrInvalid)
			}
		})
	}
}

// A scheme-specific length of zero stands for a word of nothing.
func TestBlockFTIWithoutInstanceData(t *testing.T) {
	o, err := ParseBlockFTI(SmallBlockSystematic, unhex(t, "000000000100"+"0000"+"0010"+"0008"+"000c"+"00000000"))
	require.NoError(t, err)
	require.Empty(t, o.SchemeSpecific)
	_, err = ParseBlockFTI(SmallBlockSystematic, unhex(t, "000000000100"+"0000"+"0010"+"0008"+"000c"+"0000000000"))
	require.ErrorIs(t, err, ErrInvalid)
}

func TestBlockOTIValidate(t *testing.T) {
	noCode := BlockOTI{ID: CompactNoCode, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20}
	rs := BlockOTI{ID: ReedSolomonGF256, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30}
	small := BlockOTI{ID: SmallBlockSystematic, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30}
	for _, c := range []struct {
		name   string
		base   BlockOTI
		change func(*BlockOTI)
	}{
		{"E zero", noCode, func(o *BlockOTI) { o.SymbolSize = 0 }},
		{"B zero", noCode, func(o *BlockOTI) { o.MaxBlock = 0 }},
		{"L of 49 bits", noCode, func(o *BlockOTI) { o.TransferLength = 1 << 48 }},
		{"max_n without code", noCode, func(o *BlockOTI) { o.MaxSymbols = 30 }},
		{"instance without code", noCode, func(o *BlockOTI) { o.Instance = 1 }},
		{"more than 65536 blocks", noCode, func(o *BlockOTI) { o.TransferLength = 100*20*65536 + 1 }},
		{"more than 65536 symbols", noCode, func(o *BlockOTI) { o.TransferLength, o.MaxBlock = 100*65536+1, 1<<20 }},
		{"max_n of 256", rs, func(o *BlockOTI) { o.MaxSymbols = 256 }},
		{"B above max_n", rs, func(o *BlockOTI) { o.MaxBlock = 31 }},
		{"B of 17 bits", small, func(o *BlockOTI) { o.MaxBlock = 1 << 16 }},
		{"ragged instance data", small, func(o *BlockOTI) { o.SchemeSpecific = []byte{1} }},
		{"long instance data", small, func(o *BlockOTI) { o.SchemeSpecific = make([]byte, 1023) }},
	} {
		require.NoError(t, c.base.Validate())
		o := c.base
		c.change(&o)
		require.ErrorIs(t, o.Validate(), ErrInvalid, c.name)
		_, err := o.AppendFTI(nil)
		require.ErrorIs(t, err, ErrInvalid, c.name)
	}
	for _, id := range []EncodingID{Raptor, ReedSolomonGF2M, RaptorQ, SmallLargeExpandable, Compact, 77} {
		o := BlockOTI{ID: id, SymbolSize: 1, MaxBlock: 1}
		require.ErrorIs(t, o.Validate(), ErrUnsupported)
		_, err := ParseBlockFTI(id, make([]byte, 14))
		require.ErrorIs(t, err, ErrUnsupported)
	}
}

// RFC 5052 section 9.1: large blocks first, and only the end is short.
func TestBlockOTIBlock(t *testing.T) {
	o := BlockOTI{ID: CompactNoCode, TransferLength: 10*100 - 7, SymbolSize: 100, MaxBlock: 4}
	require.EqualValues(t, 3, o.Blocks())
	for sbn, want := range [][3]uint64{{4, 0, 400}, {3, 400, 300}, {3, 700, 293}, {0, 0, 0}} {
		k, offset, length := o.Block(uint32(sbn))
		require.Equal(t, want, [3]uint64{uint64(k), offset, length})
	}
}

func TestEncodingSymbols(t *testing.T) {
	o := BlockOTI{ID: ReedSolomonGF256, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30}
	require.Equal(t, 30, o.EncodingSymbols(20))
	require.Equal(t, 25, o.EncodingSymbols(17))
	require.Equal(t, 1, o.EncodingSymbols(1))
	require.Equal(t, 99, o.EncodingSymbols(99))
	require.Equal(t, -1, o.EncodingSymbols(-1))
}

func FuzzParseBlockFTI(f *testing.F) {
	for _, c := range blockOTICases {
		f.Add(uint8(c.oti.ID), unhex(f, c.raw))
	}
	f.Fuzz(func(t *testing.T, id uint8, b []byte) {
		o, err := ParseBlockFTI(EncodingID(id), b)
		if err != nil {
			require.Zero(t, o)
			return
		}
		raw, err := o.AppendFTI(nil)
		require.NoError(t, err)
		again, err := ParseBlockFTI(o.ID, raw)
		require.NoError(t, err)
		require.Equal(t, o, again)
		covers(t, o.TransferLength, func(i uint64) (int, uint64, uint64) { return o.Block(uint32(i)) },
			uint64(o.SymbolSize), 1<<16)
	})
}
