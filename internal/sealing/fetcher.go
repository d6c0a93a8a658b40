package sealing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/service"
)

// Fetcher makes a fetch from the parents one of verified octets. It is a service.Fetcher.
type Fetcher struct {
	Inner service.Fetcher
	Gate  *Gate
	// Client asks for the seals of what is fetched. Required.
	Client *Client

	held atomic.Int64 // octets that wait for seals, in all
	hits atomic.Uint64
}

// MaxHeld bounds the octets of all fetches of a service that wait for seals. Of an object that has ended there may be no
// more than the last seal, so that an object may take all of it.
const MaxHeld = 64 << 20

// Held returns how many octets wait for seals, and how often there was no room for more.
func (f *Fetcher) Held() (octets int64, hits uint64) { return f.held.Load(), f.hits.Load() }

var (
	// ErrForged is what a parent's octets fail with that differ from what was sealed.
	ErrForged = errors.New("sealing: octets differ from what was sealed")
	// ErrUnsealed is what a fetch fails with whose octets nobody sealed.
	ErrUnsealed = errors.New("sealing: no seal for the octets that came")
	// ErrBroken is what an object ends with that broke off at the source.
	ErrBroken = errors.New("sealing: the object broke off at its source")
)

// sealWait is how long the octets of a fetch may wait for the seal that covers the last of them, or for room.
const sealWait = 2 * time.Second

// keepCap is the memory that an Inflow keeps while nothing waits.
const keepCap = 64 << 10

// roomTime is how often what waits for room looks whether there is any.
const roomTime = 5 * time.Millisecond

// SealWriter is a writer of octets beside which a seal is kept.
type SealWriter interface {
	io.Writer
	// SetSeal is told of the datagram that makes the octets written next readable.
	SetSeal(datagram []byte)
}

// Fetch implements service.Fetcher. begin is called when the first octet is known to be genuine.
func (f *Fetcher) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	var w *Inflow
	defer func() {
		if w != nil {
			w.Close()
		}
	}()
	return f.Inner.Fetch(ctx, r, func(m service.Meta) (io.Writer, error) {
		// What a parent says of the type is not sealed: the name tells it.
		m.ContentType = cache.ContentType(r.Name)
		var err error
		w, err = f.Open(ctx, r.Name, m.Generation, func([]byte) (io.Writer, error) { return begin(m) })
		return w, err
	})
}

// Resume fetches the rest of an object of which w has the beginning. The caller closes w.
func (f *Fetcher) Resume(ctx context.Context, name string, generation uint64, w *Inflow) error {
	r := service.Request{Service: f.Gate.cfg.Service.Name(), Name: name, Offset: w.Offset(), Generation: generation, Persist: true}
	return f.Inner.Fetch(ctx, r, func(service.Meta) (io.Writer, error) {
		w.Restart(r.Offset)
		return w, nil
	})
}

// Begin begins an object with its first octets, which are genuine, and returns where it is to be written.
type Begin func(head []byte) (io.Writer, error)

// Open begins an Inflow of one generation of an object, and asks for its seals. Close it.
func (f *Fetcher) Open(ctx context.Context, name string, generation uint64, begin Begin) (*Inflow, error) {
	w := &Inflow{f: f, begin: begin, signal: make(chan struct{}, 1)}
	o, err := f.Gate.Claim(name, generation, w.notify)
	if err != nil {
		return nil, err
	}
	w.object = o
	return f.start(ctx, w, name, generation), nil
}

// Take is Open for an object that its owner has opened at the Gate, and of which the octets below written were
// verified and written. The Inflow releases it.
func (f *Fetcher) Take(ctx context.Context, o *Object, written int64, begin Begin) *Inflow {
	w := &Inflow{f: f, begin: begin, signal: make(chan struct{}, 1), object: o, off: written, skip: written}
	f.Gate.mu.Lock()
	o.notify = w.notify
	name, generation := o.o.Name(), o.o.Generation()
	f.Gate.mu.Unlock()
	return f.start(ctx, w, name, generation)
}

func (f *Fetcher) start(ctx context.Context, w *Inflow, name string, generation uint64) *Inflow {
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.work.Go(func() {
		for {
			select {
			case <-w.ctx.Done():
				return
			case <-w.signal:
				w.mu.Lock()
				_ = w.release()
				w.mu.Unlock()
			}
		}
	})
	w.work.Go(func() { f.seals(w, name, generation) })
	return w
}

// Inflow takes the octets of one object, in order, and lets through those that are genuine. Write, Offset and End are for
// one goroutine.
type Inflow struct {
	f      *Fetcher
	object *Object
	begin  Begin
	signal chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu   sync.Mutex // guards below
	out  io.Writer
	off  int64     // octets written to out
	skip int64     // octets of the present transfer that are here already
	held []byte    // octets behind off that wait for a seal
	from time.Time // since when these wait, and none has become readable
	seal []byte    // the one beside out
	last Verdict
	err  error // why it is over
}

func (w *Inflow) notify(Notice) {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// Offset is how many octets were verified: from there on another parent has to go on.
func (w *Inflow) Offset() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.off
}

