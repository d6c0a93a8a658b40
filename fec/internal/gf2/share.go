package gf2

import "crypto/subtle"

// sharedRows are dense steps that have most of their columns in common with others, as
// the Half constraints of Raptor do: each column is in about half of them. Columns in
// the same rows are summed first, in a bucket for each combination of rows, so that a
// column is added twice at most, in the place of once for each of its rows.
type sharedRows struct {
	steps   []uint32 // positions in Plan.dense, at most maxShared
	columns []sharedColumn
}

// sharedColumn is a column and the steps that it is in, as bits.
type sharedColumn struct {
	col   uint32
	steps uint16
}

const maxShared = 16

// share finds the dense steps that are worth it, and takes their lists.
func (b *builder) share() {
	p, sparse := b.plan, b.m.sparse()
	s := &p.shared
	total := 0
	for i := range p.dense {
		if d := &p.dense[i]; int(d.row) >= sparse && len(s.steps) < maxShared {
			s.steps = append(s.steps, uint32(i))
			total += int(d.mid - d.begin)
		}
	}
	low, high := s.bits()
	if total < 2*b.m.columns+2<<low+2<<high {
		s.steps = nil
		return
	}
	steps := make([]uint16, b.m.columns)
	for bit, i := range s.steps {
		d := &p.dense[i]
		for _, c := range p.cols[d.begin:d.mid] {
			steps[c] |= 1 << bit
		}
		d.mid, d.end = d.begin, d.begin
	}
	for c, x := range steps {
		if x != 0 {
			s.columns = append(s.columns, sharedColumn{uint32(c), x})
		}
	}
}

// bits returns how the steps are divided, so that there are few buckets.
func (s *sharedRows) bits() (low, high int) {
	low = (len(s.steps) + 1) / 2
	return low, len(s.steps) - low
}

// buckets returns how many symbols of scratch the rows take.
func (s *sharedRows) buckets() int {
	if len(s.steps) == 0 {
		return 0
	}
	low, high := s.bits()
	return 1<<low + 1<<high
}

// bucketSums are sums of columns by combinations of rows.
type bucketSums struct {
	n    int // octets of a strip
	mem  []byte
	used [1 << (maxShared / 2)]bool
}

func (b *bucketSums) bucket(i int) []byte { return b.mem[i*b.n : (i+1)*b.n] }

func (b *bucketSums) add(i int, x []byte) {
	if b.used[i] {
		subtle.XORBytes(b.bucket(i), b.bucket(i), x)
	} else {
		b.used[i] = true
		copy(b.bucket(i), x)
	}
}

// fold adds to row(bit) all buckets whose number has the bit, for each of so many bits.
func (b *bucketSums) fold(bits int, row func(bit int) []byte) {
	for bit := bits - 1; bit >= 0; bit-- {
		dst := row(bit)
		for i := 1 << bit; i < 2<<bit; i++ {
			if !b.used[i] {
				continue
			}
			subtle.XORBytes(dst, dst, b.bucket(i))
			if rest := i - 1<<bit; rest != 0 {
				b.add(rest, b.bucket(i))
			}
		}
	}
}

// run adds the columns to the shared rows, of which dense gives the memory.
func (s *sharedRows) run(r *run, scratch []byte, dense func(k int) []byte) {
	if len(s.steps) == 0 {
		return
	}
	low, high := s.bits()
	var sums [2]bucketSums
	sums[0].n, sums[1].n = r.n, r.n
	sums[0].mem, sums[1].mem = scratch, scratch[r.n<<low:]
	mask := uint16(1)<<low - 1
	for _, c := range s.columns {
		x := r.column(c.col)
		if i := c.steps & mask; i != 0 {
			sums[0].add(int(i), x)
		}
		if i := c.steps >> low; i != 0 {
			sums[1].add(int(i), x)
		}
	}
	sums[0].fold(low, func(bit int) []byte { return dense(int(s.steps[bit])) })
	sums[1].fold(high, func(bit int) []byte { return dense(int(s.steps[low+bit])) })
}
