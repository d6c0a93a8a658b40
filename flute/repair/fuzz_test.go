package repair

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a client says: paths, queries in our form and that of MBMS, and ranges.
func FuzzRequest(f *testing.F) {
	f.Add(testPath, "bytes=0-5,3-8,9-9", int64(10), int64(10))
	f.Add("/repair/v1/2001:db8::1/ff3e::8000:1/65535/0/0", "bytes=-3", int64(5), int64(-1))
	f.Add("/repair/v1/::ffff:1.2.3.4/ff3e::8000:1/65535/0/0",
		"bytes=9223372036854775807-9223372036854775807,-9223372036854775808", int64(1<<63-1), int64(1<<63-1))
	for _, c := range queryCases {
		f.Add(c.query, "", int64(0), int64(0))
	}
	for _, c := range fileRepairCases {
		f.Add(c.query, "", int64(0), int64(0))
	}
	f.Fuzz(func(t *testing.T, text, header string, prefix, length int64) {
		checkPath(t, text)
		checkQuery(t, text)
		checkFileRepair(t, text)
		checkRange(t, header, prefix, length)
	})
}

func checkPath(t *testing.T, path string) {
	id, err := ParsePath(path)
	if err != nil {
		require.ErrorIs(t, err, ErrRequest)
		return
	}
	require.Equal(t, path, id.String(), "one path for one object")
}

const fuzzSymbols = 500

func checkBlocks(t *testing.T, blocks []BlockSymbols) {
	var symbols int
	for i := range blocks {
		symbols += blocks[i].asked()
	}
	require.LessOrEqual(t, symbols, fuzzSymbols)
	require.LessOrEqual(t, len(blocks), fuzzSymbols)
}

func checkQuery(t *testing.T, query string) {
	blocks, err := ParseQuery(query, fuzzSymbols)
	if err != nil {
		require.True(t, errors.Is(err, ErrRequest) || errors.Is(err, ErrLimit), err)
		return
	}
	require.NotEmpty(t, blocks)
	checkBlocks(t, blocks)
	again, err := ParseQuery(string(AppendQuery(nil, blocks)), fuzzSymbols)
	require.NoError(t, err)
	require.Equal(t, blocks, again)
}

func checkFileRepair(t *testing.T, query string) {
	r, err := ParseFileRepair(query, fuzzSymbols)
	if err != nil {
		require.True(t, errors.Is(err, ErrRequest) || errors.Is(err, ErrLimit), err)
		return
	}
	require.NotEmpty(t, r.FileURI)
	checkBlocks(t, r.Blocks)
	again, err := ParseFileRepair(string(r.AppendQuery(nil)), fuzzSymbols)
	require.NoError(t, err)
	require.Equal(t, r, again)
	if name, err := r.nameOf(); err == nil {
		require.NoError(t, checkName(name))
	}
}

func checkRange(t *testing.T, header string, prefix, length int64) {
	if prefix < 0 || (length >= 0 && prefix > length) {
		return
	}
	specs, ok, err := parseRange(header, 20)
	if err != nil || !ok {
		require.Empty(t, specs)
		return
	}
	require.NotEmpty(t, specs)
	ranges, _ := resolve(specs, prefix, length)
	require.LessOrEqual(t, octets(ranges), prefix, "an answer is never larger than the object")
	var end int64 = -1
	for _, r := range ranges {
		require.Greater(t, r.Start, end)
		require.Positive(t, r.Len())
		require.LessOrEqual(t, r.End, prefix)
		end = r.End
	}
	if len(ranges) > 0 {
		specs, ok, err := parseRange(string(appendRange(nil, ranges)), 20)
		require.NoError(t, err)
		require.True(t, ok)
		again, ready := resolve(specs, prefix, length)
		require.True(t, ready)
		require.Equal(t, ranges, again)
	}
}

// What a server says: multipart/byteranges, and symbols in our form and in the container of MBMS.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("--x\r\nContent-Range: bytes 0-4/20\r\n\r\n01234\r\n--x--"), "x", 4)
	f.Add([]byte("--x\nContent-Range: bytes 10-12/*\nContent-Type: a\n\n012\n--x--"), "x", 4)
	answer := Symbol{SBN: 1, ESI: 7, Data: []byte("abcd")}.Append(nil)
	f.Add(Symbol{SBN: 1, ESI: 8, Data: []byte("efgh")}.Append(answer), "", 4)
	f.Add(answer[:len(answer)-1], "", 4)
	group := SymbolGroup{SBN: 9, First: 3, Count: 2, Data: []byte("abcdefgh")}
	f.Add(group.Append(nil, Scheme{Raptor, 4}), "", 4)
	f.Fuzz(func(t *testing.T, body []byte, boundary string, size int) {
		checkParts(t, body, boundary)
		if size < 1 || size > 1<<16-1 {
			return
		}
		checkSymbols(t, body, size)
		for _, id := range []uint8{CompactNoCode, RaptorQ} {
			checkContainer(t, body, Scheme{id, size})
		}
	})
}

func checkParts(t *testing.T, body []byte, boundary string) {
	ranges := []Range{{0, 5}, {10, ToEnd}}
	parts, _, err := readParts(bytes.NewReader(body), boundary, ranges, 1000)
	require.LessOrEqual(t, len(parts), len(ranges))
	require.True(t, err == nil || errors.Is(err, ErrAnswer) || errors.Is(err, ErrLimit) || errors.Is(err, io.ErrUnexpectedEOF))
	for _, p := range parts {
		require.True(t, answers(ranges, Range{p.Offset, p.Offset + int64(len(p.Data))}))
		require.True(t, bytes.Contains(body, p.Data))
	}
}

func checkSymbols(t *testing.T, b []byte, size int) {
	symbols, err := parseSymbols(b, size, []BlockSymbols{{SBN: 1}, {SBN: 9}})
	if err != nil {
		require.ErrorIs(t, err, ErrAnswer)
		return
	}
	var again []byte
	for _, s := range symbols {
		require.Contains(t, []uint16{1, 9}, s.SBN)
		require.Len(t, s.Data, size)
		again = s.Append(again)
	}
	require.True(t, bytes.Equal(b, again))
}

func checkContainer(t *testing.T, b []byte, scheme Scheme) {
	symbols, err := parseContainer(b, scheme, []BlockSymbols{{SBN: 1}, {SBN: 9}})
	if err != nil {
		require.ErrorIs(t, err, ErrAnswer)
		return
	}
	var again []byte
	for rest := b; len(rest) > 0; {
		g, n, err := ParseSymbolGroup(rest, scheme)
		require.NoError(t, err)
		again = g.Append(again, scheme)
		for i := range g.Count {
			require.Equal(t, g.First+uint32(i), symbols[i].ESI)
			require.Equal(t, g.SBN, symbols[i].SBN)
		}
		symbols, rest = symbols[g.Count:], rest[n:]
	}
	require.Empty(t, symbols)
	require.True(t, bytes.Equal(b, again))
}
