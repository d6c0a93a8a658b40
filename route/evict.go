package route

import "github.com/treedn/treedn/flute/reassembly"

// evict frees memory for another object, and tells whether it could: first that
// of repair symbols for growing objects, then that of objects without
// description, then of the one that leaves most of its memory
// empty. True packets fill what they take, but for the slab that an object grows
// into; forged ones with far offsets do not, and would keep the true ones out.
func (r *Receiver) evict(except *Object) bool {
	if r.evictBlock() || r.evictPooled() || r.evictUndescribed(except) {
		return true
	}
	var victim *Object
	var worst int64
	for _, o := range r.active {
		m, held := o.memory(), o.held.Total()
		if !o.complete && held < m/2 && m-held > worst {
			victim, worst = o, m-held
		}
	}
	if victim == nil {
		return false
	}
	r.stats.Evicted++
	if victim.purge() {
		return true
	}
	if victim == except || victim.held.Total() > victim.memory()/4 {
		return false
	}
	r.lose(victim.lastPkt, victim)
	return true
}

// maxUndescribed bounds the objects that no signalling describes, since each
// costs a look at every timer.
const maxUndescribed = 256

// evictUndescribed gives up the oldest object without description other than
// the given one, and tells whether there was one.
func (r *Receiver) evictUndescribed(except *Object) bool {
	var victim *Object
	for _, o := range r.active {
		if o != except && o.kind == kindUndescribed && (victim == nil || o.started.Before(victim.started)) {
			victim = o
		}
	}
	if victim == nil {
		return false
	}
	r.lose(victim.lastPkt, victim)
	return true
}

// purge frees the slabs of an object that are almost empty, but for the one
// that the prefix grows into, and tells whether there were any.
func (o *Object) purge() (freed bool) {
	before := o.data.Held()
	growing := o.held.Prefix() / reassembly.SlabSize
	for i := range int64(o.data.Slabs()) {
		start, end := i*reassembly.SlabSize, (i+1)*reassembly.SlabSize
		if i == growing || o.filled(start, end) >= reassembly.SlabSize/4 {
			continue
		}
		o.held.Remove(start, end)
		o.data.Drop(o.r.pool, int(i), o.busy > 0)
	}
	return o.data.Held() < before
}

// filled is the number of octets held in [start, end).
func (o *Object) filled(start, end int64) (n int64) {
	for {
		h, ok := o.held.Next(start, end)
		if !ok {
			return n
		}
		n += h.Len()
		start = h.End
	}
}
