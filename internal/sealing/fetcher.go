package sealing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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
}

var (
	// ErrForged is what a parent's octets fail with that differ from what was sealed.
	ErrForged = errors.New("sealing: octets differ from what was sealed")
	// ErrUnsealed is what a fetch fails with whose octets nobody sealed.
	ErrUnsealed = errors.New("sealing: no seal for the octets that came")
	// ErrBroken is what an object ends with that broke off at the source.
	ErrBroken = errors.New("sealing: the object broke off at its source")
)

// maxUnsealed bounds the octets of one fetch that wait for a seal.
const maxUnsealed = 8 << 20

// sealWait is how long the octets of a fetch may wait for the seal that covers the last of them.
const sealWait = 2 * time.Second

// SealWriter is a writer of octets beside which a seal is kept.
type SealWriter interface {
	io.Writer
	// SetSeal is told of the datagram that makes the octets written next readable.
	SetSeal(datagram []byte)
}

// Fetch implements service.Fetcher. begin is called when the first octet is known to be genuine.
func (f *Fetcher) Fetch(ctx context.Context, svc, name string, begin func(service.Meta) (io.Writer, error)) error {
	var w *Inflow
	defer func() {
		if w != nil {
			w.Close()
		}
	}()
	err := f.Inner.Fetch(ctx, svc, name, func(m service.Meta) (io.Writer, error) {
		// What a parent says of the type is not sealed: the name tells it.
		m.ContentType = cache.ContentType(name)
		var err error
		w, err = f.Open(ctx, name, m.Generation, func([]byte) (io.Writer, error) { return begin(m) })
		return w, err
	})
	if err == nil && w != nil {
		err = w.End(ctx)
	}
	return err
}

// Resume fetches the rest of an object of which w has the beginning. The caller closes w.
func (f *Fetcher) Resume(ctx context.Context, name string, generation uint64, w *Inflow) error {
	err := f.Inner.Fetch(ctx, f.Gate.cfg.Service.Name(), name, func(m service.Meta) (io.Writer, error) {
		if m.Generation != generation {
			return nil, seal.ErrStale
		}
		w.Restart(0)
		return w, nil
	})
	if err == nil {
		err = w.End(ctx)
	}
	return err
}

// Begin begins an object with its first octets, which are genuine, and returns where it is to be written.
type Begin func(head []byte) (io.Writer, error)

// Open begins an Inflow of one generation of an object, and asks for its seals. Close it.
func (f *Fetcher) Open(ctx context.Context, name string, generation uint64, begin Begin) (*Inflow, error) {
	w := &Inflow{begin: begin, signal: make(chan struct{}, 1)}
	o, err := f.Gate.Open(name, generation, w.notify)
	if err != nil {
		return nil, err
	}
	w.object = o
	return f.start(ctx, w, name, generation), nil
}

// Take is Open for an object that its owner has opened at the Gate, and of which the octets below written were
// verified and written. The Inflow releases it.
func (f *Fetcher) Take(ctx context.Context, o *Object, written int64, begin Begin) *Inflow {
	w := &Inflow{begin: begin, signal: make(chan struct{}, 1), object: o, off: written, skip: written}
	f.Gate.mu.Lock()
	o.notify = w.notify
	name, generation := o.o.Name(), o.o.Generation()
	f.Gate.mu.Unlock()
	return f.start(ctx, w, name, generation)
}

func (f *Fetcher) start(ctx context.Context, w *Inflow, name string, generation uint64) *Inflow {
	ctx, w.cancel = context.WithCancel(ctx)
	w.work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.signal:
				w.mu.Lock()
				_ = w.release()
				w.mu.Unlock()
			}
		}
	})
	w.work.Go(func() {
		_ = f.Client.Seals(ctx, f.Gate.cfg.Service.Name(), name, generation, f.Gate.pushParent)
	})
	return w
}

// Inflow takes the octets of one object, in order, and lets through those that are genuine. Write, Offset and End are for
// one goroutine.
type Inflow struct {
	object *Object
	begin  Begin
	signal chan struct{}
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu   sync.Mutex // guards below
	out  io.Writer
	off  int64  // octets written to out
	skip int64  // octets of the present transfer that are here already
	held []byte // octets behind off that wait for a seal
	seal []byte // the one beside out
	last seal.State
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
	w.held = w.held[:0]
	w.skip = max(0, w.off-off)
	if errors.Is(w.err, ErrForged) {
		w.err = nil
	}
}

// Write implements io.Writer. An error that matches ErrForged is the fault of the parent that sent p.
func (w *Inflow) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	n := len(p)
	if k := min(w.skip, int64(len(p))); k > 0 {
		w.skip -= k
		p = p[k:]
	}
	if len(w.held)+len(p) > maxUnsealed {
		w.err = ErrUnsealed
		return 0, w.err
	}
	w.held = append(w.held, p...)
	return n, w.release()
}

// release writes what a seal covers. It is called with mu held.
func (w *Inflow) release() error {
	if w.err != nil {
		return w.err
	}
	v := w.object.Check(w.off, w.held)
	w.last = v.State
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
		w.held = w.held[:copy(w.held, w.held[n:])]
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

// End waits until all octets that came were verified, and tells whether they are the whole object.
func (w *Inflow) End(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sealWait)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		err := w.release()
		whole, left := w.last == seal.Whole, len(w.held)
		w.mu.Unlock()
		switch {
		case err != nil:
			return err
		case whole:
			return nil
		}
		select {
		case <-ctx.Done():
			if left == 0 {
				return io.ErrUnexpectedEOF // what came is genuine, and not all
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
	w.object.Release()
}
