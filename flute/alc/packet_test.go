package alc_test

import (
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err)
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range []struct {
		name, raw string
		id        fec.PayloadID
		symbols   string
		info      fec.ObjectInfo
	}{
		// Of captures.
		{
			"FDT", "10100800 00000000 00100000 c0100002 40040000 000002be 0000059c 00000040 00000000 3c", fec.PayloadID{}, "3c",
			fec.ObjectInfo{TransferLength: 702, SymbolSize: 1436, MaxBlock: 64},
		},
		{"file", "10100300 00000000 00100001 00000002 cafe", fec.PayloadID{ESI: 2}, "cafe", fec.ObjectInfo{}},
		// By the figures of the RFCs.
		{"Raptor", "10100301 00000000 00100001 00030005 aa", fec.PayloadID{SBN: 3, ESI: 5}, "aa", fec.ObjectInfo{}},
		{"Reed-Solomon of RFC 5510", "10100305 00000000 00100001 00000307 aa", fec.PayloadID{SBN: 3, ESI: 7}, "aa", fec.ObjectInfo{}},
		{"LDPC-Staircase", "10100303 00000000 00100001 00300007 aa", fec.PayloadID{SBN: 3, ESI: 7}, "aa", fec.ObjectInfo{}},
		{
			"RaptorQ", "10100706 00000000 00100001 40040000 0003e800 00080100 01040000 03000007 aa", fec.PayloadID{SBN: 3, ESI: 7}, "aa",
			fec.ObjectInfo{ID: fec.RaptorQ, TransferLength: 1000, SymbolSize: 8, SourceBlocks: 1, SubBlocks: 1, Alignment: 4},
		},
		{"Small Block Systematic", "10100381 00000000 00100001 00000003 00400007 aa", fec.PayloadID{SBN: 3, ESI: 7, SBL: 64}, "aa", fec.ObjectInfo{}},
		{"no symbols", "10110300 00000000 00100001 00000002", fec.PayloadID{ESI: 2}, "", fec.ObjectInfo{}},
	} {
		t.Run(v.name, func(t *testing.T) {
			var p alc.Packet
			require.NoError(t, p.Unmarshal(unhex(t, v.raw)))
			require.True(t, p.HasID)
			require.Equal(t, v.id, p.ID)
			require.Equal(t, v.symbols, hex.EncodeToString(p.Symbols))
			info, ok, err := p.ObjectInfo()
			require.NoError(t, err)
			require.Equal(t, v.info.SymbolSize > 0, ok)
			require.Equal(t, v.info, info)
			b, err := p.AppendTo([]byte("before"))
			require.NoError(t, err)
			require.Equal(t, append([]byte("before"), unhex(t, v.raw)...), b)
			require.Equal(t, len(b)-6, p.Len())
			if ok {
				x, err := alc.AppendFTI(nil, &info)
				require.NoError(t, err)
				body, _ := p.Extensions.FTI()
				again, _ := x.FTI()
				require.Equal(t, body, again)
			}
		})
	}
}

func TestEmptyPacket(t *testing.T) {
	var p alc.Packet
	require.NoError(t, p.Unmarshal(unhex(t, "10820300 00000000 00000010")))
	require.False(t, p.HasID)
	require.False(t, p.HasTOI)
	require.True(t, p.CloseSession)
	b, err := p.AppendTo(nil)
	require.NoError(t, err)
	require.Equal(t, "108203000000000000000010", hex.EncodeToString(b))
}

