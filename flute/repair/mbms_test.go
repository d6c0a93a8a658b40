package repair

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

var fileRepairCases = []struct {
	name, query string
	request     FileRepair
	canonical   string // if other than query
}{
	{"whole file", "fileURI=www.example.com/news/latest.3gp", FileRepair{FileURI: "www.example.com/news/latest.3gp"}, ""},
	{"digest alone", "fileURI=a&Content-MD5=1B2M2Y8AsgTpgAmY7PhCfg%3D%3D", FileRepair{FileURI: "a", ContentMD5: "1B2M2Y8AsgTpgAmY7PhCfg=="}, ""},
	{"digest as it is in the FDT", "fileURI=a&Content-MD5=1B2M2Y8+sgTp/AmY7PhCfg==&SBN=3",
		FileRepair{"a", "1B2M2Y8+sgTp/AmY7PhCfg==", []BlockSymbols{{SBN: 3}}}, "fileURI=a&Content-MD5=1B2M2Y8%2BsgTp/AmY7PhCfg%3D%3D&SBN=3"},
	{"symbols of two blocks", "fileURI=http://www.example.com/a%26b.3gp&SBN=5;ESI=12,14-16&SBN=300;ESI=7",
		FileRepair{"http://www.example.com/a&b.3gp", "", []BlockSymbols{
			{SBN: 5, ESIs: []ESIRange{{12, 12}, {14, 16}}}, {SBN: 300, ESIs: []ESIRange{{7, 7}}}}}, ""},
	{"number of symbols", "fileURI=a&SBN=5;ESI=12+3", FileRepair{FileURI: "a", Blocks: []BlockSymbols{{SBN: 5, ESIs: []ESIRange{{12, 14}}}}},
		"fileURI=a&SBN=5;ESI=12-14"},
	{"run of blocks", "fileURI=a&SBN=65534-65535", FileRepair{FileURI: "a", Blocks: []BlockSymbols{{SBN: 65534}, {SBN: 65535}}},
		"fileURI=a&SBN=65534&SBN=65535"},
	{"other name of the block", "fileURI=a&SourceSBN=5;ESI=1", FileRepair{FileURI: "a", Blocks: []BlockSymbols{{SBN: 5, ESIs: []ESIRange{{1, 1}}}}},
		"fileURI=a&SBN=5;ESI=1"},
}

func TestFileRepairQuery(t *testing.T) {
	for _, c := range fileRepairCases {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseFileRepair(c.query, 100)
			require.NoError(t, err)
			require.Equal(t, c.request, r)
			if c.canonical == "" {
				c.canonical = c.query
			}
			require.Equal(t, c.canonical, string(r.AppendQuery(nil)))
		})
	}
	for _, bad := range []string{
		"", "fileURI=", "fileURI", "SBN=0&fileURI=a", "fileURI=%", "fileURI=a&", "fileURI=a&Content-MD5=%", "fileURI=a&SBN=65536",
		"fileURI=a&SBN=0&Content-MD5=x", "fileURI=a&SBN=2-1", "fileURI=a&x=1",
	} {
		_, err := ParseFileRepair(bad, 100)
		require.ErrorIs(t, err, ErrRequest, bad)
	}
	for _, large := range []string{"fileURI=a&SBN=0-65535", "fileURI=a&SBN=0;ESI=0-100"} {
		_, err := ParseFileRepair(large, 100)
		require.ErrorIs(t, err, ErrLimit, large)
	}
}

