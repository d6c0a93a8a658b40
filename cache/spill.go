package cache

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/cache/internal/sieve"
)

// spiller is the part of a store that changes the disk; guarded by Store.mu.
// All changes are made by one goroutine, which removes before it writes: so
// the files of a name follow each other in the order of the index.
type spiller struct {
	work     sync.Cond // of Store.mu
	running  bool
	stop     bool
	removals []fileName
	jobs     []func()
	writes   sieve.Queue[*Object]
	flushers []chan struct{}
	current  *Object   // being written
	written  sync.Cond // of Store.mu: current ended, well or not
	stuck    bool      // a writer waited for nothing; until the next end

	failure error     // nil: the disk works
	since   time.Time // of the failure
	retry   time.Time // not before
	small   bool      // it was said that the disk is smaller than its limit
}

// enqueue has o written to disk, and tells whether it will be tried.
func (s *Store) enqueue(o *Object) bool {
	now := s.cfg.Now()
	if !s.spill.running || o.svc.writing(now) == nil {
		return false
	}
	if s.spill.failure != nil {
		if now.Before(s.spill.retry) {
			return false
		}
		// This one tries whether the disk works again.
		s.spill.retry = now.Add(s.cfg.DiskRetry)
	}
	if !o.toDisk.In(&s.spill.writes) {
		s.spill.writes.Push(&o.toDisk)
	}
	s.spill.work.Signal()
	return true
}

// pending tells whether o is on its way to the disk.
func (p *spiller) pending(o *Object) bool {
	return p.current == o || o.toDisk.In(&p.writes)
}

// reseal has an object that is complete and not on disk written after all.
func (s *Store) reseal(o *Object) {
	if s.enqueue(o) && o.inMem.In(&o.svc.clean) {
		o.inMem.Remove()
		o.svc.dirty.Push(&o.inMem)
	}
}

// remove has a file removed.
func (p *spiller) remove(name fileName) {
	if p.running {
		p.removals = append(p.removals, name)
		p.work.Signal()
	}
}

// spillLoop does the spiller's work until stopSpiller, and then what is left.
func (s *Store) spillLoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.spill
	for {
		switch {
		case len(p.removals) > 0:
			names := p.removals
			p.removals = nil
			s.mu.Unlock()
			s.removeFiles(names)
			s.mu.Lock()
		case len(p.jobs) > 0:
			job := p.jobs[0]
			p.jobs = slices.Delete(p.jobs, 0, 1)
			s.mu.Unlock()
			job()
			s.mu.Lock()
		case p.writes.Len() > 0:
			o := p.writes.Oldest().Value
			o.toDisk.Remove()
			p.current = o
			s.spillOne(o)
			p.current, p.stuck = nil, false
			p.written.Broadcast()
		default:
			for _, ch := range p.flushers {
				close(ch)
			}
			p.flushers = nil
			if p.stop {
				p.running = false
				return
			}
			p.work.Wait()
		}
	}
}

func (s *Store) removeFiles(names []fileName) {
	for _, n := range names {
		if err := s.cfg.files.Remove(n.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.count.diskErrors.Add(1)
		}
	}
}

// spillOne writes one object. It is called with s.mu and gives it up for the
// time of the writing.
func (s *Store) spillOne(o *Object) {
	b, e := o.body.Load(), o.svc.writing(s.cfg.Now())
	if !o.current || b == nil || e == nil {
		s.spilled(o)
		return
	}
	s.mu.Unlock()
	f, record, err := newSealedFile(o, e)
	s.mu.Lock()
	switch {
	case err != nil:
	case !s.makeDiskRoom(o.svc, f.size, 1, 0):
		s.count.unspilled.Add(1)
		s.spilled(o)
		return
	default:
		err = s.tryWrite(f, record, b)
		if diskFull(err) && s.makeDiskRoom(o.svc, f.size, 1, max(4*f.size, s.disk.octets/64)) {
			// The disk holds less than the limit allows: the tier lives with
			// what there is.
			err = s.tryWrite(f, record, b)
			s.warnSmall(err)
		}
	}
	if err != nil {
		s.spilled(o) // first: it is older than those that wait
		s.diskFailed(err)
		return
	}
	s.count.spilled.Add(1)
	s.spilled(o)
	if o.current && o.file.Load() == nil && slices.Contains(o.svc.keys, e) {
		s.place(o, f)
	} else {
		s.spill.remove(f.name)
		if o.current {
			s.reseal(o) // its key was taken away meanwhile
		}
	}
	s.diskRecovered()
}

