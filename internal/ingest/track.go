package ingest

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// family tells the numbered series of a channel apart.
type family struct{ prefix, suffix string }

func familyOf(t manifest.Template) family { return family{t.Prefix, t.Suffix} }

// A track is a numbered series of media segments and its current run. It belongs
// to its channel and is guarded by the channel's mutex.
type track struct {
	template manifest.Template
	kind     manifest.Kind
	run      uint64 // 0: none yet
	session  *session
	epoch    uint64    // in which the newest object was begun
	restart  bool      // the init segment changed: the next object begins a run
	last     time.Time // when an object was begun or ended

	newest  uint32
	seen    uint64 // bit i: the run has newest-i
	aborted uint32 // number of the newest broken object, if broken
	broken  bool
}

// late is how far below the newest a number that the run does not have yet
// counts as an upload that was overtaken; FFmpeg's requests for successive
// segments travel on connections of their own.
const late = 8

// repeats reports whether number n cannot belong to the run any more.
func (t *track) repeats(n uint32) bool {
	if n > t.newest {
		return false
	}
	distance := t.newest - n
	return distance >= late || t.seen>>distance&1 == 1
}

// take enters number n into the run.
func (t *track) take(n uint32) {
	if n > t.newest {
		shift := n - t.newest
		if shift < 64 {
			t.seen <<= shift
		} else {
			t.seen = 0
		}
		t.newest = n
	}
	if distance := t.newest - n; distance < 64 {
		t.seen |= 1 << distance
	}
}

// begin starts a run with number n.
func (t *track) begin(template manifest.Template, run uint64, n uint32) {
	t.template, t.run, t.newest, t.seen = template, run, n, 1
	t.restart, t.broken = false, false
}

// segment is what a name says about the series it belongs to.
type segment struct {
	manifest.Track
	track *track // nil for a lone object
	// misfit is true if the name does not fit the template of the track's run.
	misfit bool
}

// segmentOf finds the series of a media segment's name: as the manifests say,
// else as the track's run says, else by the digits in the name. c.mu is held.
func (c *channel) segmentOf(self *transfer) (s segment, ok bool) {
	name := self.name
	known, described := c.index.TrackOf(name)
	s.Track = known
	if described && known.Template.IsZero() {
		return s, true // the manifest knows it, and knows no template for it
	}
	if !described {
		template, n, ok := manifest.ClassifyTemplate(name)
		if !ok {
			return s, true
		}
		s.Template, s.Number = template, n
	}
	t := c.tracks[familyOf(s.Template)]
	if t == nil {
		if !c.roomForTrack() {
			return s, false
		}
		t = &track{}
		c.tracks[familyOf(s.Template)] = t
	} else if t.run != 0 {
		// The padding that the run began with counts as long as it fits.
		if n, ok := t.template.Match(name); ok {
			s.Template, s.Number = t.template, n
		} else {
			s.misfit = true
		}
	}
	s.track = t
	if s.Init == "" {
		s.Init = c.onlyInit(self, s.Template)
	}
	if i := c.inits[s.Init]; i != nil && s.Kind == manifest.Unknown {
		s.Kind = i.kind
	}
	return s, true
}

// onlyInit is the name of the channel's init segment if it has one that may be
// of the series, and none is on its way that might be another. c.mu is held.
func (c *channel) onlyInit(self *transfer, series manifest.Template) string {
	if len(c.inits) != 1 {
		return ""
	}
	for o := range c.transfers {
		if o != self && !o.media && o.alive() && !manifest.IsManifest(o.name) {
			return ""
		}
	}
	for name := range c.inits {
		if !ofOtherTrack(name, series) {
			return name
		}
	}
	return ""
}

// ofOtherTrack tells whether the numbers in the names of an init segment and of
// a series are those of different tracks, as in FFmpeg's init-stream0.m4s and
// chunk-stream1-$Number%05d$.m4s. The init segment of the series may still have
// to come then: FFmpeg sends it on a connection of its own.
func ofOtherTrack(init string, series manifest.Template) bool {
	numbers := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	}
	a, b := numbers(strings.TrimSuffix(init, path.Ext(init))), numbers(series.Prefix)
	return len(a) > 0 && len(a) == len(b) && !slices.Equal(a, b)
}

// idleTrack is how long a series must have been idle to make room for another.
const idleTrack = time.Minute

// roomForTrack makes room for one more track if it can. c.mu is held.
func (c *channel) roomForTrack() bool {
	if len(c.tracks) < c.config.MaxTracks {
		return true
	}
	now := c.config.Now()
	for key, t := range c.tracks {
		if now.Sub(t.last) >= idleTrack && !c.isOpen(t) {
			delete(c.tracks, key)
		}
	}
	return len(c.tracks) < c.config.MaxTracks
}

func (c *channel) isOpen(t *track) bool {
	for o := range c.transfers {
		if o.track == t {
			return true
		}
	}
	return false
}
