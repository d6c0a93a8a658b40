package amt

import (
	"net/netip"
	"time"
)

// switcher decides by which way the packets of a channel are taken, natively or by a
// tunnel, and goes from one to the other: make before break in both directions. It has
// neither sockets nor a clock. A way that is to be left goes on until the other delivers
// and the two are aligned; one that has failed is left at once.
//
// Native reception is preferred, unless the mode forbids it. It is not taken back when it
// loses more than the tunnel, nor for ever sooner when it comes and goes.
type switcher struct {
	merger  *merger
	mode    Mode
	timeout time.Duration // of native silence
	output  switchOutput

	nativeAt   time.Time     // of the last native packet; of the start, if there was none
	steadyAt   time.Time     // since when they have come without a pause
	failed     error         // why the channel is not joined natively
	returnedAt time.Time     // of the last return to native reception
	penalty    time.Duration // how long it has to be steady before it is taken back

	tunnel   bool          // the tunnel has been asked for the channel
	trial    bool          // it has, to find out whether it is better
	trialAt  time.Time     // of the next trial, or of the end of this one
	trialGap time.Duration // between trials
}

// switchOutput is what a switcher works on.
type switchOutput interface {
	// deliver hands out a payload.
	deliver(payload []byte, source netip.AddrPort)
	// started: the first payload comes by a path.
	started(path Path)
	// switched: payloads come by another path.
	switched(now time.Time, to Path, planned bool, gap time.Duration)
	// refused: a path loses more than the present one.
	refused(path Path)
	// useTunnel asks the tunnel for the channel, or leaves it.
	useTunnel(now time.Time, on bool) error
	// useNative joins the channel natively, or leaves it. It may be told twice.
	useNative(on bool)
	// activePath is that of the relay in use; 0: there is none.
	activePath() Path
	// poke has decide called soon.
	poke()
}

const (
	maxOverlap  = 10 * time.Second // for two ways to show how they are aligned
	slowOverlap = 6                // pauses of a slow channel, if that is longer
	maxSlow     = time.Minute      // but not longer than that

	// Native reception that was lost in less than this many times NativeTimeout after it
	// had returned has to be steady for NativeTimeout before it is taken back, and each
	// time for twice as long.
	lasting    = 10
	maxPenalty = 5 * time.Minute

	suspicion   = 250 * time.Millisecond // pause of native packets, in adaptive mode
	minTrialGap = 30 * time.Second
	maxTrialGap = 16 * time.Minute
)

func (s *switcher) natively() bool { return s.merger.started && s.merger.current == nativePath }

// silent reports whether native reception cannot be counted on.
func (s *switcher) silent(now time.Time) bool {
	return s.failed != nil || now.Sub(s.nativeAt) >= s.timeout
}

// fromNative takes a payload that arrived natively.
func (s *switcher) fromNative(now time.Time, payload []byte, source netip.AddrPort) {
	if s.steadyAt.IsZero() || now.Sub(s.nativeAt) > s.timeout {
		s.steadyAt = now
	}
	s.nativeAt = now
	if m := s.merger; m.started && m.current != nativePath && !(m.waiting && m.next == nativePath) {
		if s.mode == ModeTunnel || s.mode != ModeNative && now.Sub(s.steadyAt) < s.penalty {
			return
		}
		d := notWorse
		if s.mode == ModeNative {
			d = anyPath // somebody wants it to be so
		}
		m.begin(nativePath, d)
		s.output.poke() // it decides in a while
	}
	s.push(now, nativePath, payload, source)
}

// steady reports whether native packets that have arrived are all delivered; merger has
// to remember them.
func (s *switcher) steady(now time.Time) bool {
	if m := s.merger; !s.natively() || m.waiting || m.left > 0 {
		return false
	}
	if now.Sub(s.nativeAt) > s.timeout {
		s.steadyAt = now
	}
	s.nativeAt = now
	return true
}

// fromTunnel takes a payload of the channel that came through a tunnel.
func (s *switcher) fromTunnel(now time.Time, path Path, payload []byte, source netip.AddrPort) {
	m := s.merger
	failed := m.started && m.current == nativePath && s.silent(now)
	if m.started && m.current != path && (failed || !m.waiting || m.next != path) {
		switch {
		case path != s.output.activePath():
			return
		case failed || m.current != nativePath:
			s.force(now, path) // the way in use has failed
		case s.mode == ModeTunnel:
			m.begin(path, anyPath)
			s.output.poke()
		case s.trial:
			m.begin(path, better)
			s.output.poke()
		default:
			return // native reception has come back
		}
	}
	s.push(now, path, payload, source)
}

// push gives a payload to the merger and delivers what that lets through.
func (s *switcher) push(now time.Time, path Path, payload []byte, source netip.AddrPort) {
	m := s.merger
	if !m.started {
		s.output.started(path)
		s.output.poke()
	}
	if m.push(now, path, payload, source) {
		s.output.deliver(payload, source)
	}
	if !m.waiting {
		return
	}
	from := m.current
	if list, ok := m.align(now); ok {
		s.switched(now, from, m.current, true, 0, list)
	} else if m.worse {
		s.refuse(now)
	}
}

