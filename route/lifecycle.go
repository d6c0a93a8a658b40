package route

import (
	"slices"
	"time"

	"github.com/treedn/treedn/route/sls"
)

// open creates the object that a first packet belongs to.
func (r *Receiver) open(now time.Time, key objectKey, cp uint8) (*Object, error) {
	ch := r.channels[key.tsi]
	if ch == nil {
		// Without signalling the TSI is only a claim.
		if len(r.channels) >= r.cfg.MaxChannels && key.tsi != 0 {
			return nil, errUndescribed
		}
		ch = newChannel(key.tsi)
		r.channels[key.tsi] = ch
	}
	format, ok := ch.format(cp)
	if !ok {
		return nil, errCodepoint
	}
	r.makeRoom(now, ch)
	o := &Object{
		r: r, ch: ch, key: key, cp: cp, format: format, length: -1,
		started: now, lastNew: now, lastPkt: now, mapped: true, nth: ch.began,
	}
	r.objects[key] = o
	r.active = append(r.active, o)
	ch.objects = append(ch.objects, o)
	r.unnamed++
	r.describe(now, o)
	if r.unnamed > maxUndescribed && o.kind == kindUndescribed {
		r.evictUndescribed(o)
	}
	r.arm(o, r.wakeTime(now, o))
	return o, nil
}

// makeRoom sees to it that a channel may have one more object. The object with
// the fewest octets goes, if there is one that is not preferred: a flood of
// forged TOIs must not shut out the true ones, which get their packets within
// milliseconds.
func (r *Receiver) makeRoom(now time.Time, ch *channel) {
	n := 0
	var victim *Object
	for _, o := range ch.objects {
		if o.complete {
			continue
		}
		n++
		if victim == nil || o.worthLess(victim) {
			victim = o
		}
	}
	if n >= r.cfg.MaxObjects {
		r.stats.Evicted++
		r.lose(now, victim)
	}
}

// worthLess tells whether o has to go before p.
func (o *Object) worthLess(p *Object) bool {
	if o.preferred != p.preferred {
		return p.preferred
	}
	if n, m := o.held.Total(), p.held.Total(); n != m {
		return n < m
	}
	return o.started.Before(p.started)
}

// describe gives an object its name, if the signalling has one, and reports
// its start.
func (r *Receiver) describe(now time.Time, o *Object) {
	d := o.ch.describe(o.key)
	if d.kind == kindUndescribed && r.cfg.Unpack && o.ch.described && o.format != sls.FormatFile {
		d = description{kind: kindBare, length: -1}
	}
	if d.kind == kindUndescribed {
		return
	}
	r.undescribed -= o.data.Held()
	r.unnamed--
	o.kind = d.kind
	r.checkCodepoint(o)
	o.name, o.contentType, o.contentEncoding = d.name, d.contentType, d.contentEncoding
	o.generation, o.announced = d.generation, d.announced
	if o.generation == 0 && o.visible() {
		o.generation = r.newGeneration(now)
	}
	if d.kind == kindMedia {
		o.stem = o.ch.stem
	}
	if d.length >= 0 {
		_ = o.setLength(d.length, true)
	}
	o.expires = o.ch.expiry(o.started)
	if !o.visible() {
		return
	}
	o.unstarted = true
	if o.kind != kindBare || o.format != sls.FormatEntity {
		r.start(o)
	}
	if o.kind == kindMedia {
		r.succeed(now, o)
	}
}

// newGeneration numbers what the sender does not.
func (r *Receiver) newGeneration(now time.Time) uint64 {
	r.lastGen = max(r.lastGen+1, uint64(now.UnixMicro()))
	return r.lastGen
}

// restarted begins a new run of a track whose sender announces none and uses a
// TOI of the given run again.
func (r *Receiver) restarted(now time.Time, ch *channel, run uint64) {
	if ch != nil && ch.hasTemplate && !ch.announced && ch.run == run {
		ch.run = r.newGeneration(now)
		ch.highest = 0
	}
}

