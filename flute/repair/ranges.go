package repair

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Range is a run of octets of an object, from Start up to but not including
// End. An End of [ToEnd] means all that the object has from Start on.
type Range struct {
	Start, End int64
}

// ToEnd is the End of a [Range] up to the end of an object of unknown length.
const ToEnd = math.MaxInt64

// Len returns the number of octets; it means nothing for a Range to ToEnd.
func (r Range) Len() int64 { return r.End - r.Start }

// MergeRanges sorts ranges in place and merges those that overlap or lie less
// than gap octets apart. Empty ranges vanish.
func MergeRanges(ranges []Range, gap int64) []Range {
	ranges = slices.DeleteFunc(ranges, func(r Range) bool { return r.End <= r.Start })
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	merged := ranges[:0]
	for _, r := range ranges {
		if last := len(merged) - 1; last >= 0 && (r.Start <= merged[last].End || r.Start-merged[last].End < gap) {
			merged[last].End = max(merged[last].End, r.End)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// subtract returns the parts of ranges that are not in taken. Both are sorted
// and disjoint, as MergeRanges returns them.
func subtract(ranges, taken []Range) []Range {
	var rest []Range
	for _, r := range ranges {
		for _, t := range taken {
			if t.End <= r.Start {
				continue
			}
			if t.Start >= r.End {
				break
			}
			if t.Start > r.Start {
				rest = append(rest, Range{r.Start, t.Start})
			}
			r.Start = t.End
			if r.Start >= r.End {
				break
			}
		}
		if r.Start < r.End {
			rest = append(rest, r)
		}
	}
	return rest
}

func overlap(a, b []Range) bool {
	for _, r := range a {
		for _, s := range b {
			if r.Start < s.End && s.Start < r.End {
				return true
			}
		}
	}
	return false
}

// parseUnsatisfied parses the header field Content-Range of a 416 answer:
// "bytes */<length>".
func parseUnsatisfied(s string) (length int64, ok bool) {
	total, found := strings.CutPrefix(strings.ToLower(s), "bytes */")
	if !found {
		return 0, false
	}
	return parsePosition(total)
}

// contains reports whether one of the ranges contains r.
func contains(ranges []Range, r Range) bool {
	return slices.ContainsFunc(ranges, func(s Range) bool { return s.Start <= r.Start && r.End <= s.End })
}

// octets returns the sum of the lengths of disjoint ranges; it saturates.
func octets(ranges []Range) (sum int64) {
	for _, r := range ranges {
		if r.Len() > math.MaxInt64-sum {
			return math.MaxInt64
		}
		sum += r.Len()
	}
	return sum
}

// appendRange appends the value of the header field Range.
func appendRange(dst []byte, ranges []Range) []byte {
	dst = append(dst, "bytes="...)
	for i, r := range ranges {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, r.Start, 10)
		dst = append(dst, '-')
		if r.End != ToEnd {
			dst = strconv.AppendInt(dst, r.End-1, 10)
		}
	}
	return dst
}

// rangeSpec is one range of a request (RFC 9110 section 14.1.2).
type rangeSpec struct {
	first, last int64 // last is included, math.MaxInt64-1 for "to the end"
	suffix      bool  // the last octets, whose number is in first
}

const openEnd = math.MaxInt64 - 1

// parseRange parses the header field Range. ok is false for a unit other than
// bytes, which a server has to ignore (RFC 9110 section 14.2).
func parseRange(header string, maxRanges int) (specs []rangeSpec, ok bool, err error) {
	unit, set, found := strings.Cut(header, "=")
	if !found {
		return nil, false, fmt.Errorf("repair: %w: Range %.80q", ErrRequest, header)
	}
	if !strings.EqualFold(unit, "bytes") {
		return nil, false, nil
	}
	var elements int
	for element := range strings.SplitSeq(set, ",") {
		if elements++; elements > maxRanges {
			return nil, false, fmt.Errorf("repair: %w: more than %d ranges", ErrLimit, maxRanges)
		}
		element = strings.Trim(element, " \t")
		if element == "" {
			continue // RFC 9110 section 5.6.1.2 wants empty elements ignored
		}
		spec, err := parseRangeSpec(element)
		if err != nil {
			return nil, false, err
		}
		specs = append(specs, spec)
	}
	if len(specs) == 0 {
		return nil, false, fmt.Errorf("repair: %w: empty Range", ErrRequest)
	}
	return specs, true, nil
}

func parseRangeSpec(s string) (spec rangeSpec, err error) {
	first, last, found := strings.Cut(s, "-")
	bad := fmt.Errorf("repair: %w: range %.40q", ErrRequest, s)
	if !found {
		return spec, bad
	}
	if first == "" {
		spec.suffix = true
		first, last = last, ""
	}
	var ok bool
	if spec.first, ok = parsePosition(first); !ok {
		return spec, bad
	}
	spec.last = openEnd
	if last != "" {
		if spec.last, ok = parsePosition(last); !ok || spec.last < spec.first {
			return spec, bad
		}
	}
	return spec, nil
}

// parsePosition takes digits only and saturates: a position beyond every object
// is valid.
func parsePosition(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		digit := int64(s[i]) - '0'
		if digit < 0 || digit > 9 {
			return 0, false
		}
		if n > (openEnd-digit)/10 {
			n = openEnd
		} else {
			n = n*10 + digit
		}
	}
	return n, true
}

// resolve clips specs to the readable prefix of an object of the given length,
// which is negative if it is not known yet, and merges what overlaps
// (RFC 9110 section 15.3.7.2 allows that). Without any octets to send it
// returns none, and ready tells whether more are to come.
func resolve(specs []rangeSpec, prefix, length int64) (ranges []Range, ready bool) {
	ready = true
	for _, s := range specs {
		r := Range{s.first, s.last + 1}
		if s.suffix {
			if length < 0 {
				ready = false
				continue
			}
			r = Range{max(0, length-s.first), length}
		}
		if length >= 0 {
			r.End = min(r.End, length)
			if r.Start >= r.End {
				continue
			}
		}
		if r.Start >= prefix {
			ready = false
			continue
		}
		r.End = min(r.End, prefix)
		ranges = append(ranges, r)
	}
	return MergeRanges(ranges, 1), ready
}

// bounded returns ranges with the end of an object of the given length in the
// place of ToEnd. A negative length is not known.
func bounded(ranges []Range, length int64) []Range {
	if length < 0 || len(ranges) == 0 || ranges[len(ranges)-1].End != ToEnd {
		return ranges
	}
	ranges = slices.Clone(ranges)
	last := &ranges[len(ranges)-1]
	last.End = max(last.Start, length)
	return ranges
}

// appendContentRange appends the value of the header field Content-Range, with
// "*" for a length that is not known.
func appendContentRange(dst []byte, r Range, length int64) []byte {
	dst = append(dst, "bytes "...)
	dst = strconv.AppendInt(dst, r.Start, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, r.End-1, 10)
	dst = append(dst, '/')
	if length < 0 {
		return append(dst, '*')
	}
	return strconv.AppendInt(dst, length, 10)
}

// parseContentRange parses the header field Content-Range of a part. length is
// -1 if the server does not know it.
func parseContentRange(s string) (r Range, length int64, err error) {
	bad := fmt.Errorf("repair: %w: Content-Range %.80q", ErrAnswer, s)
	unit, rest, found := strings.Cut(s, " ")
	if !found || !strings.EqualFold(unit, "bytes") {
		return Range{}, 0, bad
	}
	span, total, found := strings.Cut(rest, "/")
	first, last, found2 := strings.Cut(span, "-")
	if !found || !found2 {
		return Range{}, 0, bad
	}
	length = -1
	var ok1, ok2, ok3 bool
	r.Start, ok1 = parsePosition(first)
	r.End, ok2 = parsePosition(last)
	if ok3 = true; total != "*" {
		length, ok3 = parsePosition(total)
	}
	if !ok1 || !ok2 || !ok3 || r.End < r.Start || r.End >= openEnd || (length >= 0 && r.End >= length) {
		return Range{}, 0, bad
	}
	r.End++
	return r, length, nil
}
