package flute

import "time"

// maxUndescribed bounds the objects that no FDT Instance describes, since each costs a look at every timer.
const maxUndescribed = 256

// evict frees memory for an object and tells whether it could: that of objects without description, then of the one
// that leaves most of its memory empty, then of the one that has been without packets for longest. True packets fill
// what they take, but for the slab that an object grows into; forged ones do not, and would keep the true ones out.
func (r *Receiver) evict(except *Object) bool {
	if r.evictUndescribed(except) {
		return true
	}
	var victim, idle *Object
	var worst int64
	for _, o := range r.active {
		if o == except || o.complete || o.verifying {
			continue
		}
		m, held := o.memory(), o.held.Total()
		if m == 0 {
			continue
		}
		if held < m/4 && m-held > worst {
			victim, worst = o, m-held
		}
		if except.lastPkt.Sub(o.lastPkt) > r.cfg.Inactivity && (idle == nil || o.lastPkt.Before(idle.lastPkt)) {
			idle = o
		}
	}
	if victim == nil {
		victim = idle
	}
	if victim == nil {
		return false
	}
	r.stats.Evicted++
	r.lose(victim.lastPkt, victim, ErrEvicted)
	return true
}

// evictUndescribed gives up the oldest object without description other than the given one, and tells whether there was
// one.
func (r *Receiver) evictUndescribed(except *Object) bool {
	if r.unnamed == 0 {
		return false
	}
	var victim *Object
	for _, o := range r.active {
		if o != except && o.kind == kindUndescribed && (victim == nil || o.started.Before(victim.started)) {
			victim = o
		}
	}
	if victim == nil {
		return false
	}
	r.stats.Evicted++
	r.free(victim)
	return true
}

// evictOldest gives up the object of a session and a kind that has been without packets for longest.
func (r *Receiver) evictOldest(now time.Time, s *Session, k kind) {
	var victim *Object
	for _, o := range r.active {
		if o.s == s && o.kind == k && o.pending && (victim == nil || o.lastPkt.Before(victim.lastPkt)) {
			victim = o
		}
	}
	if victim != nil {
		r.stats.Evicted++
		r.lose(now, victim, ErrEvicted)
	}
}

// lose gives an object up.
func (r *Receiver) lose(now time.Time, o *Object, err error) {
	if o.released {
		return
	}
	if o.visible() {
		r.stats.ObjectsLost++
		o.s.lost++
		o.s.lostReason = err
		if o.mapped {
			r.records.add(o.key, o.record(now, lost))
		}
		r.events.Push(Event{Kind: Lost, Session: o.s, Object: o, Err: err})
	}
	r.free(o)
}

// Release gives an object's memory back. If it is not complete, its packets are ignored for a while.
func (r *Receiver) Release(now time.Time, o *Object) {
	if o.r != r || o.released {
		return
	}
	if o.mapped {
		f := delivered
		if !o.complete {
			f = lost
		}
		r.records.add(o.key, o.record(now, f))
	}
	r.free(o)
}

// unmap makes packets find the object no more.
func (r *Receiver) unmap(o *Object) {
	if o.mapped {
		o.mapped = false
		delete(r.objects, o.key)
	}
	if r.last == o {
		r.last = nil
	}
}

// free takes an object from everywhere.
func (r *Receiver) free(o *Object) {
	if o.released {
		return
	}
	o.released = true
	r.unmap(o)
	r.pending(o, -1)
	if o.kind == kindUndescribed {
		r.undescribed -= o.counted
		o.s.nameless++
	}
	n := len(r.active) - 1
	r.active[o.slot] = r.active[n]
	r.active[o.slot].slot = o.slot
	r.active[n] = nil
	r.active = r.active[:n]
	for sbn, b := range o.blocks {
		o.dropBlock(sbn, b)
	}
	o.early.Release(r.pool, false)
	o.data.mem.Release(r.pool, o.busy > 0)
	o.held.Reset()
	o.earliest = nil
}
