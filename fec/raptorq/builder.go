package raptorq

import (
	"encoding/binary"
	"math/bits"

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
	cols  []uint16 // the columns of one sum, those before first
	row   []uint64 // one row of bits

	echelon   []uint64 // bits of the dense steps' rows
	pivots    []uint16 // inactive column solved by each dense step, as a position in inactive
	settled   []bool   // whether a dense step solves an inactive column
	unsettled []uint16 // the other inactive columns, as positions in inactive

	stream      []uint64 // memory of hdpcRows
	hdpc, wide  []byte
	left, right []byte
	factor      []uint8
	own         []uint8 // entries of the HDPC rows in inactive columns, H for each
}

func (b *builder) bitsOf(m []uint64, i int) []uint64 {
	return m[i*b.words : (i+1)*b.words : (i+1)*b.words]
}

// build fills the plan. If the rows leave columns open it returns their number.
func (b *builder) build(pl *plan, m *rows, z *peeler) (need int) {
	b.plan, b.rows, b.peeler, b.inactive = pl, m, z, z.inactive
	b.words = (len(z.inactive) + 63) / 64
	b.addPeeled()
	if need := b.addRest(); need > 0 {
		return need
	}
	return 0
}

// addPeeled writes the steps of peeled and dense columns.
func (b *builder) addPeeled() {
	order := b.peeler.order
	b.index = resize(b.index, b.plan.params.l)
	for i, c := range b.inactive {
		b.index[c] = ^int32(i)
	}
	b.owed = zeroed(b.owed, len(order)*b.words)
	forward := gf256.NewBuilder(b.plan.forward)
	final := gf256.NewBuilder(b.plan.final)
	for t, pv := range order {
		owed := b.bitsOf(b.owed, t)
		b.cols = b.reduce(b.cols[:0], pv.row, pv.col, owed)
		value := int(pv.row) - b.plan.params.s // LDPC rows have the value zero
		forward.Add(pv.col, value, b.cols)
		b.index[pv.col] = int32(t)
		// What owes nothing to inactive columns is final.
		if firstBit(owed) < 0 {
			continue
		}
		for _, c := range b.rows.row(int(pv.row)) {
			if b.peeler.state[c] == inactive {
				b.cols = append(b.cols, c)
			}
		}
		final.Add(pv.col, value, b.cols)
	}
	b.plan.final = final.Program()
	b.addDense(&forward)
	b.plan.forward = forward.Program()
}

// reduce appends the peeled columns of a row other than col, and adds to v what
// the row owes to inactive columns once these are replaced.
func (b *builder) reduce(cols []uint16, row uint32, col uint16, v []uint64) []uint16 {
	for _, c := range b.rows.row(int(row)) {
		switch {
		case c == col:
		case b.peeler.state[c] == inactive:
			i := uint(^b.index[c])
			v[i/64] ^= 1 << (i % 64)
		default:
			cols = append(cols, c)
			xorWords(v, b.bitsOf(b.owed, int(b.index[c])))
		}
	}
	return cols
}

// addDense solves inactive columns by the binary rows that peeling left over.
// Surplus rows leave no trace.
func (b *builder) addDense(forward *gf256.Builder) {
	u := len(b.inactive)
	b.row = resize(b.row, b.words)
	b.pivots, b.echelon = b.pivots[:0], b.echelon[:0]
	v := b.row
	const none = 0xffff // no column: W is smaller
	for r := 0; r < b.rows.len() && len(b.pivots) < u; r++ {
		if b.peeler.degree[r] == spent {
			continue
		}
		clear(v)
		b.cols = b.reduce(b.cols[:0], uint32(r), none, v)
		for k, pv := range b.pivots {
			if v[pv/64]>>(pv%64)&1 != 0 {
				xorWords(v, b.bitsOf(b.echelon, k))
				b.cols = append(b.cols, b.inactive[pv])
			}
		}
		first := firstBit(v)
		if first < 0 {
			continue
		}
		forward.Add(b.inactive[first], r-b.plan.params.s, b.cols)
		b.pivots = append(b.pivots, uint16(first))
		b.echelon = append(b.echelon, v...)
	}
	// Step 3 wants the bits that remain: columns of later dense steps and
	// unsettled ones. The column itself is among the sources.
	back := gf256.NewBuilder(b.plan.back)
	for k := len(b.pivots) - 1; k >= 0; k-- {
		b.cols = b.cols[:0]
		for w, x := range b.bitsOf(b.echelon, k) {
			for ; x != 0; x &= x - 1 {
				b.cols = append(b.cols, b.inactive[w*64+bits.TrailingZeros64(x)])
			}
		}
		if len(b.cols) > 1 {
			back.Add(b.inactive[b.pivots[k]], -1, b.cols)
		}
	}
	b.plan.back = back.Program()
}

