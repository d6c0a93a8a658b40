package repair

import (
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testID = ObjectID{
	Session: Session{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("232.1.1.10"), 5000},
	TSI:     3,
	TOI:     4294967295,
}

const testPath = "/repair/v1/192.0.2.10/232.1.1.10/5000/3/4294967295"

func TestParsePath(t *testing.T) {
	id, err := ParsePath(testPath)
	require.NoError(t, err)
	require.Equal(t, testID, id)
	require.Equal(t, testPath, id.String())

	id, err = ParsePath("/repair/v1/2001:db8::1/ff3e::8000:1/65535/0/18446744073709551615")
	require.NoError(t, err)
	require.Equal(t, "/repair/v1/2001:db8::1/ff3e::8000:1/65535/0/18446744073709551615", id.String())

	for _, bad := range []string{
		"", "/", "/repair/v1/", "/repair/v2/192.0.2.10/232.1.1.10/5000/3/1",
		strings.TrimSuffix(testPath, "/4294967295"), testPath + "/", testPath + "/1", "x" + testPath,
		"/repair/v1/192.0.2.010/232.1.1.10/5000/3/1", "/repair/v1/192.0.2.10/232.1.1.10/65536/3/1",
		"/repair/v1/192.0.2.10/232.1.1.10/05000/3/1", "/repair/v1/192.0.2.10/232.1.1.10/5000/+3/1",
		"/repair/v1/192.0.2.10/232.1.1.10/5000/3/-1", "/repair/v1/192.0.2.10/232.1.1.10/5000/3/",
		"/repair/v1/192.0.2.10/232.1.1.10/5000/3/18446744073709551616",
		"/repair/v1/fe80::1%25lo/ff32::1/5000/3/1", "/repair/v1/2001:DB8::1/ff3e::8000:1/5000/3/1",
		"/repair/v1//232.1.1.10/5000/3/1", "/repair/v1/host/232.1.1.10/5000/3/1",
	} {
		_, err := ParsePath(bad)
		require.ErrorIs(t, err, ErrRequest, bad)
	}
}

var queryCases = []struct {
	name, query string
	blocks      []BlockSymbols
	canonical   string // if other than query
}{
	{"one symbol", "SBN=0;ESI=5", []BlockSymbols{{ESIs: []ESIRange{{5, 5}}}}, ""},
	{"list", "SBN=2;ESI=5,7-9,20", []BlockSymbols{{SBN: 2, ESIs: []ESIRange{{5, 5}, {7, 9}, {20, 20}}}}, ""},
	{"number of symbols", "SBN=2;ESI=7+3,9+1", []BlockSymbols{{SBN: 2, ESIs: []ESIRange{{7, 9}, {9, 9}}}}, "SBN=2;ESI=7-9,9"},
	{"two blocks", "SBN=0;ESI=1&SBN=255;ESI=16777215", []BlockSymbols{
		{ESIs: []ESIRange{{1, 1}}}, {SBN: 255, ESIs: []ESIRange{{maxESI, maxESI}}}}, ""},
	{"fresh", "SBN=1&count=12", []BlockSymbols{{SBN: 1, Count: 12}}, ""},
	{"fresh of two blocks", "SBN=1&count=12&SBN=2&count=1", []BlockSymbols{{SBN: 1, Count: 12}, {SBN: 2, Count: 1}}, ""},
	{"whole blocks", "SBN=1-3&SBN=9", []BlockSymbols{{SBN: 1}, {SBN: 2}, {SBN: 3}, {SBN: 9}}, "SBN=1&SBN=2&SBN=3&SBN=9"},
	{"count of the last block of a run", "SBN=1-2&count=3", []BlockSymbols{{SBN: 1}, {SBN: 2, Count: 3}}, "SBN=1&SBN=2&count=3"},
	{"escaped", "SBN=0;ESI=1%2C3", []BlockSymbols{{ESIs: []ESIRange{{1, 1}, {3, 3}}}}, "SBN=0;ESI=1,3"},
}

func TestParseQuery(t *testing.T) {
	for _, c := range queryCases {
		t.Run(c.name, func(t *testing.T) {
			blocks, err := ParseQuery(c.query, 100)
			require.NoError(t, err)
			require.Equal(t, c.blocks, blocks)
			if c.canonical == "" {
				c.canonical = c.query
			}
			require.Equal(t, c.canonical, string(AppendQuery(nil, blocks)))
		})
	}
	for _, bad := range []string{
		"", "&", "SBN=", "SBN=256", "SBN=-1", "SBN=01", "SBN=3-1", "SBN=1-2;ESI=1", "SBN=0;", "SBN=0;ESI=",
		"SBN=0;ESI=1,", "SBN=0;ESI=9-7", "SBN=0;ESI=16777216", "SBN=0;ESI=1-16777216", "SBN=0;ESI=16777215+2",
		"SBN=0;ESI=1+0", "SBN=0;ESI=1+", "SBN=0;ESI=1-", "SBN=0;ESI=-1", "SBN=0;ESI=1;ESI=2", "count=3",
		"SBN=0&count=0", "SBN=0&count=-1", "SBN=0&count=1&count=1", "SBN=0;ESI=1&count=3", "sbn=0", "SBN=0&x=1",
		"SBN=0;ESI=1 ", "SBN=%", "ESI=1", "SBN=0;ESI=%2B1",
	} {
		_, err := ParseQuery(bad, 100)
		require.ErrorIs(t, err, ErrRequest, bad)
	}
	for _, large := range []string{
		"SBN=0;ESI=0-100", "SBN=0;ESI=0-16777215", "SBN=0&count=101", "SBN=0-255", "SBN=0;ESI=0-60&SBN=0;ESI=0-60",
		"SBN=0&count=16777215&SBN=0&count=16777215",
	} {
		_, err := ParseQuery(large, 100)
		require.ErrorIs(t, err, ErrLimit, large)
	}
}

func TestSymbol(t *testing.T) {
	b := Symbol{SBN: 1, ESI: 0x020304, Data: []byte("abc")}.Append([]byte{9})
	require.Equal(t, []byte{9, 1, 2, 3, 4, 0, 3, 'a', 'b', 'c'}, b)
	s, n, err := ParseSymbol(append(b[1:], "more"...))
	require.NoError(t, err)
	require.Equal(t, 9, n)
	require.Equal(t, Symbol{1, 0x020304, []byte("abc")}, s)
	for i := range 9 {
		_, _, err := ParseSymbol(b[1 : 1+i])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	require.Panics(t, func() { Symbol{ESI: 1 << 24}.Append(nil) })
	require.Panics(t, func() { Symbol{Data: make([]byte, 1<<16)}.Append(nil) })
}

func TestOTI(t *testing.T) {
	// Transfer length 0x0102030405, T 1400, Z 1, N 1, Al 4.
	o := OTI{1, 2, 3, 4, 5, 0, 0x05, 0x78, 1, 0, 1, 4}
	require.Equal(t, 1400, o.SymbolSize())
	parsed, err := ParseOTI(o.String())
	require.NoError(t, err)
	require.Equal(t, o, parsed)
	for _, bad := range []string{"", "AAAA", o.String() + "=", o.String()[1:], OTI{}.String(), strings.Repeat("A", 1000)} {
		_, err := ParseOTI(bad)
		require.ErrorIs(t, err, ErrAnswer, bad)
	}
}

func TestCodecsAllocateNothing(t *testing.T) {
	buffer := make([]byte, 0, 4096)
	symbol := Symbol{ESI: 7, Data: make([]byte, 1400)}
	wire := symbol.Append(nil)
	blocks := queryCases[1].blocks
	require.Zero(t, testing.AllocsPerRun(100, func() {
		buffer = testID.AppendPath(buffer[:0])
		buffer = AppendQuery(buffer[:0], blocks)
		buffer = symbol.Append(buffer[:0])
		if _, _, err := ParseSymbol(wire); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "live/chunk-stream0-00001.m4s", "a b", "ä", "a..b", ".hidden", "a/...", "1"} {
		require.NoError(t, checkName(name), name)
	}
	for _, name := range []string{
		"", ".", "..", "../a", "a/../b", "a/..", "/a", "a//b", "a/", "./a", "a\\b", "a\x00b", "a\nb", strings.Repeat("a", maxName+1),
	} {
		require.ErrorIs(t, checkName(name), ErrRequest, "%q", name)
	}
}
