package flute

import "time"

// sooner returns the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// NextTimeout is when HandleTimeout wants to be called, zero for never.
func (r *Receiver) NextTimeout() time.Time { return r.next }

func (r *Receiver) wake(at time.Time) { r.next = sooner(r.next, at) }

// arm sets the time at which an object is looked at.
func (r *Receiver) arm(o *Object, at time.Time) {
	o.wake = at
	r.wake(at)
}

// HandleTimeout does what has become due: report holes, give up objects, forget what has expired.
func (r *Receiver) HandleTimeout(now time.Time) {
	if r.next.IsZero() || now.Before(r.next) {
		return
	}
	r.next = time.Time{}
	r.wake(r.expire(now))
	r.wake(r.close(now))
	for i := 0; i < len(r.active); {
		o := r.active[i]
		if !o.wake.IsZero() && !now.Before(o.wake) {
			r.tick(now, o)
		}
		if i < len(r.active) && r.active[i] == o {
			if !o.complete && !o.verifying {
				r.wake(o.wake)
			}
			i++ // else it left, and another one has taken its place
		}
	}
}

// askTime is when the missing octets of an object that has ended are reported.
func (r *Receiver) askTime(o *Object) time.Time {
	at := o.endedAt
	if o.lastPkt.After(at) {
		at = o.lastPkt // repair symbols follow the source
	}
	at = at.Add(r.cfg.GapDelay)
	if o.askAgain.After(at) {
		return o.askAgain
	}
	return at
}

func (r *Receiver) lostTime(o *Object) time.Time { return o.lastNew.Add(r.cfg.Deadline) }

// wakeTime is when an incomplete object has to be looked at next.
func (r *Receiver) wakeTime(o *Object) time.Time {
	switch {
	case o.kind == kindUndescribed:
		return o.started.Add(r.cfg.UndescribedAge)
	case !o.visible() || o.decoding > 0:
		return r.lostTime(o)
	case o.endedAt.IsZero():
		return sooner(r.lostTime(o), o.lastPkt.Add(r.cfg.Inactivity))
	}
	return sooner(r.lostTime(o), r.askTime(o))
}

// tick handles an object whose time has come.
func (r *Receiver) tick(now time.Time, o *Object) {
	switch {
	case o.complete || o.verifying:
		return
	case o.kind == kindUndescribed:
		if !now.Before(o.started.Add(r.cfg.UndescribedAge)) {
			r.free(o)
			return
		}
	case !now.Before(r.lostTime(o)) && o.decoding == 0:
		r.lose(now, o, ErrDeadline)
		return
	case !o.visible() || o.decoding > 0:
		if !now.Before(r.lostTime(o)) {
			r.arm(o, now.Add(r.cfg.GapDelay))
			return
		}
	case o.endedAt.IsZero():
		if !now.Before(o.lastPkt.Add(r.cfg.Inactivity)) {
			o.endedAt = now
		}
	case !now.Before(r.askTime(o)):
		r.ask(now, o)
	}
	r.arm(o, r.wakeTime(o))
}

// ask reports everything that an object lacks.
func (r *Receiver) ask(now time.Time, o *Object) {
	if o.backoff == 0 {
		o.backoff = r.cfg.RepairBackoff
	} else {
		o.backoff = min(2*o.backoff, r.cfg.RepairBackoffMax)
	}
	o.askAgain = now.Add(o.backoff)
	r.events.Push(Event{Kind: NeedRepair, Session: o.s, Object: o, Missing: o.AppendMissing(nil)})
}