func TestUnmarshalRefuses(t *testing.T) {
	var p alc.Packet
	err := p.Unmarshal(unhex(t, "101003fe 00000000 00100001 00000002 aa"))
	require.ErrorIs(t, err, alc.ErrScheme)
	require.ErrorIs(t, err, fec.ErrUnsupported)
	require.Equal(t, uint64(1), p.TOI, "the header is valid")
	require.NoError(t, p.UnmarshalScheme(unhex(t, "101003fe 00000000 00100001 00000002 aa"), fec.RaptorQ))
	require.ErrorIs(t, p.Unmarshal(unhex(t, "10100381 00000000 00100001 00000002 0001")), alc.ErrPayloadID)
	require.ErrorIs(t, p.Unmarshal(unhex(t, "62000023")), lct.ErrVersion)
	require.NoError(t, p.UnmarshalRFC3451(unhex(t, "101c0500 00000000 00100001 00010fa0 000003e8 00000007 aa")))
	require.Equal(t, fec.PayloadID{ESI: 7}, p.ID)
	require.Equal(t, uint32(1000), p.ERT)
}

func TestAppendToRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		packet alc.Packet
		err    error
	}{
		"symbols without ID": {alc.Packet{Symbols: []byte{1}}, fec.ErrInvalid},
		"unknown scheme":     {alc.Packet{Scheme: 200, HasID: true}, alc.ErrScheme},
		"SBN of 9 bits":      {alc.Packet{Scheme: fec.RaptorQ, HasID: true, ID: fec.PayloadID{SBN: 256}}, fec.ErrInvalid},
		"TSI of 49 bits":     {alc.Packet{Header: lct.Header{TSI: 1 << 48}}, lct.ErrEncode},
	} {
		b, err := c.packet.AppendTo([]byte("before"))
		require.ErrorIs(t, err, c.err, name)
		require.Equal(t, "before", string(b), name)
	}
}

func TestCaptures(t *testing.T) {
	for _, name := range []string{"gpac-mabr-flute.pcap", "libflute-etag.pcap", "libflute-gzip.pcap", "libflute-plain.pcap"} {
		for i, c := range flutetest.Capture(t, filepath.Join("..", "testdata", name)) {
			var p alc.Packet
			require.NoError(t, p.Unmarshal(c.Payload), "%s: packet %d", name, i)
			_, _, err := p.ObjectInfo()
			require.NoError(t, err, "%s: packet %d", name, i)
			b, err := p.AppendTo(nil)
			require.NoError(t, err)
			require.Equal(t, c.Payload, b, "%s: packet %d", name, i)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, name := range []string{"gpac-mabr-flute.pcap", "libflute-etag.pcap"} {
		for i, p := range flutetest.Capture(f, filepath.Join("..", "testdata", name)) {
			if i%8 == 0 {
				f.Add(p.Payload[:min(len(p.Payload), 80)])
			}
		}
	}
	f.Add(unhex(f, "10100706 00000000 00100001 40040000 0003e800 00080100 01040000 03000007 aa"))
	f.Add(unhex(f, "10100381 00000000 00100001 00000003 00400007 aa"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p alc.Packet
		if err := p.Unmarshal(b); err != nil {
			return
		}
		info, ok, err := p.ObjectInfo()
		if ok && err == nil {
			require.NoError(t, info.Validate())
		}
		out, err := p.AppendTo(nil)
		require.NoError(t, err)
		require.Equal(t, len(b), len(out))
		var again alc.Packet
		require.NoError(t, again.Unmarshal(out))
		require.Equal(t, p, again)
	})
}

func TestAllocations(t *testing.T) {
	good := append(unhex(t, "10100300 00000000 00100001 00000002"), make([]byte, 1400)...)
	bad := append(unhex(t, "101003fe 00000000 00100001 00000002"), make([]byte, 1400)...)
	dst := make([]byte, 0, 1500)
	var p alc.Packet
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := p.Unmarshal(bad); !errors.Is(err, alc.ErrScheme) {
			t.Fatal(err)
		}
		if err := p.Unmarshal(good); err != nil {
			t.Fatal(err)
		}
		var err error
		if dst, err = p.AppendTo(dst[:0]); err != nil {
			t.Fatal(err)
		}
	}))
}

func BenchmarkUnmarshal(b *testing.B) {
	packet := append(unhex(b, "10100300 00000000 00100001 00000002"), make([]byte, 1400)...)
	var p alc.Packet
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Unmarshal(packet); err != nil {
			b.Fatal(err)
		}
	}
}
