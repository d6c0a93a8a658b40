package cache

import "context"

// watch is closed when a new object appears under its key.
type watch struct {
	ch      chan struct{}
	waiters int
}

// Await blocks until there is an object of key whose generation is greater
// than after, or ctx is done. It starts nothing: see Fetch for that.
func (s *Store) Await(ctx context.Context, key Key, after uint64) (*Object, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		if o := s.lookup(key, s.cfg.Now()); o != nil && o.meta.Generation > after {
			s.mu.Unlock()
			return o, nil
		}
		w := s.watches[key]
		if w == nil {
			w = &watch{ch: make(chan struct{})}
			s.watches[key] = w
		}
		w.waiters++
		s.mu.Unlock()
		select {
		case <-w.ch:
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		if w.waiters--; w.waiters == 0 && s.watches[key] == w {
			delete(s.watches, key)
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}
