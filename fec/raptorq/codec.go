package raptorq

import (
	"container/list"
	"sync"
)

const (
	// DefaultCacheSize is the default of [Codec.CacheSize].
	DefaultCacheSize = 16 << 20

	// DefaultMemoryLimit is the default of [Codec.MemoryLimit].
	DefaultMemoryLimit = 1 << 30
)

// Codec makes encoders and decoders that share one bounded cache of encoding
// plans, and the working memory of computations. A plan depends on K' alone, so
// a sender whose blocks repeat a few sizes plans each size once. The zero value
// is ready; a Codec is safe for concurrent use and must not be copied, nor its
// fields be changed, after its first use.
type Codec struct {
	// CacheSize bounds the memory of cached plans and of the coefficients of
	// repair symbols, in octets; what was used longest ago goes first. Zero
	// means DefaultCacheSize, a negative value caches nothing. A plan takes
	// about 60 octets per source symbol, coefficients take one octet for each
	// source symbol and each repair symbol.
	CacheSize int

	// MemoryLimit bounds the memory of one decoder, in octets:
	// [Codec.NewDecoder] refuses a block for which [DecoderMemory] is more. Zero
	// means DefaultMemoryLimit, a negative value no limit.
	MemoryLimit int64

	// Regime overrides how blocks are encoded and decoded.
	Regime Regime

	scratches sync.Pool // of *scratch

	mu    sync.Mutex // guards below
	codes map[int]*list.Element
	used  list.List // of *cached, the latest first
	held  int
	asked int // K' that planned was last called for
}

// Regime is a way to encode and decode. All give the same octets.
type Regime uint8

const (
	// Auto chooses by the measured cost of both.
	Auto Regime = iota

	// Dense uses the code's generator matrix: a repair symbol is a sum of all
	// source symbols with coefficients, and e lost symbols take an e x e system
	// of equations. It plans nothing for the symbols that arrived, so that its
	// time does not depend on which were lost.
	Dense

	// Sparse computes the intermediate symbols: encoding by a plan that
	// depends on K alone, decoding by inactivation decoding (RFC 6330 section
	// 5.4.2) with a plan for the symbols that arrived.
	Sparse
)

// code is what depends on K' alone.
type code struct {
	plan *plan

	mu      sync.Mutex
	batches [maxBatches][]byte
}

// cached is a code in the cache and the memory that it is accounted with.
type cached struct {
	*code
	size int
}

// maxBatches bounds the coefficients that are kept: of batch*maxBatches repair
// symbols.
const maxBatches = 8

// code returns the code for K', planning it when it is not cached.
func (c *Codec) code(p *params) *code {
	c.mu.Lock()
	if e := c.codes[p.kp]; e != nil {
		c.used.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*cached).code
	}
	c.mu.Unlock()

	// Planning takes milliseconds for large blocks, so it happens outside the
	// lock; two goroutines that need one size may both plan it.
	sc := c.scratch()
	sc.isis = sc.isis[:0]
	for i := range uint32(p.kp) {
		sc.isis = append(sc.isis, i)
	}
	pl, _ := sc.planner.make(p, sc.isis)
	co := &code{plan: pl.clone()}
	c.release(sc)

	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.codes[p.kp]; e != nil {
		return e.Value.(*cached).code
	}
	if co.plan.size() > c.cacheSize() {
		return co
	}
	if c.codes == nil {
		c.codes = make(map[int]*list.Element)
	}
	e := &cached{code: co}
	c.codes[p.kp] = c.used.PushFront(e)
	c.hold(e, co.plan.size())
	return co
}

// planned tells whether a decoder may take the plan of the source symbols for
// granted: it is cached, or worth its cost, since the last decoder that asked
// had blocks of this size, too.
func (c *Codec) planned(p *params) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := c.asked == p.kp
	c.asked = p.kp
	return again || c.codes[p.kp] != nil
}

// coefficients returns those of the repair symbols with the ISIs from
// K'+b*batch on, for b below maxBatches.
func (c *Codec) coefficients(co *code, b int, sc *scratch) []byte {
	co.mu.Lock()
	defer co.mu.Unlock()
	if co.batches[b] == nil {
		p := &co.plan.params
		var isis [batch]uint32
		for j := range isis {
			isis[j] = uint32(p.kp + b*batch + j)
		}
		m := make([]byte, p.kp*batch)
		co.plan.generate(m, isis[:], sc)
		co.batches[b] = m

		c.mu.Lock()
		defer c.mu.Unlock()
		if el := c.codes[p.kp]; el != nil {
			if e := el.Value.(*cached); e.code == co {
				c.hold(e, len(m))
			}
		}
	}
	return co.batches[b]
}

func (c *Codec) cacheSize() int {
	if c.CacheSize == 0 {
		return DefaultCacheSize
	}
	return c.CacheSize
}

// hold accounts for n octets more and makes room. The caller holds c.mu.
func (c *Codec) hold(e *cached, n int) {
	e.size += n
	c.held += n
	for c.held > c.cacheSize() {
		old := c.used.Remove(c.used.Back()).(*cached)
		delete(c.codes, old.plan.params.kp)
		c.held -= old.size
	}
}

func (c *Codec) scratch() *scratch {
	if sc, ok := c.scratches.Get().(*scratch); ok {
		return sc
	}
	return new(scratch)
}

func (c *Codec) release(sc *scratch) {
	sc.forget()
	c.scratches.Put(sc)
}
