package seal

import (
	"container/list"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"
)

// Verifier decides which octets of one service are genuine. It belongs to one
// goroutine. All times come from the caller.
type Verifier struct {
	cfg     VerifierConfig
	service ServiceID
	streams [2]stream // by Kind

	names   map[nameKey]*name
	order   list.List // of *name, the one seen longest ago first
	waiters list.List // of *Object with pending records, likewise
	pending int
	opened  []*Object
	checks  limiter
	events  events

	unverified int64

	datagram Datagram // scratch
	msg      []byte   // scratch: what is signed, beginning with the context
	context  int
	hash     hash.Hash
	sum      [sha256.Size]byte
	span     span

	stats VerifierStats
}

// stream is what the keys of one kind have sealed.
type stream struct {
	kind    Kind
	anchors []Anchor
	current int // of anchors, the one that seals; -1: none has yet
	newest  *Seal
	synced  bool // newest is of the present
	since   time.Time
	held    []*Seal // until then
}

func (st *stream) time() uint64 {
	if st.newest == nil {
		return 0
	}
	return st.newest.time
}

// NewVerifier returns a Verifier that has seen nothing yet.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if !validService(cfg.Service) {
		return nil, errService
	}
	cfg = cfg.withDefaults()
	v := &Verifier{
		cfg: cfg, service: ServiceIDOf(cfg.Service),
		names: make(map[nameKey]*name),
		msg:   make([]byte, 0, maxSigned),
		hash:  sha256.New(),
		// In no second more than MaxChecks, a tenth of them at once.
		checks: newLimiter(float64(cfg.MaxChecks)*0.9, max(1, float64(cfg.MaxChecks)*0.1)),
	}
	v.msg = appendContext(v.msg, cfg.Service)
	v.context = len(v.msg)
	for i := range v.streams {
		v.streams[i] = stream{kind: Kind(i + 1), current: -1}
	}
	if err := v.SetAnchors(cfg.Anchors); err != nil {
		return nil, err
	}
	return v, nil
}

// SetAnchors replaces VerifierConfig.Anchors. What has been verified stays.
func (v *Verifier) SetAnchors(anchors []Anchor) error {
	var lists [2][]Anchor
	ids := map[KeyID]bool{}
	for _, a := range anchors {
		if !a.Kind.valid() || len(a.Key) != ed25519.PublicKeySize {
			return errors.New("seal: anchor without a kind or an Ed25519 public key")
		}
		if a.ID == 0 {
			a.ID = KeyIDOf(a.Kind, a.Key)
		}
		if ids[a.ID] {
			return fmt.Errorf("seal: two anchors with the key id %d", a.ID)
		}
		ids[a.ID] = true
		lists[a.Kind-1] = append(lists[a.Kind-1], a)
	}
	for i := range v.streams {
		st := &v.streams[i]
		current := -1
		if st.current >= 0 {
			id := st.anchors[st.current].ID
			current = slices.IndexFunc(lists[i], func(a Anchor) bool { return a.ID == id })
		}
		st.anchors, st.current = lists[i], current
	}
	return nil
}

// Stats returns the counters.
func (v *Verifier) Stats() VerifierStats {
	st := v.stats
	st.Names, st.Open, st.Pending, st.Unverified = len(v.names), len(v.opened), v.pending, v.unverified
	if s := v.streams[Content-1].newest; s != nil {
		st.Newest = time.UnixMicro(int64(min(s.time, maxMicro)))
	}
	return st
}

// Busy tells how much of MaxChecks the signatures take that came by multicast of
// late.
func (v *Verifier) Busy(now time.Time) int {
	left := v.checks.left(now)
	return int((v.checks.burst - left) / v.checks.burst * float64(v.cfg.MaxChecks))
}

// Newest returns the newest seal by keys of a kind: what a child asks for at
// its first contact. It is nil as long as nothing is known to be of the
// present.
func (v *Verifier) Newest(kind Kind) *Seal {
	if !kind.valid() || !v.streams[kind-1].synced {
		return nil
	}
	return v.streams[kind-1].newest
}

// Fresh tells whether a seal is young enough to be multicast again.
func (v *Verifier) Fresh(kind Kind, s *Seal) bool {
	n := v.Newest(kind)
	return n != nil && s.time+uint64(ForwardAge/time.Microsecond) >= n.time
}

// Cover returns the datagram that makes an object readable, which may be an
// open one or one that was released a short while ago; nil if there is none.
func (v *Verifier) Cover(objectName string, generation uint64) *Seal {
	n := v.names[v.keyOf(objectName)]
	if n == nil || n.cur == nil || n.cur.generation != generation {
		return nil
	}
	return n.cur.seal
}

// Known returns the newest generation of a name of which there is a record, and
// false if there is none.
func (v *Verifier) Known(objectName string) (generation uint64, ok bool) {
	n := v.names[v.keyOf(objectName)]
	if n == nil || n.cur == nil || !n.cur.has {
		return 0, false
	}
	return n.cur.generation, true
}

