package seal

import (
	"bytes"
	"crypto/ed25519"
	"time"
)

// Path is the way that a datagram came.
type Path uint8

const (
	// Multicast: anybody may have sent it.
	Multicast Path = iota
	// Parent: it was asked for, over HTTP.
	Parent
	// Own: it was made by a Signer of this node, and is believed unseen.
	Own
)

// Push handles one datagram, which is not kept. The error, a *RejectError, tells
// why it was dropped; there is no need to act on it. One datagram of a parent
// tells what is of the present, so the newest one should be asked for first.
func (v *Verifier) Push(now time.Time, b []byte, via Path) error {
	v.stats.Datagrams++
	v.stats.Octets += uint64(len(b))
	if err := v.push(now, b, via); err != nil {
		v.stats.Rejected[err.Reason]++
		if err.Reason != RejectRepeat {
			v.stats.RejectedOctets += uint64(len(b))
		}
		return err
	}
	return nil
}

func (v *Verifier) push(now time.Time, b []byte, via Path) *RejectError {
	d := &v.datagram
	if err := d.Unmarshal(b); err != nil {
		return rejectFormat(err)
	}
	if d.Service != v.service {
		return rejectService
	}
	st, i := v.anchor(d.Key)
	if st == nil || i < st.current {
		return rejectKey
	}
	for j := range d.Records {
		// The names are the signer's own affair once the signature verifies, but
		// a stolen hop key must not seal media.
		if r := &d.Records[j]; r.Flags&Named != 0 && kindOf(r.Name) != st.kind {
			return rejectNameKind
		}
	}
	a := &st.anchors[i]
	if !a.valid(d.Time) {
		return rejectValidity
	}
	if t, bound := micro(now), uint64(clockBound/time.Microsecond); d.Time+bound < t || d.Time > t+bound {
		return rejectClock
	}
	if later := st.current >= 0 && i > st.current; !later {
		if v.old(st, d.Time, via) {
			return rejectOld
		}
		if !v.news(st, d, b, via) {
			return rejectRepeat
		}
	}
	if via == Multicast && !v.checks.allow(now) {
		return rejectChecks
	}
	if via != Own {
		v.stats.Checks++
		v.msg = append(v.msg[:v.context], b[:len(b)-ed25519.SignatureSize]...)
		if !ed25519.Verify(a.Key, v.msg, b[len(b)-ed25519.SignatureSize:]) {
			return rejectSignature
		}
	}
	seal := &Seal{raw: bytes.Clone(b), time: d.Time}
	if i > st.current {
		v.rotate(st, i, seal)
	}
	if !st.synced {
		if via == Multicast && v.cfg.FirstContact > 0 {
			v.hold(now, st, seal)
			return nil
		}
		v.sync(now, st, seal.time)
		_ = d.Unmarshal(b) // the scratch was used for others
	}
	v.take(now, st, seal, d, via)
	return nil
}

func (v *Verifier) anchor(id KeyID) (*stream, int) {
	for k := range v.streams {
		st := &v.streams[k]
		for i := range st.anchors {
			if st.anchors[i].ID == id {
				return st, i
			}
		}
	}
	return nil, 0
}

// behind tells whether t is more than d behind the newest seal.
func (st *stream) behind(t uint64, d time.Duration) bool {
	return t+uint64(d/time.Microsecond) < st.time()
}

func (v *Verifier) old(st *stream, t uint64, via Path) bool {
	switch via {
	case Multicast:
		return st.behind(t, v.cfg.MulticastAge)
	case Parent:
		return st.behind(t, max(v.cfg.Retention, v.cfg.CurrentAge))
	}
	return false
}

// news tells whether a datagram, if it is genuine, changes anything.
func (v *Verifier) news(st *stream, d *Datagram, b []byte, via Path) bool {
	if !st.synced {
		for _, s := range st.held {
			if via == Multicast && s.time == d.Time && bytes.Equal(s.raw, b) {
				return false
			}
		}
		return true
	}
	if d.Time >= st.time()+uint64(refreshTime/time.Microsecond) {
		return true
	}
	for i := range d.Records {
		r := &d.Records[i]
		n := v.names[v.recordKey(st, r)]
		if n == nil || n.cur == nil || n.anew {
			return true
		}
		o := n.cur
		switch {
		case r.Generation > o.generation:
			return true
		case r.Generation < o.generation:
			continue
		}
		if o.compare(r) != outRepeat || o.refreshes(r, d.Time) {
			return true
		}
	}
	return false
}

// refreshes tells whether a record says again, later, what an object is.
func (o *Object) refreshes(r *Record, t uint64) bool {
	return r.Flags&Current != 0 && int64(r.End) == o.top.end && o.top.seal != nil &&
		t >= o.top.seal.time+uint64(refreshTime/time.Microsecond)
}

func (v *Verifier) recordKey(st *stream, r *Record) nameKey {
	if r.Flags&Named != 0 {
		return nameKey{st.kind, objectIDOf(v.cfg.Service, r.Name)}
	}
	return nameKey{st.kind, r.ID}
}

