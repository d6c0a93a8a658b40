package lct_test

import (
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/lct"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err)
	return b
}

// vectors are headers as other senders wrote them, except where noted.
var vectors = []struct {
	name   string
	raw    string // the header
	suffix string // what follows it
	header lct.Header
}{
	{
		"ROUTE service signalling", "12a00503 00000000 00000000 80060001 c20004a7", "00000000",
		lct.Header{PSI: 2, Codepoint: 3, TSI: 0, TOI: 0x80060001, HasTOI: true, TSILen: 4, TOILen: 4, Extensions: []byte{0xc2, 0, 0x04, 0xa7}},
	},
	{
		"ROUTE init segment", "12a00505 00000000 0000000a ffffffff c20003b2", "00000000",
		lct.Header{PSI: 2, Codepoint: 5, TSI: 10, TOI: 0xffffffff, HasTOI: true, TSILen: 4, TOILen: 4, Extensions: []byte{0xc2, 0, 0x03, 0xb2}},
	},
	{
		"ROUTE media segment", "12a00508 00000000 0000000a 00000001 c2022442", "00000000",
		lct.Header{PSI: 2, Codepoint: 8, TSI: 10, TOI: 1, HasTOI: true, TSILen: 4, TOILen: 4, Extensions: []byte{0xc2, 0x02, 0x24, 0x42}},
	},
	{
		"ROUTE low latency", "12a00408 00000000 0000000a 00000002", "00003726 0b5cc3",
		lct.Header{PSI: 2, Codepoint: 8, TSI: 10, TOI: 2, HasTOI: true, TSILen: 4, TOILen: 4},
	},
	{
		"ROUTE file with EXT_FTI", "12a00800 00000000 00000002 00000c9d 40040000 00003500 00000594 00000040", "00000000",
		lct.Header{PSI: 2, TSI: 2, TOI: 3229, HasTOI: true, TSILen: 4, TOILen: 4, Extensions: []byte{0x40, 4, 0, 0, 0, 0, 0x35, 0, 0, 0, 0x05, 0x94, 0, 0, 0, 0x40}},
	},
	{
		"FLUTE FDT", "10100800 00000000 0010 0000 c0100002 40040000 000002be 0000059c 00000040", "00000000",
		lct.Header{TSI: 16, TOI: 0, HasTOI: true, TSILen: 2, TOILen: 2, Extensions: []byte{0xc0, 0x10, 0, 2, 0x40, 4, 0, 0, 0, 0, 0x02, 0xbe, 0, 0, 0x05, 0x9c, 0, 0, 0, 0x40}},
	},
	{
		"FLUTE FDT with EXT_TIME", "10100b00 00000000 0001 0000 c0100001 40040000 000005c5 00000588 000005c0 0203c000 eeab42fe a2a7ce0f", "00000000",
		lct.Header{TSI: 1, TOI: 0, HasTOI: true, TSILen: 2, TOILen: 2, Extensions: []byte{
			0xc0, 0x10, 0, 1, 0x40, 4, 0, 0, 0, 0, 0x05, 0xc5, 0, 0, 0x05, 0x88, 0, 0, 0x05, 0xc0,
			2, 3, 0xc0, 0, 0xee, 0xab, 0x42, 0xfe, 0xa2, 0xa7, 0xce, 0x0f,
		}},
	},
	{
		"FLUTE file", "10100300 00000000 0010 0001", "00000002 cafe",
		lct.Header{TSI: 16, TOI: 1, HasTOI: true, TSILen: 2, TOILen: 2},
	},
	// The following are our own.
	{
		"end of a FLUTE session without TOI", "10820300 00000000 00000010", "",
		lct.Header{CloseSession: true, TSI: 16, TSILen: 4},
	},
	{
		"every field at its widest", "1ff30aff 01020304 05060708 090a0b0c 0d0e0f10 ffffffffffff aabbccddeeff1122334455667788", "00000000",
		lct.Header{
			PSI: 3, Codepoint: 255, CloseSession: true, CloseObject: true, CCI: 0x01020304,
			CCIRest: []byte{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
			TSI:     1<<48 - 1, TOIHigh: 0xaabbccddeeff, TOI: 0x1122334455667788, HasTOI: true, TSILen: 6, TOILen: 14,
		},
	},
	{
		"close object, 64-bit TOI, 64-bit CCI", "16c10700 00000001 00000002 00000003 8000000000000004 00010000", "00000000",
		lct.Header{
			PSI: 2, CloseObject: true, CCI: 1, CCIRest: []byte{0, 0, 0, 2},
			TSI: 3, TOI: 1<<63 + 4, HasTOI: true, TSILen: 4, TOILen: 8, Extensions: []byte{0, 1, 0, 0},
		},
	},
}

func TestUnmarshal(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			raw := unhex(t, v.raw)
			h := lct.Header{HasSCT: true, SCT: 1, CCIRest: []byte{1}, TOI: 99} // left over from the packet before
			n, err := h.Unmarshal(append(raw, unhex(t, v.suffix)...))
			require.NoError(t, err)
			require.Equal(t, len(raw), n)
			if len(h.Extensions) == 0 {
				h.Extensions = nil
			}
			require.Equal(t, v.header, h)
		})
	}
}

