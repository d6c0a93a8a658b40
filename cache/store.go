package cache

import (
	"bytes"
	"context"
	"io"
	"math"
	"sync"
	"time"
)

// Store keeps objects in a memory tier and, if configured, a sealed disk tier.
// All methods are safe for concurrent use. Close it.
type Store struct {
	cfg   Config
	count counters

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // fills and the spiller
	once   sync.Once

	mu       sync.RWMutex // guards below; not held over I/O or callbacks
	services map[string]*service
	mem      usage
	disk     usage
	growing  map[*Object]*body // including those that were replaced
	flights  map[Key]*flight
	watches  map[Key]*watch
	lastGen  uint64 // last generation that the store assigned
	closed   bool

	foreign    []foreignFile
	forgedSaid time.Time // when files that are not authentic were reported

	spill spiller
	lock  io.Closer // of the disk tier's directory
}

// Create makes an object that grows, visible at once. It replaces an object of
// an older generation at once, even one that still grows: those who read that
// one go on to its end. The error matches ErrStale or ErrExists if the current
// generation is newer or the same.
func (s *Store) Create(key Key, meta Meta) (*Writer, error) {
	return s.create(key, meta, nil)
}

func (s *Store) create(key Key, meta Meta, from *flight) (*Writer, error) {
	if err := meta.check(key); err != nil {
		return nil, err
	}
	if meta.Length > s.cfg.MaxObject {
		return nil, ErrTooLarge
	}
	o, b := s.newObject(key, meta), newBody()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(o, from, 0); err != nil {
		return nil, err
	}
	o.fill = from
	s.install(o, b, 0)
	s.growing[o] = b
	return &Writer{obj: o, body: b}, nil
}

// Put makes a complete object of a copy of p, visible at once and as a whole:
// readers see the old object or the new one. Its rules on generations are
// those of Create.
func (s *Store) Put(key Key, meta Meta, p []byte) (*Object, error) {
	if err := meta.check(key); err != nil {
		return nil, err
	}
	if int64(len(p)) > s.cfg.MaxObject {
		return nil, ErrTooLarge
	}
	if meta.Length > 0 && meta.Length != int64(len(p)) {
		return nil, ErrLength
	}
	o, b := s.newObject(key, meta), newCompleteBody(bytes.Clone(p))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(o, nil, int64(len(p))); err != nil {
		return nil, err
	}
	s.install(o, b, int64(len(p)))
	s.settle(o, int64(len(p)))
	return o, nil
}

func (m *Meta) check(key Key) error {
	if err := key.validate(); err != nil {
		return err
	}
	return m.validate()
}

func (s *Store) newObject(key Key, meta Meta) *Object {
	o := &Object{key: key, meta: meta, store: s}
	o.meta.Created = s.cfg.Now()
	if age := meta.Created.Sub(o.meta.Created); age < 0 && !meta.Created.IsZero() {
		// The same time, on the monotonic clock: a step of the wall clock must
		// not age objects.
		o.meta.Created = o.meta.Created.Add(age)
	}
	o.meta.Header = nil
	o.header.Store(&meta.Header)
	o.inMem.Value, o.inDisk.Value, o.toDisk.Value = o, o, o
	return o
}

// admit decides whether o may take the place under its key, gives it its
// generation and service, and makes room for it.
func (s *Store) admit(o *Object, from *flight, octets int64) error {
	generation := o.meta.Generation
	if err := s.claim(o, from); err != nil {
		return err
	}
	if s.awaitRoom(o.svc, octets, 1) {
		// Anything may have happened meanwhile.
		o.meta.Generation = generation
		if err := s.claim(o, from); err != nil {
			return err
		}
	}
	if !s.makeRoom(o.svc, octets, 1) {
		s.count.noSpace.Add(1)
		return ErrNoSpace
	}
	return nil
}

// claim is admit without the room.
func (s *Store) claim(o *Object, from *flight) error {
	if s.closed {
		return ErrClosed
	}
	o.svc = s.service(o.key.Service)
	cur := o.svc.objects[o.key.Name]
	if cur != nil && s.gone(cur, s.cfg.Now()) {
		s.drop(cur)
		cur = nil
	}
	if o.meta.Generation == 0 {
		s.lastGen = max(s.lastGen+1, uint64(max(0, s.cfg.Now().UnixMicro())))
		if cur != nil {
			s.lastGen = max(s.lastGen, cur.meta.Generation+1)
		}
		o.meta.Generation = s.lastGen
	}
	if cur != nil && o.meta.Generation <= cur.meta.Generation {
		// What is pushed wins over a running fill of the same octets.
		overFill := from == nil && cur.fill != nil && s.growing[cur] != nil
		if o.meta.Generation < cur.meta.Generation || !overFill {
			s.count.refused.Add(1)
			return &GenerationError{o.key, cur.meta.Generation, o.meta.Generation}
		}
	}
	return nil
}

