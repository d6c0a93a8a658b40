package raptorq

import "github.com/treedn/treedn/fec/internal/gf256"

// maxDense bounds the symbols that are recovered as one system of equations.
const maxDense = 512

// run stands for repair symbols of the decoder, in the order in which they came,
// whose coefficients are beside each other: those of symbol first+j times source
// symbol i are at coef[i*batch+j].
type run struct {
	coef     []byte
	first, n int
}

// generations returns how many batches of coefficients have to be generated for
// the first n repair symbols.
func (d *Decoder) generations(n int) int {
	strange := 0
	for _, r := range d.repair[:n] {
		if !d.params.coefficientsKept(d.params.isi(d.k, r.esi), 1) {
			strange++
		}
	}
	return (strange + batch - 1) / batch
}

// runs collects the coefficients of the first n repair symbols.
func (d *Decoder) runs(n int, sc *scratch) {
	p := &d.params
	sc.isis = sc.isis[:0]
	for _, r := range d.repair[:n] {
		if x := p.isi(d.k, r.esi); !p.coefficientsKept(x, 1) {
			sc.isis = append(sc.isis, x)
		}
	}
	size := p.kp * batch
	sc.strange = resize(sc.strange, (len(sc.isis)+batch-1)/batch*size)
	for i := 0; i < len(sc.isis); i += batch {
		d.code.plan.generate(sc.strange[i*p.kp:][:size], sc.isis[i:min(i+batch, len(sc.isis))], sc)
	}
	sc.runs = sc.runs[:0]
	strange := 0
	lastBatch, lastColumn := -1, 0
	for j, r := range d.repair[:n] {
		var coef []byte
		x := p.isi(d.k, r.esi)
		at := int(x) - p.kp
		b, column := at/batch, at%batch
		if !p.coefficientsKept(x, 1) {
			b, column = maxBatches+strange/batch, strange%batch
			coef = sc.strange[(b-maxBatches)*size:][:size]
			strange++
		}
		if b == lastBatch && column == lastColumn+1 {
			sc.runs[len(sc.runs)-1].n++
		} else {
			if coef == nil {
				coef = d.codec.coefficients(d.code, b, sc)
			}
			sc.runs = append(sc.runs, run{coef: coef[column:], first: j, n: 1})
		}
		lastBatch, lastColumn = b, column
	}
}

// decodeDense decodes by the e x e system for the missing symbols. It returns
// how many symbols more it takes at least.
func (d *Decoder) decodeDense(sc *scratch) (need int) {
	d.ready()
	e := len(sc.missing)
	need = d.solveDense(e, sc)
	if n := min(len(d.repair), e+surplus); need > 0 && n > e {
		need = d.solveDense(n, sc)
	}
	return need
}

// solveDense uses the first n repair symbols.
func (d *Decoder) solveDense(n int, sc *scratch) (need int) {
	e := len(sc.missing)
	d.runs(n, sc)

	// Each row has the coefficients of the missing symbols, then what it is
	// made of: at first one residue.
	stride := (e + n + gf256.Unit - 1) &^ (gf256.Unit - 1)
	sc.matrix = zeroed(sc.matrix, n*stride)
	m := sc.matrix
	for _, r := range sc.runs {
		for k, i := range sc.missing {
			for j, c := range r.coef[int(i)*batch:][:r.n] {
				m[(r.first+j)*stride+k] = c
			}
		}
	}
	for j := range n {
		m[j*stride+e+j] = 1
	}
	if rank := reduce(m, n, e, stride, sc); rank < e {
		return e - rank
	}

	d.formResidues(n, sc)
	sc.coef = resize(sc.coef, n*e)
	for k := range e {
		for j, c := range m[k*stride+e:][:n] {
			sc.coef[j*e+k] = c
		}
	}
	sc.in, sc.out = sc.in[:0], sc.out[:0]
	for j := range n {
		sc.in = append(sc.in, &sc.residue[j*d.store.slot])
	}
	for _, i := range sc.missing {
		p := d.store.next()
		d.source[i] = p
		sc.out = append(sc.out, p)
	}
	gf256.Product(sc.out, sc.in, sc.coef, e, 0, d.store.slot, false)
	return 0
}

// reduce brings a matrix of rows of stride octets to reduced echelon form in its
// first columns and returns the rank. The rows change their places.
//
// Pivots are found in groups: those of a group clear each other, and then all
// other rows at once, which loads and stores each row once for the group.
func reduce(m []byte, rows, columns, stride int, sc *scratch) (rank int) {
	row := func(r int) []byte { return m[r*stride : (r+1)*stride] }
	var pivots [8]int // columns of the group, whose rows are first to rank-1
	for c := 0; c < columns; {
		first, from := rank, c&^(gf256.Unit-1) // what lies before is zero already
		n := 0
		for ; c < columns && n < len(pivots); c++ {
			at := rank
			for ; at < rows; at++ {
				for k, p := range pivots[:n] {
					gf256.AddMul(row(at)[from:], row(first + k)[from:], m[at*stride+p])
				}
				if m[at*stride+c] != 0 {
					break
				}
			}
			if at == rows {
				continue
			}
			swapRows(m, stride, at, rank)
			pivot := row(rank)[from:]
			gf256.Scale(pivot, gf256.Inv(pivot[c-from]))
			for k := range n {
				gf256.AddMul(row(first + k)[from:], pivot, m[(first+k)*stride+c])
			}
			pivots[n] = c
			n++
			rank++
		}
		if n == 0 {
			continue
		}
		sc.in, sc.out, sc.coef = sc.in[:0], sc.out[:0], sc.coef[:0]
		for k := range n {
			sc.in = append(sc.in, &row(first + k)[from])
		}
		for r := range rows {
			if r < first || r >= rank {
				sc.out = append(sc.out, &row(r)[from])
			}
		}
		for _, p := range pivots[:n] {
			for r := range rows {
				if r < first || r >= rank {
					sc.coef = append(sc.coef, m[r*stride+p])
				}
			}
		}
		gf256.Product(sc.out, sc.in, sc.coef, len(sc.out), 0, stride-from, true)
	}
	return rank
}

