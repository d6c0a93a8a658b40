package driad

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Errors of [EventExhausted].
var (
	// ErrNoRelay: nobody names a relay, or the source says that there is none.
	ErrNoRelay = errors.New("driad: no relay for this source")
	// ErrHeldDown: all relays have failed a short time ago.
	ErrHeldDown = errors.New("driad: all relays are held down")
	// ErrLookup: the DNS could not be asked.
	ErrLookup = errors.New("driad: looking up relays")
	// ErrNotAuthentic: there were answers, which Config.RequireAuthentic does not
	// believe. It may come together with ErrLookup, for other questions.
	ErrNotAuthentic = errors.New("driad: answers are not authentic")
)

// search is the discovery for one source.
type search struct {
	id      ID
	source  netip.Addr
	stopped bool
	waiting map[*entry]bool
	timer   time.Time
	timerAt int // in the heap

	round     time.Time    // since when answers count whatever their TTL
	asked     [methods]int // questions of the round
	list      []Candidate
	draws     map[netip.AddrPort]float64 // random choices hold for a round
	firstAt   time.Time                  // when there was a first candidate
	attempts  map[netip.AddrPort]*attempt
	lastStart time.Time
	ready     bool // the last attempt has failed: the next need not wait
	connected bool
	relay     netip.AddrPort // that is connected
	idle      bool           // exhausted; again at the timer
	noRelay   bool
	resolved  bool
	rounds    int // in a row without a connection
	refreshAt time.Time
	restartAt time.Time // of a congested search
}

type attempt struct {
	at   time.Time
	over bool
}

// begin starts a round of attempts.
func (m *Machine) begin(now time.Time, s *search) {
	s.round = now
	s.asked = [methods]int{}
	s.draws = make(map[netip.AddrPort]float64)
	s.attempts = make(map[netip.AddrPort]*attempt)
	s.firstAt, s.lastStart, s.restartAt = time.Time{}, time.Time{}, time.Time{}
	s.ready, s.connected, s.idle, s.noRelay, s.resolved = true, false, false, false, false
	s.relay = netip.AddrPort{}
	m.dirty = append(m.dirty, s)
}

func (m *Machine) restart(now time.Time, s *search) {
	m.emit(s, Event{Type: EventRestarted})
	m.begin(now, s)
}

// reported is Report for a search.
func (m *Machine) reported(now time.Time, s *search, a netip.AddrPort, o Outcome) {
	at := s.attempts[a]
	mine := s.connected && a == s.relay
	switch o {
	case Connected:
		if !s.connected && (at != nil || slices.ContainsFunc(s.list, func(c Candidate) bool { return c.Address == a })) {
			s.connected, s.relay, s.rounds = true, a, 0
			s.idle = false
			m.timers.set(s, time.Time{})
		}
	case Congested:
		if mine {
			s.restartAt = now.Add(time.Duration(m.config.Rand.Int64N(int64(congestedSpan))))
			m.timers.set(s, s.restartAt)
		}
	default:
		if mine {
			if o == NoTraffic {
				s.rounds++ // it was none, as it turned out
			}
			m.restart(now, s)
			return
		}
		if at != nil {
			at.over = true
			s.ready = true
		}
		m.dirty = append(m.dirty, s) // it is held down: out of the list
	}
}

// due is called when the timer of a search has expired.
func (m *Machine) due(now time.Time, s *search) {
	switch {
	case s.connected && !s.restartAt.IsZero(), s.idle:
		m.restart(now, s)
	case s.connected:
	default:
		m.dirty = append(m.dirty, s)
	}
}

// minRefresh is the least time between two looks at the DNS for a search that goes
// on.
const minRefresh = 10 * time.Second

