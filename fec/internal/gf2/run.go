package gf2

import (
	"crypto/subtle"
	"math/bits"
)

// Values gives the values of the rows. Set writes octets from to from+len(dst) of
// row row to dst.
type Values interface {
	Set(dst []byte, row, from int)
}

// cacheSize is how many octets the strips of all columns may have together, so
// that they stay in a core's cache while the plan runs over them; minStrip keeps
// the strips from getting so short that calls cost more than additions.
const (
	cacheSize = 1 << 20
	minStrip  = 256
)

// strip returns how many octets of each of n symbols of t octets are worked on at
// once.
func strip(n, t int) int {
	if n*t <= cacheSize {
		return t
	}
	return min(t, max(minStrip, cacheSize/n&^63))
}

// Scratch returns the length of the buffer that Run needs for symbols of t octets.
func (p *Plan) Scratch(t int) int {
	return (len(p.inactive) + max(1<<p.group, p.shared.buckets())) * strip(p.columns, t)
}

// Run computes the columns, symbols of t octets that lie one after the other in
// c, from the values of the rows. The content of c and scratch before does not
// matter; scratch has at least [Plan.Scratch] octets.
func (p *Plan) Run(c []byte, t int, values Values, scratch []byte) {
	size := strip(p.columns, t)
	for from := 0; from < t; from += size {
		r := run{c: c, t: t, from: from, n: min(size, t-from), values: values}
		if len(p.inactive) > 0 {
			p.eliminate(&r, scratch)
		}
		for i := range p.peeled {
			s := &p.peeled[i]
			if s.needed && !s.owes {
				continue // computed in the first step
			}
			dst := r.column(s.col)
			values.Set(dst, int(s.row), from)
			r.add(dst, p.cols[s.begin:s.end])
		}
	}
}

// run is one strip of all columns.
type run struct {
	c       []byte
	t       int
	from, n int
	values  Values
}

func (r *run) column(i uint32) []byte {
	at := int(i)*r.t + r.from
	return r.c[at : at+r.n : at+r.n]
}

func (r *run) add(dst []byte, cols []uint32) {
	for _, c := range cols {
		subtle.XORBytes(dst, dst, r.column(c))
	}
}

// eliminate computes the inactive columns; the peeled ones are of no use yet.
func (p *Plan) eliminate(r *run, scratch []byte) {
	for i := range p.peeled {
		s := &p.peeled[i]
		if !s.needed {
			continue
		}
		dst := r.column(s.col)
		r.values.Set(dst, int(s.row), r.from)
		r.add(dst, p.cols[s.begin:s.mid])
	}
	u := len(p.inactive)
	dense := func(k int) []byte { return scratch[k*r.n : (k+1)*r.n] }
	table := func(i int) []byte { return scratch[(u+i)*r.n : (u+i+1)*r.n] }
	for k := range p.dense {
		s := &p.dense[k]
		r.values.Set(dense(k), int(s.row), r.from)
		r.add(dense(k), p.cols[s.begin:s.mid])
	}
	p.shared.run(r, scratch[u*r.n:], dense)
	for _, c := range p.inactive {
		clear(r.column(c))
	}
	for first := 0; first < u; first += p.group {
		n := min(p.group, u-first)
		for i := 1; i < 1<<n; i++ {
			bit := bits.TrailingZeros(uint(i))
			if rest := i & (i - 1); rest == 0 {
				copy(table(i), dense(first+bit))
			} else {
				subtle.XORBytes(table(i), table(rest), dense(first+bit))
			}
		}
		for i, c := range p.inactive {
			if sum := field(p.inverse[i*p.words:(i+1)*p.words], first, n); sum != 0 {
				subtle.XORBytes(r.column(c), r.column(c), table(sum))
			}
		}
	}
}

// field returns the n bits, at most eight, that start at bit first.
func field(v []uint64, first, n int) int {
	x := v[first/64] >> (first % 64)
	if over := first%64 + n - 64; over > 0 {
		x |= v[first/64+1] << (64 - first%64)
	}
	return int(x & (1<<n - 1))
}