// formResidues computes what remains of the first n repair symbols without the
// source symbols that are known.
func (d *Decoder) formResidues(n int, sc *scratch) {
	slot := d.store.slot
	sc.residue = resize(sc.residue, n*slot)
	residue := func(j int) []byte { return sc.residue[j*slot : (j+1)*slot] }
	repair := func(j int) []byte { return gf256.Octets(d.repair[j].data, 0, slot) }
	switch {
	case d.residues.cover(d, n):
		d.residues.flush(d)
		for j := range n {
			copy(residue(j), d.residues.of(d, d.repair[j].esi))
			gf256.Add(residue(j), repair(j))
		}
	case denseSums(&d.params, n, slot):
		for j := range n {
			copy(residue(j), repair(j))
		}
		d.addKnown(n, sc)
	default:
		sc.targets.reset()
		for j := range n {
			sc.targets.add(&d.params, d.params.isi(d.k, d.repair[j].esi), &residue(j)[0])
		}
		d.code.plan.solve(d.values(sc), slot, sc)
		for j := range n {
			gf256.Add(residue(j), repair(j))
		}
	}
}

// addKnown adds the known source symbols to the residues.
func (d *Decoder) addKnown(n int, sc *scratch) {
	sc.coef = resize(sc.coef, d.k*n)
	sc.in, sc.out = sc.in[:0], sc.out[:0]
	for _, s := range d.source {
		if s != nil {
			sc.in = append(sc.in, s)
		}
	}
	for j := range n {
		sc.out = append(sc.out, &sc.residue[j*d.store.slot])
	}
	for _, r := range sc.runs {
		at := r.first
		for i, s := range d.source {
			if s != nil {
				copy(sc.coef[at:at+r.n], r.coef[i*batch:])
				at += n
			}
		}
	}
	gf256.Product(sc.out, sc.in, sc.coef, n, 0, d.store.slot, true)
}

// residues are sums of the known source symbols that grow as these arrive, one
// for each of the first repair symbols.
type residues struct {
	n       int
	slot    int
	sums    []byte // n slots
	out     []*byte
	pending [8]uint32 // source symbols that are not yet added
	count   int
}

// Expect makes the decoder add up, while symbols arrive, what the first n repair
// symbols (ESIs K to K+n-1) hold of the source symbols received; n is as large
// as the sender's number of repair symbols, at most 512. Decode then finds only
// the small system left when it gets such repair symbols: its time no longer
// depends on K. The price is that a block takes n products per source symbol,
// also when nothing is lost, and n symbols of memory. It holds for the following
// blocks, too; zero, the default, leaves all work to Decode.
func (d *Decoder) Expect(n int) {
	d.residues.n = max(0, min(n, batch*maxBatches))
	d.residues.reset(d)
	for i, s := range d.source {
		if s != nil {
			d.residues.source(d, uint32(i))
		}
	}
}

func (r *residues) reset(d *Decoder) {
	r.slot, r.count = d.store.slot, 0
	r.sums = zeroed(r.sums, r.n*r.slot)
	r.out = r.out[:0]
	for j := range r.n {
		r.out = append(r.out, &r.sums[j*r.slot])
	}
}

// source takes note of a source symbol that has arrived.
func (r *residues) source(d *Decoder, i uint32) {
	if r.n == 0 {
		return
	}
	r.pending[r.count] = i
	if r.count++; r.count == len(r.pending) {
		r.flush(d)
	}
}

// flush adds the pending symbols: several at once, so that each sum is loaded
// and stored less often.
func (r *residues) flush(d *Decoder) {
	if r.count == 0 {
		return
	}
	d.ready()
	sc := d.codec.scratch()
	sc.in = sc.in[:0]
	for _, i := range r.pending[:r.count] {
		sc.in = append(sc.in, d.source[i])
	}
	var coef [len(r.pending) * batch]byte
	for j := 0; j < r.n; j += batch {
		all := d.codec.coefficients(d.code, j/batch, sc)
		for at, i := range r.pending[:r.count] {
			copy(coef[at*batch:(at+1)*batch], all[int(i)*batch:])
		}
		gf256.Product(r.out[j:min(j+batch, r.n)], sc.in, coef[:], batch, 0, r.slot, true)
	}
	r.count = 0
	d.codec.release(sc)
}

// cover reports whether there are sums for the first n repair symbols.
func (r *residues) cover(d *Decoder, n int) bool {
	for _, s := range d.repair[:n] {
		if int(s.esi)-d.k >= r.n {
			return false
		}
	}
	return true
}

// of returns the sum for a repair symbol.
func (r *residues) of(d *Decoder, esi uint32) []byte {
	at := (int(esi) - d.k) * r.slot
	return r.sums[at : at+r.slot]
}
