package manifest

import (
	"math"
	"time"
)

// document is one manifest, digested.
type document struct {
	name    string
	summary Summary
	target  time.Duration
	names   map[string]*entry // what it names outright
	tracks  []*track
	updated uint64
	mpd     *MPD // nil for a playlist
}

// entry is a name that a manifest contains.
type entry struct {
	kind  Kind   // of a child playlist
	track *track // of a segment
}

// track is a Track and how to tell its names.
type track struct {
	Track
	pattern  Pattern         // DASH: resolved to names
	timeline []Run           // DASH with a SegmentTimeline
	first    uint64          // the first number that exists
	last     uint64          // the last number that is known to exist or that ever will
	open     bool            // more will come beyond last
	depth    uint64          // segments behind the newest that are still there; 0 if nobody says
	listed   []string        // in their order: by a playlist or a SegmentList
	rep      *Representation // of a template of DASH
}

func parse(name string, body []byte, limits Limits) (*document, error) {
	switch sniff(body) {
	case formatHLS:
		p, err := ParsePlaylist(body, limits)
		if err != nil {
			return nil, err
		}
		return newPlaylistDocument(name, p), nil
	case formatDASH:
		m, err := ParseMPD(body, limits)
		if err != nil {
			return nil, err
		}
		return newMPDDocument(name, m), nil
	}
	return nil, ErrFormat
}

// replaces tells whether the document is of another presentation than the one of its name before: it begins at another
// time, its sequence has fallen, or it takes back segments.
func (d *document) replaces(old *document) bool {
	if !d.summary.Start.Equal(old.summary.Start) || d.summary.Sequence < old.summary.Sequence {
		return true
	}
	for _, t := range d.tracks {
		for _, o := range old.tracks {
			if t.family() == o.family() && !t.Template.IsZero() && t.open && o.open && t.last < o.last {
				return true
			}
		}
	}
	return false
}

// announce enters a reference under its name.
func (d *document) announce(base, ref string, e *entry) (name string, ok bool) {
	name, ok = Resolve(base, ref)
	if ok && d.names[name] == nil {
		d.names[name] = e
	}
	return name, ok
}

func newPlaylistDocument(name string, p *Playlist) *document {
	d := &document{
		name:   name,
		names:  make(map[string]*entry),
		target: p.TargetDuration,
		summary: Summary{
			Ended: p.EndList, Sequence: p.MediaSequence, Master: p.Master,
			Blocks: p.Blocks, Next: p.MediaSequence + uint64(len(p.Segments)), Parts: len(p.Parts), Target: p.TargetDuration,
		},
	}
	if n := len(p.Segments); n > 0 {
		d.summary.LastParts = len(p.Segments[n-1].Parts)
	}
	if p.Master {
		for _, child := range p.Children {
			d.announce(name, child.URI, &entry{kind: child.Kind})
		}
		return d
	}
	var current *track
	for _, s := range p.Segments {
		segment, ok := Resolve(name, s.URI)
		if !ok {
			continue
		}
		initName := ""
		if s.Map != "" {
			initName, _ = d.announce(name, s.Map, &entry{})
		}
		// The template of a playlist is that of its newest segments: those after
		// the last change of the name or of the init segment.
		t, n, classified := classify(segment)
		if current == nil || current.Init != initName || !current.joins(segment, t, n, classified) {
			current = &track{
				Track: Track{Manifest: name, Init: initName},
				first: n, last: n,
			}
			if classified {
				current.Template = t
			}
			d.tracks = append(d.tracks, current)
		}
		d.announce(name, s.URI, &entry{track: current})
		current.listed = append(current.listed, segment)
		for _, part := range s.Parts {
			d.announce(name, part, &entry{})
		}
	}
	if current != nil {
		current.open = !p.EndList
	}
	for _, refs := range [][]string{p.Parts, p.Hints, p.RenditionReport} {
		for _, ref := range refs {
			d.announce(name, ref, &entry{})
		}
	}
	return d
}

// joins takes a segment's name into the track if it is of the same family,
// learning the padding: "9" and "10" are of one family, and so are "09999" and
// "10000", which shows its padding no more.
func (t *track) joins(name string, family Template, n uint64, classified bool) bool {
	if !classified || t.Template.IsZero() {
		return !classified && t.Template.IsZero()
	}
	if t.Template.Prefix != family.Prefix || t.Template.Suffix != family.Suffix || n < t.last {
		return false
	}
	if _, ok := t.Template.match(name); !ok {
		return false
	}
	t.last = n
	return true
}

func newMPDDocument(name string, m *MPD) *document {
	d := &document{
		mpd:     m,
		name:    name,
		names:   make(map[string]*entry),
		target:  m.MaxSegment,
		summary: Summary{Ended: m.Static, Start: m.AvailabilityStart},
	}
	var longest time.Duration
	for i := range m.Representations {
		r := &m.Representations[i]
		longest = max(longest, r.longest())
		base, ok := name, true
		for _, ref := range r.BaseURLs {
			if base, ok = join(base, ref); !ok {
				break
			}
		}
		if !ok {
			continue
		}
		t := &track{Track: Track{Manifest: name, Kind: r.Kind}, timeline: r.Timeline}
		if r.Initialization != "" {
			t.Init, _ = d.announce(base, r.Initialization, &entry{})
		}
		for _, ref := range r.List {
			if segment, ok := d.announce(base, ref, &entry{track: t}); ok {
				t.listed = append(t.listed, segment)
			}
		}
		if r.Media.IsZero() && len(r.List) == 0 && base != name && ValidName(base) {
			d.names[base] = &entry{track: t} // the BaseURL is the media itself
		}
		if !r.Media.IsZero() {
			if t.pattern, ok = r.Media.resolve(base); !ok {
				continue
			}
			t.Template, _ = t.pattern.template()
			t.rep = r
			t.setRange(m, r)
		}
		d.tracks = append(d.tracks, t)
	}
	if d.target == 0 {
		d.target = longest
	}
	return d
}