// Restart prepares for a transfer that begins at an offset, at Offset or below. What came before and was not verified is
// dropped.
func (w *Inflow) Restart(off int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(len(w.held))
	w.skip = max(0, w.off-off)
	if errors.Is(w.err, ErrForged) {
		w.err = nil
	}
}

// drop forgets the first n octets of those that are held.
func (w *Inflow) drop(n int) {
	w.held = w.held[:copy(w.held, w.held[n:])]
	if len(w.held) == 0 && cap(w.held) > keepCap {
		w.held = nil
	}
	w.f.held.Add(-int64(n))
}

// Write implements io.Writer. It waits while too many octets wait for seals. A *service.MismatchError is the fault of the
// parent that sent the octets from its offset on; what is written next has to begin there.
func (w *Inflow) Write(p []byte) (int, error) {
	n := 0
	for since := time.Now(); ; {
		took, err := w.take(p[n:])
		n += took
		switch {
		case err != nil || n == len(p):
			return n, err
		case took > 0:
			since = time.Now()
		case time.Since(since) > sealWait:
			w.f.hits.Add(1)
			return n, fmt.Errorf("%w: no room for them", ErrUnsealed)
		}
		select {
		case <-w.ctx.Done():
			return n, context.Cause(w.ctx)
		case <-time.After(roomTime):
		}
	}
}

// take takes as many octets as there is room for.
func (w *Inflow) take(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.refuse(w.err)
	}
	skip := int(min(w.skip, int64(len(p))))
	w.skip -= int64(skip)
	p = p[skip:]
	n := len(p)
	if all := w.f.held.Add(int64(n)); all > MaxHeld {
		n = max(0, n-int(all-MaxHeld))
		w.f.held.Add(int64(n - len(p)))
	}
	if need := w.last.Sealed - w.off; need > int64(cap(w.held)) && need <= MaxHeld {
		w.held = slices.Grow(w.held, int(need)-len(w.held)) // so much is sure to come
	}
	if len(w.held) == 0 {
		w.from = time.Now()
	}
	w.held = append(w.held, p[:n]...)
	return skip + n, w.refuse(w.release())
}

// refuse makes forged octets the fault of who sent them. It is called with mu held.
func (w *Inflow) refuse(err error) error {
	if !errors.Is(err, ErrForged) {
		return err
	}
	w.drop(len(w.held))
	w.skip, w.err = 0, nil
	return &service.MismatchError{Offset: w.off}
}

// release writes what a seal covers. It is called with mu held.
func (w *Inflow) release() error {
	if w.err != nil {
		return w.err
	}
	v := w.object.Check(w.off, w.held)
	w.last = v
	n := v.Readable - w.off
	if n > int64(len(w.held)) {
		n = 0 // of an object that was readable before
	}
	if n > 0 || v.State == seal.Whole && !same(v.Seal, w.seal) {
		if err := w.write(w.held[:n], v.Seal); err != nil {
			w.err = err
			return err
		}
		w.off += n
		w.drop(int(n))
		w.from = time.Now()
	}
	switch {
	case v.Forged > 0, v.State == seal.Whole && len(w.held) > 0:
		w.err = ErrForged
	case v.State == seal.Superseded:
		w.err = seal.ErrStale
	case v.State == seal.Broken && v.Readable == w.object.End():
		w.err = ErrBroken
	}
	return w.err
}

func (w *Inflow) write(p, datagram []byte) error {
	if w.out == nil {
		out, err := w.begin(p)
		if err != nil {
			return err
		}
		w.out = out
	}
	if s, ok := w.out.(SealWriter); ok && !same(datagram, w.seal) {
		s.SetSeal(datagram)
	}
	w.seal = datagram
	if len(p) == 0 {
		return nil
	}
	_, err := w.out.Write(p)
	return err
}

// same tells whether two datagrams are one: they do not change.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// End implements service.Ender: it waits until all octets that came were verified, and tells whether they are the whole
// object.
func (w *Inflow) End(int64) error {
	ctx, cancel := context.WithTimeout(w.ctx, sealWait)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		err := w.refuse(w.release())
		v, left, came := w.last, len(w.held), w.off+int64(len(w.held))
		w.mu.Unlock()
		switch {
		case err != nil:
			return err
		case v.State == seal.Whole:
			return nil
		case v.Sealed > came:
			return &service.MismatchError{Offset: w.Offset()} // there is more: its end was a lie
		}
		select {
		case <-ctx.Done():
			if left == 0 {
				// What came is genuine, and not all: the end was a lie, or the parent's own object has broken off.
				return &service.MismatchError{Offset: w.Offset()}
			}
			return fmt.Errorf("%w: %d octets", ErrUnsealed, left)
		case <-tick.C:
		}
	}
}

// Close ends the Inflow, and releases its object.
func (w *Inflow) Close() {
	w.cancel()
	w.work.Wait()
	w.mu.Lock()
	w.drop(len(w.held))
	if w.err == nil {
		w.err = net.ErrClosed
	}
	w.mu.Unlock()
	w.object.Release()
}