func TestSymbolGroup(t *testing.T) {
	g := SymbolGroup{SBN: 0x0102, First: 0x0304, Count: 2, Data: []byte("abcdef")}
	raptor, raptorQ := Scheme{Raptor, 3}, Scheme{RaptorQ, 3}
	b := g.Append([]byte{9}, raptor)
	require.Equal(t, []byte{9, 0, 2, 1, 2, 3, 4, 'a', 'b', 'c', 'd', 'e', 'f'}, b)
	again, n, err := ParseSymbolGroup(append(b[1:], "more"...), raptor)
	require.NoError(t, err)
	require.Equal(t, 12, n)
	require.Equal(t, g, again)
	again, _, err = ParseSymbolGroup(b[1:], raptorQ)
	require.NoError(t, err)
	require.Equal(t, SymbolGroup{SBN: 1, First: 0x020304, Count: 2, Data: g.Data}, again, "8 and 24 bits")

	_, _, err = ParseSymbolGroup([]byte{0, 0, 0, 0, 0, 0}, raptor)
	require.ErrorIs(t, err, ErrAnswer, "an empty group would not end")
	_, _, err = ParseSymbolGroup([]byte{0, 2, 0, 0, 0xff, 0xff}, raptor)
	require.ErrorIs(t, err, ErrAnswer, "beyond the last ID")
	_, _, err = ParseSymbolGroup(b[1:], Scheme{129, 3})
	require.Error(t, err)
	require.Panics(t, func() { g.Append(nil, raptorQ) }, "SBN of 9 bits")
	require.Panics(t, func() { g.Append(nil, Scheme{Raptor, 4}) }, "other size")
}

func TestNoCodePartition(t *testing.T) {
	// The object of a capture: L=300000, E=1436, B=64 make T=209, N=4, A_large=53, A_small=52, I=1.
	o := newFakeObject(300_000)
	n, err := NoCode(o, 1436, 64)
	require.NoError(t, err)
	var got []byte
	for sbn, want := range []int{53, 52, 52, 52} {
		k, err := n.SourceSymbols(uint16(sbn))
		require.NoError(t, err)
		require.Equal(t, want, k)
		for esi := range k {
			got, err = n.AppendSymbol(got, uint16(sbn), uint32(esi))
			require.NoError(t, err)
		}
	}
	require.True(t, bytes.Equal(o.data, got[:len(o.data)]))
	require.Equal(t, make([]byte, 1436-1312), got[len(o.data):], "the last symbol has 1312 octets")
	_, err = n.SourceSymbols(4)
	require.ErrorIs(t, err, ErrUnknown)
	_, err = n.AppendSymbol(nil, 0, 53)
	require.ErrorIs(t, err, ErrUnknown)

	o.failAt = 299_000
	_, err = n.AppendSymbol(nil, 3, 51)
	require.ErrorIs(t, err, errFake)
	o.growing = true
	_, err = n.SourceSymbols(0)
	require.ErrorIs(t, err, ErrNotReady)
	require.NoError(t, n.Close())
	require.EqualValues(t, 1, o.closed.Load())
	for _, bad := range [][2]int{{0, 1}, {1, 0}, {1 << 16, 1}, {1, 1<<16 + 1}} {
		_, err := NoCode(o, bad[0], bad[1])
		require.Error(t, err)
	}
}

// Each octet is in the symbols that Symbols names, and no symbol is named in vain.
func TestPartitionSymbols(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	for range 300 {
		p := Partition{1 + random.Int64N(5000), 1 + random.IntN(60), 1 + random.IntN(20)}
		var want []Range
		for range random.IntN(5) {
			start := random.Int64N(p.Length)
			want = append(want, Range{start, start + 1 + random.Int64N(300)})
		}
		if random.IntN(4) == 0 {
			want = append(want, Range{random.Int64N(p.Length), ToEnd})
		}
		want = MergeRanges(want, 0)
		blocks := p.Symbols(want)
		seen := map[[2]uint32]bool{}
		var got []Range
		for _, b := range blocks {
			for _, run := range b.ESIs {
				for esi := run.First; esi <= run.Last; esi++ {
					r := p.Octets(b.SBN, esi)
					require.Positive(t, r.Len())
					require.True(t, overlap(want, []Range{r}))
					require.False(t, seen[[2]uint32{uint32(b.SBN), esi}])
					seen[[2]uint32{uint32(b.SBN), esi}] = true
					got = append(got, r)
				}
			}
		}
		rest := subtract(want, MergeRanges(got, 0))
		require.True(t, len(rest) == 0 || rest[0].Start >= p.Length)
	}
	require.Nil(t, Partition{0, 10, 10}.Symbols([]Range{{0, 5}}))
	huge := Partition{1 << 40, 1, 1}
	require.Empty(t, huge.Symbols([]Range{{1 << 30, 1<<30 + 5}}), "no FEC Payload ID names it")
	require.Zero(t, huge.Octets(65535, 1).Len())
}

