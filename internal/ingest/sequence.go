package ingest

import (
	"sync"
	"time"
)

// reserveAhead is how far the generations on disk are ahead of those in use. A
// restarted server begins above all that its predecessor gave, even if the clock
// has stepped back meanwhile.
const reserveAhead = uint64(10 * time.Second / time.Microsecond)

// A sequence gives the generations of a channel: max(last+1, Unix microseconds).
type sequence struct {
	save  func(reserved uint64) error // nil: nothing is kept
	spawn func(func())                // runs a function beside the caller
	fail  func(error)

	mu       sync.Mutex // guards below
	last     uint64
	reserved uint64
	saving   bool
}

// next returns the generation of what begins now.
func (s *sequence) next(now time.Time) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, uint64(max(0, now.UnixMicro())))
	if s.save == nil {
		return s.last
	}
	switch {
	case s.last > s.reserved:
		// Nothing may be given out that a restart could give again.
		s.reserve(s.last + reserveAhead)
	case s.last+reserveAhead/2 > s.reserved && !s.saving:
		// Ahead of need, off the path of the media.
		s.saving = true
		reserved := s.last + reserveAhead
		s.spawn(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.saving = false
			if reserved > s.reserved {
				s.reserve(reserved)
			}
		})
	}
	return s.last
}

// reserve writes the new bound; mu is held. After a failure the old one stays,
// so that the next generation tries again.
func (s *sequence) reserve(reserved uint64) {
	if err := s.save(reserved); err != nil {
		s.fail(err)
		return
	}
	s.reserved = reserved
}
