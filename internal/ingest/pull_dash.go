package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// presentation is one load of an MPD. It is not written after it was published
// to the tracks.
type presentation struct {
	*manifest.MPD
	d        *document
	tracks   map[string]*manifest.Representation
	replaced chan struct{} // closed when there is a newer one
}

func newPresentation(m *manifest.MPD, d *document) *presentation {
	s := &presentation{MPD: m, d: d, tracks: make(map[string]*manifest.Representation), replaced: make(chan struct{})}
	for i := range m.Representations {
		r := &m.Representations[i]
		key := strconv.FormatInt(int64(r.PeriodStart), 10) + " " + r.ID
		s.tracks[key] = r
	}
	return s
}

// dash pulls the representations of an MPD, beginning with one load of it, until
// the presentation has ended.
func (p *puller) dash(ctx context.Context, d *document) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var current atomic.Pointer[presentation]
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	running := make(map[string]bool)
	var last []byte
	for {
		m, err := manifest.ParseMPD(d.body, p.c.index.Limits)
		if err != nil {
			return err
		}
		if m.Static && last == nil {
			return fmt.Errorf("%w: the presentation is not live", ErrPull)
		}
		state := newPresentation(m, d)
		if !bytes.Equal(last, d.body) {
			if err := p.takeMPD(ctx, state); err != nil {
				return err
			}
			last = d.body
		}
		if old := current.Swap(state); old != nil {
			close(old.replaced)
		}
		for key := range state.tracks {
			if running[key] {
				continue
			}
			if len(running) >= 4*p.c.config.MaxTracks {
				return limitError("representations")
			}
			running[key] = true
			wg.Go(func() {
				t := dashTrack{p: p, key: key}
				if err := t.run(ctx, &current); err != nil {
					cancel(err)
				}
			})
		}
		if m.Static {
			wg.Wait() // they fetch what is left
			return context.Cause(ctx)
		}
		if d, err = p.reload(ctx, d, refresh(m)); err != nil {
			return err
		}
	}
}

// takeMPD takes in an MPD and the init segments that it names.
func (p *puller) takeMPD(ctx context.Context, s *presentation) error {
	// What it announces is known before it is handed on, so that segments find
	// their tracks.
	_ = p.c.index.Update(s.d.name, s.d.body)
	for _, r := range s.tracks {
		if r.Initialization == "" {
			continue
		}
		at, err := s.d.below(r)
		if err != nil {
			return err
		}
		if err := p.header(ctx, at, r.Initialization); err != nil {
			return err
		}
	}
	return p.publish(ctx, s.d)
}

// refresh is the time between two loads of an MPD (ISO/IEC 23009-1, 5.4): its
// minimumUpdatePeriod, but often enough to notice the end.
func refresh(m *manifest.MPD) time.Duration {
	d := m.MinimumUpdate
	if d <= 0 {
		d = m.MaxSegment
	}
	if d == 0 {
		d = unknownTarget
	}
	return min(max(d, minReload), maxReload)
}

// below returns the place that a representation's references start from.
func (d *document) below(r *manifest.Representation) (*document, error) {
	at := *d
	for _, ref := range r.BaseURLs {
		u, err := at.url.Parse(ref)
		if err != nil {
			return nil, errOutside
		}
		// The name of something in that directory stands for the directory.
		name, ok := manifest.Resolve(at.name, ref+"-")
		if !ok {
			return nil, errOutside
		}
		at.url, at.name = u, name
	}
	return &at, nil
}

// A dashTrack pulls the segments of one representation.
type dashTrack struct {
	p       *puller
	key     string
	started bool
	last    manifest.Position // the newest segment that was fetched or given up, if started
	listed  map[string]bool   // of a SegmentList
}

// maxListed bounds the segments of one load that are looked at.
const maxListed = 4096

func (t *dashTrack) run(ctx context.Context, current *atomic.Pointer[presentation]) error {
	for {
		s := current.Load()
		r := s.tracks[t.key]
		if r == nil {
			return nil
		}
		at, err := s.d.below(r)
		if err != nil {
			return err
		}
		var next time.Time
		if len(r.List) > 0 {
			err = t.fetchList(ctx, at, r)
		} else {
			next, err = t.fetchNew(ctx, s, at, r)
		}
		if err != nil || s.Static {
			return err
		}
		wait := maxReload // until a newer load
		if !next.IsZero() {
			wait = max(time.Until(next), 10*time.Millisecond)
		}
		if err := await(ctx, wait, s.replaced); err != nil {
			return err
		}
	}
}