func TestAppendTo(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			raw := unhex(t, v.raw)
			b, err := v.header.AppendTo([]byte("before"))
			require.NoError(t, err)
			require.Equal(t, append([]byte("before"), raw...), b)
			require.Equal(t, len(raw), v.header.Len())
		})
	}
}

func TestAppendToChoosesWidths(t *testing.T) {
	for _, c := range []struct {
		name     string
		header   lct.Header
		tsi, toi uint8
	}{
		{"ROUTE by default", lct.Header{TSI: 1, TOI: 2, HasTOI: true}, 4, 4},
		{"no TOI", lct.Header{TSI: 1}, 4, 0},
		{"wide TOI", lct.Header{TSI: 1, TOI: 1 << 32, HasTOI: true}, 4, 8},
		{"wide TSI takes a half word", lct.Header{TSI: 1 << 32, TOI: 2, HasTOI: true}, 6, 2},
		{"both wide", lct.Header{TSI: 1 << 32, TOI: 1 << 16, HasTOI: true}, 6, 6},
		{"both at their widest", lct.Header{TSI: 1<<48 - 1, TOI: 1<<64 - 1, HasTOI: true}, 6, 10},
		{"TOI of 65 bits", lct.Header{TSI: 1, TOIHigh: 1, HasTOI: true}, 4, 12},
		{"TOI of 112 bits", lct.Header{TSI: 1, TSILen: 6, TOIHigh: 1<<48 - 1, HasTOI: true}, 6, 14},
		{"FLUTE by its TSI", lct.Header{TSI: 1, TSILen: 2, TOI: 65535, HasTOI: true}, 2, 2},
		{"FLUTE by its TSI, wider TOI", lct.Header{TSI: 1, TSILen: 2, TOI: 65536, HasTOI: true}, 2, 6},
		{"FLUTE by its TOI", lct.Header{TSI: 1, TOILen: 2, TOI: 5, HasTOI: true}, 6, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := c.header.AppendTo(nil)
			require.NoError(t, err)
			require.Len(t, b, c.header.Len())
			var h lct.Header
			_, err = h.Unmarshal(b)
			require.NoError(t, err)
			require.Equal(t, c.tsi, h.TSILen)
			require.Equal(t, c.toi, h.TOILen)
			require.Equal(t, c.header.TSI, h.TSI)
			require.Equal(t, c.header.TOI, h.TOI)
			require.Equal(t, c.header.TOIHigh, h.TOIHigh)
		})
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  string
		err  error
	}{
		{"nothing", "", lct.ErrShort},
		{"three octets", "12a004", lct.ErrShort},
		{"MMTP", "62000023b04299dc002bdcd50035bc55a400", lct.ErrVersion},
		{"V=0", "00a00408 00000000 00000001 00000002", lct.ErrVersion},
		{"HDR_LEN beyond the packet", "12a00508 00000000 00000001 00000002", lct.ErrTruncated},
		{"HDR_LEN 0", "12a00008 00000000 00000001 00000002", lct.ErrHeaderLen},
		{"HDR_LEN below the fields", "12a00308 00000000 00000001 00000002", lct.ErrHeaderLen},
		{"HDR_LEN below a wide CCI", "1ea00408 00000000 00000001 00000002", lct.ErrHeaderLen},
		{"no TSI", "10200300 00000000 00000001", lct.ErrNoTSI},
		{"neither TSI nor TOI", "10000200 00000000", lct.ErrNoTSI},
		{"payload of one octet", "12a00408 00000000 00000001 00000002 00", lct.ErrPayload},
		{"payload of three octets", "12a00408 00000000 00000001 00000002 000000", lct.ErrPayload},
		{"HEL 0", "12a00508 00000000 00000001 00000002 40000000 00000000", lct.ErrExtension},
		{"HET 127, HEL 0", "12a00508 00000000 00000001 00000002 7f000000", lct.ErrExtension},
		{"HEL past the end", "12a00608 00000000 00000001 00000002 40030000 00000000 00000000", lct.ErrExtension},
		{"HEL past the end, second extension", "12a00608 00000000 00000001 00000002 c2000001 43020000", lct.ErrExtension},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h lct.Header
			_, err := h.Unmarshal(unhex(t, c.raw))
			require.ErrorIs(t, err, c.err)
		})
	}
	short := []error{lct.ErrShort, lct.ErrTruncated, lct.ErrPayload}
	for _, err := range short {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

func TestUnmarshalAccepts(t *testing.T) {
	for _, c := range []struct{ name, raw string }{
		{"an empty packet", "12a20408 00000000 00000001 00000002"},
		{"a FEC Payload ID alone", "12a10508 00000000 00000001 00000002 c2000010 00000010"},
		{"an unknown extension", "12a00608 00000000 00000001 00000002 c7123456 70010000 00000000"},
		{"reserved bits", "12ac0408 00000000 00000001 00000002 00000000"},
		{"PSI 3 of DVB", "13a00408 00000000 00000001 00000002 00000000"},
		{"a payload without TOI", "12800308 00000000 00000001 00000000 aa"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h lct.Header
			_, err := h.Unmarshal(unhex(t, c.raw))
			require.NoError(t, err)
		})
	}
}