// install puts o in the place of what is there.
func (s *Store) install(o *Object, b *body, octets int64) {
	s.count.created.Add(1)
	if cur := o.svc.objects[o.key.Name]; cur != nil {
		s.count.replaced.Add(1)
		s.drop(cur)
	}
	o.body.Store(b)
	o.charged = octets
	s.mem.add(octets, 1)
	o.svc.mem.add(octets, 1)
	s.announce(o)
}

// announce makes o the current object of its key and tells who waits for it.
func (s *Store) announce(o *Object) {
	o.current = true
	o.svc.objects[o.key.Name] = o
	if f := s.flights[o.key]; f != nil {
		s.resolve(f, o)
	}
	if w := s.watches[o.key]; w != nil {
		delete(s.watches, o.key)
		close(w.ch)
	}
}

// settle is for an object that became complete: from now on it can be spilled
// and evicted.
func (s *Store) settle(o *Object, length int64) {
	s.count.finished.Add(1)
	o.length.Store(length)
	o.fill = nil
	if !o.current {
		s.uncharge(o)
		return
	}
	o.svc.memQueue(o, s.enqueue(o)).Push(&o.inMem)
	s.sweep(o.svc)
}

// charge accounts for octets that o is about to take.
func (s *Store) charge(o *Object, octets int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaitRoom(o.svc, octets, 0)
	if s.growing[o] == nil {
		_, _, err := o.body.Load().status()
		return err
	}
	if !s.makeRoom(o.svc, octets, 0) {
		s.count.noSpace.Add(1)
		return ErrNoSpace
	}
	o.charged += octets
	s.mem.add(octets, 0)
	o.svc.mem.add(octets, 0)
	return nil
}

func (s *Store) uncharge(o *Object) {
	s.mem.add(-o.charged, -1)
	o.svc.mem.add(-o.charged, -1)
	o.charged = 0
}

func (s *Store) finish(o *Object, b *body, length int64, tail []byte, spare int64) error {
	if len(tail) == 0 {
		tail = nil
	}
	if !b.end(complete, nil, tail) {
		if _, st, err := b.status(); st == aborted {
			return err
		}
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if tail != nil {
		o.charged -= spare
		s.mem.add(-spare, 0)
		o.svc.mem.add(-spare, 0)
	}
	delete(s.growing, o)
	s.settle(o, length)
	return nil
}

func (s *Store) abort(o *Object, b *body, cause error) {
	if !b.end(aborted, &abortError{cause}, nil) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.aborted.Add(1)
	if o.current {
		s.drop(o)
	}
	delete(s.growing, o)
	s.uncharge(o)
}

// drop takes o out of the index and off the disk. Its memory stays charged if
// it still grows: its writer and readers go on.
func (s *Store) drop(o *Object) {
	o.current = false
	delete(o.svc.objects, o.key.Name)
	if s.growing[o] == nil && o.body.Load() != nil {
		o.inMem.Remove()
		s.uncharge(o)
	}
	s.dropFile(o)
}

// Lookup returns the current object of key.
func (s *Store) Lookup(key Key) (*Object, bool) {
	now := s.cfg.Now()
	s.mu.RLock()
	o := s.lookup(key, now)
	s.mu.RUnlock()
	if o == nil {
		s.count.misses.Add(1)
		return nil, false
	}
	s.count.hits.Add(1)
	return o, true
}

func (s *Store) lookup(key Key, now time.Time) *Object {
	svc := s.services[key.Service]
	if svc == nil {
		return nil
	}
	o := svc.objects[key.Name]
	if o == nil || s.gone(o, now) {
		return nil
	}
	o.inMem.Hit()
	o.inDisk.Hit()
	return o
}

// gone tells whether o, which is in the index, is to be treated as if it were
// not: it expired, or it was aborted a moment ago.
func (s *Store) gone(o *Object, now time.Time) bool {
	if s.expired(o, now) {
		return true
	}
	b := o.body.Load()
	if b == nil {
		return false
	}
	_, st, _ := b.status()
	return st == aborted
}

// Remove drops the object of key and tells whether there was one. Those who
// read it go on.
func (s *Store) Remove(key Key) bool {
	return s.RemoveOlder(key, math.MaxUint64)
}

// RemoveOlder is Remove for an object whose generation is below the given one.
func (s *Store) RemoveOlder(key Key, generation uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.services[key.Service]
	if svc == nil {
		return false
	}
	o := svc.objects[key.Name]
	if o == nil || generation != math.MaxUint64 && o.meta.Generation >= generation {
		return false
	}
	s.drop(o)
	return true
}

// Close aborts what still grows, writes what is complete to the disk tier,
// and waits for the store's goroutines. It is idempotent.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.spill.written.Broadcast()
		open := make(map[*Object]*body, len(s.growing))
		for o, b := range s.growing {
			open[o] = b
		}
		s.mu.Unlock()
		for o, b := range open {
			s.abort(o, b, ErrClosed)
		}
		s.cancel(ErrClosed)
		s.stopSpiller()
		s.wg.Wait()
		s.closeDisk()
	})
	s.wg.Wait()
	return nil
}
