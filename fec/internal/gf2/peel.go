package gf2

// peeler orders the columns so that each is either solved by a row, in terms of
// columns solved before and of inactive columns, or is itself inactive.
type peeler struct {
	m     *Matrix
	state []columnState

	byCol  []uint32 // rows that contain column c: byRow[byCol[c]:byCol[c+1]]
	byRow  []uint32
	degree []uint32 // active columns in each row; spent rows have spent
	xor    []uint32 // exclusive or of the active columns in each row

	single []uint32   // rows that had one active column when queued
	queue  [][]uint32 // rows by the number of active columns that they had when queued
	graph  graph

	order    []pivot
	inactive []uint32
}

// columnState tells what became of a column.
type columnState uint8

const (
	active columnState = iota
	solved
	inactive
)

// pivot says that column col is solved by row row.
type pivot struct{ row, col uint32 }

// spent marks a row that solves a column.
const spent = ^uint32(0)

// heaviest is the number of active columns from which on rows are not told
// apart when the lightest is wanted.
const heaviest = 64

func newPeeler(m *Matrix) *peeler {
	n := m.sparse()
	z := &peeler{
		m:      m,
		state:  make([]columnState, m.columns),
		byCol:  make([]uint32, m.columns+1),
		degree: make([]uint32, n),
		xor:    make([]uint32, n),
		queue:  make([][]uint32, heaviest+1),
		order:  make([]pivot, 0, m.columns),
	}
	// Counting sort of the ones by column. byCol[c] first counts column c,
	// then points to the end of its list and sinks to the start.
	for r := range n {
		row := m.Row(r)
		z.degree[r] = uint32(len(row))
		for _, c := range row {
			z.byCol[c]++
			z.xor[r] ^= c
		}
	}
	total := uint32(0)
	for c := range z.byCol {
		total += z.byCol[c]
		z.byCol[c] = total
	}
	z.byRow = make([]uint32, total)
	for r := n - 1; r >= 0; r-- {
		for _, c := range m.Row(r) {
			z.byCol[c]--
			z.byRow[z.byCol[c]] = uint32(r)
		}
	}
	z.graph.init(m.columns)
	return z
}

// run peels all columns, or gives up and returns false when more than limit
// columns would become inactive.
func (z *peeler) run(limit int) bool {
	for r := range z.degree {
		z.enqueue(uint32(r))
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
		// Solving one column of a component of rows with two active columns
		// each solves the whole component: that is why the largest is chosen.
		r, ok := z.graph.largest(z.state)
		if !ok {
			r, ok = z.lightest()
		}
		if !ok {
			break
		}
		if len(z.inactive) == limit {
			return false
		}
		z.deactivate(z.busiest(r))
	}
	// What is left stands in no sparse row.
	for c, s := range z.state {
		if s == active {
			if len(z.inactive) == limit {
				return false
			}
			z.state[c] = inactive
			z.inactive = append(z.inactive, uint32(c))
		}
	}
	return true
}

// busiest returns the active column of row r that stands in most rows.
func (z *peeler) busiest(r uint32) (col uint32) {
	most := uint32(0)
	for _, c := range z.m.Row(int(r)) {
		if n := z.byCol[c+1] - z.byCol[c]; z.state[c] == active && n > most {
			most, col = n, c
		}
	}
	return col
}

func (z *peeler) solve(r, c uint32) {
	z.degree[r] = spent
	z.state[c] = solved
	z.order = append(z.order, pivot{row: r, col: c})
	z.remove(c)
}

func (z *peeler) deactivate(c uint32) {
	z.state[c] = inactive
	z.inactive = append(z.inactive, c)
	z.remove(c)
}

// remove takes column c, which is no longer active, out of the row counts.
func (z *peeler) remove(c uint32) {
	for _, r := range z.byRow[z.byCol[c]:z.byCol[c+1]] {
		if z.degree[r] != spent {
			z.degree[r]--
			z.xor[r] ^= c
			z.enqueue(r)
		}
	}
}

// enqueue enters row r where rows with so many active columns are looked for.
func (z *peeler) enqueue(r uint32) {
	switch d := z.degree[r]; d {
	case 0:
	case 1:
		z.single = append(z.single, r)
	case 2:
		for _, c := range z.m.Row(int(r)) {
			if z.state[c] == active {
				z.graph.join(c, c^z.xor[r], r)
				break
			}
		}
	default:
		d = min(d, heaviest)
		z.queue[d] = append(z.queue[d], r)
	}
}

// lightest returns a row with the fewest active columns, three or more.
func (z *peeler) lightest() (row uint32, ok bool) {
	for d := 3; d <= heaviest; d++ {
		for n := len(z.queue[d]); n > 0; n-- {
			r := z.queue[d][n-1]
			if now := z.degree[r]; now != spent && min(now, heaviest) == uint32(d) {
				z.queue[d] = z.queue[d][:n]
				return r, true
			}
		}
		z.queue[d] = z.queue[d][:0]
	}
	return 0, false
}

// graph holds active columns as nodes and rows with two active columns as edges.
// A component never shrinks: it grows, or vanishes when one column is chosen.
type graph struct {
	parent []uint32
	size   []uint32
	edge   []uint32 // some row of the component, valid at its root
	heap   []uint64 // size<<32 | root, a binary heap with stale entries
}

func (g *graph) init(n int) {
	g.parent = make([]uint32, n)
	g.size = make([]uint32, n)
	g.edge = make([]uint32, n)
	for i := range g.parent {
		g.parent[i] = uint32(i)
		g.size[i] = 1
	}
}

func (g *graph) root(c uint32) uint32 {
	for g.parent[c] != c {
		g.parent[c] = g.parent[g.parent[c]]
		c = g.parent[c]
	}
	return c
}

func (g *graph) join(a, b, row uint32) {
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
	g.push(uint64(g.size[a])<<32 | uint64(a))
}

// largest returns a row of the largest component that is still active.
func (g *graph) largest(state []columnState) (row uint32, ok bool) {
	for len(g.heap) > 0 {
		top := g.pop()
		c := uint32(top)
		if g.parent[c] == c && uint64(g.size[c]) == top>>32 && state[c] == active {
			return g.edge[c], true
		}
	}
	return 0, false
}

func (g *graph) push(v uint64) {
	g.heap = append(g.heap, v)
	i := len(g.heap) - 1
	for i > 0 && g.heap[(i-1)/2] < v {
		g.heap[i] = g.heap[(i-1)/2]
		i = (i - 1) / 2
	}
	g.heap[i] = v
}

func (g *graph) pop() uint64 {
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
