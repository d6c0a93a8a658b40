// Package byterange parses the Range header field and fits it to an object
// (RFC 9110, section 14). It is pure.
package byterange

import (
	"math"
	"slices"
	"strings"
)

const (
	// MaxSpecs is the greatest number of ranges that a field may name.
	MaxSpecs = 64
	// MaxRanges is the greatest number of ranges of one answer.
	MaxRanges = 16
)

// Spec is one range-spec. First is -1 for a suffix of Last octets; Last is -1
// if the range is open.
type Spec struct{ First, Last int64 }

// Range is Length octets from Offset on.
type Range struct{ Offset, Length int64 }

// Parse appends the ranges of a Range field to dst. It reports false for what
// a server ignores: another unit, an invalid ranges-specifier, more than
// MaxSpecs ranges (sections 14.2 and 17.15).
func Parse(dst []Spec, field string) ([]Spec, bool) {
	unit, set, ok := strings.Cut(field, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return dst, false
	}
	n := len(dst)
	for part := range strings.SplitSeq(set, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue // section 5.6.1.2: empty list elements
		}
		s, ok := parseSpec(part)
		if !ok || len(dst)-n == MaxSpecs {
			return dst[:n], false
		}
		dst = append(dst, s)
	}
	return dst, len(dst) > n
}

func parseSpec(s string) (Spec, bool) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return Spec{}, false
	}
	spec := Spec{-1, -1}
	if first != "" {
		if spec.First, ok = number(first); !ok {
			return Spec{}, false
		}
		if last == "" {
			return spec, true
		}
	}
	if spec.Last, ok = number(last); !ok || (first != "" && spec.Last < spec.First) {
		return Spec{}, false
	}
	return spec, true
}

// number reads decimal digits. What exceeds 63 bits lies beyond every object,
// and must not overflow (section 14.1.2).
func number(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-uint64(d))/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + uint64(d)
		}
	}
	return int64(n), true
}

// Fit cuts the ranges to an object of size octets, in the order of offsets,
// overlapping and touching ones merged. Nothing means that none is
// satisfiable; false that there are more than MaxRanges, which a server
// ignores.
func Fit(specs []Spec, size int64) ([]Range, bool) {
	fit := make([]Range, 0, len(specs))
	for _, s := range specs {
		switch {
		case s.First < 0:
			if n := min(s.Last, size); n > 0 {
				fit = append(fit, Range{size - n, n})
			}
		case s.First < size:
			last := size - 1
			if s.Last >= 0 {
				last = min(last, s.Last)
			}
			fit = append(fit, Range{s.First, last - s.First + 1})
		}
	}
	slices.SortFunc(fit, func(a, b Range) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	merged := fit[:0]
	for _, r := range fit {
		if i := len(merged) - 1; i >= 0 && r.Offset <= merged[i].Offset+merged[i].Length {
			merged[i].Length = max(merged[i].Length, r.Offset+r.Length-merged[i].Offset)
			continue
		}
		merged = append(merged, r)
	}
	return merged, len(merged) <= MaxRanges
}