// info gives an object another state.
type info struct {
	Object
	info Info
}

func (i info) Info() Info { return i.info }

func TestServeFileRepair(t *testing.T) {
	o := newFakeObject(5000)
	plain, err := NoCode(info{o, Info{ETag: o.etag, Length: 5000, Prefix: 3400, ContentMD5: "x"}}, 100, 20)
	require.NoError(t, err)
	h := &Handler{MaxSymbols: 40, Backend: &fakeBackend{byName: map[string]Object{
		"news/latest.3gp": plain, "raptorq": symbolObject{o}, "octets": o,
	}}}
	const service = "/repair_script?fileURI=http://www.example.com/"
	for _, c := range []struct {
		query  string
		status int
	}{
		{"nothing", 404}, {"news/latest.3gp&SBN=0;ESI=20", 400}, {"news/latest.3gp&SBN=3", 404},
		{"news/latest.3gp&SBN=2", 425}, {"news/latest.3gp", 425}, {"news/latest.3gp&Content-MD5=y&SBN=0", 412},
		{"octets&SBN=0", 422}, {"octets", 200}, {"octets&Content-MD5=y", 200}, {"raptorq&SBN=0;ESI=0-40", 413},
		{"news/latest.3gp&SBN=0&count=3", 422}, {"../x&SBN=1", 400}, {"a%2Fb%2f..%2f..%2fx&SBN=1", 400},
	} {
		require.Equal(t, c.status, get(h, service+c.query).Code, c.query)
	}

	w := get(h, service+"news/latest.3gp&Content-MD5=x&SBN=0;ESI=3-5,7&SBN=1")
	require.Equal(t, 200, w.Code)
	require.Equal(t, ContainerType, w.Header().Get("Content-Type"))
	require.Empty(t, w.Header().Get(OTIHeader))
	require.Empty(t, w.Header().Get("Cache-Control"), "all symbols are named")
	var want []byte
	scheme := Scheme{CompactNoCode, 100}
	for _, g := range []SymbolGroup{
		{0, 3, 3, o.data[300:600]}, {0, 7, 1, o.data[700:800]}, {1, 0, 17, o.data[1700:3400]},
	} {
		want = g.Append(want, scheme)
	}
	require.Equal(t, want, w.Body.Bytes())
	require.Equal(t, strconv.Itoa(len(want)), w.Header().Get("Content-Length"))
	require.Equal(t, w.Header(), do(h, http.MethodHead, service+"news/latest.3gp&Content-MD5=x&SBN=0;ESI=3-5,7&SBN=1").Header())
	symbols, err := parseContainer(w.Body.Bytes(), scheme, []BlockSymbols{{SBN: 0}, {SBN: 1}})
	require.NoError(t, err)
	require.Len(t, symbols, 21)
	require.Equal(t, Symbol{1, 16, o.data[3300:3400]}, symbols[20])
	_, err = parseContainer(w.Body.Bytes(), scheme, []BlockSymbols{{SBN: 0}})
	require.ErrorIs(t, err, ErrAnswer, "a block that was not asked for")

	w = get(h, service+"raptorq&SBN=2;ESI=500-501")
	want = (&SymbolGroup{2, 500, 2, append(fakeSymbolData(2, 500), fakeSymbolData(2, 501)...)}).Append(nil, Scheme{RaptorQ, fakeSymbol})
	require.Equal(t, want, w.Body.Bytes())
	require.Equal(t, 206, get(h, service+"octets", "Range", "bytes=1-2").Code)
	require.Equal(t, 422, get(&Handler{Backend: &fakeBackend{byID: map[ObjectID]Object{testID: plain}}}, testPath+"?SBN=0").Code,
		"our own form is RaptorQ's")
}
