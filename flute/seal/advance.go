package seal

import (
	"encoding"
	"time"
)

// span is octets from another place than the receiver.
type span struct {
	off int64
	p   []byte
	o   *Object
}

func (s *span) Prefix() int64 {
	if s.off > s.o.good {
		return 0
	}
	return s.off + int64(len(s.p))
}
func (s *span) Complete() bool         { return false }
func (s *span) Bytes(off int64) []byte { return s.p[off-s.off:] }

// Advance looks at octets that have arrived, or at records that have, and tells
// how far the object is readable. Octets are looked at once, when a record is
// there that covers them. in is not kept.
func (v *Verifier) Advance(now time.Time, o *Object, in Octets) Verdict {
	verdict := v.verify(o, in)
	if verdict.State != Superseded && o.open {
		prefix := in.Prefix()
		if verdict.Forged > 0 {
			prefix = o.good
		}
		v.count(o, max(0, prefix-o.good))
		v.watch(now, o, prefix, in.Complete())
	}
	return verdict
}

// Check is Advance for octets from off on that were fetched by another way than
// the others, and are apart from them. They have to begin at Readable or below;
// what they do not make readable is not remembered. That they are forged is
// their sender's fault alone.
func (v *Verifier) Check(o *Object, off int64, p []byte) Verdict {
	v.span = span{off: off, p: p, o: o}
	verdict := v.verify(o, &v.span)
	v.span = span{}
	return verdict
}

// verify compares octets with the records that cover them.
func (v *Verifier) verify(o *Object, in Octets) Verdict {
	if o.displaced || !o.open {
		return Verdict{State: o.State(), Readable: o.good}
	}
	var forged int64
	prefix, loaded, done := in.Prefix(), false, 0
	for done < len(o.pending) && o.pending[done].end <= prefix {
		rec := &o.pending[done]
		if !loaded {
			v.load(o)
			loaded = true
		}
		if !v.feed(in, o.good, rec.end) {
			break
		}
		if sum := v.hash.Sum(v.sum[:0]); string(sum) != string(rec.sum[:]) {
			forged = rec.end
			v.stats.Mismatches++
			v.stats.MismatchOctets += uint64(rec.end - o.good)
			break
		}
		v.stats.Verified += uint64(rec.end - o.good)
		o.good, o.goodSum, o.seal = rec.end, rec.sum, rec.seal
		v.save(o)
		done++
	}
	if done > 0 {
		n := copy(o.pending, o.pending[done:])
		clear(o.pending[n:])
		o.pending = o.pending[:n]
		v.pending -= done
		if n == 0 {
			v.unwait(o)
		}
	}
	return Verdict{State: o.State(), Readable: o.good, Forged: forged}
}

// feed hashes octets. It returns false if they are not there.
func (v *Verifier) feed(in Octets, from, to int64) bool {
	for from < to {
		b := in.Bytes(from)
		if len(b) == 0 {
			return false
		}
		b = b[:min(int64(len(b)), to-from)]
		v.hash.Write(b)
		from += int64(len(b))
	}
	return true
}

// load sets the hash to what it was at the last good offset.
func (v *Verifier) load(o *Object) {
	if o.good == 0 {
		v.hash.Reset()
		return
	}
	if err := v.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(o.state[:]); err != nil {
		panic(err) // save made it
	}
}

// save keeps the hash. That is what hash.Cloner is for, but a clone is a new
// allocation for every chunk.
func (v *Verifier) save(o *Object) {
	if b, err := v.hash.(encoding.BinaryAppender).AppendBinary(o.state[:0]); err != nil || len(b) != stateLen {
		panic("seal: SHA-256 cannot be stored")
	}
}

// count notes how many octets of an object are not verified. If they are too
// many in all, the object whose octets stand longest has to go.
func (v *Verifier) count(o *Object, n int64) {
	if o.overflowed {
		n = 0 // its octets are about to go
	}
	v.unverified += n - o.unverified
	o.unverified = n
	for v.unverified > v.cfg.MaxUnverified {
		var oldest *Object
		for _, x := range v.opened {
			if x.unverified == 0 || x.overflowed {
				continue
			}
			if oldest == nil || x.stoodBefore(oldest) {
				oldest = x
			}
		}
		if oldest == nil {
			return
		}
		v.unverified -= oldest.unverified
		oldest.unverified = 0
		oldest.overflowed = true
		v.stats.Evicted++
		v.events.push(Event{Kind: Overflow, Object: oldest})
	}
}

// stoodBefore tells whether octets of o stand longer than those of x.
func (o *Object) stoodBefore(x *Object) bool {
	switch {
	case o.since.IsZero() != x.since.IsZero():
		return !o.since.IsZero()
	case o.since.Equal(x.since):
		return o.unverified > x.unverified
	}
	return o.since.Before(x.since)
}

// watch notes since when octets stand without a record.
func (v *Verifier) watch(now time.Time, o *Object, prefix int64, complete bool) {
	if o.end >= 0 || prefix <= o.top.end && !complete {
		o.since, o.wake = time.Time{}, time.Time{}
		return
	}
	if o.since.IsZero() || o.top.end >= o.standing && prefix > o.top.end {
		o.since, o.standing, o.wait = now, prefix, v.cfg.RecordDelay
		o.wake = now.Add(o.wait)
	}
}

// NextTimeout is when HandleTimeout has something to do. The zero time stands
// for never.
func (v *Verifier) NextTimeout() time.Time {
	var next time.Time
	for i := range v.streams {
		if st := &v.streams[i]; !st.since.IsZero() {
			next = sooner(next, st.since.Add(v.cfg.FirstContact))
		}
	}
	for _, o := range v.opened {
		next = sooner(next, o.wake)
	}
	return next
}

// HandleTimeout does what is due.
func (v *Verifier) HandleTimeout(now time.Time) {
	for i := range v.streams {
		st := &v.streams[i]
		if !st.since.IsZero() && now.Sub(st.since) >= v.cfg.FirstContact {
			v.sync(now, st, 0)
		}
	}
	for _, o := range v.opened {
		if o.wake.IsZero() || now.Before(o.wake) {
			continue
		}
		v.events.push(Event{Kind: NeedSeal, Object: o})
		o.wait = min(2*o.wait, recordDelayMax)
		o.wake = now.Add(o.wait)
	}
	v.expire(now)
}
