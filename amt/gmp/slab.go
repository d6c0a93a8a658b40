package gmp

// slab holds many small values of one type in pages, so that growing copies
// nothing and freed values are used again. Index 0 stands for none.
type slab[T any] struct {
	pages []*[pageSize]T
	free  []uint32
	used  uint32 // indices ever given out
	live  int
}

const pageSize = 1024

func (s *slab[T]) at(i uint32) *T {
	i--
	return &s.pages[i/pageSize][i%pageSize]
}

// alloc returns the index of a zero value.
func (s *slab[T]) alloc() uint32 {
	s.live++
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if s.used%pageSize == 0 {
		s.pages = append(s.pages, new([pageSize]T))
	}
	s.used++
	return s.used
}

func (s *slab[T]) release(i uint32) {
	var zero T
	*s.at(i) = zero
	s.free = append(s.free, i)
	s.live--
}
