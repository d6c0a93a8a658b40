package raptorq

// peeler runs the first phase of inactivation decoding (section 5.4.2.2) on
// the binary rows alone: it orders the columns so that each is either solved by
// a row in terms of columns solved before and of inactive columns, or is itself
// inactive. HDPC rows are never needed here because P >= H.
type peeler struct {
	rows  *rows
	w     int // columns from w on are inactive from the start
	state []columnState

	byCol  []uint32 // rows that contain column c: byRow[byCol[c]:byCol[c+1]]
	byRow  []uint32
	degree []uint16 // active columns in each row; spent rows have 0xffff
	xor    []uint16 // exclusive or of the active columns in each row

	single []uint32 // rows that had one active column when queued
	graph  graph

	order    []pivot
	inactive []uint16 // inactive columns, permanently inactive ones first
}

// columnState tells what became of a column.
type columnState uint8

const (
	active columnState = iota
	solved
	inactive
)

// pivot says that column col is solved by row row.
type pivot struct {
	row uint32
	col uint16
}

// spent marks a row that solves a column.
const spent = 0xffff

func (z *peeler) init(p *params, m *rows) {
	n := m.len()
	z.rows, z.w = m, p.w
	z.state = zeroed(z.state, p.l)
	z.byCol = zeroed(z.byCol, p.w+1)
	z.degree = zeroed(z.degree, n)
	z.xor = zeroed(z.xor, n)
	z.single = z.single[:0]
	z.order = resize(z.order, p.w)[:0]
	z.inactive = resize(z.inactive, p.p)
	for i := range z.inactive {
		z.inactive[i] = uint16(p.w + i)
		z.state[p.w+i] = inactive
	}
	// Counting sort of the ones by column. byCol[c] first counts column c,
	// then points to the end of its list and sinks to the start.
	for r := range n {
		d, x := uint16(0), uint16(0)
		for _, c := range m.row(r) {
			if int(c) < p.w {
				z.byCol[c]++
				d++
				x ^= c
			}
		}
		z.degree[r], z.xor[r] = d, x
	}
	total := uint32(0)
	for c := range z.byCol {
		total += z.byCol[c]
		z.byCol[c] = total
	}
	z.byRow = resize(z.byRow, int(total))
	for r := n - 1; r >= 0; r-- {
		for _, c := range m.row(r) {
			if int(c) < p.w {
				z.byCol[c]--
				z.byRow[z.byCol[c]] = uint32(r)
			}
		}
	}
	z.graph.init(p.w)
}

// run peels all columns, or gives up and returns false when more than limit
// columns would become inactive.
func (z *peeler) run(limit int) bool {
	for r, d := range z.degree {
		switch d {
		case 1:
			z.single = append(z.single, uint32(r))
		case 2:
			z.addEdge(uint32(r))
		}
	}
	for {
		if n := len(z.single); n > 0 {
			r := z.single[n-1]
			z.single = z.single[:n-1]
			if z.degree[r] == 1 {
				z.solve(r, z.xor[r])
			}
			continue
		}
		r, ok := z.graph.largest(z.state)
		if !ok {
			r, ok = z.lightest()
		}
		if !ok {
			break
		}
		z.choose(r)
		if len(z.inactive) > limit {
			return false
		}
	}
	// What is left stands in no row: only the dense phase can tell.
	for c := range z.w {
		if z.state[c] == active {
			z.deactivate(uint16(c))
		}
	}
	return len(z.inactive) <= limit
}

// choose solves one active column of row r and makes the others inactive.
func (z *peeler) choose(r uint32) {
	for _, c := range z.rows.row(int(r)) {
		if int(c) < z.w && z.state[c] == active && z.degree[r] > 1 {
			z.deactivate(c)
		}
	}
	z.solve(r, z.xor[r])
}

func (z *peeler) solve(r uint32, c uint16) {
	z.degree[r] = spent
	z.state[c] = solved
	z.order = append(z.order, pivot{row: r, col: c})
	z.remove(c)
}

func (z *peeler) deactivate(c uint16) {
	z.state[c] = inactive
	z.inactive = append(z.inactive, c)
	z.remove(c)
}

// remove takes column c, which is no longer active, out of the row counts.
func (z *peeler) remove(c uint16) {
	for _, r := range z.byRow[z.byCol[c]:z.byCol[c+1]] {
		if z.degree[r] == spent {
			continue
		}
		z.degree[r]--
		z.xor[r] ^= c
		switch z.degree[r] {
		case 1:
			z.single = append(z.single, r)
		case 2:
			z.addEdge(r)
		}
	}
}

// addEdge enters row r, which has two active columns, into the graph.
func (z *peeler) addEdge(r uint32) {
	for _, c := range z.rows.row(int(r)) {
		if z.state[c] == active {
			z.graph.join(c, c^z.xor[r], r)
			return
		}
	}
}

// lightest returns a row with the fewest active columns among those that have
// any. It is rare enough for a plain search: only when no row has one or two.
func (z *peeler) lightest() (row uint32, ok bool) {
	best := uint16(spent)
	for r, d := range z.degree {
		if d != 0 && d < best {
			row, best = uint32(r), d
		}
	}
	return row, best != spent
}

// graph holds active columns as nodes and rows with two active columns as
// edges. Choosing an edge of the largest component, as section 5.4.2.2 demands,
// lets the whole component be solved at the price of one inactive column; so a
// component never shrinks, it only grows or vanishes.
type graph struct {
	parent []uint16
	size   []uint16
	edge   []uint32 // some row of the component, valid at its root
	heap   []uint32 // size<<16 | root, a binary heap with stale entries
}

func (g *graph) init(n int) {
	g.parent = resize(g.parent, n)
	g.size = resize(g.size, n)
	g.edge = resize(g.edge, n)
	g.heap = g.heap[:0]
	for i := range g.parent {
		g.parent[i] = uint16(i)
		g.size[i] = 1
	}
}

func (g *graph) root(c uint16) uint16 {
	for g.parent[c] != c {
		g.parent[c] = g.parent[g.parent[c]]
		c = g.parent[c]
	}
	return c
}

func (g *graph) join(a, b uint16, row uint32) {
	a, b = g.root(a), g.root(b)
	if a == b {
		return
	}
	if g.size[a] < g.size[b] {
		a, b = b, a
	}
	g.parent[b] = a
	g.size[a] += g.size[b]
	g.edge[a] = row
	g.push(uint32(g.size[a])<<16 | uint32(a))
}

// largest returns a row of the largest component that is still active.
func (g *graph) largest(state []columnState) (row uint32, ok bool) {
	for len(g.heap) > 0 {
		top := g.pop()
		c := uint16(top)
		if g.parent[c] == c && uint32(g.size[c]) == top>>16 && state[c] == active {
			return g.edge[c], true
		}
	}
	return 0, false
}

func (g *graph) push(v uint32) {
	g.heap = append(g.heap, v)
	i := len(g.heap) - 1
	for i > 0 && g.heap[(i-1)/2] < v {
		g.heap[i] = g.heap[(i-1)/2]
		i = (i - 1) / 2
	}
	g.heap[i] = v
}

func (g *graph) pop() uint32 {
	top := g.heap[0]
	n := len(g.heap) - 1
	v := g.heap[n]
	g.heap = g.heap[:n]
	i := 0
	for c := 1; c < n; c = 2*i + 1 {
		if c+1 < n && g.heap[c+1] > g.heap[c] {
			c++
		}
		if g.heap[c] <= v {
			break
		}
		g.heap[i] = g.heap[c]
		i = c
	}
	if n > 0 {
		g.heap[i] = v
	}
	return top
}
