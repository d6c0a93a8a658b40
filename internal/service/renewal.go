package service

import (
	"context"
	"sync"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/manifest"
)

// renewal is that a manifest has become one of another presentation: an encoder has begun again. Until the first object of
// a track of it is here, which ends what had its names before (see runs), what has the name of an object that the manifest
// announces is of the presentation before. It is not given out; who asks for it waits.
type renewal struct {
	below uint64          // objects of lower generations are of the presentation before
	until time.Time       // should nothing come: the encoder goes on with its numbers, perhaps
	begun map[string]bool // tracks of which objects are here, by template
}

// renewals are those of a service, by manifest. Their lock is taken while that of the service or of a sink is held, and
// nothing is called then that takes either.
type renewals struct {
	mu   sync.Mutex // guards below
	list map[string]renewal
}

// renewalTime is how long after a manifest the first object of its presentation may come, in target durations, and at least.
const (
	renewalTargets   = 2
	renewalTimeLeast = 2 * time.Second
)

// renew notes that a manifest is of another presentation than the one before it, of a generation. It is called with mu held.
func (s *Service) renew(name string, before uint64) {
	wait := max(renewalTimeLeast, renewalTargets*s.index.TargetDuration())
	r := renewal{below: before, until: s.cfg.Now().Add(wait), begun: make(map[string]bool)}
	for stem, run := range s.runs {
		if run.id >= before {
			r.begun[stem] = true // it was here before its manifest
		}
	}
	s.renewals.mu.Lock()
	defer s.renewals.mu.Unlock()
	if s.renewals.list == nil {
		s.renewals.list = make(map[string]renewal)
	}
	s.renewals.list[name] = r
	s.log.Info("manifest is of another presentation: an encoder has begun again", "service", s.cfg.Name, "name", name)
}

// begin notes that an object of a run has begun.
func (r *renewals) begin(stem string, run uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if run >= x.below && stem != "" {
			x.begun[stem] = true
		}
	}
}

// outdated tells whether an object is of the presentation before the one that has its name now, and until when nothing else
// may be given out under it.
func (s *Service) outdated(name string, generation uint64) (until time.Time, outdated bool) {
	r := &s.renewals
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == 0 {
		return until, false
	}
	now := s.cfg.Now()
	for m, x := range r.list {
		if !now.Before(x.until) {
			delete(r.list, m)
			continue
		}
		if generation >= x.below || manifest.IsManifest(name) || s.index.IsInit(name) || !s.index.Announces(m, name, now) {
			continue
		}
		if t, ok := s.index.TrackOf(name); ok && !t.Template.IsZero() && x.begun[t.Template.String()] {
			continue // the new run is here
		}
		if x.until.After(until) {
			until = x.until
		}
		outdated = true
	}
	return until, outdated
}

// renewalPoll is how often who waits for the first object of a presentation looks whether there is still need to.
const renewalPoll = 50 * time.Millisecond

// Settle waits while what is here under a name is of the presentation before the one that has the name now, for who is about
// to read it from the store.
func (s *Service) Settle(ctx context.Context, name string) { _, _ = s.current(ctx, name) }

// current returns an object that is here, and waits for its successor while it is of the presentation before; nil if none is
// here.
func (s *Service) current(ctx context.Context, name string) (*cache.Object, error) {
	for {
		o := s.here(name)
		if o == nil {
			return nil, nil
		}
		until, outdated := s.outdated(name, o.Meta().Generation)
		if !outdated {
			return o, nil
		}
		wait, cancel := context.WithTimeout(ctx, min(renewalPoll, max(0, until.Sub(s.cfg.Now()))))
		_, _ = s.cfg.Store.Await(wait, s.key(name), o.Meta().Generation)
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}
