package raptorq

import (
	"crypto/subtle"

	"github.com/treedn/treedn/fec/internal/gf256"
)

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
	first := r.value(s.row)
	if first == nil && len(cols) > 0 {
		first, cols = r.symbol(cols[0]), cols[1:]
	}
	switch {
	case first == nil:
		clear(dst)
	case len(cols) == 0:
		copy(dst, first)
	default: // saves the copy
		subtle.XORBytes(dst, first, r.symbol(cols[0]))
		r.sum(dst, cols[1:])
	}
}

// value returns the value of a row, or nil for zero.
func (r *replay) value(row uint32) []byte {
	if i := int(row) - r.params.s; i >= 0 {
		return r.values[i]
	}
	return nil
}

func (r *replay) sum(dst []byte, cols []uint16) {
	for _, c := range cols {
		gf256.Add(dst, r.symbol(c))
	}
}

// solveRest computes the columns that only HDPC rows solve.
func (r *replay) solveRest() {
	p := &r.params
	known := make([]bool, p.l)
	for i := range r.peeled {
		known[r.peeled[i].col] = true
	}
	hdpc := r.hdpc(known)
	for i, col := range r.rest {
		dst := r.symbol(col)
		clear(dst)
		for h, f := range r.byHDPC[i*p.h : (i+1)*p.h] {
			gf256.AddMul(dst, hdpc[h*r.t:(h+1)*r.t], f)
		}
		for k, f := range r.byDense[i*len(r.dense) : (i+1)*len(r.dense)] {
			gf256.AddMul(dst, r.symbol(r.dense[k].col), f)
		}
	}
}

// hdpc returns G_HDPC = MT*GAMMA (section 5.3.3.3) times the known columns, H
// symbols. GAMMA makes a running sum that is multiplied by alpha for each
// column, and the two ones that MT has in a column add it to two rows. That
// replaces H products per symbol by one.
func (r *replay) hdpc(known []bool) []byte {
	p, t := &r.params, r.t
	acc := make([]byte, (p.h+1)*t)
	row := func(h int) []byte { return acc[h*t : (h+1)*t] }
	y := row(p.h)
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
	return acc[:p.h*t]
}

// consistent reports whether the intermediate symbols c, which run computed,
// also satisfy the rows that it did not need.
func (pl *plan) consistent(c []byte, t int, values [][]byte) bool {
	r := replay{plan: pl, c: c, t: t, values: values}
	sum := make([]byte, t)
	for i := range pl.surplus {
		s := &pl.surplus[i]
		clear(sum)
		copy(sum, r.value(s.row))
		r.sum(sum, pl.cols[s.mid:s.end])
		if !isZero(sum) {
			return false
		}
	}
	if len(pl.rest) == pl.params.h {
		return true
	}
	all := make([]bool, pl.params.l)
	for i := range all {
		all[i] = true
	}
	hdpc := r.hdpc(all)
	for h := range pl.params.h {
		row := hdpc[h*t : (h+1)*t]
		gf256.Add(row, r.symbol(uint16(pl.params.kp+pl.params.s+h))) // I_H
		if !isZero(row) {
			return false
		}
	}
	return true
}

func isZero(b []byte) bool {
	x := byte(0)
	for _, v := range b {
		x |= v
	}
	return x == 0
}

// encode sets dst to the encoding symbol with internal symbol ID x, given the
// intermediate symbols c.
func (p *params) encode(dst, c []byte, x uint32) {
	var buf [maxColumns]uint16
	cols := p.appendColumns(buf[:0], x) // at least one LT and two PI symbols
	t := len(dst)
	symbol := func(col uint16) []byte { return c[int(col)*t : (int(col)+1)*t] }
	subtle.XORBytes(dst, symbol(cols[0]), symbol(cols[1]))
	for _, col := range cols[2:] {
		gf256.Add(dst, symbol(col))
	}
}
