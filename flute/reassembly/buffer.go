package reassembly

// SlabSize is the size of one slab in octets.
const SlabSize = 16 << 10

type slab = [SlabSize]byte

// Pool hands out slabs up to a limit. It keeps those that come back for as much as was in use lately, so that objects that
// follow each other allocate nothing, and a burst does not hold memory for ever. It belongs to one goroutine.
type Pool struct {
	limit, used int
	free        []*slab
	groups      []*group   // of released buffers, empty
	tables      [][]*group // the same

	peak, before int // the most in use, in this epoch and in the one before
	puts         int // in this epoch
}

const (
	// idle is how many slabs a pool keeps in any case: 4 MiB.
	idle = 256
	// epoch is how many slabs come back before the peak is forgotten: 128 MiB.
	epoch = 8192
	// Of released buffers, up to so many groups, and tables of so many places, are kept.
	maxGroups, maxTables, maxPlaces = 512, 64, 64
)

// NewPool returns a pool of at most limit octets, rounded up to whole slabs.
func NewPool(limit int64) *Pool {
	return &Pool{limit: int((limit + SlabSize - 1) / SlabSize)}
}

// Used is the number of octets handed out.
func (p *Pool) Used() int64 { return int64(p.used) * SlabSize }

// Limit is the number of octets that the pool hands out at most.
func (p *Pool) Limit() int64 { return int64(p.limit) * SlabSize }

func (p *Pool) get() *slab {
	if p.used >= p.limit {
		return nil
	}
	p.used++
	p.peak = max(p.peak, p.used)
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		return s
	}
	return new(slab)
}

func (p *Pool) put(s *slab) {
	p.used--
	if p.puts++; p.puts == epoch {
		p.before, p.peak, p.puts = p.peak, p.used+1, 0
		if keep := max(0, p.keep()); keep < len(p.free) {
			clear(p.free[keep:])
			p.free = p.free[:keep]
		}
	}
	if len(p.free) < p.keep() {
		p.free = append(p.free, s)
	}
}

// keep is how many slabs may be kept beside those in use.
func (p *Pool) keep() int { return max(idle, p.peak-p.used, p.before-p.used) }

func (p *Pool) group() *group {
	n := len(p.groups)
	if n == 0 {
		return new(group)
	}
	g := p.groups[n-1]
	p.groups = p.groups[:n-1]
	return g
}

func (p *Pool) table() []*group {
	n := len(p.tables)
	if n == 0 {
		return nil
	}
	t := p.tables[n-1]
	p.tables = p.tables[:n-1]
	return t
}

// putGroup takes a group without slabs.
func (p *Pool) putGroup(g *group) {
	if g != nil && len(p.groups) < maxGroups {
		p.groups = append(p.groups, g)
	}
}

// putTable takes a table without groups.
func (p *Pool) putTable(t []*group) {
	if cap(t) > 0 && cap(t) <= maxPlaces && len(p.tables) < maxTables {
		p.tables = append(p.tables, t[:0])
	}
}

// Buffer is a sparse octet store. The zero value is empty. It does not know
// which of its octets were written: that is the caller's business.
type Buffer struct {
	// In two levels, so that a single octet far out, which anybody can send,
	// does not cost a pointer for each slab before it.
	groups []*group
	held   int
}

// A group is the slabs of one MiB.
type group [groupLen]*slab

const groupLen = 64

// slab returns slab i, nil if there is none.
func (b *Buffer) slab(i int64) *slab {
	if g := i / groupLen; g < int64(len(b.groups)) && b.groups[g] != nil {
		return b.groups[g][i%groupLen]
	}
	return nil
}

// place returns where the pointer to slab i is.
func (b *Buffer) place(pool *Pool, i int64) **slab {
	g := int(i / groupLen)
	if b.groups == nil {
		b.groups = pool.table()
	}
	if n := g + 1 - len(b.groups); n > 0 {
		if n <= cap(b.groups)-len(b.groups) {
			b.groups = b.groups[:g+1]
			clear(b.groups[g+1-n:])
		} else {
			b.groups = append(b.groups, make([]*group, n)...)
		}
	}
	if b.groups[g] == nil {
		b.groups[g] = pool.group()
	}
	return &b.groups[g][i%groupLen]
}

