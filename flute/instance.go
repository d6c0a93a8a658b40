package flute

import (
	"errors"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
)

// readInstance acts on an FDT Instance that is complete.
func (r *Receiver) readInstance(now time.Time, o *Object) {
	s, id := o.s, o.key.instance-1
	raw := make([]byte, o.Length())
	o.data.mem.ReadAt(raw, 0)
	o.complete = true
	r.stats.Instances++
	s.instances++
	doc, err := decodeInstance(raw, o.cenc, r.cfg.MaxInstance)
	var changes []fdt.Change
	if err == nil {
		r.limitFiles(s)
		changes, err = s.db.Add(now, id, doc)
	}
	if s.described = s.described || len(changes) > 0; err != nil {
		s.badFDT = err
		r.fault(now, s, &RejectError{Reason: RejectInstance, text: "FDT Instance", cause: err})
	}
	switch {
	case err == nil || len(changes) > 0:
		r.records.add(o.key, o.record(now, delivered))
		r.events.Push(Event{Kind: FDT, Session: s, Instance: id, Raw: raw, Document: doc, Changes: changes})
	case errors.Is(err, fdt.ErrReused):
		// No record: the instance that has the ID must be heard when it comes again, so that it keeps the other out.
	default:
		r.records.add(o.key, o.record(now, lost)) // not read again at once
	}
	r.free(o)
	r.changed(now, s, changes)
	r.wake(s.db.NextExpiry())
}

// changed acts on what became of the files of a session.
func (r *Receiver) changed(now time.Time, s *Session, changes []fdt.Change) {
	for _, c := range changes {
		key := objectKey{s: s, toi: c.Entry.File.TOI}
		o := r.objects[key]
		switch c.Kind {
		case fdt.Removed:
			if o != nil && !o.complete {
				r.lose(now, o, ErrReplaced)
			}
			continue
		case fdt.Expired:
			if o != nil && !o.complete && o.endedAt.IsZero() {
				// What is on its way may become complete, by repair if need be (RFC 6726 section 3.3).
				o.endedAt = now
				r.arm(o, r.wakeTime(o))
			}
			continue
		}
		if rec := r.records.m[key]; rec != nil && (rec.fate == unwanted || rec.file.Contradicts(&c.Entry.File)) {
			r.records.remove(key)
		}
		switch {
		case o == nil:
			if length, known := c.Entry.File.Length(); known && length == 0 {
				r.openEmpty(now, key, c.Entry)
			}
		case o.kind == kindUndescribed:
			r.describe(now, o, c.Entry)
		case o.entry.File.Contradicts(&c.Entry.File):
			if o.complete {
				r.unmap(o)
			} else {
				r.lose(now, o, ErrReplaced)
			}
		default:
			o.entry = c.Entry
			r.learnLate(now, o)
		}
	}
}

// describe makes an object of which packets came before a file.
func (r *Receiver) describe(now time.Time, o *Object, e *fdt.Entry) {
	if r.cfg.Wanted != nil && !r.cfg.Wanted(e) {
		r.records.add(o.key, &record{fate: unwanted, file: e.File, seen: now})
		r.free(o)
		return
	}
	r.pending(o, -1)
	r.undescribed -= o.counted
	o.counted = 0
	if o.s.files >= r.cfg.MaxObjects {
		r.evictOldest(now, o.s, kindFile)
	}
	o.kind, o.entry = kindFile, e
	r.pending(o, 1)
	r.events.Push(Event{Kind: Started, Session: o.s, Object: o})
	r.learnLate(now, o)
}

// learnLate takes what a description tells of an object of which packets came.
func (r *Receiver) learnLate(now time.Time, o *Object) {
	if o.complete || o.verifying {
		return
	}
	if err := o.learnFromEntry(); err != nil {
		if reject, ok := err.(*RejectError); ok {
			r.fault(now, o.s, reject)
		}
	}
	if o.settleStore(); o.hasInfo {
		o.replay(now)
	}
	if !o.released && r.checkStore(now, o) {
		r.advanced(now, o, 0)
	}
}

// openEmpty delivers a file without octets, of which no packet need ever come; once.
func (r *Receiver) openEmpty(now time.Time, key objectKey, e *fdt.Entry) {
	if r.records.m[key] != nil || r.cfg.Wanted != nil && !r.cfg.Wanted(e) {
		return
	}
	o := &Object{r: r, s: key.s, key: key, kind: kindFile, entry: e, started: now, lastNew: now, lastPkt: now}
	o.scheme = fec.EncodingID(e.File.FEC.EncodingID)
	o.info, o.hasInfo, o.plain, o.noFEC = fec.ObjectInfo{ID: o.scheme, SymbolSize: 1}, true, true, true
	r.enter(o)
	r.events.Push(Event{Kind: Started, Session: o.s, Object: o})
	r.finish(now, o)
}

// expire removes what the sessions no longer describe, and returns when there will be more.
func (r *Receiver) expire(now time.Time) (next time.Time) {
	for _, s := range r.sessions {
		if changes := s.db.Expire(now); len(changes) > 0 {
			r.events.Push(Event{Kind: FDT, Session: s, Changes: changes})
			r.changed(now, s, changes)
		}
		next = sooner(next, s.db.NextExpiry())
	}
	return next
}
