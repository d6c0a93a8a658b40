package driad

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// key identifies what is asked; the name is in lower case.
type key struct {
	name dns.Name
	kind dns.Type
}

// entry is what is known about a question.
type entry struct {
	key     key
	answer  dns.Answer
	known   bool // answer is one
	at      time.Time
	expires time.Time

	asked    bool // waiting in the queue or for an answer
	ask      dns.Name
	aliases  int           // questions that came of aliases that the server left open
	ttl      time.Duration // the least of the answers on the way
	authent  bool          // so are they all
	queued   bool          // not asked yet
	id       uint64
	failures int
	retryAt  time.Time
	err      error
	waiters  []*search
}

const maxOpenAliases = 8

var (
	errTooManyQueries = errors.New("driad: too many questions wait")
	errTooManyLookups = errors.New("driad: too many questions for one source")
	errLocalAlias     = errors.New("driad: an alias leads to a name below local")
	errNegative       = errors.New("driad: response code")
)

// state of a lookup.
type lookupState uint8

const (
	lookupReady lookupState = iota
	lookupPending
	lookupFailed
	lookupTooMany
)

// lookup returns what is known about a question, and asks it if need be. Answers of
// the current round count even after their TTL, or one of 0 could never be used.
func (m *Machine) lookup(now time.Time, s *search, by Method, name dns.Name, kind dns.Type) (*entry, lookupState) {
	k := key{name.Lower(), kind}
	e := m.entries[k]
	if e == nil {
		m.makeRoom(now)
		e = &entry{key: k}
		m.entries[k] = e
	}
	switch {
	case e.known && (now.Before(e.expires) || !e.at.Before(s.round)):
		return e, lookupReady
	case e.asked:
		m.wait(e, s)
		return e, lookupPending
	case now.Before(e.retryAt):
		if e.known && now.Before(e.expires.Add(m.config.MaxStale)) {
			return e, lookupReady
		}
		return e, lookupFailed
	case len(m.queue) >= m.config.MaxEntries:
		m.fail(now, e, errTooManyQueries)
		return e, lookupFailed
	case s.asked[by] >= m.config.MaxLookups:
		// Whatever order answers come in, a round does not ask for more.
		return e, lookupTooMany
	}
	s.asked[by]++
	e.ask, e.aliases, e.ttl, e.authent = k.name, 0, -1, true
	m.enqueue(e)
	m.wait(e, s)
	return e, lookupPending
}

func (m *Machine) wait(e *entry, s *search) {
	if !s.waiting[e] {
		s.waiting[e] = true
		e.waiters = append(e.waiters, s)
	}
}

func (m *Machine) enqueue(e *entry) {
	e.asked, e.queued = true, true
	m.lastID++
	e.id = m.lastID
	m.byID[e.id] = e
	m.queue = append(m.queue, e)
}

// release lets questions go as the rate allows.
func (m *Machine) release(now time.Time) {
	for len(m.queue) > 0 {
		if t := m.sent[m.sentAt]; !t.IsZero() && now.Sub(t) < 100*time.Millisecond {
			return
		}
		m.sent[m.sentAt] = now
		m.sentAt = (m.sentAt + 1) % len(m.sent)
		e := m.queue[0]
		m.queue = m.queue[1:]
		e.queued = false
		m.out = append(m.out, Lookup{e.id, dns.Question{Name: e.ask, Type: e.key.kind, Class: dns.ClassINET}, e.ask.IsMulticast()})
		m.stats.Queries++
	}
}

// handle takes an answer.
func (m *Machine) handle(now time.Time, e *entry, a dns.Answer, age, fresh time.Duration) {
	ttl := max(a.TTL-age, 0)
	if fresh >= 0 {
		ttl = min(ttl, fresh)
	}
	if e.ttl >= 0 {
		ttl = min(ttl, e.ttl)
	}
	e.authent = e.authent && a.Authentic
	if a.Open {
		if e.aliases++; e.aliases > maxOpenAliases {
			m.fail(now, e, dns.ErrAliases)
			return
		}
		if a.Name.IsMulticast() && !e.key.name.IsMulticast() {
			m.fail(now, e, errLocalAlias)
			return
		}
		e.ttl, e.ask = ttl, a.Name
		m.enqueue(e)
		return
	}
	a.Authentic = e.authent
	m.readable(e, &a)
	// What bounds leave out is what comes last: that should be tried last, too.
	slices.SortStableFunc(a.Records, func(x, y dns.Record) int { return cmp.Compare(rank(&x), rank(&y)) })
	if len(a.Records) > m.config.MaxCandidates {
		a.Records = slices.Clone(a.Records[:m.config.MaxCandidates])
	}
	e.answer, e.known, e.at = a, true, now
	e.expires = now.Add(min(max(ttl, m.config.MinTTL), m.config.MaxTTL))
	e.failures, e.retryAt, e.err = 0, time.Time{}, nil
	m.wakeWaiters(e)
}

// rank is the precedence of an AMTRELAY record that can be read, and the priority of
// an SRV record.
func rank(r *dns.Record) int {
	switch r.Type {
	case dns.TypeAMTRELAY:
		return int(r.Data[0])
	case dns.TypeSRV:
		return int(r.Priority)
	}
	return 0
}

// readable removes AMTRELAY records that cannot be read, and says so.
func (m *Machine) readable(e *entry, a *dns.Answer) {
	var err error
	if a.Malformed > 0 {
		err = dns.ErrMessage
	}
	if e.key.kind == dns.TypeAMTRELAY {
		n := 0
		for _, rec := range a.Records {
			var r amtrelay.Record
			if e := r.Unmarshal(rec.Data); e != nil {
				err = e
				a.Malformed++
				continue
			}
			a.Records[n] = rec
			n++
		}
		a.Records = a.Records[:n]
	}
	m.stats.Malformed += uint64(a.Malformed)
	if err != nil {
		for _, s := range e.waiters {
			m.emit(s, Event{Type: EventMalformed, Err: fmt.Errorf("%s %s: %w", e.key.name, e.key.kind, err)})
		}
	}
}

// fail notes that there is no answer; the question is asked again after a time (RFC
// 8777 section 3.5).
func (m *Machine) fail(now time.Time, e *entry, err error) {
	e.err = err
	e.retryAt = now.Add(backoff(m.config.Rand, time.Second, 120*time.Second, e.failures))
	e.failures++
	m.stats.Failures++
	m.wakeWaiters(e)
}

func (m *Machine) wakeWaiters(e *entry) {
	for _, s := range e.waiters {
		delete(s.waiting, e)
		m.dirty = append(m.dirty, s)
	}
	e.waiters = nil
}

// makeRoom forgets an eighth of the entries when there are as many as may be.
func (m *Machine) makeRoom(now time.Time) {
	if len(m.entries) < m.config.MaxEntries {
		return
	}
	var old []*entry
	for _, e := range m.entries {
		if !e.asked && len(e.waiters) == 0 {
			old = append(old, e)
		}
	}
	slices.SortFunc(old, func(a, b *entry) int {
		return cmp.Or(a.expires.Compare(b.expires), cmp.Compare(a.id, b.id))
	})
	for _, e := range old[:min(len(old), max(m.config.MaxEntries/8, 1))] {
		delete(m.entries, e.key)
	}
}
