package gf2

import (
	"crypto/subtle"
	"math/bits"
	"unsafe"
)

// Plan is a recipe that solves a system for any values of its rows. It is
// immutable once built and safe for concurrent use.
//
// With C the columns and D the values of the rows, it is run in three steps:
//
//  1. For peeled steps in order, C[col] = D[row] + sum of C[before]. Inactive
//     columns count as zero while this goes on.
//  2. For dense rows, E[k] = D[row] + sum of C[before]; then each inactive column
//     is a sum of some E.
//  3. For peeled steps in order, C[col] = D[row] + sum of C[before and after].
//
// Computing peeled columns twice from their sparse rows is much cheaper than adding
// what each owes to the inactive columns, which would be dense. The first time, only
// those are computed that dense rows need; the second, not those that owe nothing.
type Plan struct {
	columns int
	peeled  []step
	dense   []step
	cols    []uint32 // arena of the steps' lists

	inactive []uint32
	words    int      // 64-bit words per row of inverse
	inverse  []uint64 // row i: the dense rows whose sum is inactive column i
	group    int      // how many dense rows are combined at once in step 2

	shared  sharedRows
	surplus []uint32 // rows that nothing was solved by
}

// step solves column col by row row.
type step struct {
	row, col        uint32
	begin, mid, end uint32 // before is cols[begin:mid], after is cols[mid:end]

	needed bool // by a dense row, directly or not
	owes   bool // depends on inactive columns
}

// NewPlan plans the solution of the system. If the rows do not determine all
// columns, the plan is nil and need is the number of further rows that it takes
// at least. maxBits bounds the memory for planning, beyond a multiple of the
// matrix: it is how many bits the elimination may keep. When these are not enough,
// or when it would take more than some seconds, need is 1: with more rows, peeling
// leaves less to eliminate.
func NewPlan(m *Matrix, maxBits int) (p *Plan, need int) {
	if n := m.columns - m.Rows(); n > 0 {
		return nil, n
	}
	z := newPeeler(m)
	if !z.run(min(maxBits/(m.columns+1), maxInactive)) {
		return nil, 1
	}
	b := builder{
		m:      m,
		peeler: z,
		words:  (len(z.inactive) + 63) / 64,
		plan: &Plan{
			columns:  m.columns,
			peeled:   make([]step, 0, len(z.order)),
			cols:     make([]uint32, 0, len(m.cols)),
			inactive: z.inactive,
		},
	}
	b.plan.words = b.words
	b.addPeeled()
	if need := b.addDense(); need > 0 {
		return nil, need
	}
	b.markNeeded()
	b.share()
	b.plan.group = groupSize(len(z.inactive))
	return b.plan, 0
}

// Size returns about how many octets the plan takes.
func (p *Plan) Size() int {
	return 24*(cap(p.peeled)+cap(p.dense)) + 4*(cap(p.cols)+cap(p.inactive)+cap(p.surplus)) +
		8*(cap(p.inverse)+cap(p.shared.columns)) + 200
}

// Surplus returns the rows that the solution does not depend on, by which it can
// be checked.
func (p *Plan) Surplus() []uint32 { return p.surplus }

// maxInactive bounds the inactive columns, to the third power of which the time for
// elimination grows.
const maxInactive = 4096

type builder struct {
	m      *Matrix
	peeler *peeler
	plan   *Plan
	words  int

	index []int32  // column: its position in the peeling order, or ^(position in inactive)
	owed  []uint64 // for each peeled column its dependence on inactive columns
}

func (b *builder) bitsOf(m []uint64, i int) []uint64 {
	return m[i*b.words : (i+1)*b.words : (i+1)*b.words]
}

func (b *builder) addPeeled() {
	order := b.peeler.order
	b.index = make([]int32, b.m.columns)
	for i, c := range b.peeler.inactive {
		b.index[c] = ^int32(i)
	}
	b.owed = make([]uint64, len(order)*b.words)
	for t, pv := range order {
		s := b.reduce(pv.row, pv.col, b.bitsOf(b.owed, t))
		for _, c := range b.m.Row(int(pv.row)) {
			if b.peeler.state[c] == inactive {
				b.plan.cols = append(b.plan.cols, c)
			}
		}
		s.end = uint32(len(b.plan.cols))
		s.owes = firstBit(b.bitsOf(b.owed, t)) >= 0
		b.plan.peeled = append(b.plan.peeled, s)
		b.index[pv.col] = int32(t)
	}
}

