package raptorq

import (
	"bytes"

	"github.com/treedn/treedn/fec/internal/gf256"
)

// A symbol is worked on in strips, so that one strip of all columns fits the
// cache. All the arithmetic of the code is octet by octet.

// zeros is the value of padding symbols.
var zeros [MaxSymbolSize + 1]byte

// Blocks whose source symbols exceed farSource octets are read from memory
// rather than from a cache. Then the values of a strip are first collected in
// their order in memory, which is several times faster than reading them in the
// order in which columns are solved; and strips are narrower, to leave room for
// the values. Measured with caches of 1 and 32 MB.
const (
	farSource = 8 << 20
	farSlab   = 3 << 20
)

// far tells whether the source symbols of a block exceed the caches.
func (p *params) far(t int) bool { return p.kp*t > farSource }

// stripWidth is the widest strip for symbols of t octets.
func (p *params) stripWidth(t int) int {
	switch {
	case !p.far(t):
		return 256
	case p.columns()*128 <= farSlab:
		return 128
	}
	return 64
}

// strip is a part of all symbols: octets off to off+n, in a slab of columns of
// width octets.
type strip struct {
	off, n, width int
}

// next returns the strip behind s of symbols of t octets; the first is the one
// behind the zero strip.
func (s strip) next(t, widest int) (strip, bool) {
	off := s.off + s.n
	if off >= t {
		return strip{}, false
	}
	w := widest
	for w > 64 && off+w > t {
		w /= 2
	}
	return strip{off: off, n: min(w, t-off), width: w}, true
}

// run computes the columns of one strip into slab. Value i is behind vals[i].
func (pl *plan) run(slab []byte, s strip, vals []*byte, far bool, sc *scratch) {
	p := &pl.params
	off := s.off
	if far || s.n < s.width {
		vals, off = sc.collect(vals, s), 0
	}
	w := s.width
	slab = slab[:p.columns()*w]
	clear(slab[p.accumulator()*w:])
	for _, c := range pl.rest {
		clear(slab[int(c)*w : (int(c)+1)*w])
	}
	pl.forward.Run(slab, w, vals, off)
	if len(pl.rest) > 0 {
		gf256.Stream(slab, w, p.accumulator(), pl.pairs, p.running())
		sc.in, sc.out = sc.in[:0], sc.out[:0]
		for _, c := range pl.restIn {
			sc.in = append(sc.in, &slab[int(c)*w])
		}
		for _, c := range pl.rest {
			sc.out = append(sc.out, &slab[int(c)*w])
		}
		gf256.Product(sc.out, sc.in, pl.restCoef, len(pl.rest), 0, w, false)
	}
	pl.back.Run(slab, w, nil, 0)
	pl.final.Run(slab, w, vals, off)
}

// scratch is memory for computations on one block.
type scratch struct {
	slab    []byte
	in, out []*byte
	vals    []*byte
	pad     []byte // a strip of values

	padVals  []*byte
	padWidth int

	targets targets
	matrix  []byte
	coef    []byte
	runs    []run
	strange []byte // coefficients that no code keeps
	weights []byte
	ops     []gf256.Op
	isis    []uint32
	missing []uint32
	residue []byte
	planner planner
}

// forget drops references to memory of others.
func (sc *scratch) forget() {
	for _, p := range []*[]*byte{&sc.in, &sc.out, &sc.vals, &sc.targets.dst} {
		clear((*p)[:cap(*p)])
	}
}

// collect copies a strip of values to lie one behind the other, with zeros
// behind octets that are less than the strip is wide.
func (sc *scratch) collect(vals []*byte, s strip) []*byte {
	old := cap(sc.pad)
	sc.pad = resize(sc.pad, len(vals)*s.width)
	if len(sc.padVals) != len(vals) || sc.padWidth != s.width || cap(sc.pad) != old {
		sc.padWidth = s.width
		sc.padVals = sc.padVals[:0]
		for i := range vals {
			sc.padVals = append(sc.padVals, &sc.pad[i*s.width])
		}
	}
	if s.n == s.width {
		gf256.Collect(sc.pad, vals, s.off, s.width)
		return sc.padVals
	}
	for i, v := range vals {
		b := sc.pad[i*s.width : (i+1)*s.width]
		clear(b[copy(b, gf256.Octets(v, s.off, s.n)):])
	}
	return sc.padVals
}

// targets are encoding symbols to be made of intermediate ones.
type targets struct {
	cols []uint16
	ends []uint32 // target i ends at cols[ends[i]]
	dst  []*byte

	compare bool // compare with what is at dst instead of writing it
	differ  bool // a comparison failed
}

func (g *targets) reset() {
	g.cols, g.ends, g.dst = g.cols[:0], g.ends[:0], g.dst[:0]
	g.compare, g.differ = false, false
}

// add wants the symbol with the given ISI at dst.
func (g *targets) add(p *params, isi uint32, dst *byte) {
	g.cols = p.appendColumns(g.cols, isi)
	g.ends = append(g.ends, uint32(len(g.cols)))
	g.dst = append(g.dst, dst)
}

// write makes one strip of all targets.
func (g *targets) write(slab []byte, s strip) {
	var buf [256]byte
	begin := uint32(0)
	for i, end := range g.ends {
		dst := gf256.Octets(g.dst[i], s.off, s.n)
		if g.compare {
			gf256.Gather(buf[:], slab, g.cols[begin:end], s.width)
			g.differ = g.differ || !bytes.Equal(buf[:s.n], dst)
		} else {
			gather(dst, slab, g.cols[begin:end], s)
		}
		begin = end
	}
}

// gather makes a strip of a symbol, which may be narrower than the columns.
func gather(dst, slab []byte, cols []uint16, s strip) {
	if len(dst) == s.width {
		gf256.Gather(dst, slab, cols, s.width)
		return
	}
	var buf [64]byte
	gf256.Gather(buf[:], slab, cols, s.width)
	copy(dst, buf[:])
}

// solve computes all strips of symbols of t octets in turn and makes the targets
// of each.
func (pl *plan) solve(vals []*byte, t int, sc *scratch) {
	p := &pl.params
	widest, far := p.stripWidth(t), p.far(t)
	sc.slab = resize(sc.slab, p.columns()*widest)
	for s, ok := (strip{}).next(t, widest); ok; s, ok = s.next(t, widest) {
		pl.run(sc.slab, s, vals, far, sc)
		sc.targets.write(sc.slab, s)
	}
}

// intermediate computes all strips and keeps them, one slab after the other: the
// strip at off starts at off times the number of columns.
func (pl *plan) intermediate(vals []*byte, t int, sc *scratch) []byte {
	p := &pl.params
	widest, far := p.stripWidth(t), p.far(t)
	all := make([]byte, p.columns()*((t+gf256.Unit-1)/gf256.Unit*gf256.Unit))
	for s, ok := (strip{}).next(t, widest); ok; s, ok = s.next(t, widest) {
		pl.run(all[s.off*p.columns():], s, vals, far, sc)
	}
	return all
}

// encode sets dst to the encoding symbol with internal symbol ID x, given all
// strips of the intermediate symbols.
func (p *params) encode(dst, all []byte, x uint32) {
	var buf [maxColumns]uint16
	cols := p.appendColumns(buf[:0], x)
	widest := p.stripWidth(len(dst))
	for s, ok := (strip{}).next(len(dst), widest); ok; s, ok = s.next(len(dst), widest) {
		gather(dst[s.off:s.off+s.n], all[s.off*p.columns():], cols, s)
	}
}
