package manifest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A Sequence is a track's segments around its live edge, by name.
type Sequence struct {
	Track
	// Names are the segments that exist as far as manifests and observed objects tell, in their order, the newest last.
	Names []string
	// Next comes after them, "" if nobody can tell or nothing comes any more.
	Next string
	// Guessed is true where a clock has to tell what the newest one is.
	Guessed bool
}

// Sequences returns what the current manifests know of each track, at most the last n segments of one. Manifests that
// describe the same track, HLS and DASH for example, yield one sequence. now is the time at the origin: a template
// without a timeline names no newest segment, and until one has been observed the clock has to tell.
func (x *Index) Sequences(now time.Time, n int) []Sequence {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []Sequence
	places := make(map[family]int)
	for _, d := range x.ordered() {
		for _, t := range d.tracks {
			s := t.sequence(d, x.newest, now, n)
			if len(s.Names) == 0 && s.Next == "" {
				continue
			}
			if s.Kind == Unknown {
				s.Kind = x.kindOfPlaylist(d.name)
			}
			key := t.family()
			if t.Template.IsZero() {
				// Names that nobody can count are their own family.
				key = family{"\x00", firstOf(s)}
			}
			i, known := places[key]
			if !known {
				places[key] = len(all)
				all = append(all, s)
				continue
			}
			old := &all[i]
			if s.better(old.Track) {
				s.Track, old.Track = old.Track, s.Track
			}
			if old.Guessed && !s.Guessed || old.Guessed == s.Guessed && len(s.Names) > len(old.Names) {
				old.Names, old.Next, old.Guessed = s.Names, s.Next, s.Guessed
			}
			if old.Init == "" {
				old.Init = s.Init
			}
		}
	}
	return all
}

func firstOf(s Sequence) string {
	if len(s.Names) > 0 {
		return s.Names[0]
	}
	return s.Next
}

// ordered returns the documents by name, so that the answer does not change with the order of a map.
func (x *Index) ordered() []*document {
	return slices.SortedFunc(maps.Values(x.documents), func(a, b *document) int { return strings.Compare(a.name, b.name) })
}

// sequence is the track as its own manifest and what was observed of its family tell.
func (t *track) sequence(d *document, newest edges, now time.Time, n int) Sequence {
	s := Sequence{Track: t.Track}
	if t.rep == nil && t.Template.IsZero() {
		s.Names = tail(t.listed, n)
		return s
	}
	if t.pattern.Timed() && t.rep != nil {
		positions := d.mpd.Newest(t.rep, now, n)
		for _, p := range positions {
			s.Names = append(s.Names, t.pattern.Expand(p.Number, p.Time))
		}
		if k := len(positions); k > 0 && t.open && len(t.timeline) > 0 {
			p, run := positions[k-1], t.timeline[len(t.timeline)-1]
			s.Next = t.pattern.Expand(p.Number+1, addSaturating(p.Time, run.Duration))
		}
		s.Guessed = len(t.timeline) == 0
		return s
	}
	if t.rep != nil && t.Template.IsZero() {
		return s // sub-segments, or more than one number: names that come by themselves
	}
	first, last, guess, ok := t.window(d, newest, now)
	s.Guessed = guess
	if !ok {
		return s
	}
	if t.open {
		s.Next = t.nameOf(last + 1)
	}
	if last < first {
		return s
	}
	if last-first >= uint64(n) {
		first = last - uint64(n) + 1
	}
	for number := first; number <= last; number++ {
		s.Names = append(s.Names, t.nameOf(number))
	}
	return s
}

// window is the first and the last number that exist.
func (t *track) window(d *document, newest edges, now time.Time) (first, last uint64, guess, ok bool) {
	edge, observed := newest.edge(t.family())
	seen := edge.n
	switch {
	case observed && d.updated < edge.since: // the encoder has begun again, and has not said so yet
		first, last = min(t.first, seen), seen
	case t.rep == nil, len(t.timeline) > 0: // what exists is listed; what came may be ahead
		first, last = t.first, t.last
		if observed && seen > last && seen-last < restartDistance {
			last = seen
		}
	case !t.open:
		first, last = t.first, t.last
	case observed:
		first, last = t.first, seen
	default:
		p := d.mpd.Newest(t.rep, now, 1)
		if len(p) == 0 {
			return 0, 0, true, false
		}
		guess = true
		first, last = t.first, p[0].Number
		if !p[0].Available.IsZero() && now.Before(p[0].Available) {
			if last == first {
				return first, first - 1, true, first > 0
			}
			last--
		}
	}
	if t.depth > 0 && last > t.depth {
		first = max(first, last-t.depth)
	}
	return first, last, guess, last < 1<<53
}

func (t *track) nameOf(number uint64) string {
	if t.rep != nil {
		return t.pattern.Expand(number, 0)
	}
	b := append([]byte(nil), t.Template.Prefix...)
	b = appendNumber(b, number, t.Template.Width)
	return string(append(b, t.Template.Suffix...))
}

func tail(names []string, n int) []string {
	return slices.Clone(names[max(0, len(names)-n):])
}
