package fec

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

var ftiCases = []struct {
	name string
	raw  string
	info ObjectInfo
}{
	{"no-code", "000000012345" + "0000" + "0400" + "00000040",
		ObjectInfo{ID: CompactNoCode, TransferLength: 0x12345, SymbolSize: 1024, MaxBlock: 64}},
	{"no-code, empty object", "000000000000" + "0000" + "0400" + "00000040",
		ObjectInfo{ID: CompactNoCode, SymbolSize: 1024, MaxBlock: 64}},
	{"Reed-Solomon", "00000000ffff" + "0578" + "20" + "28",
		ObjectInfo{ID: ReedSolomonGF256, TransferLength: 0xffff, SymbolSize: 1400, MaxBlock: 32, MaxSymbols: 40}},
	{"small block", "010000000000" + "0001" + "ffff" + "ffff" + "ffff",
		ObjectInfo{ID: SmallBlockSystematic, TransferLength: 1 << 40, Instance: 1, SymbolSize: 65535, MaxBlock: 65535, MaxSymbols: 65535}},
	{"Raptor", "100000000000" + "0000" + "fffc" + "ffff" + "02" + "04",
		ObjectInfo{ID: Raptor, TransferLength: 1 << 44, SymbolSize: 65532, SourceBlocks: 65535, SubBlocks: 2, Alignment: 4}},
	{"Reed-Solomon over GF(2^m)", "00000000ffff" + "08" + "03" + "0578" + "0020" + "0028",
		ObjectInfo{ID: ReedSolomonGF2M, TransferLength: 0xffff, SymbolSize: 1400, MaxBlock: 32, MaxSymbols: 40, Group: 3}},
	{"LDPC-Staircase", "000000100000" + "0400" + "65" + "12" + "345" + "23456" + "12345678",
		ObjectInfo{ID: LDPCStaircase, TransferLength: 1 << 20, SymbolSize: 1024, MaxBlock: 0x12345, MaxSymbols: 0x23456,
			Group: 5, N1m3: 3, Seed: 0x12345678}},
	{"RaptorQ", "000000a400" + "00" + "0520" + "01" + "0001" + "08" + "0000",
		ObjectInfo{ID: RaptorQ, TransferLength: 41984, SymbolSize: 1312, SourceBlocks: 1, SubBlocks: 1, Alignment: 8}},
	{"small block with instance data", "000000000100" + "0000" + "0010" + "0008" + "000c" + "02" + "01020304050607",
		ObjectInfo{ID: SmallBlockSystematic, TransferLength: 256, SymbolSize: 16, MaxBlock: 8, MaxSymbols: 12,
			InstanceInfo: []byte{1, 2, 3, 4, 5, 6, 7}}},
}

func TestObjectFTI(t *testing.T) {
	for _, c := range ftiCases {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.raw)
			got, err := ParseObjectFTI(c.info.ID, raw)
			require.NoError(t, err)
			require.Equal(t, c.info, got)
			b, err := c.info.AppendFTI(nil)
			require.NoError(t, err)
			require.Equal(t, raw, b)
			for n := range raw {
				_, err := ParseObjectFTI(c.info.ID, raw[:n])
				if n == 14 && c.info.ID == SmallBlockSystematic { // the instance data are optional
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				}
			}
			if c.info.ID != SmallBlockSystematic {
				_, err = ParseObjectFTI(c.info.ID, append(raw, 0))
				require.ErrorIs(t, err, ErrInvalid)
			}
		})
	}
}

// A scheme-specific length of zero stands for a word of nothing.
func TestObjectFTIWithoutInstanceData(t *testing.T) {
	o, err := ParseObjectFTI(SmallBlockSystematic, unhex(t, "000000000100"+"0000"+"0010"+"0008"+"000c"+"00000000"))
	require.NoError(t, err)
	require.Empty(t, o.InstanceInfo)
	_, err = ParseObjectFTI(SmallBlockSystematic, unhex(t, "000000000100"+"0000"+"0010"+"0008"+"000c"+"0000000000"))
	require.ErrorIs(t, err, ErrInvalid)
}

