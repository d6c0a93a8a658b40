package repair

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRange(t *testing.T) {
	for header, want := range map[string][]rangeSpec{
		"bytes=0-0":                {{0, 0, false}},
		"bytes=5-":                 {{5, openEnd, false}},
		"bytes=-7":                 {{7, openEnd, true}},
		"BYTES=1-2":                {{1, 2, false}},
		"bytes=1-2,4-5, 7-8\t,9-9": {{1, 2, false}, {4, 5, false}, {7, 8, false}, {9, 9, false}},
		"bytes=,1-2,,":             {{1, 2, false}},
		"bytes=0-9223372036854775807,9-99999999999999999999999": {{0, openEnd, false}, {9, openEnd, false}},
		"bytes=99999999999999999999999-":                        {{openEnd, openEnd, false}},
		"bytes=0001-2":                                          {{1, 2, false}},
	} {
		specs, ok, err := parseRange(header, 5)
		require.NoError(t, err, header)
		require.True(t, ok, header)
		require.Equal(t, want, specs, header)
	}
	for _, bad := range []string{
		"", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=1", "bytes=2-1", "bytes=1-2-3", "bytes=+1-2",
		"bytes=1 - 2", "bytes=--1", "bytes=1-2;3-4", "bytes=0x1-2", "bytes=٣-4",
	} {
		_, ok, err := parseRange(bad, 5)
		require.ErrorIs(t, err, ErrRequest, bad)
		require.False(t, ok)
	}
	_, ok, err := parseRange("seconds=1-2", 5)
	require.NoError(t, err)
	require.False(t, ok, "another unit is ignored")
	_, _, err = parseRange("bytes="+strings.Repeat("1-2,", 6), 5)
	require.ErrorIs(t, err, ErrLimit)
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name           string
		header         string
		prefix, length int64
		want           []Range
		ready          bool
	}{
		{"inside", "bytes=2-4", 10, 10, []Range{{2, 5}}, true},
		{"clipped to the length", "bytes=8-20", 10, 10, []Range{{8, 10}}, true},
		{"open end", "bytes=8-", 10, 10, []Range{{8, 10}}, true},
		{"suffix", "bytes=-3", 10, 10, []Range{{7, 10}}, true},
		{"suffix longer than all", "bytes=-30", 10, 10, []Range{{0, 10}}, true},
		{"empty suffix", "bytes=-0", 10, 10, nil, true},
		{"beyond the end", "bytes=10-", 10, 10, nil, true},
		{"one of two beyond the end", "bytes=10-,3-3", 10, 10, []Range{{3, 4}}, true},
		{"overlapping", "bytes=0-5,3-8,9-9", 10, 10, []Range{{0, 10}}, true},
		{"apart, in another order", "bytes=8-8,0-1", 10, 10, []Range{{0, 2}, {8, 9}}, true},
		{"clipped to the prefix", "bytes=2-8", 5, -1, []Range{{2, 5}}, true},
		{"beyond the prefix", "bytes=5-8", 5, -1, nil, false},
		{"beyond the prefix, length known", "bytes=5-8", 5, 10, nil, false},
		{"suffix of unknown length", "bytes=-3", 5, -1, nil, false},
		{"suffix beyond the prefix", "bytes=-3", 5, 10, nil, false},
		{"largest numbers", "bytes=0-9223372036854775807", 10, 10, []Range{{0, 10}}, true},
		{"empty object", "bytes=0-", 0, 0, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			specs, ok, err := parseRange(c.header, 10)
			require.NoError(t, err)
			require.True(t, ok)
			ranges, ready := resolve(specs, c.prefix, c.length)
			require.Equal(t, c.ready, ready)
			require.Len(t, ranges, len(c.want))
			require.Equal(t, c.want, append([]Range(nil), ranges...))
		})
	}
}

