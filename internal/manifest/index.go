package manifest

import (
	"sync"
	"time"
)

// An Index is what the current manifests of one channel announce. The zero value
// is empty and ready. It is safe for concurrent use.
type Index struct {
	// Limits bound each manifest. Set before first use.
	Limits Limits

	mu        sync.RWMutex // guards all below
	clock     uint64       // counts updates
	documents map[string]*document
	newest    edges // the newest number or time observed of a family
}

// maxDocuments bounds the manifests of a channel; the one that was longest
// without an update makes room.
const maxDocuments = 128

// ahead is how many segments beyond the newest one a template yields "next".
const ahead = 2

// observed is a number or a time, and the run of the encoder that it belongs to, 0 if nobody said. Documents from before
// since, on the Index's clock, are of the run before.
type observed struct {
	n, run, since uint64
	over          bool // the number is of the run before
}

type edges map[family]observed

// edge is the newest number of a family in the present run, ok if there is one.
func (e edges) edge(f family) (newest observed, ok bool) {
	newest, ok = e[f]
	return newest, ok && !newest.over
}

// family is a template without its width: names that differ in one number.
type family struct{ prefix, suffix string }

// A Track is a sequence of segments that one init segment belongs to.
type Track struct {
	// Template is the family of the segments' names; zero if their names differ
	// in more than one number or in none.
	Template Template
	Number   uint32 // of the name that was asked about, if Template is not zero
	Kind     Kind
	Init     string // name of the init segment, "" if there is none
	Manifest string // name of the manifest that describes the track
}

// A Summary is what a manifest says about its presentation as a whole.
type Summary struct {
	Ended bool // static MPD, or EXT-X-ENDLIST
	// Start is an MPD's availabilityStartTime, constant during one presentation;
	// zero if absent, as it is in playlists.
	Start time.Time
	// Sequence is the media sequence number of a media playlist, which never
	// falls during one presentation.
	Sequence uint64
	Master   bool // an HLS multivariant playlist: says none of the above

	// Blocks is whether a media playlist promises that requests for it may wait (EXT-X-SERVER-CONTROL). Next is the media
	// sequence number of the segment that it does not have as a whole yet, Parts how many parts it has of that, and
	// LastParts how many of the one before.
	Blocks           bool
	Next             uint64
	Parts, LastParts int
	Target           time.Duration // EXT-X-TARGETDURATION
}

// Has tells whether a media playlist has a segment, or a part of it if part is not negative. A part behind the last one of
// its segment is the first one of the next (RFC 8216bis, 6.2.5.2).
func (s Summary) Has(sequence uint64, part int) bool {
	switch {
	case sequence > s.Next || sequence == s.Next && part < 0:
		return false
	case sequence == s.Next:
		return part < s.Parts
	case sequence+1 == s.Next && part >= 0 && part >= s.LastParts:
		return s.Parts > 0
	}
	return true
}

// Replaces is whether a manifest cannot be of the presentation of its
// predecessor old: MPDs keep their availabilityStartTime (ISO/IEC 23009-1,
// 5.3.1.2), playlists never lower their media sequence number (RFC 8216, 6.2.2).
// The first MPD of a run of FFmpeg has no start time yet.
func (s Summary) Replaces(old Summary) bool {
	if old.Ended || s.Ended || old.Master || s.Master {
		return false
	}
	if !old.Start.IsZero() {
		d := s.Start.Sub(old.Start)
		return s.Start.IsZero() || d > time.Second || d < -time.Second
	}
	return s.Sequence < old.Sequence
}

// Inspect reads the summary of a manifest.
func Inspect(body []byte, limits Limits) (Summary, error) {
	d, err := parse("manifest", body, limits)
	if err != nil {
		return Summary{}, err
	}
	return d.summary, nil
}

// Update replaces what the manifest of this name announces. After an error the
// Index is as it was.
func (x *Index) Update(name string, body []byte) error {
	if !ValidName(name) {
		return ErrName
	}
	d, err := parse(name, body, x.Limits)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.documents == nil {
		x.documents = make(map[string]*document)
	}
	x.clock++
	d.updated = x.clock
	if old := x.documents[name]; old != nil && d.replaces(old) {
		for _, t := range d.tracks {
			// An encoder has begun again, unless that was noticed before.
			if e, known := x.newest[t.family()]; known && e.since <= old.updated {
				x.newest[t.family()] = observed{run: e.run, since: d.updated, over: true}
			}
		}
	}
	x.documents[name] = d
	if len(x.documents) > maxDocuments {
		oldest := name
		for n, d := range x.documents {
			if d.updated < x.documents[oldest].updated {
				oldest = n
			}
		}
		delete(x.documents, oldest)
	}
	return nil
}

// Summary is that of the current manifest of this name, ok if there is one.
func (x *Index) Summary(name string) (s Summary, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	d := x.documents[name]
	if d == nil {
		return s, false
	}
	return d.summary, true
}

