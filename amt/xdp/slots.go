package xdp

import (
	"slices"
	"time"
)

// grace is how long what the kernel may still look at stays as it is: packets
// that were on their way when a channel changed.
const grace = time.Second

// slots hands out numbers below a limit, and again a while after they were given
// back.
type slots struct {
	limit, fresh uint32
	free         []uint32
	waiting      []waiting
}

type waiting struct {
	first, count uint32
	until        time.Time
	done         func() // may be nil
}

func (s *slots) take() (uint32, bool) {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot, true
	}
	if s.fresh == s.limit {
		return 0, false
	}
	s.fresh++
	return s.fresh - 1, true
}

// give gives a number back. Done is called when nobody looks at it any more.
func (s *slots) give(now time.Time, slot uint32, done func()) {
	s.waiting = append(s.waiting, waiting{slot, 1, now.Add(grace), done})
}

// settle makes numbers free whose time has come.
func (s *slots) settle(now time.Time) {
	n := 0
	for n < len(s.waiting) && !s.waiting[n].until.After(now) {
		w := &s.waiting[n]
		if w.done != nil {
			w.done()
		}
		s.free = append(s.free, w.first)
		n++
	}
	s.waiting = append(s.waiting[:0], s.waiting[n:]...)
}

// ranges hands out runs of numbers. They come in powers of two, so that one that
// was given back fits the next that is asked for.
type ranges struct {
	limit, fresh uint32
	free         map[uint32][]uint32 // by size
	waiting      []waiting
}

func sizeClass(count int) uint32 {
	size := uint32(1)
	for size < uint32(count) {
		size *= 2
	}
	return size
}

func (r *ranges) take(count int) (first uint32, ok bool) {
	size := sizeClass(count)
	if list := r.free[size]; len(list) > 0 {
		first = list[len(list)-1]
		r.free[size] = list[:len(list)-1]
		return first, true
	}
	if size > r.limit-r.fresh {
		return 0, false
	}
	first = r.fresh
	r.fresh += size
	return first, true
}

func (r *ranges) give(now time.Time, first uint32, count int) {
	r.waiting = append(r.waiting, waiting{first: first, count: sizeClass(count), until: now.Add(grace)})
}

func (r *ranges) settle(now time.Time) {
	n := 0
	for n < len(r.waiting) && !r.waiting[n].until.After(now) {
		w := &r.waiting[n]
		if r.free == nil {
			r.free = make(map[uint32][]uint32)
		}
		r.free[w.count] = append(r.free[w.count], w.first)
		n++
	}
	r.waiting = append(r.waiting[:0], r.waiting[n:]...)
}

// reclaim takes a number again that was given back and is not free yet.
func (s *slots) reclaim(slot uint32) {
	s.waiting = slices.DeleteFunc(s.waiting, func(w waiting) bool { return w.first == slot })
}
