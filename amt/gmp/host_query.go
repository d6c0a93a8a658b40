package gmp

import (
	"math/rand/v2"
	"slices"
	"time"
)

// maxAsked bounds the sources of a group that are remembered until a query is
// answered, which anybody on the link could make grow (RFC 3376 section 9.1).
// Beyond it the answer says all that is wanted of the group.
const maxAsked = 256

// HandleQuery takes a query that arrived on the interface. Those that the
// standards have hosts discard change nothing; the error says why and matches
// [ErrHeader].
func (h *Host) HandleQuery(now time.Time, q *Message) error {
	if q.Type != TypeQuery || q.IPv6() != h.config.IPv6 {
		return nil
	}
	if !h.config.Prompt {
		if err := q.checkLink(); err != nil {
			return err
		}
	}
	h.switchVersion(now)
	switch {
	case q.Version < h.newest():
		// RFC 3376 section 8.12: Older Version Querier Present Timeout. Of IGMP the
		// General Query counts (section 7.2.1), of MLD any (RFC 3810 section 8.2.1).
		if q.General() || h.config.IPv6 {
			h.older[q.Version] = now.Add(time.Duration(h.robustness)*h.interval + q.Query.MaxResponse)
			h.switchVersion(now)
		}
	case q.General():
		h.robustness = h.config.Robustness
		if q.Query.Robustness > 0 {
			h.robustness = int(q.Query.Robustness)
		}
		h.interval = DefaultQueryInterval
		if q.Query.Interval > 0 {
			h.interval = q.Query.Interval
		}
	}
	if h.old(h.speaks) {
		h.scheduleOlder(now, q)
	} else {
		h.schedule(now, q)
	}
	return nil
}

// switchVersion cancels all answers and repetitions when the version spoken has
// changed (RFC 3376 section 7.2.1, RFC 3810 section 8.2.1).
func (h *Host) switchVersion(now time.Time) {
	version := h.Version(now)
	if version == h.speaks {
		return
	}
	h.speaks = version
	h.generalAt = time.Time{}
	h.groups = slices.DeleteFunc(h.groups, func(m *membership) bool {
		m.quiet()
		m.answerAt = time.Time{}
		h.plan(m)
		return m.leaving
	})
}

// quiet ends the reports of a change.
func (m *membership) quiet() {
	m.modeLeft = 0
	m.changes = m.changes[:0]
	m.changeAt = time.Time{}
}

// schedule applies the rules of RFC 3376 section 5.2.
func (h *Host) schedule(now time.Time, q *Message) {
	at := h.answerTime(now, q)
	if !h.generalAt.IsZero() && !h.generalAt.After(at) {
		return
	}
	if q.General() {
		if h.generalAt = at; !h.Member() {
			h.generalAt = time.Time{}
		}
		return
	}
	m := h.lookup(q.Query.Group)
	if m == nil || m.leaving {
		return
	}
	all := q.Query.Sources.Len() == 0
	if m.answerAt.IsZero() {
		m.answer = m.answer[:0]
	} else {
		all = all || len(m.answer) == 0
	}
	m.answerAt = earlier(m.answerAt, at)
	h.plan(m)
	for s := range q.Query.Sources.All() {
		if all = all || len(m.answer) == maxAsked; all {
			break
		}
		if !slices.Contains(m.answer, s) {
			m.answer = append(m.answer, s)
		}
	}
	if all {
		m.answer = m.answer[:0]
	}
}

// scheduleOlder gives each group a time of its own, so that another host's
// report can take the place of this one's (RFC 2236 section 3, RFC 2710 section
// 4).
func (h *Host) scheduleOlder(now time.Time, q *Message) {
	for _, m := range h.groups {
		if m.leaving || !q.General() && m.group != q.Query.Group {
			continue
		}
		if m.answerAt.IsZero() || m.answerAt.Sub(now) > q.Query.MaxResponse {
			m.answer = m.answer[:0]
			m.answerAt = h.answerTime(now, q)
			h.plan(m)
		}
	}
}

func (h *Host) answerTime(now time.Time, q *Message) time.Time {
	if h.config.Prompt {
		return now
	}
	return now.Add(h.random(q.Query.MaxResponse))
}

// HandleReport takes a report of another host on the link. While the host speaks
// an older version, one for a group of its own makes its own superfluous (RFC
// 2236 section 3, RFC 2710 section 4). Reports of IGMPv3 and MLDv2 never are
// (RFC 4604 section 2.2.1).
func (h *Host) HandleReport(now time.Time, r *Message) {
	if r.Type != TypeReport || !r.older() || r.IPv6() != h.config.IPv6 || r.checkLink() != nil {
		return
	}
	h.switchVersion(now)
	if !h.old(h.speaks) {
		return
	}
	if m := h.lookup(r.Query.Group); m != nil && !m.leaving {
		m.answerAt = time.Time{}
		m.quiet()
		h.plan(m)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// random returns a time in (0, limit].
func (h *Host) random(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	if h.config.Rand != nil {
		return 1 + time.Duration(h.config.Rand.Int64N(int64(limit)))
	}
	return 1 + rand.N(limit)
}
