package raptorq

import (
	"container/list"
	"sync"
)

// DefaultCacheSize is the default of [Codec.CacheSize].
const DefaultCacheSize = 4 << 20

// Codec makes encoders and decoders that share one bounded cache of encoding
// plans, and the working memory of decoding. A plan depends on K' alone, so a sender whose blocks repeat a few sizes
// plans each size once. The zero value is ready; a Codec is safe for concurrent
// use and must not be copied after its first use.
type Codec struct {
	// CacheSize bounds the memory of cached plans, in octets; the plan used
	// longest ago goes first. Zero means DefaultCacheSize, a negative value
	// caches nothing. A plan takes about 50 octets per source symbol, and must
	// not be changed after the first use.
	CacheSize int

	buffers sync.Pool // of *[]byte, for the intermediate symbols of decoding

	mu    sync.Mutex // guards below
	plans map[int]*list.Element
	used  list.List // of *plan, the latest first
	held  int
}

// encodingPlan returns the plan for the K' source symbols themselves.
func (c *Codec) encodingPlan(p *params) *plan {
	c.mu.Lock()
	if e := c.plans[p.kp]; e != nil {
		c.used.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*plan)
	}
	c.mu.Unlock()

	// Planning takes milliseconds for large blocks, so it happens outside the
	// lock; two goroutines that need one size may both plan it.
	pl, _ := newPlan(p, sourceISIs(p))

	limit := c.CacheSize
	if limit == 0 {
		limit = DefaultCacheSize
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if pl.size() > limit || c.plans[p.kp] != nil {
		return pl
	}
	if c.plans == nil {
		c.plans = make(map[int]*list.Element)
	}
	c.plans[p.kp] = c.used.PushFront(pl)
	c.held += pl.size()
	for c.held > limit {
		old := c.used.Remove(c.used.Back()).(*plan)
		delete(c.plans, old.params.kp)
		c.held -= old.size()
	}
	return pl
}

// sourceISIs returns the ISIs of the source symbols and of the padding.
func sourceISIs(p *params) []uint32 {
	isis := make([]uint32, p.kp)
	for i := range isis {
		isis[i] = uint32(i)
	}
	return isis
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
