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

// patience is how long an object may wait for seals.
func (x *incoming) patience() time.Duration {
	if x.known {
		return sealTime
	}
	return x.class.patience()
}

// verify gives the service what the gate finds genuine.
func (in *Ingress) verify(now time.Time, o *route.Object, x *incoming) {
	if x.gate == nil && !in.enter(now, o, x) {
		return
	}
	v := x.gate.Advance(o)
	x.sealed = v.Sealed
	if v.State != seal.Unsealed && !x.known {
		x.known = true
		in.trust(x)
		in.rx.Prefer(now, o)
	}
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
		in.drop(o, Broken)
	case o.Complete() && v.Sealed > o.Prefix():
		in.refetchOrDrop(now, o, x) // its length was forged
	}
}

// enter opens an object at the gate. It returns false if that does not work, yet.
func (in *Ingress) enter(now time.Time, o *route.Object, x *incoming) bool {
	if !o.Announced() || in.cfg.Service.Holds(o.Name(), o.Generation()) {
		in.refuse(now, o, x) // a seal is of a generation; and what is here is not needed again
		return false
	}
	gate, err := in.cfg.Gate.Open(o.Name(), o.Generation(), func(n sealing.Notice) { in.notice(o, x, n) })
	switch {
	case err == nil:
		x.gate = gate
		if g, ok := in.cfg.Gate.Known(o.Name()); !ok || g != o.Generation() {
			in.doubt(o, x)
		}
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
	switch {
	case n == sealing.Refused:
		in.drop(o, errDisplaced)
	case n == sealing.Sealed:
		in.advance(now, o)
	case x.out == nil:
		in.drop(o, errFetched)
	}
	in.settle(now)
}

// review looks at what waits, and returns when to do so again.
func (in *Ingress) review(now time.Time) time.Time {
	if in.cfg.Gate == nil {
		return time.Time{}
	}
	if now.Before(in.reviewAt) {
		return in.reviewAt
	}
	in.discover(now)
	for o, x := range in.objects {
		age := now.Sub(x.since)
		switch {
		case x.gate == nil && o.Seen():
			in.advance(now, o)
		case x.sealed > x.read && age > standTime && !x.repairing:
			if in.refetch(now, o, x) {
				continue // otherwise multicast may still go on
			}
		}
		if age > x.patience() && (o.Complete() || !x.known) && in.objects[o] == x {
			in.drop(o, Unverified)
		}
	}
	in.reviewAt = now.Add(reviewTime)
	return in.reviewAt
}

const (
	// maxFetches bounds the objects that are fetched at a time, and maxQueued those that wait for that.
	maxFetches = 16
	maxQueued  = 256
)

// wanted tells whether an object is worth a request to a parent: a seal tells of it. Whoever sends forged packets must not
// make this node send requests, least of all for what its parents wait for themselves.
func (in *Ingress) wanted(o *route.Object, x *incoming) bool {
	if in.cfg.Gate == nil || x.known {
		return true
	}
	generation, ok := in.cfg.Gate.Known(o.Name())
	return ok && generation == o.Generation()
}

func (in *Ingress) refetchOrDrop(now time.Time, o *route.Object, x *incoming) {
	if !in.refetch(now, o, x) {
		in.drop(o, Forged)
	}
}

// refetch takes an object out of the receiver and has it fetched from the parents, from the last genuine octet on. Those
// that came by multicast and stand behind it are not used: nothing tells the true ones among them. It returns false if
// that cannot be done.
func (in *Ingress) refetch(now time.Time, o *route.Object, x *incoming) bool {
	if in.cfg.Fetch == nil || !x.known || len(in.cfg.Fetch.Client.Parents()) == 0 {
		return false
	}
	f := in.detach(now, o, x)
	if f == nil {
		return false
	}
	in.counts.Forged++
	return true
}

// detach takes an object out of the receiver, to be fetched from the last octet on that was passed on. It returns nil if
// there is no room for that.
func (in *Ingress) detach(now time.Time, o *route.Object, x *incoming) *refetch {
	if in.ctx == nil || len(in.queue) >= maxQueued {
		return nil
	}
	f := &refetch{
		done: make(chan error, 1),
		meta: service.Meta{Name: o.Name(), ContentType: o.ContentType(), Generation: o.Generation(), Length: -1},
		out:  x.out, gate: x.gate, read: x.read,
	}
	if o.Templated() {
		f.meta, _ = in.meta(o, 0)
	}
	x.refused = true
	delete(in.objects, o)
	in.rx.Release(now, o)
	in.queue = append(in.queue, f)
	if in.fetches < maxFetches {
		in.fetches++
		ctx := in.ctx
		in.group.Go(func() { in.fetch(ctx) })
	}
	return f
}

// ErrNotFed is returned by Feed for an object that multicast has not begun, or that is in other hands already.
var ErrNotFed = errors.New("ingress: multicast does not bring the object")

// Feed is for an object that multicast has begun and that stands: it has the rest fetched from the parents, as it grows
// there. Packets of it that still come are not used. It returns once the object has ended, or ctx has, which does not end
// the fetch.
func (in *Ingress) Feed(ctx context.Context, name string) error {
	f := in.detachNamed(name)
	if f == nil {
		return ErrNotFed
	}
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (in *Ingress) detachNamed(name string) *refetch {
	in.mu.Lock()
	defer in.mu.Unlock()
	for o, x := range in.objects {
		if o.Name() != name || x.out == nil || x.refused || !o.Announced() {
			continue
		}
		if in.cfg.Gate != nil && (in.cfg.Fetch == nil || !x.known) || in.cfg.Gate == nil && in.cfg.Plain == nil {
			continue
		}
		return in.detach(in.cfg.Now(), o, x)
	}
	return nil
}

// refetch is an object that is fetched from its last genuine octet on.
type refetch struct {
	meta service.Meta
	out  *service.Object // nil if it has not begun
	gate *sealing.Object // nil if the service is unsigned
	read int64
	done chan error
}

// fetch fetches what waits for that.
func (in *Ingress) fetch(ctx context.Context) {
	for {
		in.mu.Lock()
		if len(in.queue) == 0 {
			in.fetches--
			in.mu.Unlock()
			return
		}
		f := in.queue[0]
		in.queue = in.queue[1:]
		in.mu.Unlock()
		f.run(ctx, in)
	}
}

func (f *refetch) run(receiving context.Context, in *Ingress) {
	ctx, cancel := context.WithTimeout(receiving, fetchTime)
	defer cancel()
	err := f.fetch(ctx, in)
	if err != nil {
		in.mu.Lock()
		switch {
		case receiving.Err() == nil:
			in.failed(in.cfg.Now(), f.meta.Name, err)
		case in.left && (f.out != nil || !in.cfg.Service.Has(f.meta.Name)):
			in.lose(in.cfg.Now(), f.meta.Name, Left, Left)
		}
		in.mu.Unlock()
	}
	switch {
	case f.out == nil:
	case err != nil:
		f.out.Abort(err)
	default:
		_ = f.out.Commit() // Write has told
	}
	f.done <- err
}

func (f *refetch) fetch(ctx context.Context, in *Ingress) error {
	if f.gate == nil {
		r := service.Request{
			Service: in.cfg.Service.Name(), Name: f.meta.Name, Offset: f.read, Generation: f.meta.Generation, Persist: true,
		}
		return in.cfg.Plain.Fetch(ctx, r, func(service.Meta) (io.Writer, error) { return refetched{f.out}, nil })
	}
	w := in.cfg.Fetch.Take(ctx, f.gate, f.read, func(head []byte) (io.Writer, error) {
		if f.out == nil {
			if f.meta.Kind != service.Media && isInit(head) {
				f.meta.Kind = service.Init
			}
			in.mu.Lock()
			defer in.mu.Unlock()
			var err error
			if f.out, err = in.open(f.meta); err != nil {
				return nil, err
			}
		}
		return refetched{f.out}, nil
	})
	defer w.Close()
	return in.cfg.Fetch.Resume(ctx, f.meta.Name, f.meta.Generation, w)
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
	if n != sealing.Sealed {
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
