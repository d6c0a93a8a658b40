package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// master pulls the media playlists of a multivariant playlist.
func (p *puller) master(ctx context.Context, d *document) error {
	m, err := manifest.ParsePlaylist(d.body, p.c.index.Limits)
	if err != nil {
		return err
	}
	// Players need it first, and it says what the others carry.
	if err := p.publish(ctx, d); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	seen := make(map[string]bool)
	for _, child := range m.Children {
		name, u, err := d.resolve(child.URI)
		if err != nil {
			p.trouble(err)
			continue
		}
		if seen[name] || len(seen) >= p.c.config.MaxTracks {
			continue
		}
		seen[name] = true
		wg.Go(func() {
			if err := p.child(ctx, u, name); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if len(seen) == 0 {
		return errOutside
	}
	return context.Cause(ctx)
}

// child pulls one media playlist and outlives its failures.
func (p *puller) child(ctx context.Context, u *url.URL, name string) error {
	wait := backoff{}
	for {
		began := time.Now()
		d, err := p.load(ctx, u, name)
		if err == nil {
			err = p.playlist(ctx, d)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case fatal(err):
			return err
		}
		p.trouble(fmt.Errorf("%s: %w", name, err))
		if time.Since(began) > time.Minute {
			wait = backoff{}
		}
		if err := await(ctx, wait.next(), nil); err != nil {
			return err
		}
	}
}

// hlsTrack is what has been fetched of a media playlist.
type hlsTrack struct {
	started bool
	next    uint64          // media sequence number
	parts   map[string]bool // of the playlist that was loaded last
}

// playlist pulls the segments of a media playlist, beginning with one load of
// it, until it has ended.
func (p *puller) playlist(ctx context.Context, d *document) error {
	var track hlsTrack
	var last []byte
	for {
		m, err := manifest.ParsePlaylist(d.body, p.c.index.Limits)
		if err != nil {
			return err
		}
		changed := !bytes.Equal(last, d.body)
		if changed {
			// What it announces is known before it is handed on, so that its
			// segments find their tracks; players get it when they can be had.
			_ = p.c.index.Update(d.name, d.body)
			if err := p.segments(ctx, d, m, &track); err != nil {
				return err
			}
			if err := p.publish(ctx, d); err != nil {
				return err
			}
			last = d.body
		}
		if m.EndList {
			return nil
		}
		if d, err = p.reload(ctx, d, reloadTime(m, changed)); err != nil {
			return err
		}
	}
}

// reloadTime is the time between two loads of a playlist: the target duration, or
// half of it if the last load brought nothing new (RFC 8216, 6.3.4); with parts,
// their target duration.
func reloadTime(m *manifest.Playlist, changed bool) time.Duration {
	d := m.TargetDuration
	if m.PartTarget > 0 {
		d = m.PartTarget
	}
	if d == 0 {
		d = unknownTarget
	}
	if !changed {
		d /= 2
	}
	return min(max(d, minReload), maxReload)
}

// segments fetches what a playlist has beyond what has been fetched.
func (p *puller) segments(ctx context.Context, d *document, m *manifest.Playlist, track *hlsTrack) error {
	first := 0
	if !track.started || m.MediaSequence+uint64(len(m.Segments)) < track.next {
		// The beginning, or an origin that began again.
		first = p.within(m)
		track.started = true
	} else if track.next > m.MediaSequence {
		first = int(min(track.next-m.MediaSequence, uint64(len(m.Segments))))
	}
	parts := make(map[string]bool)
	fetchParts := func(refs []string) error {
		for _, ref := range refs {
			if parts[ref] = true; track.parts[ref] {
				continue
			}
			if err := p.fetch(ctx, d, ref); err != nil {
				return err
			}
		}
		return nil
	}
	deadline := time.Now().Add(2 * p.target())
	for i, s := range m.Segments {
		fresh := i >= first
		if fresh && s.ByteRange {
			return fmt.Errorf("%w: segments that are ranges of one file", ErrPull)
		}
		if fresh && s.Map != "" {
			if err := p.header(ctx, d, s.Map); err != nil {
				return err
			}
		}
		if fresh || len(s.Parts) > 0 && track.started {
			if err := fetchParts(s.Parts); err != nil {
				return err
			}
		}
		if !fresh {
			continue
		}
		if err := p.retry(ctx, d, s.URI, deadline); err != nil {
			if err := p.skip(ctx, s.URI, err); err != nil {
				return err
			}
		}
		track.next = m.MediaSequence + uint64(i) + 1
	}
	if err := fetchParts(m.Parts); err != nil {
		return err
	}
	track.parts = parts
	return nil
}

// within is the index of the first segment inside the window of the pull.
func (p *puller) within(m *manifest.Playlist) int {
	var total time.Duration
	for i := len(m.Segments) - 1; i >= 0; i-- {
		total += max(m.Segments[i].Duration, 100*time.Millisecond)
		if total > p.cfg.Window {
			return i + 1
		}
	}
	return 0
}

// fetch fetches an object that may fail without harm.
func (p *puller) fetch(ctx context.Context, d *document, ref string) error {
	if err := p.object(ctx, d, ref); err != nil {
		return p.skip(ctx, ref, err)
	}
	return nil
}

// skip decides whether the pull goes on without an object.
func (p *puller) skip(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fatal(err) || errors.Is(err, ErrPull) {
		return err
	}
	p.c.config.Logger.Warn("object is left out", "channel", p.c.name, "from", p.who.agent, "error", err)
	return nil
}