// hold keeps a genuine datagram until it is known whether it is of the present.
func (v *Verifier) hold(now time.Time, st *stream, seal *Seal) {
	if st.since.IsZero() {
		st.since = now
		v.events.push(Event{Kind: NeedContact, Keys: st.kind})
	}
	if seal.time >= st.time() {
		st.newest = seal
	}
	if len(st.held) >= maxHeld {
		oldest := 0
		for i, s := range st.held {
			if s.time < st.held[oldest].time {
				oldest = i
			}
		}
		st.held[oldest] = st.held[len(st.held)-1]
		st.held = st.held[:len(st.held)-1]
	}
	st.held = append(st.held, seal)
}

// sync begins with the stream, of which t is known to be of the present. What
// was held is worth as much as what comes.
func (v *Verifier) sync(now time.Time, st *stream, t uint64) {
	st.synced, st.since = true, time.Time{}
	held := st.held
	st.held = nil
	for _, s := range held {
		if s.time+uint64(v.cfg.MulticastAge/time.Microsecond) < max(t, st.time()) || v.datagram.Unmarshal(s.raw) != nil {
			continue
		}
		v.take(now, st, s, &v.datagram, Multicast)
	}
}

// rotate goes over to a key that comes later in the list.
func (v *Verifier) rotate(st *stream, i int, seal *Seal) {
	first := st.current < 0
	st.current = i
	if first {
		return
	}
	st.newest, st.held = nil, nil
	for _, n := range v.names {
		if n.key.kind != st.kind || n.cur == nil {
			continue
		}
		n.cur.disown()
		n.anew = true
		if !n.cur.has && !n.open() {
			v.forget(n)
		}
	}
	v.events.push(Event{Kind: Rotated, Keys: st.kind, Seal: seal})
}

// disown forgets the records that no octets have been verified by.
func (o *Object) disown() {
	o.v.pending -= len(o.pending)
	o.pending = nil
	o.v.unwait(o)
	o.top = record{end: o.good, sum: o.goodSum, seal: o.seal, flags: o.top.flags &^ endFlags}
	o.has = o.good > 0
	if o.end != o.good {
		o.end, o.ended = -1, 0
	} else {
		o.top.flags |= o.ended
	}
}

// take acts on a genuine datagram.
func (v *Verifier) take(now time.Time, st *stream, seal *Seal, d *Datagram, via Path) {
	if seal.time >= st.time() {
		st.newest = seal
	}
	for i := range d.Records {
		r := &d.Records[i]
		if via == Parent {
			age := v.cfg.Retention
			if r.Flags&Current != 0 {
				age = v.cfg.CurrentAge
			}
			if st.behind(seal.time, age) {
				v.stats.Stale++
				continue
			}
		}
		v.record(now, st, r, seal)
	}
}

// record takes in one record of a genuine datagram.
func (v *Verifier) record(now time.Time, st *stream, r *Record, seal *Seal) {
	n := v.touch(now, v.recordKey(st, r))
	conflict := func() {
		v.stats.Conflicts++
		v.events.push(Event{Kind: Conflict, Seal: seal, Name: n.text, Generation: r.Generation})
	}
	if r.Flags&Named != 0 {
		if n.text == "" {
			n.text = string(r.Name)
		} else if n.text != string(r.Name) {
			conflict()
			return
		}
	}
	o := n.cur
	switch {
	case o == nil, n.anew && r.Generation != o.generation, r.Generation > o.generation:
		o = v.supersede(n, r.Generation)
	case r.Generation < o.generation:
		v.stats.Stale++
		return
	}
	anew := n.anew
	n.anew = false
	switch o.compare(r) {
	case outConflict:
		conflict()
		return
	case outRepeat:
		v.begun(o, seal)
		if o.refreshes(r, seal.time) || anew && int64(r.End) == o.top.end {
			o.refresh(seal)
			v.events.push(Event{Kind: Resealed, Seal: seal, Name: n.text, Generation: o.generation})
		}
		return
	}
	v.stats.Records++
	o.add(r, seal)
	v.begun(o, seal)
	if o.open && !o.notified {
		o.notified = v.events.push(Event{Kind: Sealed, Object: o})
	}
}

// begun reports a generation, as soon as its name is known.
func (v *Verifier) begun(o *Object, seal *Seal) {
	if !o.told && o.n.text != "" && o.n.key.kind == Content {
		o.told = v.events.push(Event{Kind: Begun, Seal: seal, Name: o.n.text, Generation: o.generation})
	}
}

// refresh replaces the seal of an object by a newer one that says the same.
func (o *Object) refresh(seal *Seal) {
	o.top.seal = seal
	if o.good == o.top.end {
		o.seal = seal
	}
	if i, ok := o.find(o.top.end); ok {
		o.pending[i].seal = seal
	}
}

// supersede makes a generation the newest one of a name.
func (v *Verifier) supersede(n *name, generation uint64) *Object {
	if n.cur != nil {
		v.displace(n.cur)
	}
	n.cur = nil
	rest := n.ahead[:0]
	for _, o := range n.ahead {
		switch {
		case o.generation == generation:
			n.cur = o
		case o.generation < generation:
			v.displace(o)
		default:
			rest = append(rest, o)
		}
	}
	clear(n.ahead[len(rest):])
	n.ahead = rest
	if n.cur == nil {
		n.cur = newObject(v, n, generation)
	}
	return n.cur
}

// displace ends an object that a newer generation replaces.
func (v *Verifier) displace(o *Object) {
	o.displaced = true
	o.disown()
	v.count(o, 0)
	o.since, o.wake = time.Time{}, time.Time{}
	if o.open {
		v.events.push(Event{Kind: Displaced, Object: o})
	}
}
