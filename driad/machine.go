package driad

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// ID is a search of a [Machine], for the relays of one source.
type ID uint64

// Lookup is a question that a [Machine] wants answered.
type Lookup struct {
	ID       uint64 // for Answer and Failed
	Question dns.Question
	// Multicast: the question is for multicast DNS, never for a server (RFC 6762
	// section 3).
	Multicast bool
}

// EventType says what happened.
type EventType uint8

// Types of event.
const (
	// EventCandidates: the candidates have changed, see [Machine.Candidates].
	EventCandidates EventType = 1 + iota
	// EventAttempt: it is time to try Candidate, beside those that have not failed
	// yet (RFC 8305 section 5).
	EventAttempt
	// EventNoRelay: the source says that it has no relay (type 0).
	EventNoRelay
	// EventExhausted: all candidates have failed, or there are none, for the reason
	// in Err. Discovery begins again after a while.
	EventExhausted
	// EventMalformed: an answer has records that cannot be read, for the reason in
	// Err. They are left out.
	EventMalformed
	// EventRestarted: the candidates are tried again from the first.
	EventRestarted
	// EventResolved: nothing is left to ask about the candidates of this round.
	EventResolved
)

// String returns a few words.
func (t EventType) String() string {
	switch t {
	case EventCandidates:
		return "candidates"
	case EventAttempt:
		return "attempt"
	case EventNoRelay:
		return "no relay"
	case EventExhausted:
		return "exhausted"
	case EventMalformed:
		return "malformed"
	case EventRestarted:
		return "restarted"
	case EventResolved:
		return "resolved"
	}
	return fmt.Sprintf("event %d", uint8(t))
}

// Event is something that happened to a search.
type Event struct {
	Type      EventType
	Search    ID
	Candidate Candidate
	Err       error
}

// Stats counts what a [Machine] did.
type Stats struct {
	Queries, Answers, Failures uint64
	Malformed                  uint64 // records that could not be read
	Entries, Relays, Searches  int    // now
}

// Machine finds relays for sources: the discovery of RFC 8777 without sockets or
// clock. Questions come from PollQuery; their answers go to Answer or Failed. What
// to do comes from PollEvent, and what became of it goes to Report. HandleTimeout is
// called at NextTimeout. All searches share what is known about names and relays.
//
// A Machine is not safe for concurrent use.
type Machine struct {
	config   Config
	entries  map[key]*entry
	byID     map[uint64]*entry
	relays   map[netip.AddrPort]*relay
	silent   map[silence]time.Time // held down until then
	searches map[ID]*search
	lastID   uint64
	queue    []*entry
	out      []Lookup
	sent     []time.Time // of the last questions, a ring
	sentAt   int
	dirty    []*search
	timers   timers
	events   []Event
	stats    Stats
}

// NewMachine returns a machine.
func NewMachine(config Config) *Machine {
	config.populate()
	return &Machine{
		config: config, entries: make(map[key]*entry), byID: make(map[uint64]*entry),
		relays: make(map[netip.AddrPort]*relay), silent: make(map[silence]time.Time), searches: make(map[ID]*search),
		sent: make([]time.Time, config.QueriesPer100ms),
	}
}

// Start begins to look for relays of a source. Without a source, which must be valid
// for the other methods, only those of the network and of the configuration are
// found (RFC 8777 section 3.3.2).
func (m *Machine) Start(now time.Time, source netip.Addr) ID {
	m.lastID++
	s := &search{id: ID(m.lastID), source: source.Unmap().WithZone(""), waiting: make(map[*entry]bool), timerAt: -1}
	m.searches[s.id] = s
	m.begin(now, s)
	m.settle(now)
	return s.id
}

// Stop ends a search.
func (m *Machine) Stop(id ID) {
	s := m.searches[id]
	if s == nil {
		return
	}
	delete(m.searches, id)
	s.stopped = true
	for e := range s.waiting {
		e.waiters = slices.DeleteFunc(e.waiters, func(w *search) bool { return w == s })
	}
	m.timers.set(s, time.Time{})
}

// Restart begins a search again: what is known from the DNS is used for its time.
// RFC 8777 section 3.3.2 lists when to.
func (m *Machine) Restart(now time.Time, id ID) {
	if s := m.searches[id]; s != nil {
		m.restart(now, s)
		m.settle(now)
	}
}

// NetworkChanged forgets what depends on the network that this machine is in, and
// restarts all searches. Domains replaces the configured ones.
func (m *Machine) NetworkChanged(now time.Time, domains []dns.Name) {
	m.config.Domains = domains
	clear(m.relays)
	clear(m.silent)
	for _, e := range m.entries {
		e.known = false // other resolvers may say something else
		e.retryAt = time.Time{}
		e.asked, e.queued = false, false
	}
	clear(m.byID)
	m.queue, m.out = nil, nil
	ids := make([]ID, 0, len(m.searches))
	for id := range m.searches {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		m.restart(now, m.searches[id])
	}
	m.settle(now)
}

// serversChanged is told that others answer questions from now on, and which domains to
// look in. What is known stays; what could not be asked is asked again.
func (m *Machine) serversChanged(now time.Time, domains []dns.Name) {
	m.config.Domains = domains
	for _, e := range m.entries {
		e.failures, e.retryAt = 0, time.Time{}
	}
	ids := make([]ID, 0, len(m.searches))
	for id := range m.searches {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if s := m.searches[id]; s.idle {
			m.restart(now, s)
		} else {
			m.dirty = append(m.dirty, s) // does nothing to one that is connected
		}
	}
	m.settle(now)
}