// With T and R set, RFC 3451 has two more words before the extensions, where
// RFC 5651 sees extensions at once.
func TestUnmarshalRFC3451(t *testing.T) {
	raw := unhex(t, "101c0600 00000000 00100001 00010fa0 000003e8 c0100002")
	var h lct.Header
	n, err := h.UnmarshalRFC3451(raw)
	require.NoError(t, err)
	require.Equal(t, len(raw), n)
	require.Equal(t, lct.Header{
		TSI: 16, TOI: 1, HasTOI: true, TSILen: 2, TOILen: 2,
		HasSCT: true, SCT: 0x10fa0, HasERT: true, ERT: 1000,
		Extensions: lct.Extensions{0xc0, 0x10, 0, 2},
	}, h)
	b, err := h.AppendTo(nil)
	require.NoError(t, err)
	require.Equal(t, raw, b)

	_, err = h.UnmarshalRFC3451(unhex(t, "101c0400 00000000 00100001 00010fa0"))
	require.ErrorIs(t, err, lct.ErrHeaderLen)

	_, err = h.Unmarshal(raw)
	require.ErrorIs(t, err, lct.ErrExtension)
}

func TestAppendToRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		header lct.Header
		err    error
	}{
		{"PSI of three bits", lct.Header{PSI: 4}, lct.ErrEncode},
		{"half a CCI word", lct.Header{CCIRest: make([]byte, 2)}, lct.ErrEncode},
		{"five CCI words", lct.Header{CCIRest: make([]byte, 16)}, lct.ErrEncode},
		{"TSI of 49 bits", lct.Header{TSI: 1 << 48}, lct.ErrEncode},
		{"TSI too wide for its field", lct.Header{TSI: 1 << 16, TSILen: 2, HasTOI: true}, lct.ErrEncode},
		{"TOI too wide for its field", lct.Header{TOI: 1 << 32, TOILen: 4, HasTOI: true}, lct.ErrEncode},
		{"TOI of 113 bits", lct.Header{TSILen: 6, TOIHigh: 1 << 48, HasTOI: true}, lct.ErrEncode},
		{"TOI of 65 bits in 64", lct.Header{TOIHigh: 1, TOILen: 8, HasTOI: true}, lct.ErrEncode},
		{"odd width", lct.Header{TSILen: 3}, lct.ErrEncode},
		{"widths that disagree on H", lct.Header{TSILen: 4, TOILen: 2, HasTOI: true}, lct.ErrEncode},
		{"16-bit TSI without TOI", lct.Header{TSILen: 2}, lct.ErrEncode},
		{"TOI field of 16 octets", lct.Header{TOILen: 16, HasTOI: true}, lct.ErrEncode},
		{"too many extensions", lct.Header{Extensions: lct.Extensions(nopExtensions(253))}, lct.ErrEncode},
		{"half an extension", lct.Header{Extensions: lct.Extensions{192, 0}}, lct.ErrExtension},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := []byte("before")
			b, err := c.header.AppendTo(before)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, before, b)
		})
	}
	longest := lct.Header{HasTOI: true, Extensions: lct.Extensions(nopExtensions(251))}
	b, err := longest.AppendTo(nil)
	require.NoError(t, err)
	require.Len(t, b, lct.MaxHeaderLen)
}