func TestObjectInfoValidate(t *testing.T) {
	noCode := ObjectInfo{ID: CompactNoCode, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20}
	rs := ObjectInfo{ID: ReedSolomonGF256, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30}
	small := ObjectInfo{ID: SmallBlockSystematic, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30}
	ldpc := ObjectInfo{ID: LDPCStaircase, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30, Seed: 1}
	raptor := ObjectInfo{ID: Raptor, TransferLength: 5000, SymbolSize: 100, SourceBlocks: 1, SubBlocks: 1, Alignment: 4}
	raptorq := ObjectInfo{ID: RaptorQ, TransferLength: 50000, SymbolSize: 100, SourceBlocks: 1, SubBlocks: 1, Alignment: 4}
	for _, c := range []struct {
		name   string
		base   ObjectInfo
		change func(*ObjectInfo)
	}{
		{"E zero", noCode, func(o *ObjectInfo) { o.SymbolSize = 0 }},
		{"B zero", noCode, func(o *ObjectInfo) { o.MaxBlock = 0 }},
		{"L of 49 bits", noCode, func(o *ObjectInfo) { o.TransferLength = 1 << 48 }},
		{"max_n without code", noCode, func(o *ObjectInfo) { o.MaxSymbols = 30 }},
		{"instance without code", noCode, func(o *ObjectInfo) { o.Instance = 1 }},
		{"more than 65536 blocks", noCode, func(o *ObjectInfo) { o.TransferLength = 100*20*65536 + 1 }},
		{"more than 65536 symbols", noCode, func(o *ObjectInfo) { o.TransferLength, o.MaxBlock = 100*65536+1, 1<<20 }},
		{"max_n of 256", rs, func(o *ObjectInfo) { o.MaxSymbols = 256 }},
		{"B above max_n", rs, func(o *ObjectInfo) { o.MaxBlock = 31 }},
		{"B of 17 bits", small, func(o *ObjectInfo) { o.MaxBlock = 1 << 16 }},
		{"ragged instance data", small, func(o *ObjectInfo) { o.InstanceInfo = []byte{1} }},
		{"max_n of 256 with Reed-Solomon", small, func(o *ObjectInfo) { o.MaxSymbols = 256 }},
		{"max_n of 17 bits", small, func(o *ObjectInfo) { o.Instance, o.MaxSymbols = 3, 1<<16 }},
		{"a parameter of another scheme", rs, func(o *ObjectInfo) { o.Seed = 1 }},
		{"G above 31", ldpc, func(o *ObjectInfo) { o.Group = 32 }},
		{"N1m3 above 7", ldpc, func(o *ObjectInfo) { o.N1m3 = 8 }},
		{"seed zero", ldpc, func(o *ObjectInfo) { o.Seed = 0 }},
		{"seed too large", ldpc, func(o *ObjectInfo) { o.Seed = 1<<31 - 1 }},
		{"max_n of 21 bits", ldpc, func(o *ObjectInfo) { o.MaxSymbols = 1 << 20 }},
		{"more than 4096 blocks", ldpc, func(o *ObjectInfo) { o.TransferLength = 100*20*4096 + 1 }},
		{"L of 46 bits", raptor, func(o *ObjectInfo) { o.TransferLength = 1 << 45 }},
		{"three symbols", raptor, func(o *ObjectInfo) { o.TransferLength = 300 }},
		{"8193 symbols", raptor, func(o *ObjectInfo) { o.TransferLength = 819201 }},
		{"N above 255", raptor, func(o *ObjectInfo) { o.SymbolSize, o.SubBlocks = 2000, 256 }},
		{"Z above 255", raptorq, func(o *ObjectInfo) { o.SourceBlocks = 256 }},
		{"Z zero", raptorq, func(o *ObjectInfo) { o.SourceBlocks = 0 }},
		{"long instance data", small, func(o *ObjectInfo) { o.InstanceInfo = make([]byte, 1023) }},
	} {
		require.NoError(t, c.base.Validate())
		o := c.base
		c.change(&o)
		require.ErrorIs(t, o.Validate(), ErrInvalid, c.name)
		_, err := o.AppendFTI(nil)
		require.ErrorIs(t, err, ErrInvalid, c.name)
	}
	for _, id := range []EncodingID{LDPCTriangle, SmallLargeExpandable, Compact, 77} {
		require.False(t, id.Supported())
		o := ObjectInfo{ID: id, SymbolSize: 1, MaxBlock: 1}
		require.ErrorIs(t, o.Validate(), ErrUnsupported)
		_, err := ParseObjectFTI(id, make([]byte, 14))
		require.ErrorIs(t, err, ErrUnsupported)
	}
}

