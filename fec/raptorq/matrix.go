package raptorq

// rows is the part of the constraint matrix A (section 5.3.3.4.2) that has
// binary entries: S LDPC rows, then one row for each encoding symbol. Each row
// lists the columns, that is the intermediate symbols, of its ones.
type rows struct {
	off  []uint32 // row r is cols[off[r]:off[r+1]]
	cols []uint16
	next []uint32 // memory of appendLDPC
}

func (m *rows) len() int { return len(m.off) - 1 }

func (m *rows) row(r int) []uint16 { return m.cols[m.off[r]:m.off[r+1]] }

// build makes the rows for the encoding symbols with the given ISIs.
func (m *rows) build(p *params, isis []uint32) {
	m.off = append(resize(m.off, p.s+len(isis)+1)[:0], 0)
	m.cols = resize(m.cols, 3*p.b+3*p.s+8*len(isis))[:0]
	m.appendLDPC(p)
	for _, x := range isis {
		m.cols = p.appendColumns(m.cols, x)
		m.off = append(m.off, uint32(len(m.cols)))
	}
}

// appendLDPC appends the LDPC rows of section 5.3.3.3. Walking the circulants
// gives one column after the other, so the ones are counted per row first.
func (m *rows) appendLDPC(p *params) {
	m.next = zeroed(m.next, p.s)
	next := m.next
	circulant := func(visit func(row, col int)) {
		for i := range p.b {
			a, b := 1+i/p.s, i%p.s
			visit(b, i)
			b = (b + a) % p.s
			visit(b, i)
			b = (b + a) % p.s
			visit(b, i)
		}
	}
	circulant(func(row, _ int) { next[row]++ })
	total := uint32(0)
	for r, n := range next {
		next[r] = total
		total += n + 3
		m.off = append(m.off, total)
	}
	m.cols = m.cols[:total]
	circulant(func(row, col int) {
		m.cols[next[row]] = uint16(col)
		next[row]++
	})
	for r, at := range next {
		m.cols[at] = uint16(p.b + r)
		m.cols[at+1] = uint16(p.w + r%p.p)
		m.cols[at+2] = uint16(p.w + (r+1)%p.p)
	}
}

// hdpcPair returns the two HDPC rows that have a one in column j of the matrix
// MT of section 5.3.3.3, for j < K'+S-1.
func (p *params) hdpcPair(j int) (a, b int) {
	h := uint32(p.h)
	x := random(uint32(j)+1, 6, h)
	y := x + random(uint32(j)+1, 7, h-1) + 1
	if y >= h {
		y -= h
	}
	return int(x), int(y)
}
