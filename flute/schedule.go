package flute

import (
	"cmp"
	"slices"
	"time"
)

// schedule puts a file where it waits for its next round.
func (s *Sender) schedule(o *outgoing) {
	i, _ := slices.BinarySearchFunc(s.later, o, func(a, b *outgoing) int {
		return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.seq, b.seq))
	})
	s.later = slices.Insert(s.later, i, o)
}

// wakeFiles begins the rounds that are due, and forgets what is over.
func (s *Sender) wakeFiles(now time.Time) {
	n := 0
	for ; n < len(s.later) && !s.later[n].next.After(now); n++ {
		o := s.later[n]
		i, _ := slices.BinarySearchFunc(s.due, o, func(a, b *outgoing) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		s.due = slices.Insert(s.due, i, o)
		o.begin()
	}
	s.later = slices.Delete(s.later, 0, n)
	for n = 0; n < len(s.lingers) && !s.lingers[n].gone.After(now); n++ {
		s.unlist(s.lingers[n])
	}
	s.lingers = slices.Delete(s.lingers, 0, n)
}

// ended is the end of a file's round.
func (s *Sender) ended(now time.Time, o *outgoing) {
	s.due = slices.DeleteFunc(s.due, func(x *outgoing) bool { return x == o })
	if o.round++; o.round == 1 {
		s.stats.Files++
	}
	s.stats.Rounds++
	if o.more() {
		o.next = o.next.Add(o.file.Interval)
		if o.next.Before(now) {
			o.next = now // the rate does not suffice for the interval
		}
		s.schedule(o)
		return
	}
	o.gone = now.Add(s.cfg.Linger)
	s.lingers = append(s.lingers, o)
}

// endedEmpty is ended for a file without octets: every round is like the first.
func (s *Sender) endedEmpty(now time.Time, o *outgoing) {
	if o.file.Rounds < 0 {
		s.due = slices.DeleteFunc(s.due, func(x *outgoing) bool { return x == o })
		return
	}
	o.file.Rounds = 0
	s.ended(now, o)
}

// more tells whether another round follows the one that is under way.
func (o *outgoing) more() bool { return o.file.Rounds < 0 || o.round < o.file.Rounds }

// pick returns the file whose turn it is.
func (s *Sender) pick(now time.Time) *outgoing {
	var best *outgoing
	window := 0
	for i := 0; i < len(s.due); {
		o := s.due[i]
		if best != nil && (!o.sameRank(best) || window >= s.cfg.Parallel) || window > s.cfg.Parallel {
			break // one more than Parallel, since blocks take time to prepare
		}
		if o.err != nil {
			s.cfg.Logger.Warn("file cannot be sent", "location", o.file.Location, "error", o.err)
			s.Remove(now, o.desc.TOI)
			continue
		}
		i++
		if !o.ready {
			if o.page.dirty || o.page.sending {
				window++ // its description is about to leave
			}
			continue
		}
		if o.blocks == 0 { // an empty file is in the FDT only
			i--
			s.endedEmpty(now, o)
			continue
		}
		window++
		if o.advance() && (best == nil || o.turn < best.turn) {
			best = o
		}
	}
	return best
}

// before orders files by rank: deadline, then priority, then for how long they have been due.
func (o *outgoing) before(p *outgoing) bool {
	if o.sameRank(p) {
		return o.next.Before(p.next) || o.next.Equal(p.next) && o.seq < p.seq
	}
	a, b := o.file.Deadline, p.file.Deadline
	switch {
	case a.Equal(b):
		return o.file.Priority > p.file.Priority
	case a.IsZero() || b.IsZero():
		return b.IsZero()
	}
	return a.Before(b)
}

func (o *outgoing) sameRank(p *outgoing) bool {
	return o.file.Deadline.Equal(p.file.Deadline) && o.file.Priority == p.file.Priority
}
