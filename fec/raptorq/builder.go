package raptorq

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/treedn/treedn/fec/internal/gf256"
)

// builder makes a plan out of the order that peeling found. It follows what
// each column owes to the u inactive columns in rows of u bits.
type builder struct {
	plan     *plan
	rows     *rows
	peeler   *peeler
	inactive []uint16
	words    int // 64-bit words per row of bits

	index []int32  // column: its position in the peeling order, or ^(position in inactive)
	owed  []uint64 // for each peeled column its dependence on inactive columns

	echelon   []uint64 // bits of the dense steps' rows
	pivots    []uint16 // inactive column solved by each dense step, as a position in inactive
	unsettled []uint16 // the other inactive columns, likewise
}

func (b *builder) bitsOf(m []uint64, i int) []uint64 {
	return m[i*b.words : (i+1)*b.words : (i+1)*b.words]
}

// addPeeled records the peeled steps.
func (b *builder) addPeeled() {
	order := b.peeler.order
	b.index = make([]int32, b.plan.params.l)
	for i, c := range b.inactive {
		b.index[c] = ^int32(i)
	}
	b.owed = make([]uint64, len(order)*b.words)
	for t, pv := range order {
		s := b.reduce(pv.row, pv.col, b.bitsOf(b.owed, t))
		// The inactive columns of a peeled row are wanted in step 4.
		for _, c := range b.rows.row(int(pv.row)) {
			if b.peeler.state[c] == inactive {
				b.plan.cols = append(b.plan.cols, c)
			}
		}
		s.end = uint32(len(b.plan.cols))
		b.plan.peeled = append(b.plan.peeled, s)
		b.index[pv.col] = int32(t)
	}
}