// fetchNew fetches the segments that exist beyond the last one and returns when
// the next one will, if that follows from the clock.
func (t *dashTrack) fetchNew(ctx context.Context, s *presentation, at *document, r *manifest.Representation) (next time.Time, err error) {
	now := time.Now().Add(s.d.clock)
	all := s.Newest(r, now, maxListed)
	if len(all) == 0 {
		return now.Add(time.Second), nil
	}
	if t.started && t.fellBack(r, all[len(all)-1]) {
		t.started = false
	}
	if !t.started {
		all = all[max(0, len(all)-t.window(r)):]
	}
	duration := max(r.Ticks(r.SegmentDuration), 100*time.Millisecond)
	if len(r.Timeline) > 0 {
		duration = t.p.target()
	}
	for _, position := range all {
		if t.started && !t.after(r, position) {
			continue
		}
		if position.Available.After(now) {
			return time.Now().Add(position.Available.Sub(now)), nil
		}
		ref := r.Media.Expand(position.Number, position.Time)
		if err := t.p.retry(ctx, at, ref, time.Now().Add(duration)); err != nil {
			if err := t.p.skip(ctx, ref, err); err != nil {
				return next, err
			}
		}
		t.started, t.last = true, position
		now = time.Now().Add(s.d.clock)
	}
	if len(r.Timeline) > 0 || s.Static {
		return time.Time{}, nil
	}
	// The one after the newest: available a segment later than that.
	return time.Now().Add(max(all[len(all)-1].Available.Add(duration).Sub(now), 10*time.Millisecond)), nil
}

// window is how many segments to begin behind the newest.
func (t *dashTrack) window(r *manifest.Representation) int {
	duration := r.Ticks(r.SegmentDuration)
	if len(r.Timeline) > 0 {
		duration = r.Ticks(r.Timeline[len(r.Timeline)-1].Duration)
	}
	if duration <= 0 {
		return 1
	}
	return int(min(t.p.cfg.Window/duration, maxListed-1)) + 1
}

// after is whether the position lies beyond the last one. Numbers of a timeline
// may count from its first entry, which moves, so that only times are compared
// where names have them.
func (t *dashTrack) after(r *manifest.Representation, p manifest.Position) bool {
	if r.Media.Timed() {
		return p.Time > t.last.Time
	}
	return p.Number > t.last.Number
}

// fellBack is whether the origin began its numbers or times again, by more than
// an error of the clock.
func (t *dashTrack) fellBack(r *manifest.Representation, newest manifest.Position) bool {
	const slack = 5
	if r.Media.Timed() {
		return newest.Time < t.last.Time && t.last.Time-newest.Time > r.Timescale
	}
	return newest.Number+slack < t.last.Number
}

// fetchList fetches what a SegmentList has gained.
func (t *dashTrack) fetchList(ctx context.Context, at *document, r *manifest.Representation) error {
	first := 0
	if t.listed == nil {
		first = max(0, len(r.List)-t.window(r))
	}
	listed := make(map[string]bool, len(r.List))
	for i, ref := range r.List {
		if listed[ref] = true; i < first || t.listed[ref] {
			continue
		}
		if err := t.p.retry(ctx, at, ref, time.Now().Add(t.p.target())); err != nil {
			if err := t.p.skip(ctx, ref, err); err != nil {
				return err
			}
		}
	}
	t.listed = listed
	return nil
}

// reload loads a manifest again after a pause since its last load. Single
// failures of the origin are survived.
func (p *puller) reload(ctx context.Context, d *document, pause time.Duration) (*document, error) {
	wait := backoff{}
	due := d.loaded.Add(pause)
	for failures := 0; ; failures++ {
		if err := await(ctx, time.Until(due), nil); err != nil {
			return nil, err
		}
		next, err := p.load(ctx, d.asked, d.name)
		if err == nil {
			return next, nil
		}
		if ctx.Err() != nil || failures == maxFailures {
			return nil, errors.Join(err, context.Cause(ctx))
		}
		due = time.Now().Add(wait.next())
	}
}

// maxFailures is how many loads of a manifest may fail before everything begins
// anew.
const maxFailures = 5
