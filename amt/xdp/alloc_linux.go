package xdp

import "slices"

// allocator gives out ranges of a table, the first that fits.
type allocator struct{ free []span }

type span struct{ from, to uint32 }

func newAllocator(size uint32) allocator { return allocator{[]span{{0, size}}} }

func (a *allocator) take(n uint32) (base uint32, ok bool) {
	for i := range a.free {
		if s := &a.free[i]; s.to-s.from >= n {
			base = s.from
			if s.from += n; s.from == s.to {
				a.free = slices.Delete(a.free, i, i+1)
			}
			return base, true
		}
	}
	return 0, false
}

func (a *allocator) give(base, n uint32) {
	i, _ := slices.BinarySearchFunc(a.free, base, func(s span, base uint32) int {
		if s.from < base {
			return -1
		}
		return 1
	})
	a.free = slices.Insert(a.free, i, span{base, base + n})
	if i+1 < len(a.free) && a.free[i].to == a.free[i+1].from {
		a.free[i].to = a.free[i+1].to
		a.free = slices.Delete(a.free, i+1, i+2)
	}
	if i > 0 && a.free[i-1].to == a.free[i].from {
		a.free[i-1].to = a.free[i].to
		a.free = slices.Delete(a.free, i, i+1)
	}
}