func nopExtensions(words int) (x []byte) {
	for range words {
		x = append(x, byte(lct.ExtNOP), 1, 0, 0)
	}
	return x
}

func TestCaptures(t *testing.T) {
	for _, name := range captures {
		t.Run(name, func(t *testing.T) {
			packets := capture(t, name)
			require.NotEmpty(t, packets)
			for _, p := range packets {
				var h lct.Header
				n, err := h.Unmarshal(p)
				require.NoError(t, err)
				b, err := h.AppendTo(nil)
				require.NoError(t, err)
				require.Equal(t, p[:n], b, "re-encoded header differs")
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	packet := append(unhex(t, vectors[6].raw), make([]byte, 1400)...)
	dst := make([]byte, 0, 1500)
	var h lct.Header
	var sum int
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n, err := h.Unmarshal(packet)
		if err != nil {
			t.Fatal(err)
		}
		for x := range h.Extensions.All() {
			sum += len(x.Content)
		}
		h.Extensions.TOL()
		h.Extensions.FTI()
		h.Extensions.FDT()
		h.Extensions.CENC()
		h.Extensions.Time()
		h.Extensions.PresentationTime()
		dst, err = h.AppendTo(dst[:0])
		if err != nil || len(dst) != n {
			t.Fatal(err)
		}
	}))
	require.NotZero(t, sum)
}

func FuzzUnmarshal(f *testing.F) {
	for _, v := range vectors {
		f.Add(append(unhex(f, v.raw), unhex(f, v.suffix)...), false)
	}
	for _, name := range captures {
		for i, p := range capture(f, name) {
			if i%8 == 0 {
				f.Add(p[:min(len(p), 80)], i%16 == 0)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, old bool) {
		var h lct.Header
		n, err := unmarshal(&h, b, old)
		if err != nil {
			return
		}
		require.LessOrEqual(t, n, len(b))
		require.Equal(t, n, h.Len())
		for x := range h.Extensions.All() {
			if x.Type >= 128 {
				require.Len(t, x.Content, 3)
			} else {
				require.Equal(t, 2, len(x.Content)%4)
			}
		}
		re, err := h.AppendTo(nil)
		require.NoError(t, err)
		require.Len(t, re, n)
		// Reserved bits are the only ones that may change.
		want := append([]byte(nil), b[:n]...)
		if old {
			require.Equal(t, want, re)
		} else {
			want[1] &^= 0x0c
			require.Equal(t, want, re)
		}
		var again lct.Header
		_, err = unmarshal(&again, re, old)
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

func unmarshal(h *lct.Header, b []byte, old bool) (int, error) {
	if old {
		return h.UnmarshalRFC3451(b)
	}
	return h.Unmarshal(b)
}

func BenchmarkUnmarshal(b *testing.B) {
	for _, v := range vectors[:9] {
		b.Run(strings.ReplaceAll(v.name, " ", "-"), func(b *testing.B) {
			packet := append(unhex(b, v.raw), make([]byte, 1400)...)
			var h lct.Header
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Unmarshal(packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendTo(b *testing.B) {
	h := vectors[2].header
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = h.AppendTo(dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
