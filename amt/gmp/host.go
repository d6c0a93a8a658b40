package gmp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// ErrGroup is matched by the errors for a group or a source that a host cannot
// report.
var ErrGroup = errors.New("invalid group")

// Defaults of RFC 3376 section 8 and RFC 3810 section 9.
const (
	DefaultRobustness                = 2
	DefaultQueryInterval             = 125 * time.Second
	DefaultQueryResponseInterval     = 10 * time.Second
	DefaultLastMemberQueryInterval   = time.Second
	DefaultUnsolicitedReportInterval = time.Second
	DefaultMTU                       = 1500
)

// HostConfig configures a [Host]. The zero value is useful.
type HostConfig struct {
	// IPv6 makes it an MLD host instead of an IGMP host.
	IPv6 bool
	// Source is the source address of reports. Default: unspecified, which RFC
	// 3376 section 4.2.13 allows while a host has no address.
	Source netip.Addr
	// MTU bounds reports, in octets with the IP header. Default: 1500; at least 128.
	MTU int
	// Robustness is how many times a change is reported, until a query says
	// otherwise. Default: 2.
	Robustness int
	// UnsolicitedReportInterval is the most that lies between two reports of a
	// change. Default: 1 s.
	UnsolicitedReportInterval time.Duration
	// Prompt lets queries be answered at once instead of at a random time within
	// their maximum response time, as RFC 7450 section 5.2.1 allows in a tunnel.
	Prompt bool
	// Rand makes the random times repeatable. Default: the global generator.
	Rand *rand.Rand
}

func (c *HostConfig) populate() {
	if c.MTU <= 0 {
		c.MTU = DefaultMTU
	}
	c.MTU = max(c.MTU, 128)
	if c.Robustness <= 0 {
		c.Robustness = DefaultRobustness
	}
	if c.UnsolicitedReportInterval <= 0 {
		c.UnsolicitedReportInterval = DefaultUnsolicitedReportInterval
	}
}

// Host is the host's side of IGMP or MLD on one interface (RFC 3376 section 5,
// RFC 3810 section 6). It is not safe for concurrent use.
type Host struct {
	config     HostConfig
	groups     []*membership // in the order of their addresses
	robustness int
	interval   time.Duration

	changeAt  time.Time // when changes are reported next; zero: never
	generalAt time.Time // when a General Query is answered; zero: never

	// Until when a querier of an older version counts as present (RFC 3376
	// section 7.2.1); index is the version.
	older [3]time.Time

	pending []Record // reports due, not yet polled
	leaves  []older  // the same in older versions
}

// older is a report or leave of IGMPv1, IGMPv2 or MLDv1.
type older struct {
	typ     Type
	version int
	group   netip.Addr
}

// membership is what a host wants of one group.
type membership struct {
	group  netip.Addr
	filter Filter

	modeLeft int      // reports of a change of the mode left
	changes  []change // changes of sources to report
	leaving  bool     // nothing is wanted any more; it goes when all is reported

	answerAt time.Time    // when a query for the group is answered; zero: never
	answer   []netip.Addr // sources asked for; none: all
}

type change struct {
	source netip.Addr
	left   int
}

// NewHost returns a host that wants nothing.
func NewHost(config HostConfig) *Host {
	config.populate()
	return &Host{config: config, robustness: config.Robustness, interval: DefaultQueryInterval}
}

// SetFilter sets what the host wants of a group and schedules the reports of
// the change. The sources are copied. The error matches [ErrGroup].
func (h *Host) SetFilter(now time.Time, group netip.Addr, filter Filter) error {
	if err := h.check(group, filter); err != nil {
		return err
	}
	sources := slices.Clone(filter.Sources)
	slices.SortFunc(sources, netip.Addr.Compare)
	filter.Sources = slices.Compact(sources)

	i, found := slices.BinarySearchFunc(h.groups, group, func(m *membership, g netip.Addr) int {
		return m.group.Compare(g)
	})
	if !found {
		if filter.empty() {
			return nil
		}
		h.groups = slices.Insert(h.groups, i, &membership{group: group})
	}
	if h.groups[i].set(filter, h.robustness) {
		h.changeAt = now
	}
	return nil
}

