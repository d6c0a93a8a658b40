package cache

import (
	"context"
	"errors"
	"slices"
)

// FillFunc brings an object that the store lacks. As soon as it knows the
// object's meta it calls begin, once, and writes the octets as they come; the
// store finishes the object when FillFunc returns nil and aborts it when it
// returns an error. ctx ends when nobody wants the object any more, when
// another source brought it, or with the store; FillFunc has to return then.
type FillFunc func(ctx context.Context, begin func(Meta) (*Writer, error)) error

// errUnwanted and errOvertaken are why the context of a fill ends.
var (
	errUnwanted  = errors.New("cache: nobody waits for the object")
	errOvertaken = errors.New("cache: another source brought the object")
)

// flight is a running fill; guarded by Store.mu.
type flight struct {
	key      Key
	waiters  []*waiter // no object yet; the first one's FillFunc runs
	interest int       // callers of Fetch whose context has not ended
	cancel   context.CancelCauseFunc
	obj      *Object
}

type waiter struct {
	fill FillFunc
	done chan struct{} // closed when obj or err is set
	obj  *Object
	err  error
}

func (w *waiter) settle(o *Object, err error) {
	w.obj, w.err = o, err
	close(w.done)
}

// Fetch returns the current object of key. If there is none, fill brings it,
// one fill at a time per key: whoever asks meanwhile gets the same object,
// growing. If a fill fails before it begins, its caller gets the error and the
// next caller's fill runs, unless the error matches ErrNotFound, which is
// everybody's answer.
//
// A caller is taken to want the object until ctx ends. When nobody does any
// more, the fill is cancelled and the object aborted, unless more than half of
// its declared length is there.
func (s *Store) Fetch(ctx context.Context, key Key, fill FillFunc) (*Object, error) {
	if err := key.validate(); err != nil {
		return nil, err
	}
	w, f, err := s.join(ctx, key, fill)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return w.obj, nil
	}
	// From here on interest counts this caller; its end gives it back.
	stop := context.AfterFunc(ctx, func() { s.leave(f, w) })
	select {
	case <-w.done:
		if w.err != nil && stop() {
			s.leave(f, w)
		}
		return w.obj, w.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join finds the object or takes part in its flight. Without a flight the
// waiter holds an object that needs nobody's interest.
func (s *Store) join(ctx context.Context, key Key, fill FillFunc) (*waiter, *flight, error) {
	now := s.cfg.Now()
	w := &waiter{fill: fill, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	if o := s.lookup(key, now); o != nil {
		s.count.hits.Add(1)
		w.settle(o, nil)
		if o.fill != nil {
			s.count.collapsed.Add(1)
			o.fill.interest++
		}
		return w, o.fill, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	s.count.misses.Add(1)
	f := s.flights[key]
	if f == nil {
		f = &flight{key: key}
		s.flights[key] = f
		s.wg.Go(func() { s.fly(f) })
	} else {
		s.count.collapsed.Add(1)
	}
	f.waiters = append(f.waiters, w)
	f.interest++
	return w, f, nil
}

// fly runs the waiters' fills, one after the other, until one begins.
func (s *Store) fly(f *flight) {
	for {
		s.mu.Lock()
		if len(f.waiters) == 0 {
			if s.flights[f.key] == f {
				delete(s.flights, f.key)
			}
			s.mu.Unlock()
			return
		}
		w := f.waiters[0]
		ctx, cancel := context.WithCancelCause(s.ctx)
		f.cancel = cancel
		s.mu.Unlock()

		s.count.fills.Add(1)
		began, err := s.fillOnce(ctx, f, w.fill)
		cancel(nil)
		if began {
			return
		}
		if err == nil {
			err = ErrNotFound
		}
		s.mu.Lock()
		if errors.Is(err, ErrNotFound) || s.closed {
			for _, w := range f.waiters {
				w.settle(nil, err)
			}
			f.waiters = nil
		} else if i := slices.Index(f.waiters, w); i >= 0 {
			f.waiters = slices.Delete(f.waiters, i, i+1)
			w.settle(nil, err)
		}
		s.mu.Unlock()
	}
}

// fillOnce runs one fill to its end.
func (s *Store) fillOnce(ctx context.Context, f *flight, fill FillFunc) (began bool, err error) {
	var w *Writer
	err = fill(ctx, func(m Meta) (*Writer, error) {
		if w != nil {
			return nil, errors.New("cache: begin was called before")
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		nw, err := s.create(f.key, m, f)
		if err != nil {
			return nil, err
		}
		w = nw
		return w, nil
	})
	if w == nil {
		return false, err
	}
	if err != nil {
		w.Abort(err)
	} else {
		err = w.Finish()
	}
	return true, err
}

// resolve gives o to everybody who waits for f; f is not in the index of
// flights any more. If o is not of f's own making, f's fill is cancelled.
func (s *Store) resolve(f *flight, o *Object) {
	delete(s.flights, f.key)
	for _, w := range f.waiters {
		w.settle(o, nil)
	}
	f.waiters = nil
	f.obj = o
	if o.fill != f {
		f.obj = nil
		if f.cancel != nil {
			f.cancel(errOvertaken)
		}
	}
}

// leave ends one caller's interest.
func (s *Store) leave(f *flight, w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(f.waiters, w); i >= 0 {
		// It may be the one whose fill runs: that goes on for the others.
		f.waiters = slices.Delete(f.waiters, i, i+1)
		w.settle(nil, errUnwanted)
	}
	f.interest--
	if f.interest > 0 {
		return
	}
	if f.obj == nil {
		if s.flights[f.key] == f {
			delete(s.flights, f.key)
			if f.cancel != nil {
				f.cancel(errUnwanted)
			}
		}
		return
	}
	b := s.growing[f.obj]
	if b == nil {
		return
	}
	if size, _, _ := b.status(); f.obj.meta.Length > 0 && 2*size > f.obj.meta.Length {
		return
	}
	// Out of the index first, so that the next caller begins anew.
	if f.obj.current {
		s.drop(f.obj)
	}
	f.cancel(errUnwanted)
}
