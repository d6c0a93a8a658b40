package lct_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/lct"
)

func TestExtensionsAll(t *testing.T) {
	x := lct.Extensions(unhex(t, "00010000 c7123456 70021111 22222222 c2000010"))
	var got []lct.Extension
	for e := range x.All() {
		got = append(got, e)
	}
	require.Equal(t, []lct.Extension{
		{Type: lct.ExtNOP, Content: []byte{0, 0}},
		{Type: 199, Content: []byte{0x12, 0x34, 0x56}},
		{Type: 112, Content: []byte{0x11, 0x11, 0x22, 0x22, 0x22, 0x22}},
		{Type: lct.ExtTOL24, Content: []byte{0, 0, 0x10}},
	}, got)
	for range x.All() {
		break
	}

	var again lct.Extensions
	for _, e := range got {
		var err error
		again, err = again.Append(e.Type, e.Content)
		require.NoError(t, err)
	}
	require.Equal(t, x, again)

	length, ok := x.TOL()
	require.True(t, ok)
	require.Equal(t, uint64(16), length)
	_, ok = x.Find(lct.ExtAuth)
	require.False(t, ok)
}

func TestExtensionsAllEndsAtMalformed(t *testing.T) {
	n := 0
	for range lct.Extensions(unhex(t, "00010000 40000000 c2000010")).All() {
		n++
	}
	require.Equal(t, 1, n)
}

func TestAppendRefusesContent(t *testing.T) {
	for _, c := range []struct {
		het     lct.HET
		content int
	}{{lct.ExtTOL24, 2}, {lct.ExtTOL24, 4}, {lct.ExtAuth, 0}, {lct.ExtAuth, 4}, {lct.ExtAuth, 1022}} {
		_, err := lct.Extensions(nil).Append(c.het, make([]byte, c.content))
		require.ErrorIs(t, err, lct.ErrEncode)
	}
}

func TestTOL(t *testing.T) {
	for _, c := range []struct {
		raw    string
		length uint64
	}{
		{"c2000000", 0},
		{"c20004a7", 1191},
		{"c2ffffff", 1<<24 - 1},
		{"43020000 01000000", 1 << 24},
		{"4302ffff ffffffff", 1<<48 - 1},
	} {
		x, err := lct.Extensions(nil).AppendTOL(c.length)
		require.NoError(t, err)
		require.Equal(t, lct.Extensions(unhex(t, c.raw)), x)
		length, ok := x.TOL()
		require.True(t, ok)
		require.Equal(t, c.length, length)
	}
	_, err := lct.Extensions(nil).AppendTOL(1 << 48)
	require.ErrorIs(t, err, lct.ErrEncode)
	_, ok := lct.Extensions(unhex(t, "43010000")).TOL()
	require.False(t, ok, "48-bit form without its second word")
}

func TestFTI(t *testing.T) {
	for octets, words := range map[int]int{0: 1, 2: 1, 10: 3, 12: 4, 14: 4, 18: 5} {
		body := make([]byte, octets)
		for i := range body {
			body[i] = byte(i + 1)
		}
		x, err := lct.Extensions(nil).AppendFTI(body)
		require.NoError(t, err)
		require.Len(t, x, 4*words)
		got, ok := x.FTI()
		require.True(t, ok)
		require.Equal(t, body, got[:octets])
		require.Equal(t, make([]byte, len(got)-octets), got[octets:])
	}
	_, err := lct.Extensions(nil).AppendFTI(make([]byte, 1019))
	require.ErrorIs(t, err, lct.ErrEncode)
}

