package ingest

import (
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// kindWait is how long the first segment of a run waits for a manifest or an
// init segment to say what it carries: FFmpeg opens it a moment before both are
// complete.
const kindWait = 300 * time.Millisecond

// admitMedia puts a segment on its track and run and fills in the object.
func (c *channel) admitMedia(t *transfer, o *Object) error {
	asked := c.config.Now()
	for {
		now := c.config.Now()
		c.mu.Lock()
		v, until, err := c.place(t, o, asked, now)
		if v == refuse && err == nil {
			err = c.refused(t.who, now, "it repeats "+t.name+" beside a living encoder")
		}
		changed := c.changed
		c.mu.Unlock()
		if err != nil || v == accept {
			return err
		}
		if err := await(t.ctx, until.Sub(now), changed); err != nil {
			return err
		}
	}
}

// place is one attempt of admitMedia. c.mu is held.
func (c *channel) place(t *transfer, o *Object, asked, now time.Time) (v verdict, until time.Time, err error) {
	if t.cancelled != nil {
		return refuse, now, t.cancelled
	}
	s, ok := c.segmentOf(t)
	if !ok {
		return refuse, now, limitError(limitTracks)
	}
	o.Track = s.Track
	tr, n := s.track, s.Number
	if tr == nil {
		t.media, t.epoch = true, c.epoch
		c.opened(t, now)
		return accept, now, nil
	}
	known := tr.run != 0 && tr.session == c.session
	retried := known && tr.broken && tr.aborted == n
	repeated := known && !s.misfit && !tr.restart && tr.repeats(n)
	begins := !known || s.misfit || tr.restart || repeated

	if begins && s.Kind == manifest.Unknown && now.Sub(asked) < kindWait {
		return wait, asked.Add(kindWait), nil
	}
	if repeated && !retried || known && n > tr.newest && n-tr.newest > late && c.isOpen(tr) {
		if v, until := c.contest(t, tr.epoch, asked, now); v != accept {
			return v, until, nil
		}
		if repeated && tr.epoch == c.epoch {
			c.nextEpoch()
			c.config.Logger.Info("encoder began again", "channel", c.name, "name", t.name)
		}
	}
	if begins {
		if t.generation <= tr.run {
			t.generation = c.seq.next(now) // it waited while another run began
		}
		tr.begin(s.Template, t.generation, n)
		tr.kind = s.Kind
	} else {
		tr.take(n)
		if tr.kind == manifest.Unknown {
			tr.kind = s.Kind // what tells it has come late
		}
	}
	tr.session, tr.epoch, tr.last = c.session, c.epoch, now
	t.media, t.track, t.number, t.epoch = true, tr, n, c.epoch
	// What a run carries is said once; a manifest that comes later does not
	// move it.
	o.Track.Kind = tr.kind
	o.Generation, o.Run = tr.run, tr.run
	c.opened(t, now)
	return accept, now, nil
}

// opened notes the beginning of a segment. c.mu is held.
func (c *channel) opened(t *transfer, now time.Time) {
	if a := c.of(t.epoch); a != nil {
		a.heard = now
	}
	if now.Sub(c.ended) > settle {
		c.ended = time.Time{}
	}
	run := uint64(0)
	if t.track != nil {
		run = t.track.run
	}
	c.index.Observe(t.name, run)
	c.signal()
}