// Candidates returns the candidates of a search in the order of preference, without
// those that are held down. It is not changed later.
func (m *Machine) Candidates(id ID) []Candidate {
	if s := m.searches[id]; s != nil {
		return s.list
	}
	return nil
}

// Report tells what became of a candidate, by its address. The RTT is that of Discovery
// and Advertisement or of Request and Query, 0 if it is not known.
func (m *Machine) Report(now time.Time, id ID, address netip.AddrPort, o Outcome, rtt time.Duration) {
	m.ReportVia(now, id, address, address, o, rtt)
}

// ReportVia tells what became of a relay that a candidate, as a discovery address, led
// to. What fails is the relay. The candidate is held down for this source only: to others
// it may name another relay, as anycast addresses and brokers do. The RTT should be that
// to the relay, and counts for the candidate as well: data come from where that leads to.
func (m *Machine) ReportVia(now time.Time, id ID, candidate, relay netip.AddrPort, o Outcome, rtt time.Duration) {
	candidate = netip.AddrPortFrom(candidate.Addr().Unmap(), candidate.Port())
	relay = netip.AddrPortFrom(relay.Addr().Unmap(), relay.Port())
	s := m.searches[id]
	if s == nil {
		return
	}
	m.note(now, s.source, relay, o, rtt)
	if candidate != relay {
		switch {
		case o == Connected, o == NoTraffic:
			m.note(now, s.source, candidate, o, rtt)
		case m.relays[relay] != nil:
			m.hush(now, s.source, candidate, m.relays[relay].hold)
		}
		m.reported(now, s, relay, o)
	}
	m.reported(now, s, candidate, o)
	m.settle(now)
}

// PollQuery returns the next question to ask.
func (m *Machine) PollQuery() (Lookup, bool) {
	if len(m.out) == 0 {
		return Lookup{}, false
	}
	l := m.out[0]
	m.out = m.out[1:]
	return l, true
}

// Answer takes the answer to a question. One to a question that has been answered or
// has failed is ignored.
func (m *Machine) Answer(now time.Time, id uint64, r dns.Response) {
	e := m.take(id)
	if e == nil {
		return
	}
	a, err := dns.ParseAnswer(r.Message, dns.Question{Name: e.ask, Type: e.key.kind, Class: dns.ClassINET})
	a.Authentic = a.Authentic && r.Trusted
	m.stats.Answers++
	switch {
	case err != nil:
		m.fail(now, e, err)
	case a.RCode != dns.RCodeSuccess && a.RCode != dns.RCodeNameError:
		m.fail(now, e, fmt.Errorf("%w %s for %s %s", errNegative, a.RCode, e.ask, e.key.kind))
	default:
		fresh := time.Duration(-1)
		if r.HasFresh {
			fresh = max(r.Fresh, 0)
		}
		m.handle(now, e, a, r.Age, fresh)
	}
	m.settle(now)
}

// Failed is told that a question has no answer.
func (m *Machine) Failed(now time.Time, id uint64, err error) {
	if e := m.take(id); e != nil {
		m.fail(now, e, err)
		m.settle(now)
	}
}

func (m *Machine) take(id uint64) *entry {
	e := m.byID[id]
	if e == nil || e.queued {
		return nil
	}
	delete(m.byID, id)
	e.asked = false
	return e
}

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) {
	if len(m.events) == 0 {
		return Event{}, false
	}
	e := m.events[0]
	m.events = m.events[1:]
	return e, true
}

// NextTimeout returns when to call HandleTimeout; zero for never.
func (m *Machine) NextTimeout() time.Time {
	var next time.Time
	if len(m.timers) > 0 {
		next = m.timers[0].timer
	}
	if len(m.queue) > 0 {
		if at := m.sent[m.sentAt].Add(100 * time.Millisecond); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// HandleTimeout does what is due.
func (m *Machine) HandleTimeout(now time.Time) {
	for len(m.timers) > 0 && !m.timers[0].timer.After(now) {
		s := m.timers[0]
		m.timers.set(s, time.Time{})
		m.due(now, s)
	}
	m.settle(now)
}

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	s := m.stats
	s.Entries, s.Relays, s.Searches = len(m.entries), len(m.relays), len(m.searches)
	return s
}

// settle evaluates the searches that something has changed for.
func (m *Machine) settle(now time.Time) {
	for len(m.dirty) > 0 {
		s := m.dirty[0]
		m.dirty = m.dirty[1:]
		if !s.stopped {
			m.evaluate(now, s)
		}
	}
	m.release(now)
}

func (m *Machine) emit(s *search, e Event) {
	e.Search = s.id
	m.events = append(m.events, e)
}

// timers is a heap of searches by the time of their timer.
type timers []*search

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].timer.Before(t[j].timer) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timerAt, t[j].timerAt = i, j
}

// Push and Pop implement [heap.Interface].
func (t *timers) Push(x any) {
	s := x.(*search)
	s.timerAt = len(*t)
	*t = append(*t, s)
}

func (t *timers) Pop() any {
	old := *t
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	s.timerAt = -1
	return s
}

// set sets the timer of a search; the zero time removes it.
func (t *timers) set(s *search, at time.Time) {
	s.timer = at
	switch {
	case at.IsZero() && s.timerAt >= 0:
		// It is removed by where it is, whatever its time says.
		heap.Remove(t, s.timerAt)
	case at.IsZero():
	case s.timerAt >= 0:
		heap.Fix(t, s.timerAt)
	default:
		heap.Push(t, s)
	}
}