func (v *Verifier) keyOf(objectName string) nameKey {
	return nameKey{KindOf(objectName), ObjectIDOf(v.cfg.Service, objectName)}
}

// Open begins with an object whose octets have come or will come. Its records
// may have come before. An object is open once; all its octets, by whatever way
// they come, go through that.
func (v *Verifier) Open(now time.Time, objectName string, generation uint64) (*Object, error) {
	if len(objectName) == 0 || len(objectName) > MaxName {
		return nil, errName
	}
	if len(v.opened) >= v.cfg.MaxOpen {
		return nil, ErrLimit
	}
	n := v.touch(now, v.keyOf(objectName))
	if n.text != "" && n.text != objectName {
		return nil, ErrCollision
	}
	n.text = objectName
	o := n.cur
	switch {
	case o == nil || o.generation != generation:
		if o != nil && !n.anew && generation < o.generation {
			return nil, ErrStale
		}
		for _, a := range n.ahead {
			if a.generation == generation {
				return nil, ErrOpen
			}
		}
		if len(n.ahead) >= maxAhead {
			return nil, ErrLimit
		}
		o = newObject(v, n, generation)
		n.ahead = append(n.ahead, o)
	case o.open:
		return nil, ErrOpen
	case o.has && o.top.end > 0 && len(o.pending) == 0:
		// It was here before, perhaps: its octets have to be verified again.
		o.pending = append(o.pending, o.top)
		v.pending++
		v.wait(o)
	}
	o.good, o.goodSum, o.seal = 0, emptySum, nil
	if o.has && o.top.end == 0 {
		o.seal = o.top.seal
	}
	o.open, o.index = true, len(v.opened)
	v.opened = append(v.opened, o)
	return o, nil
}

// Release ends the interest in the octets of an object, in any state. Its name,
// generation and newest seal stay known for a while.
func (v *Verifier) Release(o *Object) {
	if !o.open || o.v != v {
		return
	}
	o.open = false
	last := len(v.opened) - 1
	v.opened[o.index] = v.opened[last]
	v.opened[o.index].index = o.index
	v.opened[last] = nil
	v.opened = v.opened[:last]
	v.count(o, 0)
	o.overflowed = false
	o.since, o.wake = time.Time{}, time.Time{}
	o.settle()
	n := o.n
	if i := slices.Index(n.ahead, o); i >= 0 {
		n.ahead = slices.Delete(n.ahead, i, i+1)
		if n.cur == nil && len(n.ahead) == 0 {
			v.forget(n)
		}
	}
}

// touch returns what is known of a name, from nothing on.
func (v *Verifier) touch(now time.Time, key nameKey) *name {
	n := v.names[key]
	if n == nil {
		n = &name{key: key}
		v.names[key] = n
		n.order = v.order.PushBack(n)
		v.expire(now)
	}
	n.seen = now
	v.order.MoveToBack(n.order)
	return n
}

// expire forgets the names that are too many or too old.
func (v *Verifier) expire(now time.Time) {
	e := v.order.Front()
	for e != nil {
		n := e.Value.(*name)
		old := !n.seen.IsZero() && now.Sub(n.seen) > v.cfg.Retention+nameAge
		if !old && len(v.names) <= v.cfg.MaxNames {
			return
		}
		e = e.Next()
		if !n.open() && !n.seen.IsZero() {
			v.forget(n)
		}
	}
}

func (v *Verifier) forget(n *name) {
	if n.cur != nil {
		n.cur.settle()
	}
	v.order.Remove(n.order)
	delete(v.names, n.key)
}

// wait notes that an object has records that wait, and makes room for them.
func (v *Verifier) wait(o *Object) {
	if o.waiting == nil {
		o.waiting = v.waiters.PushBack(o)
	} else {
		v.waiters.MoveToBack(o.waiting)
	}
	for e := v.waiters.Front(); e != nil && v.pending > v.cfg.MaxPending; {
		old := e.Value.(*Object)
		e = e.Next()
		before := v.pending
		if old == o {
			break // it alone takes no more than maxPerObject
		}
		old.settle()
		v.stats.Evicted += uint64(before - v.pending)
	}
}

func (v *Verifier) unwait(o *Object) {
	if o.waiting != nil {
		v.waiters.Remove(o.waiting)
		o.waiting = nil
	}
}

// Poll returns the next event, and false if there is none.
func (v *Verifier) Poll() (Event, bool) {
	for {
		ev, ok := v.events.Pop()
		if !ok {
			return Event{}, false
		}
		if o := ev.Object; o != nil {
			if ev.Kind == Sealed {
				o.notified = false
			}
			if !o.open {
				continue
			}
		}
		return ev, true
	}
}
