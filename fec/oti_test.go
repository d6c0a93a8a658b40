package fec

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

type objects struct {
	OTI []struct {
		Cases []struct {
			F     uint64
			T, N  uint16
			Z, Al uint8
			Hex   string
		}
	}
	SubBlocks []struct {
		K, T    int
		N       uint16
		Al      uint8
		Seed    uint64
		Symbol0 string
		Symbol1 string
		Repair  map[uint32]string
	} `json:"sub_blocks"`
	Partition []struct {
		I, J   uint64
		Result [4]uint64 `json:"IL_IS_JL_JS"`
	}
}

func loadObjects(t testing.TB) objects {
	b, err := os.ReadFile("testdata/rfc6330_objects.json")
	require.NoError(t, err)
	var v objects
	require.NoError(t, json.Unmarshal(b, &v))
	return v
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestOTI(t *testing.T) {
	cases := loadObjects(t).OTI[0].Cases
	require.Len(t, cases, 5)
	for _, c := range cases {
		o := OTI{TransferLength: c.F, SymbolSize: c.T, SourceBlocks: c.Z, SubBlocks: c.N, Alignment: c.Al}
		require.NoError(t, o.Validate())
		raw := unhex(t, c.Hex)
		require.Equal(t, raw, AppendOTI(nil, o))
		got, err := ParseOTI(raw)
		require.NoError(t, err)
		require.Equal(t, o, got)

		fti := o.AppendFTI(nil)
		require.Len(t, fti, 14)
		got, err = ParseFTI(fti)
		require.NoError(t, err)
		require.Equal(t, o, got)

		got, err = ParseSchemeSpecific(c.F, c.T, o.AppendSchemeSpecific(nil))
		require.NoError(t, err)
		require.Equal(t, o, got)
	}
}

func TestOTIReservedOctetIsIgnored(t *testing.T) {
	o, err := ParseOTI(unhex(t, "00000000a4ff052001000108"))
	require.NoError(t, err)
	require.EqualValues(t, 0xa4, o.TransferLength)
}

func TestOTILength(t *testing.T) {
	good := OTI{TransferLength: 5000, SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8}
	for _, c := range []struct {
		whole []byte
		parse func([]byte) error
	}{
		{AppendOTI(nil, good), func(b []byte) error { _, err := ParseOTI(b); return err }},
		{good.AppendFTI(nil), func(b []byte) error { _, err := ParseFTI(b); return err }},
		{good.AppendSchemeSpecific(nil), func(b []byte) error { _, err := ParseSchemeSpecific(5000, 1344, b); return err }},
	} {
		for n := range c.whole {
			require.ErrorIs(t, c.parse(c.whole[:n]), io.ErrUnexpectedEOF)
		}
		require.NoError(t, c.parse(c.whole))
		require.ErrorIs(t, c.parse(append(c.whole, 0)), ErrInvalid)
	}
}

func TestOTIValidate(t *testing.T) {
	good := OTI{TransferLength: 5000, SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8}
	require.NoError(t, good.Validate())
	for name, change := range map[string]func(*OTI){
		"T zero":                      func(o *OTI) { o.SymbolSize = 0 },
		"Z zero":                      func(o *OTI) { o.SourceBlocks = 0 },
		"N zero":                      func(o *OTI) { o.SubBlocks = 0 },
		"Al zero":                     func(o *OTI) { o.Alignment = 0 },
		"T no multiple of Al":         func(o *OTI) { o.Alignment = 5 },
		"more sub-blocks than T/Al":   func(o *OTI) { o.SubBlocks = 169 },
		"more blocks than symbols":    func(o *OTI) { o.SourceBlocks = 5 },
		"too many symbols in a block": func(o *OTI) { o.TransferLength = 1344*56403 + 1 },
		"F above the erratum's limit": func(o *OTI) {
			*o = OTI{TransferLength: 942574504276, SymbolSize: 65535, SourceBlocks: 255, SubBlocks: 1, Alignment: 1}
		},
	} {
		o := good
		change(&o)
		require.ErrorIs(t, o.Validate(), ErrInvalid, name)
	}
}

func TestOTIBlock(t *testing.T) {
	o := OTI{TransferLength: 10*100 - 7, SymbolSize: 100, SourceBlocks: 3, SubBlocks: 1, Alignment: 4}
	require.NoError(t, o.Validate())
	for sbn, want := range [][3]uint64{{4, 0, 400}, {3, 400, 300}, {3, 700, 293}, {0, 0, 0}} {
		k, offset, length := o.Block(uint8(sbn))
		require.Equal(t, want, [3]uint64{uint64(k), offset, length})
	}
	// An empty object, or one of any length, has no blocks.
	o.TransferLength = 0
	require.NoError(t, o.Validate())
	k, _, _ := o.Block(0)
	require.Zero(t, k)
}

func TestPartition(t *testing.T) {
	for _, c := range loadObjects(t).Partition {
		il, is, jl, js := Partition(c.I, c.J)
		require.Equal(t, c.Result, [4]uint64{il, is, jl, js})
	}
	il, is, jl, js := Partition(5, 0)
	require.Equal(t, [4]uint64{}, [4]uint64{il, is, jl, js})
}

func FuzzParseOTI(f *testing.F) {
	for _, c := range loadObjects(f).OTI[0].Cases {
		f.Add(unhex(f, c.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOTI(b)
		if err != nil {
			require.Zero(t, o)
			return
		}
		again, err := ParseOTI(AppendOTI(nil, o))
		require.NoError(t, err)
		require.Equal(t, o, again)
		covers(t, o.TransferLength, func(i uint64) (int, uint64, uint64) {
			if i > 255 {
				return 0, 0, 0
			}
			return o.Block(uint8(i))
		}, uint64(o.SymbolSize), maxBlockSymbols)
	})
}

// covers checks that the blocks follow each other and make up the object. It
// looks at no more than the first 300.
func covers(t *testing.T, total uint64, block func(uint64) (int, uint64, uint64), size uint64, maxK int) {
	next := uint64(0)
	for i := range uint64(300) {
		k, offset, length := block(i)
		if k == 0 {
			require.Equal(t, total, next)
			return
		}
		require.LessOrEqual(t, k, maxK)
		require.Equal(t, next, offset)
		require.Equal(t, uint64(k), ceilDiv(length, size))
		next += length
	}
}