// RFC 5052 section 9.1: large blocks first, and only the end is short.
func TestObjectInfoBlock(t *testing.T) {
	o := ObjectInfo{ID: CompactNoCode, TransferLength: 10*100 - 7, SymbolSize: 100, MaxBlock: 4}
	require.EqualValues(t, 3, o.Blocks())
	for sbn, want := range [][3]uint64{{4, 0, 400}, {3, 400, 300}, {3, 700, 293}, {0, 0, 0}} {
		k, offset, length := o.Block(uint32(sbn))
		require.Equal(t, want, [3]uint64{uint64(k), offset, length})
	}
}

func TestEncodingSymbols(t *testing.T) {
	o := ObjectInfo{ID: ReedSolomonGF256, TransferLength: 5000, SymbolSize: 100, MaxBlock: 20, MaxSymbols: 30}
	require.Equal(t, 30, o.EncodingSymbols(20))
	require.Equal(t, 25, o.EncodingSymbols(17))
	require.Equal(t, 1, o.EncodingSymbols(1))
	require.Equal(t, 99, o.EncodingSymbols(99))
	require.Equal(t, -1, o.EncodingSymbols(-1))
	for id, want := range map[EncodingID]int{CompactNoCode: 20, Raptor: 1 << 16, RaptorQ: 1 << 24, 200: 20} {
		o := ObjectInfo{ID: id, MaxBlock: 20}
		require.Equal(t, want, o.EncodingSymbols(20))
	}
}

// The same information in the two forms, and what FDTs add to it.
func TestAttributes(t *testing.T) {
	for _, c := range ftiCases {
		t.Run(c.name, func(t *testing.T) {
			a, err := c.info.Attributes()
			require.NoError(t, err)
			got, err := a.Info()
			require.NoError(t, err)
			require.Equal(t, c.info, got)
		})
	}
	ldpc := ftiCases[6].info
	a, err := ldpc.Attributes()
	require.NoError(t, err)
	require.Equal(t, unhex(t, "1234567865"), a.SchemeSpecific) // RFC 5170 section 4.2.4.2

	// Neither m nor G given, or either (RFC 5510 section 4.2.4.2).
	a = Attributes{EncodingID: 2, TransferLength: 100, MaxSourceBlockLength: 10, EncodingSymbolLength: 10, MaxEncodingSymbols: 20}
	for specific, group := range map[string]uint8{"": 1, "0000": 1, "0800": 1, "0004": 4, "0804": 4} {
		a.SchemeSpecific = unhex(t, specific)
		o, err := a.Info()
		require.NoError(t, err)
		require.Equal(t, group, o.Group)
	}
	a.SchemeSpecific = []byte{16, 1}
	_, err = a.Info()
	require.ErrorIs(t, err, ErrUnsupported)

	for _, a := range []Attributes{
		{EncodingID: 0, TransferLength: 1, MaxSourceBlockLength: 1, EncodingSymbolLength: 1 << 16},
		{EncodingID: 0, TransferLength: 1, MaxSourceBlockLength: 1, EncodingSymbolLength: 1, SchemeSpecific: []byte{1}},
		{EncodingID: 1, TransferLength: 100, EncodingSymbolLength: 4, SchemeSpecific: []byte{0, 1, 1}},
		{EncodingID: 2, TransferLength: 1, MaxSourceBlockLength: 1, EncodingSymbolLength: 1, MaxEncodingSymbols: 2, SchemeSpecific: []byte{8}},
		{EncodingID: 3, TransferLength: 1, MaxSourceBlockLength: 1, EncodingSymbolLength: 1, MaxEncodingSymbols: 2},
		{EncodingID: 3, TransferLength: 1, MaxSourceBlockLength: 1, EncodingSymbolLength: 1, MaxEncodingSymbols: 2, SchemeSpecific: make([]byte, 5)},
		{EncodingID: 6, TransferLength: 1, EncodingSymbolLength: 4, SchemeSpecific: []byte{1}},
	} {
		_, err := a.Info()
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err = (&Attributes{EncodingID: 4}).Info()
	require.ErrorIs(t, err, ErrUnsupported)
	bad := ObjectInfo{ID: 4}
	_, err = bad.Attributes()
	require.ErrorIs(t, err, ErrUnsupported)
}

// An OTI in an EXT_FTI with m other than 8 is well-formed, and of no use here.
func TestOtherFields(t *testing.T) {
	_, err := ParseObjectFTI(ReedSolomonGF2M, unhex(t, "00000000ffff"+"10"+"03"+"0578"+"0020"+"0028"))
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = ParseObjectFTI(LDPCStaircase, unhex(t, "000000100000"+"0400"+"60"+"12"+"345"+"23456"+"12345678"))
	require.ErrorIs(t, err, ErrInvalid) // G is zero
}

// OTIs are checked on packets.
func TestValidateDoesNotAllocate(t *testing.T) {
	oti := OTI{TransferLength: 5000, SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if oti.Validate() != nil {
			panic("invalid")
		}
		oti.Block(0)
	}))
}