// addRest solves what the binary rows could not by the HDPC rows and returns
// the number of columns that even these leave open.
func (b *builder) addRest() (need int) {
	pl := b.plan
	u, p := len(b.inactive), &pl.params
	pl.rest, pl.restIn, pl.restCoef, pl.pairs = pl.rest[:0], pl.restIn[:0], pl.restCoef[:0], pl.pairs[:0]
	if len(b.pivots) == u {
		return 0
	}
	b.settled = zeroed(b.settled, u)
	for _, pv := range b.pivots {
		b.settled[pv] = true
	}
	b.unsettled = b.unsettled[:0]
	for i, done := range b.settled {
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
	b.factor = resize(b.factor, d*p.h)
	b.wide = resize(b.wide, width)
	for k, pv := range b.pivots {
		for w, x := range b.bitsOf(b.echelon, k) {
			for i := 0; i < 8 && w*8+i < width/8; i++ {
				binary.LittleEndian.PutUint64(b.wide[(w*8+i)*8:], gf256.Spread8(uint8(x>>(8*i))))
			}
		}
		for h := range p.h {
			row := hdpc[h*width : (h+1)*width]
			c := row[pv]
			b.factor[k*p.h+h] = c
			gf256.AddMul(row, b.wide, c)
		}
	}

	// Solve the small system that remains: left is what the HDPC rows have in
	// the unsettled columns, right becomes the combination of HDPC rows.
	left := resize(b.left, p.h*n)
	right := zeroed(b.right, p.h*p.h)
	b.left, b.right = left, right
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
	b.writeRest(right)
	return 0
}

// writeRest writes step 2, given the combination of HDPC rows for each column.
func (b *builder) writeRest(right []byte) {
	pl := b.plan
	p := &pl.params
	h := p.h
	for _, c := range b.unsettled {
		pl.rest = append(pl.rest, b.inactive[c])
	}
	for i := range h {
		pl.restIn = append(pl.restIn, uint16(p.accumulator()+i))
		for r := range pl.rest {
			pl.restCoef = append(pl.restCoef, right[r*h+i])
		}
	}
	// MT's last column, alpha^0 to alpha^(H-1), adds the running sum to all.
	pl.restIn = append(pl.restIn, uint16(p.running()))
	for r := range pl.rest {
		sum := uint8(0)
		for i, f := range right[r*h : (r+1)*h] {
			sum ^= gf256.Mul(f, gf256.Exp(i))
		}
		pl.restCoef = append(pl.restCoef, sum)
	}
	// The accumulators contain the dense columns as well, which elimination
	// has replaced: both are taken back here.
	for k, pv := range b.pivots {
		pl.restIn = append(pl.restIn, b.inactive[pv])
		factor, own := b.factor[k*h:(k+1)*h], b.own[int(pv)*h:(int(pv)+1)*h]
		for r := range pl.rest {
			sum := uint8(0)
			for i, f := range right[r*h : (r+1)*h] {
				sum ^= gf256.Mul(f, factor[i]^own[i])
			}
			pl.restCoef = append(pl.restCoef, sum)
		}
	}
}

// hdpcRows returns the HDPC rows in terms of the inactive columns, one octet
// for each, in rows of width octets. It also writes the pairs of the plan and
// what the rows have in the inactive columns themselves.
//
// The running sum is kept as eight planes of bits, as what columns owe is bits:
// multiplying by alpha makes plane 7 the new plane 0, in front of the others, and
// adds it to three of them.
func (b *builder) hdpcRows() (m []byte, width int) {
	p := &b.plan.params
	n := b.words
	size := 8 * n
	const steps = 32 // that the planes move before they are put back
	room := size + steps*n
	b.stream = zeroed(b.stream, room+size*p.h)
	moving, acc := b.stream[:room], b.stream[room:]
	at := steps * n
	last := p.kp + p.s - 1
	for j := 0; j <= last; j++ {
		if at == 0 {
			at = steps * n
			copy(moving[at:], moving[:size])
		}
		at -= n
		copy(moving[at:at+n], moving[at+size:])
		y := moving[at : at+size]
		low := y[:n]
		for i, x := range low { // x^8 = x^4+x^3+x^2+1
			y[2*n+i] ^= x
			y[3*n+i] ^= x
			y[4*n+i] ^= x
		}
		if t := b.index[j]; t >= 0 {
			xorWords(low, b.bitsOf(b.owed, int(t)))
		} else {
			i := uint(^t)
			low[i/64] ^= 1 << (i % 64)
		}
		if j < last {
			h1, h2 := p.hdpcPair(j)
			b.plan.pairs = append(b.plan.pairs, uint8(h1), uint8(h2))
			gf256.AddWords(acc[h1*size:(h1+1)*size], y)
			gf256.AddWords(acc[h2*size:(h2+1)*size], y)
		}
	}
	y := moving[at : at+size]
	width = 64 * n // whole units, which the kernels like best
	b.hdpc = zeroed(b.hdpc, p.h*width)
	m = b.hdpc
	for h := range p.h {
		joinPlanes(m[h*width:(h+1)*width], acc[h*size:(h+1)*size], len(b.inactive))
	}
	b.wide = zeroed(b.wide, width)
	joinPlanes(b.wide, y, len(b.inactive))
	for h := range p.h {
		row := m[h*width : (h+1)*width]
		gf256.AddMul(row, b.wide, gf256.Exp(h))
		row[^b.index[p.kp+p.s+h]] ^= 1 // I_H
	}
	b.hdpcColumns()
	return m, width
}

// joinPlanes writes one octet for each of the first bits of eight planes.
func joinPlanes(dst []byte, planes []uint64, bits int) {
	n := len(planes) / 8
	for o := range (bits + 7) / 8 {
		x := uint64(0)
		for i := range 8 {
			x |= gf256.Spread8(uint8(planes[i*n+o/8]>>(8*(o%8)))) << i
		}
		binary.LittleEndian.PutUint64(dst[8*o:], x)
	}
}

// hdpcColumns writes what G_HDPC has in the inactive columns: column j is alpha
// times column j+1 plus the two ones of MT.
func (b *builder) hdpcColumns() {
	p := &b.plan.params
	b.own = zeroed(b.own, len(b.inactive)*p.h)
	var col [16]byte
	last := p.kp + p.s - 1
	for h := range p.h {
		col[h] = gf256.Exp(h)
	}
	for j := last; j >= 0; j-- {
		if j < last {
			lo := gf256.Double8(binary.LittleEndian.Uint64(col[:]))
			hi := gf256.Double8(binary.LittleEndian.Uint64(col[8:]))
			binary.LittleEndian.PutUint64(col[:], lo)
			binary.LittleEndian.PutUint64(col[8:], hi)
			col[b.plan.pairs[2*j]] ^= 1
			col[b.plan.pairs[2*j+1]] ^= 1
		}
		if t := b.index[j]; t < 0 {
			copy(b.own[int(^t)*p.h:], col[:p.h])
		}
	}
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