// Announces reports whether a segment of this name exists or comes next by one
// manifest, which may be the first of another presentation: what was observed of
// the segments' numbers does not count if that was before it. now is the time at
// the origin, by which a template without a timeline tells its newest segment.
func (x *Index) Announces(manifest, name string, now time.Time) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	d := x.documents[manifest]
	if d == nil {
		return false
	}
	if e := d.names[name]; e != nil {
		return e.track != nil
	}
	for _, t := range d.tracks {
		if !t.expects(name, x.newest) {
			continue
		}
		v, _ := t.match(name)
		if _, observed := x.newest.edge(t.family()); observed || t.rep == nil || len(t.timeline) > 0 || !t.open || !v.hasNumber {
			return true
		}
		last := t.first
		if p := d.mpd.Newest(t.rep, now, 1); len(p) > 0 {
			last = max(last, p[0].Number)
		}
		return v.number <= addSaturating(last, ahead)
	}
	return false
}

// Remove forgets the manifest of this name.
func (x *Index) Remove(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.documents, name)
}

// Observe tells the Index that an object has begun to exist, which moves the
// live edge of $Number$ templates: an MPD with such a template names no newest
// segment, and clocks of hosts differ. run is the generation of the encoder's run
// that the object belongs to, 0 if unknown: a higher one begins its numbers anew.
func (x *Index) Observe(name string, run uint64) {
	t, n, ok := classify(name)
	if !ok {
		return
	}
	key := family{t.Prefix, t.Suffix}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.newest == nil {
		x.newest = make(edges)
	}
	newest, known := x.newest[key]
	begins := known && run > newest.run && newest.run != 0
	switch {
	case newest.over:
	case !known && len(x.newest) >= maxFamilies:
		// Not worth an order: a channel with so many has no live edge to speak of.
		clear(x.newest)
	case known && run < newest.run && run != 0:
		return // of the run before
	case known && run <= newest.run && n < newest.n && newest.n-n < restartDistance:
		return // an older segment came late
	}
	since := newest.since
	if begins && !newest.over {
		x.clock++
		since = x.clock
	}
	x.newest[key] = observed{n: n, run: max(run, newest.run), since: since}
}

// maxFamilies bounds the families whose live edge is kept.
const maxFamilies = 1024

// restartDistance is how far a number must fall below the newest to count as an
// encoder that began again, not as a late segment of its window.
const restartDistance = 64

// Expects reports whether an object of this name exists or comes next, as far as
// manifests tell: a manifest names it, or a template yields it with a number
// inside the live window or at most two beyond the newest known.
func (x *Index) Expects(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, d := range x.documents {
		if d.names[name] != nil {
			return true
		}
		for _, t := range d.tracks {
			if t.expects(name, x.newest) {
				return true
			}
		}
	}
	return false
}

// Past reports whether an object that the Index expects should be here already:
// it is no segment, or a playlist lists it, which is for those that are
// complete, or a newer one of its family has begun.
func (x *Index) Past(name string) bool {
	t, n, numbered := classify(name)
	x.mu.RLock()
	defer x.mu.RUnlock()
	var newest observed
	known := false
	if numbered {
		newest, known = x.newest.edge(family{t.Prefix, t.Suffix})
		if known && n < newest.n && newest.n-n < restartDistance {
			return true
		}
	}
	for _, d := range x.documents {
		if known && d.updated < newest.since {
			continue
		}
		if e := d.names[name]; e != nil && (e.track != nil || d.summary.Master || d.isInit(name)) {
			return true
		}
	}
	return false
}

// TrackOf returns the track that a segment's name belongs to by the manifests.
func (x *Index) TrackOf(name string) (Track, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	// Several manifests may describe one set of segments, HLS and DASH for
	// example; the one that knows most answers.
	var best Track
	found := false
	for _, d := range x.documents {
		t := d.trackOf(name)
		if t == nil {
			continue
		}
		track := t.Track
		if track.Kind == Unknown {
			track.Kind = x.kindOfPlaylist(d.name)
		}
		if !track.Template.IsZero() {
			number, ok := track.Template.Match(name)
			if !ok {
				track.Template = Template{}
			}
			track.Number = number
		}
		if !found || track.better(best) {
			best, found = track, true
		}
	}
	return best, found
}

func (t Track) better(than Track) bool {
	score := func(t Track) (n int) {
		if !t.Template.IsZero() {
			n += 4
		}
		if t.Kind != Unknown {
			n += 2
		}
		if t.Init != "" {
			n++
		}
		return n
	}
	a, b := score(t), score(than)
	return a > b || a == b && t.Manifest < than.Manifest
}

// InitOf returns the init segment that a segment needs, "" if there is none or
// the name is unknown.
func (x *Index) InitOf(name string) string {
	t, _ := x.TrackOf(name)
	return t.Init
}

// IsInit reports whether a manifest names this object as an init segment.
func (x *Index) IsInit(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, d := range x.documents {
		if d.isInit(name) {
			return true
		}
	}
	return false
}

// TargetDuration is the longest segment that the manifests announce, at most a
// minute; 0 if none says.
func (x *Index) TargetDuration() time.Duration {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var longest time.Duration
	for _, d := range x.documents {
		longest = max(longest, d.target)
	}
	return min(longest, time.Minute)
}

// kindOfPlaylist returns what multivariant playlists say about a media playlist.
func (x *Index) kindOfPlaylist(name string) Kind {
	for _, d := range x.documents {
		if e := d.names[name]; e != nil && e.kind != Unknown {
			return e.kind
		}
	}
	return Unknown
}