func TestGroupSize(t *testing.T) {
	for _, c := range []struct {
		info ObjectInfo
		want int
	}{
		{ObjectInfo{ID: CompactNoCode}, 1}, {ObjectInfo{ID: LDPCStaircase}, 1}, {ObjectInfo{ID: LDPCStaircase, Group: 7}, 7},
		{ObjectInfo{ID: Raptor}, 1 << 16}, {ObjectInfo{ID: 200}, 1},
	} {
		require.Equal(t, c.want, c.info.GroupSize())
	}
}

func FuzzAttributes(f *testing.F) {
	for _, c := range ftiCases {
		a, err := c.info.Attributes()
		require.NoError(f, err)
		f.Add(a.EncodingID, a.InstanceID, a.TransferLength, a.MaxSourceBlockLength, a.EncodingSymbolLength, a.MaxEncodingSymbols, a.SchemeSpecific)
	}
	f.Fuzz(func(t *testing.T, id uint8, instance uint16, length uint64, b, e, n uint32, specific []byte) {
		o, err := (&Attributes{id, instance, length, b, e, n, specific}).Info()
		if err != nil {
			require.Zero(t, o)
			return
		}
		a, err := o.Attributes()
		require.NoError(t, err)
		again, err := a.Info()
		require.NoError(t, err)
		require.Equal(t, o, again)
		covers(t, o.TransferLength, func(i uint64) (int, uint64, uint64) { return o.Block(uint32(i)) },
			uint64(o.SymbolSize), 1<<20)
	})
}

func FuzzParseObjectFTI(f *testing.F) {
	for _, c := range ftiCases {
		f.Add(uint8(c.info.ID), unhex(f, c.raw))
	}
	f.Fuzz(func(t *testing.T, id uint8, b []byte) {
		o, err := ParseObjectFTI(EncodingID(id), b)
		if err != nil {
			require.Zero(t, o)
			return
		}
		raw, err := o.AppendFTI(nil)
		require.NoError(t, err)
		again, err := ParseObjectFTI(o.ID, raw)
		require.NoError(t, err)
		require.Equal(t, o, again)
		covers(t, o.TransferLength, func(i uint64) (int, uint64, uint64) { return o.Block(uint32(i)) },
			uint64(o.SymbolSize), 1<<20)
	})
}