// evaluate finds out what is known about candidates, starts an attempt if it is
// time to, and sets the timer.
func (m *Machine) evaluate(now time.Time, s *search) {
	if s.connected || s.idle {
		return // a tunnel is not moved because a record has expired (RFC 8777 section 3.3.3)
	}
	if !s.refreshAt.IsZero() && !now.Before(s.refreshAt) && now.Sub(s.round) >= minRefresh {
		s.round = now
		s.asked = [methods]int{}
	}
	g := m.gather(now, s)
	if list := m.order(s, g.list); !slices.Equal(list, s.list) {
		s.list = list
		m.emit(s, Event{Type: EventCandidates})
	}
	if g.noRelay && !s.noRelay {
		s.noRelay = true
		m.emit(s, Event{Type: EventNoRelay})
	}
	if !s.resolved && !g.anyPending() {
		s.resolved = true
		m.emit(s, Event{Type: EventResolved})
	}
	if len(s.list) > 0 && s.firstAt.IsZero() {
		s.firstAt = now
	}
	var next time.Time
	soon := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	s.refreshAt = g.expires
	if !g.expires.IsZero() {
		soon(later(g.expires, s.round.Add(minRefresh)))
	}
	soon(g.retry)
	soon(m.attempt(now, s, &g))
	running := false
	for _, a := range s.attempts {
		if !a.over {
			if end := a.at.Add(m.config.AttemptTimeout); end.After(now) {
				running = true
				soon(end)
			} else {
				a.over = true
			}
		}
	}
	untried := slices.ContainsFunc(s.list, func(c Candidate) bool { return s.attempts[c.Address] == nil })
	// Names whose addresses change all the time do not make a round endless.
	tooMany := len(s.attempts) >= 4*m.config.MaxCandidates
	if !running && (!untried && !g.anyPending() || tooMany) {
		m.exhausted(now, s, &g)
		return
	}
	if !next.IsZero() && !next.After(now) {
		next = now.Add(time.Millisecond)
	}
	m.timers.set(s, next)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// attempt starts the next attempt or returns when to.
func (m *Machine) attempt(now time.Time, s *search, g *gathering) time.Time {
	i := slices.IndexFunc(s.list, func(c Candidate) bool { return s.attempts[c.Address] == nil })
	if i < 0 || len(s.attempts) >= 4*m.config.MaxCandidates {
		return time.Time{}
	}
	c := s.list[i]
	at := now
	if !s.ready {
		at = s.lastStart.Add(m.config.AttemptDelay)
	}
	if g.pendingUpTo(c.Method) {
		at = later(at, s.firstAt.Add(m.config.ResolutionDelay))
	}
	if at.After(now) {
		return at
	}
	s.attempts[c.Address] = &attempt{at: now}
	s.lastStart, s.ready = now, false
	m.emit(s, Event{Type: EventAttempt, Candidate: c})
	if i = slices.IndexFunc(s.list, func(c Candidate) bool { return s.attempts[c.Address] == nil }); i < 0 {
		return time.Time{}
	}
	return now.Add(m.config.AttemptDelay)
}

func (m *Machine) exhausted(now time.Time, s *search, g *gathering) {
	err := ErrNoRelay
	switch {
	case g.noRelay:
	case g.held > 0 || len(s.list) > 0:
		err = ErrHeldDown
	default:
		if g.err != nil {
			err = fmt.Errorf("%w: %w", ErrLookup, g.err)
		}
		if len(g.forged) > 0 {
			text := fmt.Sprintf("no AD flag by a resolver that is trusted (TLS, HTTPS, TrustAD) for %s", g.forged)
			if g.err != nil {
				err = fmt.Errorf("%w: %s; and %w", ErrNotAuthentic, text, err)
			} else {
				err = fmt.Errorf("%w: %s", ErrNotAuthentic, text)
			}
		}
	}
	s.idle = true
	wait := backoff(m.config.Rand, restartTimeout, restartMaxTimeout, s.rounds)
	s.rounds++
	m.emit(s, Event{Type: EventExhausted, Err: err})
	m.timers.set(s, now.Add(wait))
}

// draw returns a random number for an address that stays the same in a round, so
// that relays of greater weight are likely to come first.
func (s *search) draw(r *rand.Rand, c *Candidate) float64 {
	d, ok := s.draws[c.Address]
	if !ok {
		if len(s.draws) > 4096 {
			clear(s.draws)
		}
		d = r.ExpFloat64()
		s.draws[c.Address] = d
	}
	if c.Method == ServiceDiscovery {
		// RFC 2782: 0 has a very small chance.
		return d / max(float64(c.Weight), 0.01)
	}
	return d
}
