package seal

import (
	"crypto/ed25519"
	"time"
)

// reason says why a datagram goes.
type reason uint8

const (
	notDue reason = iota
	forNew
	forIdle   // nothing new since a while
	forReseal // of Current objects
)

func (s *Signer) reason(now time.Time) reason {
	s.pace.waited(now)
	if !s.pace.due.IsZero() && !now.Before(s.pace.due) {
		return forNew
	}
	if at := s.pace.idleAt(s.leading > 0); !at.IsZero() && !now.Before(at) {
		return forIdle
	}
	if at := s.resealAt(); !at.IsZero() && !now.Before(at) {
		return forReseal
	}
	return notDue
}

func (s *Signer) nextDue() time.Time {
	at := sooner(s.pace.due, s.pace.follows)
	at = sooner(at, s.pace.idleAt(s.leading > 0))
	return sooner(at, s.resealAt())
}

// sooner returns the earlier of two times, of which the zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// resealAt is when the next Current object has to be sealed again.
func (s *Signer) resealAt() (at time.Time) {
	for _, x := range s.live {
		if x.resealed() {
			at = sooner(at, x.sentAt.Add(s.cfg.Reseal))
		}
	}
	return at
}

// resealed tells whether the object is one to be sealed again and again.
func (x *Sealing) resealed() bool {
	return x.Current && !x.fresh && x.record.Flags&Final != 0
}

// prune lets go of objects that ended a while ago. They stay for longer than
// they are repeated: should the key change, or a standby signer take over, what
// is being played has to be sealed again.
func (s *Signer) prune(now time.Time, silent bool) {
	kept := s.live[:0]
	for _, x := range s.live {
		done := x.stopped && now.Sub(x.endedAt) > recentTime && (silent || !x.fresh)
		if done && !(x.Current && x.record.Flags&Final != 0) {
			s.dismiss(x)
			continue
		}
		kept = append(kept, x)
	}
	clear(s.live[len(kept):])
	s.live = kept
}

// compose fills s.datagram, and returns its length. What is new comes first,
// growing objects before others, since their readers wait; then, as far as
// there is room, what is to be repeated.
func (s *Signer) compose(now time.Time, why reason) int {
	size := headerLen + ed25519.SignatureSize
	s.datagram.Records = s.datagram.Records[:0]
	s.sealed = s.sealed[:0]
	isNew, rest := false, false
	pass := func(named bool, want func(x *Sealing) bool) {
		for _, x := range s.live {
			if !x.has || !want(x) {
				continue
			}
			wasNew := x.fresh
			if n := s.add(now, x, size, named); n > 0 {
				size += n
				isNew = isNew || wasNew
			} else {
				rest = rest || wasNew
			}
		}
	}
	pass(false, func(x *Sealing) bool { return x.fresh && !x.stopped })
	pass(false, func(x *Sealing) bool { return x.fresh })
	s.pace.due, s.pace.follows = time.Time{}, time.Time{}
	if rest {
		s.pace.due = now // in further datagrams
	}
	if !rest {
		pass(false, func(x *Sealing) bool { return s.repeated(now, x, why) })
		pass(true, func(x *Sealing) bool { return x.resealed() && !x.sentAt.Add(s.cfg.Reseal*4/5).After(now) })
	}
	if isNew {
		s.pace.freshAt, s.pace.idle = now, 0
	} else if why == forIdle {
		s.pace.idle++
	}
	return size
}

// repeated tells whether a record that was sent goes again.
func (s *Signer) repeated(now time.Time, x *Sealing, why reason) bool {
	if x.fresh || !x.sentAt.Before(now) || x.repeats >= len(rideDelays) {
		return false
	}
	age := now.Sub(x.firstAt)
	if x.stopped && age > repeatTime+rideDelays[0] {
		return false
	}
	if why == forIdle {
		return true
	}
	if !x.stopped && s.pace.allowance < saved/2 {
		return false
	}
	return age >= rideDelays[x.repeats]
}

// add adds the record of an object, and returns its length, or 0 if there is no
// room. The name goes with the first record, with the last one, and whenever an
// object is sealed again.
func (s *Signer) add(now time.Time, x *Sealing, size int, named bool) int {
	r := x.record
	if named || !x.named {
		r.Flags |= Named
		r.Name = x.nameOctets
	}
	n := r.encodedLen()
	if size+n > MaxDatagram || len(s.datagram.Records) >= maxRecords {
		return 0
	}
	s.datagram.Records = append(s.datagram.Records, r)
	s.sealed = append(s.sealed, x)
	if x.fresh {
		x.fresh, x.firstAt, x.repeats = false, now, 0
	} else {
		x.repeats++
	}
	x.named, x.sentAt = true, now
	return n
}
