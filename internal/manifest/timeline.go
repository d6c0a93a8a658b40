package manifest

import (
	"math"
	"time"
)

// A Position is one segment of a representation.
type Position struct {
	Number, Time uint64
	// Available is when the segment can be fetched; zero if the manifest says
	// that it exists.
	Available time.Time
}

// Newest returns the last n segments of a representation that exist at the time
// now of the origin's clock, oldest first. For a template with neither timeline
// nor list they follow from the clock (ISO/IEC 23009-1, A.3.2), and the first one
// that is not available yet comes last, with its time.
func (m *MPD) Newest(r *Representation, now time.Time, n int) []Position {
	switch {
	case n <= 0 || r.Media.IsZero():
		return nil
	case len(r.Timeline) > 0:
		return m.fromTimeline(r, now, n)
	case r.SegmentDuration == 0:
		return nil
	}
	last, ok := m.current(r, now)
	if !ok {
		return nil
	}
	if end := r.end(); end > 0 {
		last = min(last, end)
	}
	first := r.StartNumber
	if last > uint64(n) {
		first = max(first, last-uint64(n)+1)
	}
	var all []Position
	for number := first; number <= last; number++ {
		all = append(all, m.position(r, number))
	}
	return all
}

// end is the last number there will ever be, 0 if that is open.
func (r *Representation) end() uint64 {
	if r.EndNumber > 0 {
		return r.EndNumber
	}
	if n := r.segments(r.PeriodDuration); n > 0 {
		return addSaturating(r.StartNumber, n-1)
	}
	return 0
}

// current is the number of the segment that is being made.
func (m *MPD) current(r *Representation, now time.Time) (number uint64, ok bool) {
	if m.Static {
		return r.end(), r.end() > 0
	}
	if m.AvailabilityStart.IsZero() {
		return 0, false
	}
	elapsed := now.Sub(m.AvailabilityStart) - r.PeriodStart
	if elapsed < 0 {
		return 0, false
	}
	index := elapsed.Seconds() * float64(r.Timescale) / float64(r.SegmentDuration)
	if index > math.MaxUint32 {
		return 0, false // nobody's segments: the start time is nonsense
	}
	return addSaturating(r.StartNumber, uint64(index)), true
}

func (m *MPD) position(r *Representation, number uint64) Position {
	index := number - r.StartNumber
	p := Position{Number: number, Time: addSaturating(r.PresentationOffset, saturatingProduct(index, r.SegmentDuration))}
	if !m.Static {
		end := float64(index+1) * float64(r.SegmentDuration) / float64(r.Timescale)
		at := time.Duration(end*float64(time.Second)) + r.PeriodStart - r.AvailabilityOffset
		p.Available = m.AvailabilityStart.Add(at)
	}
	return p
}

// fromTimeline walks the timeline from its end; a run may stand for more segments
// than could ever be listed.
func (m *MPD) fromTimeline(r *Representation, now time.Time, n int) []Position {
	counts := make([]uint64, len(r.Timeline))
	var total uint64
	for i, run := range r.Timeline {
		counts[i] = m.count(r, i, now)
		if run.Repeat >= 0 {
			counts[i] = addSaturating(uint64(run.Repeat), 1)
		}
		total = addSaturating(total, counts[i])
	}
	all := make([]Position, 0, min(uint64(n), total))
	index := total
	for i := len(r.Timeline) - 1; i >= 0 && len(all) < n; i-- {
		for k := counts[i]; k > 0 && len(all) < n; k-- {
			index--
			all = append(all, Position{
				Number: addSaturating(r.StartNumber, index),
				Time:   addSaturating(r.Timeline[i].Time, saturatingProduct(k-1, r.Timeline[i].Duration)),
			})
		}
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// count is the number of segments of an open run: up to the next run, the end of
// the period, or the present.
func (m *MPD) count(r *Representation, i int, now time.Time) uint64 {
	run := r.Timeline[i]
	if i+1 < len(r.Timeline) {
		if next := r.Timeline[i+1].Time; next > run.Time {
			return (next - run.Time) / run.Duration
		}
		return 1
	}
	var until time.Duration
	switch {
	case r.PeriodDuration > 0:
		until = r.PeriodDuration
	case m.AvailabilityStart.IsZero():
		return 1
	default:
		until = now.Sub(m.AvailabilityStart) - r.PeriodStart
	}
	ticks := until.Seconds()*float64(r.Timescale) + float64(r.PresentationOffset) - float64(run.Time)
	if ticks < float64(run.Duration) {
		return 0
	}
	return uint64(min(ticks/float64(run.Duration), math.MaxUint32))
}

func saturatingProduct(a, b uint64) uint64 {
	if a != 0 && b > math.MaxUint64/a {
		return math.MaxUint64
	}
	return a * b
}
