package byterange

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var cases = []struct {
	field string
	specs []Spec // nil: ignored
}{
	{"bytes=0-0", []Spec{{0, 0}}},
	{"bytes=0-", []Spec{{0, -1}}},
	{"bytes=-5", []Spec{{-1, 5}}},
	{"bytes=-0", []Spec{{-1, 0}}},
	{"Bytes=1-2", []Spec{{1, 2}}},
	{"bytes= 1-2 ,\t3-4, , -1,", []Spec{{1, 2}, {3, 4}, {-1, 1}}},
	{"bytes=99999999999999999999-", []Spec{{math.MaxInt64, -1}}},
	{"bytes=0-18446744073709551616", []Spec{{0, math.MaxInt64}}},
	{"bytes=9223372036854775807-9223372036854775808", []Spec{{math.MaxInt64, math.MaxInt64}}},
	{"bytes=-99999999999999999999", []Spec{{-1, math.MaxInt64}}},
	{"bytes=0000000000000000000000000000007-8", []Spec{{7, 8}}},
	{"bytes=" + strings.Repeat("1-2,", MaxSpecs), repeat(Spec{1, 2}, MaxSpecs)},
	{"bytes=" + strings.Repeat("1-2,", MaxSpecs+1), nil},
	{"", nil}, {"bytes", nil}, {"bytes=", nil}, {"bytes=,", nil}, {"bytes=-", nil}, {"bytes=5", nil},
	{"bytes=5-4", nil}, {"bytes=a-b", nil}, {"bytes=1-2x", nil}, {"bytes=1--2", nil}, {"bytes=+1-2", nil},
	{"bytes=1 - 2", nil}, {"octets=1-2", nil}, {"bytes=1-2;3-4", nil}, {"bytes=1-2,x", nil}, {"bytes=0x1-2", nil},
}

func repeat(s Spec, n int) (r []Spec) {
	for range n {
		r = append(r, s)
	}
	return r
}

func TestParse(t *testing.T) {
	for _, c := range cases {
		got, ok := Parse(nil, c.field)
		require.Equal(t, c.specs != nil, ok, c.field)
		if ok {
			require.Equal(t, c.specs, got, c.field)
		}
	}
	before := []Spec{{7, 7}}
	got, ok := Parse(before, "bytes=1-2,x")
	require.False(t, ok)
	require.Equal(t, before, got)
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		specs []Spec
		size  int64
		want  []Range
		ok    bool
	}{
		{[]Spec{{0, 0}}, 10, []Range{{0, 1}}, true},
		{[]Spec{{0, -1}}, 10, []Range{{0, 10}}, true},
		{[]Spec{{9, math.MaxInt64}}, 10, []Range{{9, 1}}, true},
		{[]Spec{{10, -1}}, 10, []Range{}, true},
		{[]Spec{{-1, 0}}, 10, []Range{}, true},
		{[]Spec{{-1, 3}}, 10, []Range{{7, 3}}, true},
		{[]Spec{{-1, math.MaxInt64}}, 10, []Range{{0, 10}}, true},
		{[]Spec{{0, -1}, {-1, 1}}, 0, []Range{}, true},
		{[]Spec{{5, 6}, {0, 1}}, 10, []Range{{0, 2}, {5, 2}}, true},
		{[]Spec{{0, 1}, {2, 3}}, 10, []Range{{0, 4}}, true},
		{[]Spec{{0, 8}, {2, 3}, {7, 9}}, 10, []Range{{0, 10}}, true},
		{[]Spec{{0, 1}, {20, 30}}, 10, []Range{{0, 2}}, true},
	} {
		got, ok := Fit(c.specs, c.size)
		require.Equal(t, c.ok, ok)
		require.Equal(t, c.want, got)
	}
	var many []Spec
	for i := range int64(MaxRanges + 1) {
		_, ok := Fit(many, 1000)
		require.True(t, ok)
		many = append(many, Spec{3 * i, 3 * i})
	}
	_, ok := Fit(many, 1000)
	require.False(t, ok)
}

// FuzzRange checks each octet of a small object: it is in the answer exactly
// if one of the ranges names it, and no octet is sent twice.
func FuzzRange(f *testing.F) {
	for _, c := range cases {
		f.Add(c.field, uint8(10))
	}
	f.Fuzz(func(t *testing.T, field string, size uint8) {
		specs, ok := Parse(nil, field)
		if !ok {
			require.Empty(t, specs)
			return
		}
		require.LessOrEqual(t, len(specs), MaxSpecs)
		for _, s := range specs {
			require.True(t, s.First >= 0 || s.Last >= 0)
			require.True(t, s.First < 0 || s.Last < 0 || s.First <= s.Last)
		}
		ranges, ok := Fit(specs, int64(size))
		require.Equal(t, len(ranges) <= MaxRanges, ok)
		var sent [256]int
		last := int64(-1)
		for _, r := range ranges {
			require.Greater(t, r.Offset, last) // apart, and not touching
			require.Positive(t, r.Length)
			last = r.Offset + r.Length
			require.LessOrEqual(t, last, int64(size))
			for i := r.Offset; i < last; i++ {
				sent[i]++
			}
		}
		for i := range int64(size) {
			wanted := 0
			for _, s := range specs {
				if (s.First >= 0 && i >= s.First && (s.Last < 0 || i <= s.Last)) || (s.First < 0 && i >= int64(size)-min(s.Last, int64(size))) {
					wanted = 1
				}
			}
			require.Equal(t, wanted, sent[i])
		}
	})
}

func BenchmarkParseFit(b *testing.B) {
	var few [2]Spec
	b.ReportAllocs()
	for b.Loop() {
		specs, _ := Parse(few[:0], "bytes=1316-2631")
		_, _ = Fit(specs, 1<<20)
	}
}
