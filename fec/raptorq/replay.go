package raptorq

import "github.com/treedn/treedn/fec/internal/gf256"

// run computes the intermediate symbols into c, which has room for L symbols of
// t octets. values[i] is the encoding symbol of the i-th ISI of the plan; nil
// stands for zero.
func (pl *plan) run(c []byte, t int, values [][]byte) {
	r := replay{plan: pl, c: c, t: t, values: values}
	for i := range pl.peeled {
		s := &pl.peeled[i]
		r.set(s, pl.cols[s.begin:s.mid])
	}
	for i := range pl.dense {
		s := &pl.dense[i]
		r.set(s, pl.cols[s.begin:s.mid])
	}
	if len(pl.rest) > 0 {
		r.solveRest()
	}
	for i := len(pl.dense) - 1; i >= 0; i-- {
		s := &pl.dense[i]
		r.sum(r.symbol(s.col), pl.cols[s.mid:s.end])
	}
	for i := range pl.peeled {
		s := &pl.peeled[i]
		r.set(s, pl.cols[s.begin:s.end])
	}
}

type replay struct {
	*plan
	c      []byte
	t      int
	values [][]byte
}

func (r *replay) symbol(col uint16) []byte {
	at := int(col) * r.t
	return r.c[at : at+r.t : at+r.t]
}

// set makes the step's column the value of its row plus the sum of cols.
func (r *replay) set(s *step, cols []uint16) {
	dst := r.symbol(s.col)
	var value []byte
	if i := int(s.row) - r.params.s; i >= 0 {
		value = r.values[i]
	}
	switch {
	case value != nil:
		copy(dst, value)
	case len(cols) > 0:
		copy(dst, r.symbol(cols[0]))
		cols = cols[1:]
	default:
		clear(dst)
	}
	r.sum(dst, cols)
}

func (r *replay) sum(dst []byte, cols []uint16) {
	for _, c := range cols {
		gf256.Add(dst, r.symbol(c))
	}
}

// solveRest computes the columns that only HDPC rows solve. The HDPC rows
// G_HDPC = MT*GAMMA (section 5.3.3.3) are evaluated as a running sum: GAMMA
// multiplies the sum by alpha for each column, and the two ones that MT has in a
// column add it to two rows. That replaces H products per symbol by one.
func (r *replay) solveRest() {
	p, t := &r.params, r.t
	acc := make([]byte, (p.h+1)*t)
	row := func(h int) []byte { return acc[h*t : (h+1)*t] }
	y := row(p.h)
	known := make([]bool, p.l)
	for i := range r.peeled {
		known[r.peeled[i].col] = true
	}
	last := p.kp + p.s - 1
	for j := 0; j <= last; j++ {
		gf256.Scale(y, 2)
		if known[j] {
			gf256.Add(y, r.symbol(uint16(j)))
		}
		if j < last {
			h1, h2 := p.hdpcPair(j)
			gf256.Add(row(h1), y)
			gf256.Add(row(h2), y)
		}
	}
	for h := range p.h {
		gf256.AddMul(row(h), y, gf256.Exp(h))
	}
	for i, col := range r.rest {
		dst := r.symbol(col)
		clear(dst)
		for h, f := range r.byHDPC[i*p.h : (i+1)*p.h] {
			gf256.AddMul(dst, row(h), f)
		}
		for k, f := range r.byDense[i*len(r.dense) : (i+1)*len(r.dense)] {
			gf256.AddMul(dst, r.symbol(r.dense[k].col), f)
		}
	}
}

// encode adds the encoding symbol with internal symbol ID x to dst, given the
// intermediate symbols c.
func (p *params) encode(dst, c []byte, x uint32) {
	var cols [maxColumns]uint16
	t := len(dst)
	for _, col := range p.appendColumns(cols[:0], x) {
		at := int(col) * t
		gf256.Add(dst, c[at:at+t])
	}
}