// tryWrite writes a file after the removals that make room for it.
func (s *Store) tryWrite(f *diskFile, record []byte, b *body) error {
	names := s.spill.removals
	s.spill.removals = nil
	s.mu.Unlock()
	defer s.mu.Lock()
	s.removeFiles(names)
	return writeSealedFile(s.cfg.files, f, record, b)
}

// spilled ends an object's time among those that wait for the disk.
func (s *Store) spilled(o *Object) {
	if o.inMem.In(&o.svc.dirty) {
		o.inMem.Remove()
		o.svc.clean.Push(&o.inMem)
	}
}

// diskFailed makes the store one of memory only until a later write succeeds.
// It says so once.
func (s *Store) diskFailed(err error) {
	s.count.diskErrors.Add(1)
	p := &s.spill
	first := p.failure == nil
	p.failure = err
	p.retry = s.cfg.Now().Add(s.cfg.DiskRetry)
	for n := p.writes.Oldest(); n != nil; n = p.writes.Oldest() {
		n.Remove()
		s.spilled(n.Value)
	}
	if first {
		p.since = s.cfg.Now()
		s.log(slog.LevelError, "cache: disk tier failed, working in memory only",
			"dir", s.cfg.Dir, "error", err, "retry", s.cfg.DiskRetry)
	}
}

func (s *Store) diskRecovered() {
	p := &s.spill
	if p.failure == nil {
		return
	}
	p.failure = nil
	var unsealed []*Object
	for _, svc := range s.services {
		for _, o := range svc.objects {
			if s.growing[o] == nil && o.body.Load() != nil && o.file.Load() == nil {
				unsealed = append(unsealed, o)
			}
		}
	}
	slices.SortFunc(unsealed, func(a, b *Object) int { return a.meta.Created.Compare(b.meta.Created) })
	for _, o := range unsealed {
		s.reseal(o)
	}
	s.log(slog.LevelInfo, "cache: disk tier works again", "dir", s.cfg.Dir, "after", s.cfg.Now().Sub(p.since))
}

func (s *Store) warnSmall(err error) {
	if err == nil && !s.spill.small {
		s.spill.small = true
		s.log(slog.LevelWarn, "cache: disk is full before the disk tier's limit is reached",
			"dir", s.cfg.Dir, "octets", s.disk.octets, "limit", s.cfg.Disk.Octets)
	}
}

// warnForged says that files were not authentic, once a minute at most: a disk
// that rots has many.
func (s *Store) warnForged() {
	now := s.cfg.Now()
	if !s.forgedSaid.IsZero() && now.Sub(s.forgedSaid) < time.Minute {
		return
	}
	s.forgedSaid = now
	s.log(slog.LevelWarn, "cache: files are not authentic, dropped", "dir", s.cfg.Dir, "since start", s.count.authFail.Load())
}

// log logs without the lock, which the caller holds.
func (s *Store) log(level slog.Level, msg string, args ...any) {
	s.mu.Unlock()
	defer s.mu.Lock()
	s.cfg.Logger.Log(context.Background(), level, msg, args...)
}

// Flush waits until what is complete now is on disk, as far as the disk takes
// it.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	if !s.spill.running {
		s.mu.Unlock()
		return nil
	}
	ch := make(chan struct{})
	s.spill.flushers = append(s.spill.flushers, ch)
	s.spill.work.Signal()
	s.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) stopSpiller() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spill.stop = true
	s.spill.work.Signal()
}

func (s *Store) diskStats(st *Stats) {
	st.ForeignFiles = len(s.foreign)
	for i := range s.foreign {
		st.ForeignOctets += s.foreign[i].size
	}
	if p := &s.spill; p.failure != nil {
		st.DiskFailed, st.DiskFailedSince, st.DiskError = true, p.since, p.failure.Error()
	}
}
