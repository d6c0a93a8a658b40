package reassembly

import (
	"slices"
	"sort"
)

// Range is the half-open interval [Start, End).
type Range struct {
	Start, End int64
}

// Len is the number of octets in r.
func (r Range) Len() int64 { return r.End - r.Start }

// Set is a set of octets as sorted, disjoint ranges. Octets of an object arrive mostly in order, so that a set is one
// range most of the time and every operation touches its end only. The zero value is empty. Ranges of a set neither
// overlap nor touch.
type Set struct {
	r     []Range
	total int64
}

// Len is the number of ranges, Total the number of octets.
func (s *Set) Len() int     { return len(s.r) }
func (s *Set) Total() int64 { return s.total }

// All returns the ranges in rising order. The slice belongs to the set and is
// valid until its next change.
func (s *Set) All() []Range { return s.r }

// End is the end of the last range, zero for an empty set.
func (s *Set) End() int64 {
	if len(s.r) == 0 {
		return 0
	}
	return s.r[len(s.r)-1].End
}

// Prefix is the number of octets from zero on without a hole.
func (s *Set) Prefix() int64 {
	if len(s.r) == 0 || s.r[0].Start != 0 {
		return 0
	}
	return s.r[0].End
}

// Reset empties the set and keeps its memory.
func (s *Set) Reset() {
	s.r, s.total = s.r[:0], 0
}

// find returns the index of the first range that ends after x.
func (s *Set) find(x int64) int {
	if n := len(s.r); n == 0 || s.r[n-1].End <= x {
		return n
	}
	return sort.Search(len(s.r), func(i int) bool { return s.r[i].End > x })
}

// Add adds [start, end) and returns how many of its octets are new.
func (s *Set) Add(start, end int64) (added int64) {
	if start >= end {
		return 0
	}
	if n := len(s.r); n > 0 && s.r[n-1].End == start {
		s.r[n-1].End = end
		s.total += end - start
		return end - start
	}
	// Ranges that touch are merged: the first one that ends at start or
	// later, up to the last one that begins at end or earlier.
	i := s.find(start - 1)
	j := i
	added = end - start
	for j < len(s.r) && s.r[j].Start <= end {
		added -= max(0, min(end, s.r[j].End)-max(start, s.r[j].Start))
		j++
	}
	if i == j {
		s.r = append(s.r, Range{})
		copy(s.r[i+1:], s.r[i:])
		s.r[i] = Range{start, end}
	} else {
		s.r[i] = Range{min(start, s.r[i].Start), max(end, s.r[j-1].End)}
		s.r = append(s.r[:i+1], s.r[j:]...)
	}
	s.total += added
	return added
}

// Truncate removes all octets from x on.
func (s *Set) Truncate(x int64) {
	i := s.find(x)
	if i < len(s.r) && s.r[i].Start < x {
		s.r[i].End = x
		i++
	}
	s.r = s.r[:i]
	s.total = 0
	for _, r := range s.r {
		s.total += r.Len()
	}
}

// Remove removes [start, end).
func (s *Set) Remove(start, end int64) {
	if start >= end {
		return
	}
	i := s.find(start)
	j := i
	var left, right Range
	for j < len(s.r) && s.r[j].Start < end {
		s.total -= min(end, s.r[j].End) - max(start, s.r[j].Start)
		if s.r[j].Start < start {
			left = Range{s.r[j].Start, start}
		}
		if s.r[j].End > end {
			right = Range{end, s.r[j].End}
		}
		j++
	}
	var keep []Range
	for _, r := range []Range{left, right} {
		if r.Len() > 0 {
			keep = append(keep, r)
		}
	}
	s.r = slices.Replace(s.r, i, j, keep...)
}

// Contains tells whether all of [start, end) is in the set. An empty range
// always is.
func (s *Set) Contains(start, end int64) bool {
	if start >= end {
		return true
	}
	i := s.find(start)
	return i < len(s.r) && s.r[i].Start <= start && end <= s.r[i].End
}

// Next returns the first range, cut to [start, end), in which the set and that
// interval overlap, and false if they do not.
func (s *Set) Next(start, end int64) (Range, bool) {
	i := s.find(start)
	if start >= end || i == len(s.r) || s.r[i].Start >= end {
		return Range{}, false
	}
	return Range{max(start, s.r[i].Start), min(end, s.r[i].End)}, true
}

// Missing returns the first octet from start on that is not in the set.
func (s *Set) Missing(start int64) int64 {
	if i := s.find(start); i < len(s.r) && s.r[i].Start <= start {
		return s.r[i].End
	}
	return start
}

// AppendMissing appends the parts of [start, end) that are not in the set.
func (s *Set) AppendMissing(dst []Range, start, end int64) []Range {
	for i := s.find(start); start < end && i < len(s.r) && s.r[i].Start < end; i++ {
		if start < s.r[i].Start {
			dst = append(dst, Range{start, s.r[i].Start})
		}
		start = s.r[i].End
	}
	if start < end {
		dst = append(dst, Range{start, end})
	}
	return dst
}