// setRange finds which numbers of a template can exist.
func (t *track) setRange(m *MPD, r *Representation) {
	t.first, t.last, t.open = r.StartNumber, math.MaxUint64, !m.Static
	if segments := r.segments(m.TimeShiftBuffer); segments > 0 {
		t.depth = segments
	}
	switch {
	case r.EndNumber > 0:
		t.last, t.open = r.EndNumber, false
	case len(r.Timeline) > 0:
		var count uint64
		for _, run := range r.Timeline {
			if run.Repeat < 0 {
				count = math.MaxUint64
				break
			}
			if count += uint64(run.Repeat) + 1; count > math.MaxUint32 {
				count = math.MaxUint64
				break
			}
		}
		t.last = addSaturating(t.first, count-1)
	case m.Static:
		t.last = math.MaxUint64
		if n := r.segments(r.PeriodDuration); n > 0 {
			t.last = addSaturating(t.first, n-1)
		}
	}
}

// segments is how many segments of the template's constant duration begin within
// d, rounded up; 0 if unknown.
func (r *Representation) segments(d time.Duration) uint64 {
	if d <= 0 || r.SegmentDuration == 0 {
		return 0
	}
	return uint64(math.Ceil(d.Seconds() * float64(r.Timescale) / float64(r.SegmentDuration)))
}

// longest is the longest segment of a representation.
func (r *Representation) longest() time.Duration {
	ticks := r.SegmentDuration
	for _, run := range r.Timeline {
		ticks = max(ticks, run.Duration)
	}
	return r.Ticks(ticks)
}

// Ticks converts a count of the representation's timescale, at most a day.
func (r *Representation) Ticks(n uint64) time.Duration {
	s := float64(n) / float64(max(1, r.Timescale))
	return time.Duration(min(s, 86400) * float64(time.Second))
}

func addSaturating(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// trackOf returns the track of a segment's name, whether the segment exists or
// not.
func (d *document) trackOf(name string) *track {
	if e := d.names[name]; e != nil && e.track != nil {
		return e.track
	}
	for _, t := range d.tracks {
		if _, ok := t.match(name); ok {
			return t
		}
	}
	return nil
}

// isInit is whether the name is that of a track's init segment.
func (d *document) isInit(name string) bool {
	for _, t := range d.tracks {
		if t.Init == name {
			return true
		}
	}
	return false
}

// match is whether the name is of the track's family, and its variables.
func (t *track) match(name string) (variables, bool) {
	if !t.pattern.IsZero() {
		return t.pattern.match(name)
	}
	if t.Template.IsZero() {
		return variables{}, false
	}
	n, ok := t.Template.match(name)
	return variables{number: n, hasNumber: true}, ok
}

// expects is [Index.Expects] for a name that the manifest yields by a rule.
func (t *track) expects(name string, newest edges) bool {
	v, ok := t.match(name)
	if !ok || v.negative {
		return false
	}
	if len(t.timeline) > 0 {
		if !t.open && !v.hasTime {
			return v.number >= t.first && v.number <= t.last
		}
		if v.hasTime {
			return expectsTime(t.timeline, v.time, t.open)
		}
	}
	if !v.hasNumber || v.number < t.first {
		return false
	}
	if t.pattern.IsZero() || len(t.timeline) > 0 {
		// A playlist and a timeline say what exists; they may lag behind what came.
		last := t.last
		if seen, ok := newest.edge(t.family()); ok && seen.n > last && seen.n-last < restartDistance {
			last = seen.n
		}
		return v.number <= last || t.open && v.number <= addSaturating(last, ahead)
	}
	if !t.open {
		return v.number <= t.last
	}
	seen, ok := newest.edge(t.family())
	if !ok {
		return true // the template is all there is to go by
	}
	n := seen.n
	if v.number > addSaturating(n, ahead) {
		return false
	}
	return t.depth == 0 || n < t.depth+ahead || v.number >= n-t.depth-ahead
}

func (t *track) family() family {
	return family{t.Template.Prefix, t.Template.Suffix}
}

// expectsTime is whether a segment begins at the time t by the timeline, or
// would if its last run went on.
func expectsTime(timeline []Run, t uint64, open bool) bool {
	for i, run := range timeline {
		if t < run.Time || (t-run.Time)%run.Duration != 0 {
			continue
		}
		index := (t - run.Time) / run.Duration
		last := uint64(max(run.Repeat, 0))
		switch {
		case i+1 < len(timeline):
			if run.Repeat < 0 {
				if t < timeline[i+1].Time {
					return true
				}
				continue
			}
		case open:
			if run.Repeat < 0 {
				return true
			}
			last = addSaturating(last, ahead)
		case run.Repeat < 0:
			return true
		}
		if index <= last {
			return true
		}
	}
	return false
}
