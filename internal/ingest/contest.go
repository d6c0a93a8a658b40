package ingest

import (
	"time"
)

// A verdict is what becomes of an object that does not continue what its
// publisher has pushed so far.
type verdict uint8

const (
	accept verdict = iota // an encoder that was restarted, or came back
	refuse                // a second encoder beside a living one
	wait                  // not known yet
)

const (
	// grace is how long an object that stands against an open one waits for the
	// end of that: the end of one connection and the beginning of the next one
	// overtake each other.
	grace = 250 * time.Millisecond
	// settle is how long after the end of a presentation its last segments and
	// other manifests may still come: FFmpeg's static MPD overtakes them.
	settle = 2 * time.Second
	// pause is the longest gap between two objects of an encoder that sends them
	// while it makes them.
	pause = 500 * time.Millisecond
	// unknownTarget stands for the target duration before a manifest told it.
	unknownTarget = 2 * time.Second
	// maxQuiet bounds how long an object waits for the silence of an encoder.
	maxQuiet = 10 * time.Second
)

// contest decides on an object that begins the numbers of its track again, or
// otherwise belongs to another run of an encoder than that of the given epoch.
// FFmpeg does so when it was restarted; but so does a second FFmpeg on the same
// host, under the same User-Agent, while the first one lives. A living one shows
// itself: it has an object open and octets come, or it begins its next object
// when that is due. asked is when the object first stood for decision. c.mu is
// held.
//
// With wait, the answer may change at until or with c.changed. With accept, the
// open objects of the epoch are stale and have been cancelled.
func (c *channel) contest(self *transfer, epoch uint64, asked, now time.Time) (v verdict, until time.Time) {
	a := c.of(epoch)
	if a != nil && a.heard.After(asked) {
		return refuse, now
	}
	for o := range c.transfers {
		if o != self && o.media && o.epoch <= epoch && o.alive() && now.Sub(o.last) < c.hold() {
			if now.Sub(asked) >= grace {
				return refuse, now
			}
			return wait, asked.Add(grace)
		}
	}
	if a != nil {
		if until := a.ended.Add(c.quiet(a)); now.Before(until) {
			return wait, until
		}
	}
	for o := range c.transfers {
		if o != self && o.media && o.epoch <= epoch {
			o.cancel(ErrSuperseded)
		}
	}
	return accept, now
}

// quiet is how long after its last object an encoder may still be alive without
// another one.
func (c *channel) quiet(a *activity) time.Duration {
	switch {
	case a.ended.IsZero(), a.broken, !c.ended.IsZero() && a.epoch == c.epoch:
		return 0
	case a.streamed:
		return pause
	}
	target := c.index.TargetDuration()
	if target == 0 {
		target = unknownTarget
	}
	return min(target+target/4, maxQuiet)
}
