package service

import (
	"github.com/treedn/treedn/internal/manifest"
)

// runs knows the newest run of each numbered track, by its file template. An encoder that begins again uses its names
// again: of what it has named so far, or names next, nothing of the runs before is of use to anybody. What had higher
// numbers stays, for those who are still behind.
type runs map[string]run

type run struct {
	id     uint64
	newest uint32 // the highest number that has begun
}

const (
	// maxRuns bounds the tracks of a channel.
	maxRuns = 1024
	// ahead is how far beyond the newest object a player asks, see manifest.Index.Expects.
	ahead = 2
	// behind is how far below the first object that this node sees of a run older ones are looked for.
	behind = 64
)

// past tells whether an object is of an earlier run than that which has its name now.
func (r runs) past(m Meta) bool {
	newest, known := r[m.Track.Stem]
	return known && m.Track.Stem != "" && m.Track.Run < newest.id && reaches(newest.newest, m.Track.Number)
}

// reaches tells whether a run with a newest number has a number, or will have it next.
func reaches(newest, number uint32) bool {
	return number <= newest || number-newest <= ahead
}

// begin notes an object that is not past, and returns the names of which nothing older is of use any more.
func (r runs) begin(m Meta) (names []string) {
	if m.Track.Stem == "" {
		return nil
	}
	newest, known := r[m.Track.Stem]
	n := m.Track.Number
	var first uint32
	switch first = n - min(n, behind); {
	case !known && len(r) >= maxRuns:
		clear(r) // nobody's channel
	case known && (m.Track.Run < newest.id || m.Track.Run == newest.id && n <= newest.newest):
		return nil
	case known && m.Track.Run == newest.id:
		first = max(first, newest.newest+1)
	}
	r[m.Track.Stem] = run{m.Track.Run, n}
	template, err := manifest.ParseTemplate(m.Track.Stem)
	if err != nil {
		return nil
	}
	for k := first; k <= n+ahead && k >= first; k++ {
		if k != n {
			names = append(names, template.Name(k))
		}
	}
	return names
}

// past tells whether an object is of an earlier run than that which has its name now. It is called with mu held.
func (s *Service) past(m Meta) bool { return s.cfg.Runs && s.runs.past(m) }