func TestFDTAndCENC(t *testing.T) {
	f := lct.FDT{Version: 2, InstanceID: 1<<20 - 1}
	x, err := lct.Extensions(nil).AppendFDT(f)
	require.NoError(t, err)
	x = x.AppendCENC(lct.CENCGzip)
	require.Equal(t, lct.Extensions(unhex(t, "c02fffff c1030000")), x)
	got, ok := x.FDT()
	require.True(t, ok)
	require.Equal(t, f, got)
	enc, ok := x.CENC()
	require.True(t, ok)
	require.Equal(t, lct.CENCGzip, enc)

	for _, bad := range []lct.FDT{{Version: 16}, {InstanceID: 1 << 20}} {
		_, err = lct.Extensions(nil).AppendFDT(bad)
		require.ErrorIs(t, err, lct.ErrEncode)
	}
	_, ok = lct.Extensions(nil).FDT()
	require.False(t, ok)
	_, ok = lct.Extensions(nil).CENC()
	require.False(t, ok)
}

func TestTime(t *testing.T) {
	for _, c := range []struct {
		raw  string
		time lct.Time
	}{
		{"0203c000 eeab42fe a2a7ce0f", lct.Time{HasSCT: true, HasSCTLow: true, SCT: 0xeeab42fea2a7ce0f}},
		{"02028000 eeab42fe", lct.Time{HasSCT: true, SCT: 0xeeab42fe << 32}},
		{"02022000 0000003c", lct.Time{HasERT: true, ERT: 60}},
		{"02021000 eeab42fe", lct.Time{HasSLC: true, SLC: 0xeeab42fe}},
		{"020100a5", lct.Time{PI: 0xa5}},
		{"0205f001 00000001 00000002 00000003 00000004", lct.Time{
			HasSCT: true, HasSCTLow: true, SCT: 1<<32 + 2, HasERT: true, ERT: 3, HasSLC: true, SLC: 4, PI: 1,
		}},
	} {
		got, ok := lct.Extensions(unhex(t, c.raw)).Time()
		require.True(t, ok)
		require.Equal(t, c.time, got)
		x, err := lct.Extensions(nil).AppendTime(c.time)
		require.NoError(t, err)
		require.Equal(t, lct.Extensions(unhex(t, c.raw)), x)
	}
	got, ok := lct.Extensions(unhex(t, "02032000 00000001 ffffffff")).Time()
	require.True(t, ok, "words beyond the known flags are ignored")
	require.Equal(t, lct.Time{HasERT: true, ERT: 1}, got)

	for name, raw := range map[string]string{
		"flags without words":      "0201c000",
		"one word too few":         "0202c000 00000001",
		"SCT-Low without SCT-High": "02024000 00000001",
	} {
		_, ok := lct.Extensions(unhex(t, raw)).Time()
		require.False(t, ok, name)
	}
	_, err := lct.Extensions(nil).AppendTime(lct.Time{HasSCTLow: true})
	require.ErrorIs(t, err, lct.ErrEncode)
}

func TestPresentationTime(t *testing.T) {
	x := lct.Extensions(nil).AppendPresentationTime(0xeeab42fea2a7ce0f)
	require.Equal(t, lct.Extensions(unhex(t, "42030000 eeab42fe a2a7ce0f")), x)
	ts, ok := x.PresentationTime()
	require.True(t, ok)
	require.Equal(t, uint64(0xeeab42fea2a7ce0f), ts)
	_, ok = lct.Extensions(unhex(t, "42020000 eeab42fe")).PresentationTime()
	require.False(t, ok)
}

func TestAuthAndNOP(t *testing.T) {
	x, err := lct.Extensions(nil).AppendNOP(3)
	require.NoError(t, err)
	x, err = x.Append(lct.ExtAuth, []byte{0x5f, 1, 2, 3, 4, 5})
	require.NoError(t, err)
	require.Equal(t, lct.Extensions{0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0x5f, 1, 2, 3, 4, 5}, x)
	asid, content, ok := x.Auth()
	require.True(t, ok)
	require.Equal(t, uint8(5), asid)
	require.Equal(t, []byte{0x5f, 1, 2, 3, 4, 5}, content)
	_, _, ok = lct.Extensions(nil).Auth()
	require.False(t, ok)
	for _, words := range []int{0, 256, -1} {
		_, err := lct.Extensions(nil).AppendNOP(words)
		require.ErrorIs(t, err, lct.ErrEncode)
	}
}
