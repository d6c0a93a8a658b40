package flute

import "time"

// find returns the object of the packet in r.pkt, a new one if need be. It returns none for a packet that is not of
// interest, or that has an error.
func (r *Receiver) find(now time.Time, key objectKey) (*Object, error) {
	if o := r.objects[key]; o != nil {
		return o, nil
	}
	p := &r.pkt
	if rec := r.records.m[key]; rec != nil {
		if rec.repeats(now, p) {
			if rec.fate != delivered {
				r.stats.Ignored++
				return nil, nil
			}
			r.stats.Repeats++
			if key.toi == 0 {
				key.s.db.Seen(now, key.instance-1)
			}
			return nil, nil
		}
		r.records.remove(key)
	}
	return r.open(now, key)
}

func (r *Receiver) open(now time.Time, key objectKey) (*Object, error) {
	s := key.s
	o := &Object{r: r, s: s, key: key, scheme: r.pkt.Scheme, started: now, lastNew: now, lastPkt: now}
	if key.toi == 0 {
		if s.unread >= r.cfg.MaxInstances {
			r.evictOldest(now, s, kindInstance)
		}
		o.kind = kindInstance
		r.enter(o)
		return o, nil
	}
	e, ok := s.db.File(now, key.toi)
	if !ok {
		if r.unnamed >= maxUndescribed {
			r.evictUndescribed(nil)
		}
		r.enter(o)
		return o, nil
	}
	if r.cfg.Wanted != nil && !r.cfg.Wanted(e) {
		r.records.add(key, &record{fate: unwanted, file: e.File, seen: now})
		r.stats.Ignored++
		return nil, nil
	}
	if s.files >= r.cfg.MaxObjects {
		r.evictOldest(now, s, kindFile)
	}
	o.kind, o.entry = kindFile, e
	r.enter(o)
	r.events.Push(Event{Kind: Started, Session: s, Object: o})
	return o, nil
}

func (r *Receiver) enter(o *Object) {
	o.mapped = true
	r.objects[o.key] = o
	r.pending(o, 1)
	o.slot = len(r.active)
	r.active = append(r.active, o)
	r.arm(o, r.wakeTime(o))
}

// pending counts the incomplete objects of each kind.
func (r *Receiver) pending(o *Object, n int) {
	if o.pending == (n > 0) {
		return
	}
	o.pending = n > 0
	switch o.kind {
	case kindUndescribed:
		r.unnamed += n
	case kindInstance:
		o.s.unread += n
	case kindFile:
		o.s.files += n
	}
}