// reduce lists the peeled columns of a row other than col, and adds to v what
// the row owes to inactive columns once these are replaced.
func (b *builder) reduce(row uint32, col uint16, v []uint64) step {
	s := step{row: row, col: col, begin: uint32(len(b.plan.cols))}
	for _, c := range b.rows.row(int(row)) {
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

// addDense solves inactive columns by the binary rows that peeling left over,
// and records a dense step for each. Surplus rows leave no trace.
func (b *builder) addDense() {
	u := len(b.inactive)
	v := make([]uint64, b.words)
	start := len(b.plan.cols)
	const none = 0xffff // no column: W is smaller
	for r := 0; r < b.rows.len() && len(b.pivots) < u; r++ {
		if b.peeler.degree[r] == spent {
			continue
		}
		clear(v)
		s := b.reduce(uint32(r), none, v)
		for k, pv := range b.pivots {
			if v[pv/64]>>(pv%64)&1 != 0 {
				xorWords(v, b.bitsOf(b.echelon, k))
				b.plan.cols = append(b.plan.cols, b.inactive[pv])
			}
		}
		first := firstBit(v)
		if first < 0 {
			b.plan.cols = b.plan.cols[:s.begin]
			continue
		}
		s.mid = uint32(len(b.plan.cols))
		s.col = b.inactive[first]
		b.pivots = append(b.pivots, uint16(first))
		b.echelon = append(b.echelon, v...)
		b.plan.dense = append(b.plan.dense, s)
	}
	// Step 3 wants the bits that remain: columns of later dense steps and
	// unsettled ones. Each step's lists are adjacent, so the arena is redone.
	lists := slices.Clone(b.plan.cols[start:])
	b.plan.cols = b.plan.cols[:start]
	for k := range b.plan.dense {
		s := &b.plan.dense[k]
		before := lists[int(s.begin)-start : int(s.mid)-start]
		s.begin = uint32(len(b.plan.cols))
		b.plan.cols = append(b.plan.cols, before...)
		s.mid = uint32(len(b.plan.cols))
		for w, x := range b.bitsOf(b.echelon, k) {
			for ; x != 0; x &= x - 1 {
				c := b.inactive[w*64+bits.TrailingZeros64(x)]
				if c != s.col {
					b.plan.cols = append(b.plan.cols, c)
				}
			}
		}
		s.end = uint32(len(b.plan.cols))
	}
}

// addRest solves what the binary rows could not by the HDPC rows and returns
// the number of columns that even these leave open.
func (b *builder) addRest() (need int) {
	u, p := len(b.inactive), &b.plan.params
	if len(b.pivots) == u {
		return 0
	}
	settled := make([]bool, u)
	for _, pv := range b.pivots {
		settled[pv] = true
	}
	for i, done := range settled {
		if !done {
			b.unsettled = append(b.unsettled, uint16(i))
		}
	}
	n := len(b.unsettled)
	if n > p.h {
		return n - p.h
	}
	hdpc, width := b.hdpcRows()

	// Clear the columns of the dense steps; factor[k*H+h] is what was added of
	// dense row k to HDPC row h.
	d := len(b.pivots)
	factor := make([]uint8, d*p.h)
	wide := make([]byte, width)
	for k, pv := range b.pivots {
		for w, x := range b.bitsOf(b.echelon, k) {
			for i := 0; i < 8 && w*8+i < width/8; i++ {
				binary.LittleEndian.PutUint64(wide[(w*8+i)*8:], gf256.Spread8(uint8(x>>(8*i))))
			}
		}
		for h := range p.h {
			row := hdpc[h*width : (h+1)*width]
			c := row[pv]
			factor[k*p.h+h] = c
			gf256.AddMul(row, wide, c)
		}
	}

	// Solve the small system that remains: left is what the HDPC rows have in
	// the unsettled columns, right becomes the combination of HDPC rows.
	left := make([]byte, p.h*n)
	right := make([]byte, p.h*p.h)
	for h := range p.h {
		for i, c := range b.unsettled {
			left[h*n+i] = hdpc[h*width+int(c)]
		}
		right[h*p.h+h] = 1
	}
	rank := eliminate(left, right, p.h, n)
	if rank < n {
		return n - rank
	}
	b.plan.rest = make([]uint16, n)
	b.plan.byHDPC = right[:n*p.h]
	b.plan.byDense = make([]uint8, n*d)
	for i, c := range b.unsettled {
		b.plan.rest[i] = b.inactive[c]
		for k := range d {
			sum := uint8(0)
			for h, f := range factor[k*p.h : (k+1)*p.h] {
				sum ^= gf256.Mul(right[i*p.h+h], f)
			}
			b.plan.byDense[i*d+k] = sum
		}
	}
	return 0
}

// addSurplus records the rows that are left, by which the result can be checked.
func (b *builder) addSurplus() {
	next := 0 // dense steps are in order of rows
	for r := range b.rows.len() {
		if b.peeler.degree[r] == spent {
			continue
		}
		if next < len(b.plan.dense) && b.plan.dense[next].row == uint32(r) {
			next++
			continue
		}
		at := uint32(len(b.plan.cols))
		b.plan.cols = append(b.plan.cols, b.rows.row(r)...)
		b.plan.surplus = append(b.plan.surplus, step{row: uint32(r), begin: at, mid: at, end: uint32(len(b.plan.cols))})
	}
}

// hdpcRows returns the HDPC rows in terms of the inactive columns, one octet
// for each, in rows of width octets.
func (b *builder) hdpcRows() (m []byte, width int) {
	p := &b.plan.params
	n := (len(b.inactive) + 7) / 8
	y := make([]uint64, n)
	acc := make([]uint64, p.h*n)
	last := p.kp + p.s - 1
	for j := 0; j <= last; j++ {
		for i := range y {
			y[i] = gf256.Double8(y[i])
		}
		if t := b.index[j]; t >= 0 {
			owed := b.bitsOf(b.owed, int(t))
			for i := range y {
				y[i] ^= gf256.Spread8(uint8(owed[i/8] >> (i % 8 * 8)))
			}
		} else {
			i := uint(^t)
			y[i/8] ^= 1 << (i % 8 * 8)
		}
		if j < last {
			r1, r2 := p.hdpcPair(j)
			a1, a2 := acc[r1*n:(r1+1)*n], acc[r2*n:(r2+1)*n]
			for i, x := range y {
				a1[i] ^= x
				a2[i] ^= x
			}
		}
	}
	width = 8 * n
	m = make([]byte, p.h*width)
	for i, x := range acc {
		binary.LittleEndian.PutUint64(m[8*i:], x)
	}
	wide := make([]byte, width)
	for i, x := range y {
		binary.LittleEndian.PutUint64(wide[8*i:], x)
	}
	for h := range p.h {
		row := m[h*width : (h+1)*width]
		gf256.AddMul(row, wide, gf256.Exp(h))
		row[^b.index[p.kp+p.s+h]] ^= 1 // I_H
	}
	return m, width
}

// eliminate brings left, which has h rows and n columns, to reduced echelon
// form, does the same row operations to the h x h matrix right, and returns the
// rank.
func eliminate(left, right []byte, h, n int) (rank int) {
	for c := range n {
		at := rank
		for at < h && left[at*n+c] == 0 {
			at++
		}
		if at == h {
			continue
		}
		swapRows(left, n, at, rank)
		swapRows(right, h, at, rank)
		f := gf256.Inv(left[rank*n+c])
		gf256.Scale(left[rank*n:(rank+1)*n], f)
		gf256.Scale(right[rank*h:(rank+1)*h], f)
		for r := range h {
			if r != rank {
				f := left[r*n+c]
				gf256.AddMul(left[r*n:(r+1)*n], left[rank*n:(rank+1)*n], f)
				gf256.AddMul(right[r*h:(r+1)*h], right[rank*h:(rank+1)*h], f)
			}
		}
		rank++
	}
	return rank
}

func swapRows(m []byte, n, a, b int) {
	if a == b {
		return
	}
	ra, rb := m[a*n:(a+1)*n], m[b*n:(b+1)*n]
	for i := range ra {
		ra[i], rb[i] = rb[i], ra[i]
	}
}

func xorWords(dst, src []uint64) {
	src = src[:len(dst)]
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