// succeed applies what a new object of a track tells about those before it:
// they have ended, and those in between were lost altogether. Media objects
// are sent in order (RFC 9223, section 3.3, order).
func (r *Receiver) succeed(now time.Time, o *Object) {
	ch, toi := o.ch, o.key.toi
	for _, p := range ch.objects {
		if p != o && p.kind == kindMedia && !p.complete && p.key.toi < toi && p.endedAt.IsZero() {
			p.endedAt = now
			r.arm(p, r.wakeTime(now, p))
		}
	}
	first := ch.highest + 1
	if toi > ch.highest {
		ch.highest = toi
	}
	if first == 1 || toi <= first || int64(toi-first) > int64(r.cfg.MaxSkip) {
		return
	}
	for ; first < toi; first++ {
		key := objectKey{o.key.tsi, first}
		if r.objects[key] != nil || r.records.m[key] != nil {
			continue
		}
		if ch.incomplete() >= r.cfg.MaxObjects {
			return // a suspicion is not worth an object that was seen
		}
		if p, err := r.open(now, key, cpMedia); err == nil {
			p.endedAt = now
			r.arm(p, r.wakeTime(now, p))
		}
	}
}

// redescribe looks at the objects of a channel after its signalling changed.
func (r *Receiver) redescribe(now time.Time, ch *channel) {
	for _, o := range slices.Clone(ch.objects) {
		if o.kind == kindUndescribed && !o.released {
			r.describe(now, o)
			switch {
			case o.kind == kindEFDT && max(o.length, o.held.End()) > o.limit():
				r.lose(now, o)
			case o.kind != kindUndescribed:
				r.advanced(now, o, o.held.Total())
			}
		}
	}
}

// unmap makes packets find the object no longer.
func (r *Receiver) unmap(o *Object) {
	if o.mapped {
		o.mapped = false
		delete(r.objects, o.key)
	}
	if r.last == o {
		r.last = nil
	}
}

// lose gives up an object that is incomplete.
func (r *Receiver) lose(now time.Time, o *Object) {
	if o.visible() {
		if o.Seen() {
			if !o.late {
				r.stats.ObjectsLost++
			}
			end := o.length
			if end < 0 {
				end = o.held.End()
			}
			r.missing = o.held.AppendMissing(r.missing[:0], 0, end)
			for _, m := range r.missing {
				o.missed(m.Start, m.End)
			}
		}
		r.start(o)
		r.events.push(Event{Kind: Lost, Object: o})
	} else if o.kind == kindUndescribed {
		r.stats.Rejected[RejectUndescribed] += uint64(o.packets)
		r.stats.RejectedBytes += uint64(o.held.Total())
		r.ignore(o.key)
	}
	r.retire(now, o, lost, nil)
}

// retire frees an object and leaves a record of it.
func (r *Receiver) retire(now time.Time, o *Object, how fate, body []byte) {
	rec := &record{
		kind: o.kind, name: o.name, generation: o.generation, announced: o.announced,
		length: o.length, fate: how, body: body, seen: now,
	}
	if how == delivered && body == nil {
		if o.kind == kindFile && o.length <= maxRecordBody {
			rec.body = make([]byte, o.length)
			o.data.ReadAt(rec.body, 0)
		} else {
			rec.headLen = int(min(int64(len(rec.head)), o.length))
			o.data.ReadAt(rec.head[:rec.headLen], 0)
		}
	}
	r.closeAccount(now, o.loss)
	rec.loss = o.loss
	mapped := o.mapped
	r.unmap(o)
	o.released = true
	r.dropRepair(o)
	r.dropBlocks(o, 0)
	o.epoch++
	if o.kind == kindUndescribed {
		r.undescribed -= o.data.Held()
		r.unnamed--
	}
	if how == delivered && o.ch.pooled && mapped && o.visible() {
		r.keep(now, o)
	}
	o.data.Release(r.pool, o.busy > 0)
	o.held.Reset()
	r.active = without(r.active, o)
	o.ch.objects = without(o.ch.objects, o)
	if o.ch.unused() && r.channels[o.key.tsi] == o.ch {
		r.forget(o.ch)
	}
	// A file that was lost comes again with the next turn of the carousel,
	// and one without description may get one.
	if mapped && (how != lost || o.kind == kindMedia) {
		r.records.add(o.key, rec)
	}
}

func without(list []*Object, o *Object) []*Object {
	if i := slices.Index(list, o); i >= 0 {
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		return list[:len(list)-1]
	}
	return list
}
