package route

import "time"

// NextTimeout is when HandleTimeout wants to be called, zero for never.
func (r *Receiver) NextTimeout() time.Time { return r.next }

// arm sets the time at which an object is looked at.
func (r *Receiver) arm(o *Object, at time.Time) {
	o.wake = at
	r.next = sooner(r.next, at)
}

// HandleTimeout does what has become due: report holes, give up objects.
func (r *Receiver) HandleTimeout(now time.Time) {
	if r.next.IsZero() || now.Before(r.next) {
		return
	}
	r.countLosses(now)
	r.next = sooner(r.losses.next(), r.expirePools(now))
	for i := 0; i < len(r.active); {
		o := r.active[i]
		if !o.wake.IsZero() && !now.Before(o.wake) {
			r.tick(now, o)
		}
		if o.released || o.complete {
			// It may have left the list: another one has taken its place.
			if i < len(r.active) && r.active[i] == o {
				i++
			}
			continue
		}
		r.next = sooner(r.next, o.wake)
		i++
	}
}

// hole returns where the first hole above what was reported begins, if there is
// one.
func (o *Object) hole() (off int64, ok bool) {
	off = o.held.Missing(o.asked)
	return off, off < o.held.End()
}

// holeTime is when the holes of a growing object are reported, and up to which
// offset: those for which no repair packets are to be expected any more.
func (r *Receiver) holeTime(o *Object) (at time.Time, end int64) {
	at, end = o.holeAt.Add(r.cfg.HoleDelay), o.held.End()
	if o.ch.growingDelay == 0 || o.noFEC {
		return at, end
	}
	late := at.Add(o.ch.growingDelay)
	switch {
	case o.overlap: // one of the next may help: a compromise
		return at.Add(o.ch.growingDelay / 2), end
	case o.holeOff < o.repairing.Start: // those of a later block came
		return at, o.repairing.Start
	case o.holeOff >= o.repairing.End:
		return late, end
	}
	if quiet := o.repairedAt.Add(r.cfg.HoleDelay); quiet.After(at) {
		at = quiet
	}
	if late.Before(at) {
		return late, end
	}
	return at, o.repairing.End
}

// gapTime is when missing octets of an ended object are reported.
func (r *Receiver) gapTime(o *Object) time.Time {
	at := o.endedAt
	if o.lastRepair.After(at) {
		at = o.lastRepair
	}
	if !o.protected() {
		return at.Add(r.cfg.GapDelay)
	}
	at = at.Add(r.cfg.RepairGap)
	// While repair packets of other objects come, this one's are likely to
	// follow: older objects go first.
	if o.repair == nil {
		wait := r.cfg.FECDelay
		if o.ch.maxDelay > 0 { // as the sender announces it
			wait = min(wait, o.ch.maxDelay)
		}
		busy := r.lastRepair.Add(r.cfg.RepairGap)
		if limit := o.endedAt.Add(wait); busy.After(limit) {
			busy = limit
		}
		if busy.After(at) {
			at = busy
		}
	}
	return at
}

// lostTime is when an incomplete object is given up.
func (r *Receiver) lostTime(o *Object) time.Time {
	return sooner(o.lastNew.Add(r.cfg.Deadline), o.expires)
}

// wakeTime is when an incomplete object has to be looked at next.
func (r *Receiver) wakeTime(now time.Time, o *Object) time.Time {
	if o.kind == kindUndescribed {
		return o.started.Add(r.cfg.UndescribedAge)
	}
	at := r.lostTime(o)
	if o.full() && !o.closeAt.IsZero() { // by a B flag alone
		return sooner(at, o.closeAt.Add(r.cfg.GapDelay))
	}
	if !o.visible() || o.decoding() {
		return at
	}
	if o.endedAt.IsZero() {
		at = sooner(at, o.lastPkt.Add(r.cfg.Inactivity))
		if !o.holeAt.IsZero() {
			hole, _ := r.holeTime(o)
			at = sooner(at, hole)
		}
		if !o.askAgain.IsZero() && o.held.Prefix() < o.asked {
			at = sooner(at, o.askAgain)
		}
		return at
	}
	return sooner(at, r.askTime(o))
}

// askTime is when an ended object's missing octets are reported next. What was
// reported while it grew does not put that off: then its repair packets were
// still to come, and few will have acted on it.
func (r *Receiver) askTime(o *Object) time.Time {
	gap := r.gapTime(o)
	if o.askedAll && o.askAgain.After(gap) {
		return o.askAgain
	}
	return gap
}

// tick handles an incomplete object whose time has come.
func (r *Receiver) tick(now time.Time, o *Object) {
	switch {
	case o.complete:
		return
	case o.kind == kindUndescribed:
		if !now.Before(o.started.Add(r.cfg.UndescribedAge)) {
			r.lose(now, o)
			return
		}
	case o.full() && !o.closeAt.IsZero() && !now.Before(o.closeAt.Add(r.cfg.GapDelay)):
		r.endedByFlag(now, o)
		return
	case !now.Before(r.lostTime(o)):
		r.lose(now, o)
		return
	case !o.visible() || o.decoding():
	case o.endedAt.IsZero():
		if !now.Before(o.lastPkt.Add(r.cfg.Inactivity)) {
			o.endedAt = now
			break
		}
		again := !o.askAgain.IsZero() && !now.Before(o.askAgain) && o.held.Prefix() < o.asked
		at, end := r.holeTime(o)
		fresh := !o.holeAt.IsZero() && !now.Before(at)
		if again || fresh {
			from := o.asked
			if again {
				from = 0
			}
			if !fresh && o.ch.growingDelay > 0 {
				end = o.asked // repair packets are still to come for the rest
			}
			r.ask(now, o, from, max(o.asked, min(end, o.held.End())), again)
		}
	default:
		if !now.Before(r.askTime(o)) {
			r.askAll(now, o)
		}
	}
	r.arm(o, r.wakeTime(now, o))
}

// ask reports the holes of a growing object in [from, end).
func (r *Receiver) ask(now time.Time, o *Object, from, end int64, again bool) {
	r.missing = r.missing[:0]
	if !again {
		for _, x := range o.left {
			r.missing = o.held.AppendMissing(r.missing, x.Start, x.End)
		}
	}
	r.missing = o.held.AppendMissing(r.missing, from, end)
	if o.left = o.left[:0]; !again {
		r.leave(o, end)
	}
	o.asked, o.holeAt = end, time.Time{}
	if h, ok := o.hole(); ok {
		o.holeAt, o.holeOff = now, h
	}
	if again || o.askAgain.IsZero() {
		r.backOff(now, o)
	}
	if len(r.missing) == 0 {
		return
	}
	m := make([]Range, len(r.missing))
	for i, x := range r.missing {
		m[i] = Range(x)
	}
	r.start(o)
	r.events.push(Event{Kind: NeedRepair, Object: o, Missing: m, Growing: true})
}

// askAll reports everything that an ended object lacks.
func (r *Receiver) askAll(now time.Time, o *Object) {
	o.asked, o.holeAt = o.held.End(), time.Time{}
	o.askedAll = true
	r.backOff(now, o)
	r.start(o)
	r.events.push(Event{Kind: NeedRepair, Object: o, Missing: o.AppendMissing(nil)})
}

func (r *Receiver) backOff(now time.Time, o *Object) {
	if o.backoff == 0 {
		o.backoff = r.cfg.RepairBackoff
	} else {
		o.backoff = min(2*o.backoff, r.cfg.RepairBackoffMax)
	}
	o.askAgain = now.Add(o.backoff)
}
