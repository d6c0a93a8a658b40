package route

import (
	"time"
)

// Supply adds octets of an object that came by another way. total is the
// length of the object, or -1 if the answer does not tell: it overrides what
// packets said, and octets behind it are taken back. p may be empty.
func (r *Receiver) Supply(now time.Time, o *Object, off int64, p []byte, total int64) error {
	if o.released || o.r != r {
		return ErrReleased
	}
	if o.complete {
		return nil
	}
	if total > o.limit() {
		return errTooLarge
	}
	if total >= 0 {
		if total < o.held.End() {
			o.epoch++
			r.truncate(o, total)
		}
		o.length, o.firm = total, true
		if o.repair != nil && !fitsSuperObject(total, o.repair.oti) {
			r.dropRepair(o)
		}
		r.dropBlocks(o, total)
	}
	added, err := o.store(now, off, p, byUnicast)
	o.supplied += added
	r.stats.Supplied += uint64(added)
	r.settleBlocks(o, off, off+int64(len(p)))
	r.advanced(now, o, added)
	r.reclaim(now, o)
	return err
}

// Release frees the memory of an object and ends its events, in any state.
// Packets of it that still come are recognized and cost nothing.
func (r *Receiver) Release(now time.Time, o *Object) {
	if !o.released && o.r == r {
		how := dropped
		if o.complete {
			how = delivered
		}
		r.retire(now, o, how, nil)
	}
}

// Prefer marks an object as one that is likely to be a true one: others have to
// go before it when there are too many of its TSI, and with HoldSignalling FEC
// is for such objects alone.
func (r *Receiver) Prefer(now time.Time, o *Object) {
	if o.preferred || o.released || o.r != r {
		return
	}
	o.preferred = true
	if o.repair != nil && !o.complete {
		r.decode(now, o)
	}
}

// Forget is Release for an object that may be a forged one: the next packet
// begins it anew.
func (r *Receiver) Forget(now time.Time, o *Object) {
	if !o.released && o.r == r {
		r.retire(now, o, dropped, nil)
		r.records.remove(o.key)
	}
}

// Reject takes back the octets from off on: they were found to be forged. All
// repair symbols go with them, and so does a length that is not below off. The
// object is incomplete again, and its missing octets are reported.
func (r *Receiver) Reject(now time.Time, o *Object, off int64) {
	if o.released || o.r != r || o.complete && off > o.length {
		return
	}
	o.epoch++
	// If symbols were forged, more may be to come.
	o.noFEC = o.noFEC || o.recovered > 0
	r.dropRepair(o)
	r.dropBlocks(o, off)
	r.truncate(o, off)
	if a := o.loss; a != nil {
		a.closed = a.settled // its losses are counted at the second end
	}
	if o.length >= off {
		o.length, o.firm = -1, false
		o.closeAt = time.Time{}
	}
	o.complete = false
	o.lastNew, o.endedAt, o.askAgain = now, now.Add(-r.cfg.GapDelay), time.Time{}
	if !o.mapped && r.objects[o.key] == nil {
		r.objects[o.key], o.mapped = o, true
	}
	r.arm(o, now)
}

// truncate forgets the octets from off on.
func (r *Receiver) truncate(o *Object, off int64) {
	if off < o.bodyAt || o.headless {
		o.header, o.bodyAt, o.headless = nil, 0, false
	}
	o.held.Truncate(off)
	o.sentEnd = min(o.sentEnd, off)
	if o.loss != nil {
		o.loss.missed.Truncate(off)
		o.loss.sent.end = min(o.loss.sent.end, off)
	}
	o.data.Truncate(r.pool, off, o.busy > 0)
	o.prefix = min(o.prefix, off)
	o.asked = min(o.asked, o.held.End())
}