// The examples of RFC 9110 sections 14.1.2 and 14.2, for a representation of 10,000 octets.
func TestRangesOfRFC9110(t *testing.T) {
	for header, want := range map[string][]Range{
		"bytes=0-499":                    {{0, 500}},
		"bytes=500-999":                  {{500, 1000}},
		"bytes=-500":                     {{9500, 10000}},
		"bytes=9500-":                    {{9500, 10000}},
		"bytes=0-0,-1":                   {{0, 1}, {9999, 10000}},
		"bytes= 0-999, 4500-5499, -1000": {{0, 1000}, {4500, 5500}, {9000, 10000}},
		"bytes=500-600,601-999":          {{500, 1000}},
		"bytes=500-700,601-999":          {{500, 1000}},
	} {
		specs, ok, err := parseRange(header, 10)
		require.NoError(t, err, header)
		require.True(t, ok, header)
		ranges, ready := resolve(specs, 10_000, 10_000)
		require.True(t, ready)
		require.Equal(t, want, append([]Range(nil), ranges...), header)
	}
}

// The answer of RFC 9110 section 15.3.7.2, with as many octets as its ranges say.
func TestMultipartOfRFC9110(t *testing.T) {
	part := func(contentRange string, octets int) string {
		return "--THIS_STRING_SEPARATES\r\nContent-Type: application/pdf\r\nContent-Range: " + contentRange + "\r\n\r\n" +
			strings.Repeat("x", octets) + "\r\n"
	}
	body := part("bytes 500-999/8000", 500) + part("bytes 7000-7999/8000", 1000) + "--THIS_STRING_SEPARATES--\r\n"
	parts, length, err := readParts(strings.NewReader(body), "THIS_STRING_SEPARATES", []Range{{500, 1000}, {7000, ToEnd}}, 8000)
	require.NoError(t, err)
	require.EqualValues(t, 8000, length)
	require.Len(t, parts, 2)
	require.EqualValues(t, 500, parts[0].Offset)
	require.Len(t, parts[0].Data, 500)
	require.EqualValues(t, 7000, parts[1].Offset)
	require.Len(t, parts[1].Data, 1000)
}

func TestContentRange(t *testing.T) {
	for _, c := range []struct {
		header string
		r      Range
		length int64
	}{
		{"bytes 0-0/1", Range{0, 1}, 1},
		{"bytes 5-9/*", Range{5, 10}, -1},
		{"bytes 5-9/10", Range{5, 10}, 10},
		{"bytes 42-1233/1234", Range{42, 1234}, 1234}, // RFC 9110 section 14.4
		{"bytes 42-1233/*", Range{42, 1234}, -1},      // RFC 9110 section 14.4
	} {
		r, length, err := parseContentRange(c.header)
		require.NoError(t, err)
		require.Equal(t, c.r, r)
		require.Equal(t, c.length, length)
		require.Equal(t, c.header, string(appendContentRange(nil, r, length)))
	}
	for _, bad := range []string{
		"", "bytes", "bytes */10", "bytes 0-0", "bytes 5-4/10", "bytes 5-10/10", "bytes -1/10", "bytes 0-/10", "octets 0-0/1",
		"bytes 0-0/", "bytes 0-0/-1", "bytes 0-99999999999999999999/*", "bytes=0-0/1",
	} {
		_, _, err := parseContentRange(bad)
		require.ErrorIs(t, err, ErrAnswer, bad)
	}
}

// Sets of ranges over 256 octets, compared with sets of octets.
func TestRangeSets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func() (ranges []Range, members [256]bool) {
		for range random.IntN(8) {
			r := Range{random.Int64N(256), random.Int64N(256)}
			ranges = append(ranges, r)
			for o := r.Start; o < r.End; o++ {
				members[o] = true
			}
		}
		return ranges, members
	}
	for range 2000 {
		check := func(ranges []Range, want func(o int64) bool) {
			for o := range int64(256) {
				if want(o) != contains(ranges, Range{o, o + 1}) {
					t.Fatalf("octet %d of %v", o, ranges)
				}
			}
		}
		ra, ma := draw()
		rb, mb := draw()
		gap := random.Int64N(40)
		ra, rb = MergeRanges(ra, 1), MergeRanges(rb, 0)
		check(ra, func(o int64) bool { return ma[o] })
		check(rb, func(o int64) bool { return mb[o] })
		rest := subtract(ra, rb)
		check(rest, func(o int64) bool { return ma[o] && !mb[o] })
		require.Equal(t, octets(ra) != octets(rest), overlap(ra, rb))
		wide := MergeRanges(append([]Range(nil), ra...), gap)
		require.Empty(t, subtract(ra, wide))
		for i := 1; i < len(wide); i++ {
			require.GreaterOrEqual(t, wide[i].Start-wide[i-1].End, max(gap, 1))
		}
	}
}
