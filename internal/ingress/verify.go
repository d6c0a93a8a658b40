package ingress

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

const (
	// reviewTime is how often what waits for seals is looked at without anything new.
	reviewTime = 100 * time.Millisecond
	// standTime is how long an object may stand behind what its seals tell of before it is fetched: FEC and repair have had
	// their turn by then.
	standTime = 3 * time.Second
	// sealTime is how long an object may wait for seals.
	sealTime = 8 * time.Second
)

// verify gives the service what the gate finds genuine.
func (in *Ingress) verify(now time.Time, o *route.Object, x *incoming) {
	if x.gate == nil && !in.enter(now, o, x) {
		return
	}
	v := x.gate.Advance(o)
	x.sealed, x.known = v.Sealed, v.State != seal.Unsealed
	if v.State == seal.Superseded {
		in.drop(o, errDisplaced)
		return
	}
	if x.known && x.out == nil && o.Templated() && !in.begin(now, o, x, v.Readable) {
		return // otherwise readers wait for it from now on
	}
	if v.Readable > x.read || v.State == seal.Whole {
		if x.out == nil && !in.begin(now, o, x, v.Readable) {
			return
		}
		x.since = now
		x.out.SetSeal(v.Seal)
		if !in.pass(o, x, v.Readable) {
			return
		}
	}
	switch {
	case v.Forged > 0:
		in.refetchOrDrop(now, o, x)
	case v.State == seal.Whole:
		in.commit(now, o, x)
	case v.State == seal.Broken && v.Readable == x.gate.End():
		in.drop(o, errBroken)
	case o.Complete() && v.Sealed > o.Prefix():
		in.refetchOrDrop(now, o, x) // its length was forged
	}
}

// enter opens an object at the gate. It returns false if that does not work, yet.
func (in *Ingress) enter(now time.Time, o *route.Object, x *incoming) bool {
	if !o.Announced() {
		in.refuse(now, o, x) // a seal is of a generation
		return false
	}
	gate, err := in.cfg.Gate.Open(o.Name(), o.Generation(), func(n sealing.Notice) { in.notice(o, x, n) })
	switch {
	case err == nil:
		x.gate = gate
		return true
	case errors.Is(err, seal.ErrOpen), errors.Is(err, seal.ErrLimit):
		return false // it comes by another way; or another one has to go first
	}
	in.refuse(now, o, x)
	return false
}

// notice is called by the gate.
func (in *Ingress) notice(o *route.Object, x *incoming, n sealing.Notice) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.objects[o] != x {
		return
	}
	now := in.cfg.Now()
	if n == sealing.Refused {
		in.drop(o, errDisplaced)
	} else {
		in.advance(now, o)
	}
	in.settle(now)
}

// review looks at objects that wait, and returns when to do so again.
func (in *Ingress) review(now time.Time) time.Time {
	if in.cfg.Gate == nil || len(in.objects) == 0 {
		return time.Time{}
	}
	if now.Before(in.reviewAt) {
		return in.reviewAt
	}
	for o, x := range in.objects {
		age := now.Sub(x.since)
		switch {
		case x.gate == nil && o.Seen():
			in.advance(now, o)
		case x.sealed > x.read && age > standTime && !x.repairing:
			in.refetchOrDrop(now, o, x)
			continue
		}
		if age > sealTime && o.Complete() && in.objects[o] == x {
			in.drop(o, errLost)
		}
	}
	in.reviewAt = now.Add(reviewTime)
	return in.reviewAt
}

// maxFetches bounds the objects that are fetched at a time.
const maxFetches = 16

// wanted tells whether an object is worth a request to a parent. Whoever sends forged packets must not make this node send
// requests.
func (in *Ingress) wanted(o *route.Object, x *incoming) bool {
	return in.cfg.Gate == nil || x.known || in.cfg.Service.Index().Expects(o.Name())
}

func (in *Ingress) refetchOrDrop(now time.Time, o *route.Object, x *incoming) {
	if !in.refetch(now, o, x) {
		in.drop(o, errLost)
	}
}

// refetch takes an object out of the receiver and has it fetched from the parents, from the last genuine octet on. Those
// that came by multicast and stand behind it are not used: nothing tells the true ones among them. It returns false if
// that cannot be done.
func (in *Ingress) refetch(now time.Time, o *route.Object, x *incoming) bool {
	if in.cfg.Fetch == nil || in.ctx == nil || !x.known || in.fetches >= maxFetches {
		return false
	}
	m, out := service.Meta{Name: o.Name(), ContentType: o.ContentType(), Generation: o.Generation(), Length: -1}, x.out
	if o.Templated() {
		m, _ = in.meta(o, 0)
	}
	x.refused = true
	delete(in.objects, o)
	in.rx.Release(now, o)
	in.fetches++
	in.counts.Forged++
	ctx, gate, read := in.ctx, x.gate, x.read
	in.group.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, fetchTime)
		defer cancel()
		w := in.cfg.Fetch.Take(ctx, gate, read, func(head []byte) (io.Writer, error) {
			if out == nil {
				if m.Kind != service.Media && isInit(head) {
					m.Kind = service.Init
				}
				in.mu.Lock()
				defer in.mu.Unlock()
				var err error
				if out, err = in.open(m); err != nil {
					return nil, err
				}
			}
			return refetched{out}, nil
		})
		err := in.cfg.Fetch.Resume(ctx, m.Name, m.Generation, w)
		w.Close()
		switch {
		case out == nil:
		case err != nil:
			in.log.Warn("object is lost", "service", in.cfg.Service.Name(), "name", m.Name, "error", err)
			out.Abort(err)
		default:
			_ = out.Commit() // Write has told
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.fetches--
	})
	return true
}

