package raptorq

import "github.com/treedn/treedn/fec/internal/gf256"

// RaptorQ is a systematic linear code: a repair symbol is the sum of the source
// symbols, each times a coefficient of GF(2^8) that depends on K' and the two
// symbols alone. Few repair symbols are faster made, and few lost symbols faster
// recovered, with these coefficients than through the intermediate symbols.

// batch is the number of encoding symbols whose coefficients are computed
// together: one octet for each is what the kernels call a strip.
const batch = gf256.Unit

// generate returns the coefficients of up to batch encoding symbols: that of
// value i in symbol j is at i*batch+j. A linear program gives what each result
// takes of each value when it runs backwards, with every sum turned into its
// transpose: what was added to a destination flows to the sources.
//
// The plan must be that of the source symbols. dst has K'*batch octets.
func (pl *plan) generate(dst []byte, isis []uint32, sc *scratch) {
	p := &pl.params
	sc.weights = zeroed(sc.weights, p.columns()*batch)
	w := sc.weights
	weight := func(c int) []byte { return w[c*batch : (c+1)*batch] }
	var buf [maxColumns]uint16
	for j, x := range isis {
		for _, c := range p.appendColumns(buf[:0], x) {
			w[int(c)*batch+j] ^= 1
		}
	}
	clear(dst)
	backward(pl.final, w, dst, sc)
	backward(pl.back, w, dst, sc)
	if len(pl.rest) > 0 {
		for r, c := range pl.rest {
			x := weight(int(c))
			for i, in := range pl.restIn {
				gf256.AddMul(weight(int(in)), x, pl.restCoef[i*len(pl.rest)+r])
			}
			clear(x)
		}
		y := weight(p.running())
		last := p.kp + p.s - 1
		for j := last; j >= 0; j-- {
			if j < last {
				gf256.Add(y, weight(p.accumulator()+int(pl.pairs[2*j])))
				gf256.Add(y, weight(p.accumulator()+int(pl.pairs[2*j+1])))
			}
			gf256.Add(weight(j), y)
			gf256.Scale(y, 2)
		}
	}
	backward(pl.forward, w, dst, sc)
}

// backward runs the transpose of a program on the weights of columns and adds
// up those of values.
func backward(prog gf256.Program, w, values []byte, sc *scratch) {
	sc.ops = sc.ops[:0]
	prog.Ops(func(op gf256.Op) { sc.ops = append(sc.ops, op) })
	var x [batch]byte
	for i := len(sc.ops) - 1; i >= 0; i-- {
		op := &sc.ops[i]
		at := w[int(op.Dst)*batch:][:batch]
		copy(x[:], at)
		clear(at)
		if op.Value >= 0 {
			gf256.Add(values[int(op.Value)*batch:][:batch], x[:])
		}
		gf256.Scatter(w, x[:], op.Cols)
	}
}
