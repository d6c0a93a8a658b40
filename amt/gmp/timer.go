package gmp

import "time"

// schedule sees to it that the timer of a link runs if and only if it wants
// something, early enough for all that a report sets.
func (r *Router) schedule(l uint32) {
	if r.links.at(l).first == 0 {
		r.unschedule(l)
	} else {
		r.scheduleAt(l, r.now+r.hold)
	}
}

// scheduleAt puts a link into the wheel, not later than it is there already.
func (r *Router) scheduleAt(l uint32, t tick) {
	k := r.links.at(l)
	if k.due != 0 && k.due <= t {
		return
	}
	r.unschedule(l)
	slot, due := r.wheel.slot(t)
	k.due = due
	if k.next = r.wheel.slots[slot]; k.next != 0 {
		r.links.at(k.next).prev = l
	}
	k.prev = 0
	r.wheel.slots[slot] = l
	r.wheel.set(slot)
}

func (r *Router) unschedule(l uint32) {
	k := r.links.at(l)
	if k.due == 0 {
		return
	}
	slot := uint32(k.due % wheelSize)
	if k.prev != 0 {
		r.links.at(k.prev).next = k.next
	} else {
		r.wheel.slots[slot] = k.next
		if k.next == 0 {
			r.wheel.clear(slot)
		}
	}
	if k.next != 0 {
		r.links.at(k.next).prev = k.prev
	}
	k.prev, k.next, k.due = 0, 0, 0
}

// NextTimeout returns when HandleTimeout is due; the zero time means never.
func (r *Router) NextTimeout() time.Time {
	t := r.wheel.first()
	for _, s := range r.shared {
		if n := s.next(); n != 0 && (t == 0 || n < t) {
			t = n
		}
	}
	if t == 0 {
		return time.Time{}
	}
	return r.time(t)
}

// HandleTimeout does what is due at now.
func (r *Router) HandleTimeout(now time.Time) {
	r.now = r.tick(now)
	for {
		t := r.wheel.first()
		if t == 0 || t > r.now {
			break
		}
		r.wheel.now = t - 1
		for slot := uint32(t % wheelSize); r.wheel.slots[slot] != 0; {
			l := r.wheel.slots[slot]
			r.unschedule(l)
			r.expire(l)
		}
	}
	r.wheel.now = max(r.wheel.now, r.now-1)
	for _, s := range r.shared {
		r.handleShared(s)
	}
}

// expire handles the timers of a link (RFC 3376 sections 6.2.2, 6.2.3 and 6.5).
func (r *Router) expire(l uint32) {
	next := tick(0)
	for g := r.links.at(l).first; g != 0; {
		state := r.groups.at(g)
		after := state.next
		if t := r.expireGroup(g); t != 0 && (next == 0 || t < next) {
			next = t
		}
		g = after
	}
	if next == 0 {
		r.emit(EventIdle, Link(l), nil)
		return
	}
	r.scheduleAt(l, next)
}

// expireGroup returns when the next timer of the group is due; 0 if the group is
// gone.
func (r *Router) expireGroup(g uint32) (next tick) {
	state := r.groups.at(g)
	for p := &state.first; *p != 0; {
		s := r.sources.at(*p)
		switch {
		case s.expiry == 0:
		case s.expiry > r.now:
			if next == 0 || s.expiry < next {
				next = s.expiry
			}
		case state.mode == Include:
			r.dropSource(g, p)
			continue
		default:
			r.setExpiry(g, *p, 0)
		}
		p = &s.next
	}
	if state.mode == Exclude {
		if state.expiry > r.now {
			if next == 0 || state.expiry < next {
				next = state.expiry
			}
			return next
		}
		r.toInclude(g)
	}
	if state.first == 0 {
		r.removeGroup(g)
		return 0
	}
	return next
}