// fetchTime bounds a refetch. An object that grows is followed to its end.
const fetchTime = 30 * time.Second

// refetched is an object that is written by an Inflow.
type refetched struct{ *service.Object }

func (r refetched) Write(p []byte) (int, error) { return len(p), r.Object.Write(p, true) }

// bodyKey names a manifest or signalling.
type bodyKey struct {
	name       string
	generation uint64
}

// heldBody is what came as a whole and waits for its seal. Which of several bodies is the true one, that will tell.
type heldBody struct {
	gate       *sealing.Object
	candidates []candidate
	at         time.Time
}

type candidate struct {
	body   []byte
	accept func(now time.Time, datagram []byte)
}

const (
	maxBodies     = 64
	maxCandidates = 4
)

// hold keeps a body until it is known to be genuine, and then calls accept.
func (in *Ingress) hold(now time.Time, key bodyKey, body []byte, accept func(time.Time, []byte)) {
	b := in.bodies[key]
	if b == nil {
		gate, err := in.enterBody(key)
		if err != nil {
			return // older than what is here; or it comes from a parent
		}
		if len(in.bodies) >= maxBodies {
			in.releaseOldestBody()
		}
		b = &heldBody{gate: gate, at: now}
		in.bodies[key] = b
	}
	if len(b.candidates) == maxCandidates {
		b.candidates = append(b.candidates[:0], b.candidates[1:]...)
	}
	b.candidates = append(b.candidates, candidate{body, accept})
	in.judge(now, key, b)
}

// enterBody opens a body at the gate. If nothing is known of the name yet and too many generations of it wait, the lowest
// one goes: what comes later is likely to be newer.
func (in *Ingress) enterBody(key bodyKey) (*sealing.Object, error) {
	open := func() (*sealing.Object, error) {
		return in.cfg.Gate.Open(key.name, key.generation, func(n sealing.Notice) { in.noticeBody(key, n) })
	}
	gate, err := open()
	if !errors.Is(err, seal.ErrLimit) {
		return gate, err
	}
	lowest := key
	for k := range in.bodies {
		if k.name == key.name && k.generation < lowest.generation {
			lowest = k
		}
	}
	if lowest == key {
		return nil, err
	}
	in.releaseBody(lowest)
	return open()
}

// judge looks which of the bodies is genuine.
func (in *Ingress) judge(now time.Time, key bodyKey, b *heldBody) {
	for i := 0; i < len(b.candidates); {
		c := b.candidates[i]
		v := b.gate.Advance(seal.Body(c.body))
		switch {
		case v.State == seal.Whole && v.Readable == int64(len(c.body)):
			in.releaseBody(key)
			c.accept(now, v.Seal)
			return
		case v.State == seal.Whole, v.State == seal.Superseded, v.State == seal.Broken:
			in.releaseBody(key)
			return
		case v.Forged > 0:
			b.candidates = append(b.candidates[:i], b.candidates[i+1:]...)
		default:
			i++
		}
	}
}

func (in *Ingress) noticeBody(key bodyKey, n sealing.Notice) {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.bodies[key]
	if b == nil {
		return
	}
	if n == sealing.Refused {
		in.releaseBody(key)
		return
	}
	now := in.cfg.Now()
	in.judge(now, key, b)
	in.settle(now)
}

func (in *Ingress) releaseBody(key bodyKey) {
	in.bodies[key].gate.Release()
	delete(in.bodies, key)
}

func (in *Ingress) releaseOldestBody() {
	var oldest bodyKey
	for key, b := range in.bodies {
		if o := in.bodies[oldest]; o == nil || b.at.Before(o.at) {
			oldest = key
		}
	}
	in.releaseBody(oldest)
}

// signalling acts on an S-TSID once it is known to be genuine. Without a gate the receiver has done so.
func (in *Ingress) signalling(now time.Time, s *route.Signal) {
	if in.cfg.Gate == nil || s.TSI != 0 {
		return // an EFDT of its own is sealed by nobody: it stays without effect
	}
	session := in.cfg.Receiver.Session
	key := bodyKey{sealing.STSIDName(session.Source, session.Group, session.Port), s.Generation}
	in.hold(now, key, s.Body, func(now time.Time, _ []byte) { in.rx.Accept(now, s) })
}