// reduce lists the peeled columns of a row other than col, and adds to v what
// the row owes to inactive columns once these are replaced.
func (b *builder) reduce(row, col uint32, v []uint64) step {
	s := step{row: row, col: col, begin: uint32(len(b.plan.cols))}
	for _, c := range b.m.Row(int(row)) {
		switch {
		case c == col:
		case b.peeler.state[c] == inactive:
			i := uint(^b.index[c])
			v[i/64] ^= 1 << (i % 64)
		default:
			b.plan.cols = append(b.plan.cols, c)
			xorWords(v, b.bitsOf(b.owed, int(b.index[c])))
		}
	}
	s.mid = uint32(len(b.plan.cols))
	s.end = s.mid
	return s
}

// noColumn is none of the columns, of which there are fewer.
const noColumn = ^uint32(0)

// addDense solves the inactive columns by the rows that peeling left over, and
// returns the number of columns that these leave open.
func (b *builder) addDense() (need int) {
	u := len(b.plan.inactive)
	// Echelon row k has v in terms of inactive columns and, as the second half,
	// in terms of dense rows; its pivot is column pivots[k].
	var (
		echelon []uint64
		pivots  = make([]uint32, 0, u)
		v       = make([]uint64, 2*b.words)
		width   = 2 * b.words
	)
	for r := range b.m.Rows() {
		if r < len(b.peeler.degree) && b.peeler.degree[r] == spent {
			continue
		}
		if len(pivots) == u {
			b.plan.surplus = append(b.plan.surplus, uint32(r))
			continue
		}
		clear(v)
		s := b.reduce(uint32(r), noColumn, v[:b.words])
		for k, pv := range pivots {
			if v[pv/64]>>(pv%64)&1 != 0 {
				xorWords(v, echelon[k*width:(k+1)*width])
			}
		}
		first := firstBit(v[:b.words])
		if first < 0 {
			b.plan.cols = b.plan.cols[:s.begin]
			b.plan.surplus = append(b.plan.surplus, uint32(r))
			continue
		}
		k := len(pivots)
		v[b.words+k/64] ^= 1 << (k % 64)
		pivots = append(pivots, uint32(first))
		echelon = append(echelon, v...)
		b.plan.dense = append(b.plan.dense, s)
	}
	if len(pivots) < u {
		return u - len(pivots)
	}
	// Back to front, so that row k depends on its pivot alone when it is used.
	b.plan.inverse = make([]uint64, u*b.words)
	for k := u - 1; k >= 0; k-- {
		pv := pivots[k]
		combined := echelon[k*width+b.words : (k+1)*width]
		copy(b.bitsOf(b.plan.inverse, int(pv)), combined)
		for j := range k {
			if echelon[j*width+int(pv/64)]>>(pv%64)&1 != 0 {
				xorWords(echelon[j*width+b.words:(j+1)*width], combined)
			}
		}
	}
	return 0
}

// markNeeded marks the peeled steps that dense rows need.
func (b *builder) markNeeded() {
	mark := func(s *step) {
		for _, c := range b.plan.cols[s.begin:s.mid] {
			b.plan.peeled[b.index[c]].needed = true
		}
	}
	for i := range b.plan.dense {
		mark(&b.plan.dense[i])
	}
	for t := len(b.plan.peeled) - 1; t >= 0; t-- {
		if s := &b.plan.peeled[t]; s.needed {
			mark(s)
		}
	}
}

// groupSize returns how many of u symbols to combine in a table of all their
// sums, so that u sums of them take the fewest additions ("four Russians").
func groupSize(u int) int {
	best, least := 1, u*u
	for g := 2; g <= 8; g++ {
		if work := (u + g - 1) / g * (1<<g - g - 1 + u); work < least {
			best, least = g, work
		}
	}
	return best
}

func xorWords(dst, src []uint64) {
	src = src[:len(dst)]
	if n := len(dst); n >= 16 {
		d := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 8*n)
		subtle.XORBytes(d, d, unsafe.Slice((*byte)(unsafe.Pointer(&src[0])), 8*n))
		return
	}
	for i := range dst {
		dst[i] ^= src[i]
	}
}

// firstBit returns the position of the lowest bit set in v, or -1.
func firstBit(v []uint64) int {
	for i, x := range v {
		if x != 0 {
			return i*64 + bits.TrailingZeros64(x)
		}
	}
	return -1
}