// switched delivers what a switch has set free, and gives up the former way.
func (s *switcher) switched(now time.Time, from, to Path, planned bool, gap time.Duration, list []held) {
	for _, p := range list {
		s.output.deliver(p.payload, p.source)
	}
	s.output.switched(now, to, planned, gap)
	switch {
	case to == nativePath:
		s.returnedAt = now
		s.endTrial(now)
	case from != nativePath:
	case s.mode == ModeTunnel:
		s.output.useNative(false)
	case s.trial && planned:
		s.trial = false
		s.punish(now)
	case s.returnedAt.IsZero() || now.Sub(s.returnedAt) > max(lasting*s.timeout, 4*s.penalty):
		s.trial, s.penalty = false, 0
	default:
		s.trial = false
		s.punish(now)
	}
	s.output.poke()
}

// punish makes native reception wait longer before it is taken back.
func (s *switcher) punish(now time.Time) {
	s.penalty = min(max(2*s.penalty, s.timeout), max(maxPenalty, s.timeout))
	s.steadyAt = now
}

// refuse ends a switch to a path that loses more than the present one.
func (s *switcher) refuse(now time.Time) {
	path := s.merger.next
	s.merger.drop()
	if path == nativePath {
		s.output.refused(path)
		s.punish(now)
		return
	}
	s.endTrial(now)
}

// endTrial ends one that has not shown the tunnel to be better. The next is later.
func (s *switcher) endTrial(now time.Time) {
	if s.trial {
		s.trial = false
		s.trialAt = now.Add(s.trialGap)
	}
	if s.mode != ModeTunnel {
		s.setTunnel(now, false)
	}
	s.output.poke()
}

// force switches to a path without knowing where its payloads lie among those of the
// present one.
func (s *switcher) force(now time.Time, path Path) {
	from := s.merger.current
	list, gap := s.merger.force(now, path)
	s.switched(now, from, path, false, gap, list)
}

func (s *switcher) setTunnel(now time.Time, on bool) {
	if s.tunnel != on && s.output.useTunnel(now, on) == nil {
		s.tunnel = on
	}
}

// tunnelMoving: the tunnel goes over to another relay, whose path is this.
// tunnelMoved: it has.
func (s *switcher) tunnelMoving(path Path) {
	if s.merger.started && s.merger.current != nativePath {
		s.merger.begin(path, anyPath)
	}
}

func (s *switcher) tunnelMoved(now time.Time, path Path) {
	if m := s.merger; m.started && m.current != nativePath && m.current != path && m.waiting && m.next == path {
		s.force(now, path)
	}
}

// setMode changes the mode. The way in use stays until the other one delivers.
func (s *switcher) setMode(now time.Time, mode Mode) {
	m := s.merger
	s.mode, s.penalty, s.trial, s.trialGap = mode, 0, false, 0
	if m.waiting && (m.next == nativePath || m.current == nativePath) {
		m.drop() // and begin anew if that is still the right way
	}
	s.decide(now)
	s.output.poke()
}

// decide asks for ways and gives them up, and ends overlaps that take too long. It
// returns when to call it again.
func (s *switcher) decide(now time.Time) (next time.Time) {
	next = s.decideTunnel(now)
	s.output.useNative(s.mode != ModeTunnel || s.natively())
	m := s.merger
	if !m.waiting || m.next != nativePath && m.current != nativePath {
		return next
	}
	overlap := min(max(maxOverlap, slowOverlap*m.gap), maxSlow)
	switch {
	case m.next != nativePath && m.next != s.output.activePath():
		m.drop() // that relay is lost
		return next
	case now.Sub(m.heardAt) > max(time.Second, min(2*m.gap, maxOverlap)): // it has fallen silent again
		for _, p := range m.release(m.heardAt) {
			s.output.deliver(p.payload, p.source)
		}
		return next
	case m.demand == better:
		if m.heardFor(now) > overlap {
			s.refuse(now)
		}
	case m.heardFor(now) > overlap, min(m.heardFor(now), now.Sub(m.last)) > s.timeout:
		s.force(now, m.next)
		return next
	}
	at := m.last
	if at.Before(m.since) {
		at = m.since
	}
	if at = at.Add(s.timeout + 1); at.After(now) {
		next = sooner(next, at)
	}
	return sooner(next, now.Add(time.Second))
}

func (s *switcher) decideTunnel(now time.Time) (next time.Time) {
	silentAt := s.nativeAt.Add(s.timeout)
	switch {
	case s.mode == ModeTunnel:
		s.setTunnel(now, true)
	case s.mode == ModeNative:
		if !s.merger.started || s.natively() {
			s.setTunnel(now, false)
		}
	case s.failed != nil, !silentAt.After(now), s.mode == ModeAdaptive && !s.natively():
		s.setTunnel(now, true)
	case s.trial:
		if now.Before(s.trialAt) {
			return s.trialAt
		}
		if s.merger.waiting {
			s.merger.drop()
		}
		s.endTrial(now)
		return silentAt
	case s.natively() && s.mode == ModeAdaptive && !now.Before(s.trialAt) && !s.tunnel:
		at := s.nativeAt.Add(max(suspicion, 4*s.merger.gap))
		if at.After(now) {
			return sooner(at, silentAt)
		}
		s.setTunnel(now, true)
		s.trial, s.trialAt = true, now.Add(maxOverlap)
		s.trialGap = min(max(2*s.trialGap, minTrialGap), maxTrialGap)
		return sooner(s.trialAt, silentAt)
	case s.natively():
		s.setTunnel(now, false) // it has come back before the tunnel delivered
		return silentAt
	case !s.tunnel:
		return silentAt
	}
	return time.Time{}
}