// need tells how many slabs a write to [off, off+n) would take from the pool.
func (b *Buffer) need(off int64, n int) (need int) {
	for i := off / SlabSize; i <= (off+int64(n)-1)/SlabSize; i++ {
		if b.slab(i) == nil {
			need++
		}
	}
	return need
}

// WriteAt writes p at off. It writes nothing and returns false if the pool is
// exhausted.
func (b *Buffer) WriteAt(pool *Pool, p []byte, off int64) bool {
	if len(p) == 0 {
		return true
	}
	if need := b.need(off, len(p)); need > 0 && pool.used+need > pool.limit {
		return false
	}
	for len(p) > 0 {
		i := off / SlabSize
		s := b.slab(i)
		if s == nil {
			s = pool.get()
			*b.place(pool, i) = s
			b.held++
		}
		n := copy(s[off%SlabSize:], p)
		p, off = p[n:], off+int64(n)
	}
	return true
}

// Bytes returns the longest contiguous piece of memory that holds the octets
// from off on, at most up to end; nil where nothing was ever written. It
// aliases the buffer.
func (b *Buffer) Bytes(off, end int64) []byte {
	if off >= end {
		return nil
	}
	i := off / SlabSize
	s := b.slab(i)
	if s == nil {
		return nil
	}
	return s[off%SlabSize : min(SlabSize, end-i*SlabSize)]
}

// ReadAt fills p with the octets from off on, which must have been written.
func (b *Buffer) ReadAt(p []byte, off int64) {
	for len(p) > 0 {
		n := copy(p, b.Bytes(off, off+int64(len(p))))
		if n == 0 {
			clear(p)
			return
		}
		p, off = p[n:], off+int64(n)
	}
}

// Held is the memory in use, in octets.
func (b *Buffer) Held() int64 { return int64(b.held) * SlabSize }

// Clone returns a buffer that shares the slabs, so that another goroutine may
// read octets already written while b goes on to write others.
func (b *Buffer) Clone() Buffer {
	c := Buffer{groups: make([]*group, len(b.groups))}
	for i, g := range b.groups {
		if g != nil {
			copied := *g
			c.groups[i] = &copied
		}
	}
	return c
}

// Truncate gives back all slabs from off on and keeps the octets below. With
// detach, the slab that off lies in is replaced by a copy and nothing returns
// to the pool's stock, since a Clone may still be reading.
func (b *Buffer) Truncate(pool *Pool, off int64, detach bool) {
	first := (off + SlabSize - 1) / SlabSize
	for g := int(first / groupLen); g < len(b.groups); g++ {
		if b.groups[g] == nil {
			continue
		}
		for i := range b.groups[g] {
			if at := g*groupLen + i; int64(at) >= first {
				b.Drop(pool, at, detach)
			}
		}
	}
	if g := int((first + groupLen - 1) / groupLen); g < len(b.groups) {
		for i, cut := range b.groups[g:] {
			pool.putGroup(cut)
			b.groups[g+i] = nil
		}
		b.groups = b.groups[:g]
	}
	if i := off / SlabSize; detach && i < first {
		if s := b.slab(i); s != nil {
			copied := *s
			*b.place(pool, i) = &copied
		}
	}
}

// Slabs is the number of places for slabs, taken or not.
func (b *Buffer) Slabs() int { return len(b.groups) * groupLen }

// Drop gives back slab i, if there is one. See Truncate for detach.
func (b *Buffer) Drop(pool *Pool, i int, detach bool) {
	s := b.slab(int64(i))
	if s == nil {
		return
	}
	b.held--
	if detach {
		pool.used--
	} else {
		pool.put(s)
	}
	*b.place(pool, int64(i)) = nil
}

// Release gives back everything.
func (b *Buffer) Release(pool *Pool, detach bool) {
	b.Truncate(pool, 0, detach)
	pool.putTable(b.groups)
	b.groups = nil
}