// Filter returns what the host wants of a group.
func (h *Host) Filter(group netip.Addr) Filter {
	if m := h.lookup(group); m != nil {
		return m.filter
	}
	return Filter{}
}

// Wants reports whether packets from source to group pass the filters.
func (h *Host) Wants(source, group netip.Addr) bool {
	m := h.lookup(group)
	return m != nil && m.filter.wants(source)
}

// Member reports whether the host wants anything.
func (h *Host) Member() bool {
	for _, m := range h.groups {
		if !m.leaving {
			return true
		}
	}
	return false
}

// Robustness returns how many times a change is reported.
func (h *Host) Robustness() int { return h.robustness }

// Interval returns the time between General Queries, as the last one had it.
func (h *Host) Interval() time.Duration { return h.interval }

func (h *Host) check(group netip.Addr, filter Filter) error {
	switch {
	case !group.IsMulticast() || group.Is6() != h.config.IPv6 || group.Is4In6():
		return fmt.Errorf("gmp: %w: %v", ErrGroup, group)
	case filter.Mode == Exclude && SourceSpecific(group):
		return fmt.Errorf("gmp: %w: %v needs sources", ErrGroup, group) // RFC 4604 section 2.2.2
	}
	for _, s := range filter.Sources {
		if s.Is6() != h.config.IPv6 || s.Is4In6() || s.IsMulticast() || s.IsUnspecified() {
			return fmt.Errorf("gmp: %w: source %v of %v", ErrGroup, s, group)
		}
	}
	return nil
}

func (h *Host) lookup(group netip.Addr) *membership {
	i, found := slices.BinarySearchFunc(h.groups, group, func(m *membership, g netip.Addr) int {
		return m.group.Compare(g)
	})
	if !found {
		return nil
	}
	return h.groups[i]
}

func (f *Filter) empty() bool { return f.Mode == Include && len(f.Sources) == 0 }

func find(sorted []netip.Addr, a netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(sorted, a, netip.Addr.Compare)
}

// set replaces the filter and reports whether there is a change to report (RFC
// 3376 section 5.1).
func (m *membership) set(filter Filter, robustness int) bool {
	old := m.filter
	m.filter = filter
	m.leaving = filter.empty()
	if old.Mode != filter.Mode {
		m.modeLeft = robustness
		m.changes = m.changes[:0]
		return true
	}
	var changed []netip.Addr
	for _, s := range filter.Sources {
		if _, ok := find(old.Sources, s); !ok {
			changed = append(changed, s)
		}
	}
	for _, s := range old.Sources {
		if _, ok := find(filter.Sources, s); !ok {
			changed = append(changed, s)
		}
	}
	if len(changed) == 0 {
		return false
	}
	if m.modeLeft > 0 {
		// Reports of the mode hold the sources too.
		m.modeLeft = robustness
		return true
	}
	for _, s := range changed {
		i := slices.IndexFunc(m.changes, func(c change) bool { return c.source == s })
		if i < 0 {
			m.changes = append(m.changes, change{s, robustness})
		} else {
			m.changes[i].left = robustness
		}
	}
	return true
}

