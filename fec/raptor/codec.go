package raptor

import (
	"sync"

	"github.com/treedn/treedn/fec/internal/gf2"
	"github.com/treedn/treedn/fec/internal/lru"
)

// DefaultCacheSize is the default of [Codec.CacheSize].
const DefaultCacheSize = 4 << 20

// Codec makes encoders and decoders that share one bounded cache of encoding
// plans, and the working memory of decoding. A plan depends on K alone, so a
// sender whose blocks repeat a few sizes plans each size once. The zero value is
// ready; a Codec is safe for concurrent use and must not be copied after its first
// use.
type Codec struct {
	// CacheSize bounds the memory of cached plans, in octets; the plan used
	// longest ago goes first. Zero means DefaultCacheSize, a negative value
	// caches nothing. A plan takes about 100 octets per source symbol.
	CacheSize int

	plans   lru.Cache[int, *gf2.Plan]
	buffers sync.Pool // of *[]byte
}

// maxBits bounds what planning keeps about inactive columns; see [gf2.NewPlan].
// Symbol sets that arrive by chance need about a tenth of it at the largest K; more
// would let somebody who picks symbols for the purpose keep a receiver busy.
const maxBits = 1 << 24

// newPlan plans for the encoding symbols with the given ESIs. Rows are the LDPC
// constraints, the symbols in their order, and the Half constraints.
func newPlan(p *params, esis []uint32) (plan *gf2.Plan, m *gf2.Matrix, need int) {
	rows := p.s + len(esis) + p.h
	m = gf2.NewMatrix(p.l, rows, 4*p.k+p.s+6*len(esis)+p.h*(p.l+1)/2)
	for _, row := range p.ldpcRows() {
		m.Append(row...)
	}
	var columns [maxColumns]uint32
	for _, x := range esis {
		m.Append(p.appendColumns(columns[:0], x)...)
	}
	m.StartDense()
	for _, row := range p.halfRows() {
		m.Append(row...)
	}
	plan, need = gf2.NewPlan(m, maxBits)
	return plan, m, need
}

// encodingPlan returns the plan for the source symbols themselves.
func (c *Codec) encodingPlan(p *params) *gf2.Plan {
	if plan, ok := c.plans.Get(p.k); ok {
		return plan
	}
	esis := make([]uint32, p.k)
	for i := range esis {
		esis[i] = uint32(i)
	}
	plan, _, _ := newPlan(p, esis)
	limit := c.CacheSize
	if limit == 0 {
		limit = DefaultCacheSize
	}
	c.plans.Put(p.k, plan, plan.Size(), limit)
	return plan
}

// buffer returns a buffer of n octets of any content.
func (c *Codec) buffer(n int) *[]byte {
	if b, ok := c.buffers.Get().(*[]byte); ok && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n)
	return &b
}

// run computes the intermediate symbols into inter.
func (c *Codec) run(plan *gf2.Plan, inter []byte, t int, v values) {
	scratch := c.buffer(plan.Scratch(t))
	defer c.buffers.Put(scratch)
	plan.Run(inter, t, v, *scratch)
}

// values are the values of the rows of a plan: symbols from row first on, which
// may be short, and zero for all others.
type values struct {
	first   int
	symbols [][]byte
}

func (v values) Set(dst []byte, row, from int) {
	n := 0
	if i := row - v.first; i >= 0 && i < len(v.symbols) {
		if s := v.symbols[i]; from < len(s) {
			n = copy(dst, s[from:])
		}
	}
	clear(dst[n:])
}