// HandleQuery takes a query. It belongs to this interface and protocol, or is
// ignored.
func (h *Host) HandleQuery(now time.Time, q *Message) {
	if q.Type != TypeQuery || q.IPv6() != h.config.IPv6 {
		return
	}
	newest := 3
	if h.config.IPv6 {
		newest = 2
	}
	switch {
	case q.Version < newest:
		// RFC 3376 section 8.12: Older Version Querier Present Timeout.
		if q.General() {
			h.older[q.Version] = now.Add(time.Duration(h.robustness)*h.interval + q.Query.MaxResponse)
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
	h.schedule(now, q)
}

// schedule applies the rules of RFC 3376 section 5.2.
func (h *Host) schedule(now time.Time, q *Message) {
	at := now
	if !h.config.Prompt {
		at = now.Add(h.random(q.Query.MaxResponse))
	}
	if !h.generalAt.IsZero() && !h.generalAt.After(at) {
		return
	}
	if q.General() {
		h.generalAt = at
		return
	}
	m := h.lookup(q.Query.Group)
	if m == nil || m.leaving {
		return
	}
	switch {
	case m.answerAt.IsZero():
		m.answer = slices.AppendSeq(m.answer[:0], q.Query.Sources.All())
		m.answerAt = at
	case q.Query.Sources.Len() == 0 || len(m.answer) == 0:
		m.answer = m.answer[:0]
		m.answerAt = earlier(m.answerAt, at)
	default:
		for s := range q.Query.Sources.All() {
			if !slices.Contains(m.answer, s) {
				m.answer = append(m.answer, s)
			}
		}
		m.answerAt = earlier(m.answerAt, at)
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

// NextTimeout returns when HandleTimeout is due; the zero time means never.
func (h *Host) NextTimeout() time.Time {
	t := earlier(h.changeAt, h.generalAt)
	for _, m := range h.groups {
		t = earlier(t, m.answerAt)
	}
	return t
}

// HandleTimeout does what is due at now.
func (h *Host) HandleTimeout(now time.Time) {
	version := h.version(now)
	if due(h.generalAt, now) {
		h.generalAt = time.Time{}
		for _, m := range h.groups {
			m.answerAt = time.Time{}
			if !m.leaving && reported(m.group) {
				h.answer(m, nil, version)
			}
		}
	}
	for _, m := range h.groups {
		if due(m.answerAt, now) {
			m.answerAt = time.Time{}
			if !m.leaving && reported(m.group) {
				h.answer(m, m.answer, version)
			}
		}
	}
	if due(h.changeAt, now) {
		h.changeAt = time.Time{}
		if h.reportChanges(version) {
			h.changeAt = now.Add(h.random(h.config.UnsolicitedReportInterval))
		}
	}
}

// Refresh makes the next reports of the host current-state reports, as a General
// Query does, and forgets changes: the state says it all.
func (h *Host) Refresh(now time.Time) {
	h.generalAt = now
	h.changeAt = time.Time{}
	h.pending = h.pending[:0]
	h.groups = slices.DeleteFunc(h.groups, func(m *membership) bool {
		m.modeLeft = 0
		m.changes = m.changes[:0]
		return m.leaving
	})
}

// Deleted queues a report that nothing of a group is wanted any more, whatever
// was wanted before.
func (h *Host) Deleted(group netip.Addr) {
	h.pending = append(h.pending, Record{Type: ChangeToInclude, Group: group})
}

func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// reported: membership of all-systems is taken for granted (RFC 3376 section 5),
// and so is what stays on the node (RFC 3810 section 6).
func reported(group netip.Addr) bool {
	if group.Is4() {
		return group != allSystems4
	}
	return group != allNodes6 && group.As16()[1]&0xf > 1
}

// version returns the version to speak (RFC 3376 section 7.2.1).
func (h *Host) version(now time.Time) int {
	for v := 1; v < len(h.older); v++ {
		if h.older[v].After(now) {
			return v
		}
	}
	if h.config.IPv6 {
		return 2
	}
	return 3
}

func (h *Host) old(version int) bool { return version < 2 || version < 3 && !h.config.IPv6 }

// answer queues the current state of m, as far as it is asked for (RFC 3376
// section 5.2).
func (h *Host) answer(m *membership, asked []netip.Addr, version int) {
	if h.old(version) {
		h.leaves = append(h.leaves, older{TypeReport, version, m.group})
		return
	}
	if len(asked) == 0 {
		t := ModeIsInclude
		if m.filter.Mode == Exclude {
			t = ModeIsExclude
		}
		h.pending = append(h.pending, Record{t, m.group, SourcesOf(m.filter.Sources...)})
		return
	}
	var wanted []netip.Addr
	for _, s := range asked {
		if m.filter.wants(s) {
			wanted = append(wanted, s)
		}
	}
	if len(wanted) > 0 {
		h.pending = append(h.pending, Record{ModeIsInclude, m.group, SourcesOf(wanted...)})
	}
}

// reportChanges queues what changed and reports whether it has to be repeated.
func (h *Host) reportChanges(version int) (more bool) {
	h.groups = slices.DeleteFunc(h.groups, func(m *membership) bool {
		if h.old(version) {
			h.reportOlder(m, version)
		} else {
			h.reportRecords(m)
		}
		again := m.modeLeft > 0 || len(m.changes) > 0
		more = more || again
		return m.leaving && !again
	})
	return more
}

func (h *Host) reportRecords(m *membership) {
	report := reported(m.group)
	if m.modeLeft > 0 {
		m.modeLeft--
		t := ChangeToInclude
		if m.filter.Mode == Exclude {
			t = ChangeToExclude
		}
		if report {
			h.pending = append(h.pending, Record{t, m.group, SourcesOf(m.filter.Sources...)})
		}
		return
	}
	var allow, block []netip.Addr
	for i := range m.changes {
		c := &m.changes[i]
		c.left--
		if m.filter.wants(c.source) {
			allow = append(allow, c.source)
		} else {
			block = append(block, c.source)
		}
	}
	m.changes = slices.DeleteFunc(m.changes, func(c change) bool { return c.left <= 0 })
	if len(allow) > 0 && report {
		h.pending = append(h.pending, Record{AllowNewSources, m.group, SourcesOf(allow...)})
	}
	if len(block) > 0 && report {
		h.pending = append(h.pending, Record{BlockOldSources, m.group, SourcesOf(block...)})
	}
}

// reportOlder reports a group without its sources, and a leave once (RFC 2236
// section 3).
func (h *Host) reportOlder(m *membership, version int) {
	changed := m.modeLeft > 0 || len(m.changes) > 0
	m.modeLeft = max(0, m.modeLeft-1)
	for i := range m.changes {
		m.changes[i].left--
	}
	m.changes = slices.DeleteFunc(m.changes, func(c change) bool { return c.left <= 0 })
	switch {
	case !changed || !reported(m.group):
	case !m.leaving:
		h.leaves = append(h.leaves, older{TypeReport, version, m.group})
	default:
		m.modeLeft, m.changes = 0, nil
		if version > 1 || h.config.IPv6 {
			h.leaves = append(h.leaves, older{TypeLeave, version, m.group})
		}
	}
}

// Poll appends the next packet to send to b, if there is one.
func (h *Host) Poll(b []byte) ([]byte, bool) {
	if len(h.leaves) > 0 {
		l := h.leaves[0]
		h.leaves = h.leaves[1:]
		return AppendOlder(b, h.config.Source, l.version, l.typ, l.group), true
	}
	if len(h.pending) == 0 {
		return b, false
	}
	room := h.config.MTU - sizeIPv4 - 8
	if h.config.IPv6 {
		room = h.config.MTU - sizeIPv6 - 8
	}
	n := 0
	for n < len(h.pending) {
		length := recordLen(h.config.IPv6, h.pending[n].Sources.Len())
		if length > room {
			break
		}
		room -= length
		n++
	}
	if n > 0 {
		b = AppendReport(b, h.config.Source, h.config.IPv6, h.pending[:n]...)
		h.pending = h.pending[n:]
		if len(h.pending) == 0 {
			h.pending = nil
		}
		return b, true
	}
	return AppendReport(b, h.config.Source, h.config.IPv6, h.split(room)), true
}

// split takes as much of the first record as fits, which does not as a whole
// (RFC 3376 section 4.2.16). The sources of an EXCLUDE that do not fit are left
// out. The rest of a CHANGE_TO_INCLUDE_MODE becomes ALLOW_NEW_SOURCES: a second
// record of the mode would undo the first at a router that prunes at once.
func (h *Host) split(room int) Record {
	r := h.pending[0]
	size := recordLen(h.config.IPv6, 1) - recordLen(h.config.IPv6, 0)
	fit := (room - recordLen(h.config.IPv6, 0)) / size
	head := Record{r.Type, r.Group, r.Sources.slice(0, fit)}
	rest := &h.pending[0]
	rest.Sources = r.Sources.slice(fit, r.Sources.Len())
	switch r.Type {
	case ModeIsExclude, ChangeToExclude:
		h.pending = h.pending[1:]
	case ChangeToInclude:
		rest.Type = AllowNewSources
	}
	return head
}
