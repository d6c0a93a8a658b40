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
	// OlderUnsolicitedReportInterval is that of IGMPv2 and MLDv1.
	OlderUnsolicitedReportInterval = 10 * time.Second
	DefaultMTU                     = 1500
)

// HostConfig configures a [Host]. The zero value is useful.
type HostConfig struct {
	// IPv6 makes it an MLD host instead of an IGMP host.
	IPv6 bool
	// Source is the source address of reports. Default: unspecified, which RFC
	// 3376 section 4.2.13 and RFC 3590 section 4 allow while a host has no
	// address. For MLD it is a link-local one.
	Source netip.Addr
	// MTU bounds reports, in octets with the IP header. Default: 1500; at least 128.
	MTU int
	// Robustness is how many times a change is reported, until a query says
	// otherwise. Default: 2.
	Robustness int
	// UnsolicitedReportInterval is the most that lies between two reports of a
	// change. Default: 1 s, and 10 s where a querier of IGMPv1, IGMPv2 or MLDv1
	// is present (RFC 2236 section 8.10, RFC 2710 section 7.10).
	UnsolicitedReportInterval time.Duration
	// Prompt lets queries be answered at once instead of at a random time within
	// their maximum response time, and be taken from any source address, as RFC
	// 7450 section 5.2.1 allows in a tunnel.
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
}

// Host is the host's side of IGMP or MLD on one interface (RFC 3376 section 5,
// RFC 3810 section 6). It is not safe for concurrent use.
type Host struct {
	config     HostConfig
	groups     []*membership // in the order of their addresses
	wanted     int           // of groups, those that are not leaving
	agenda     agenda        // of groups, those with something to report
	due        []*membership // of these, what HandleTimeout works on
	robustness int
	interval   time.Duration

	generalAt time.Time // when a General Query is answered; zero: never

	// Until when a querier of an older version counts as present (RFC 3376
	// section 7.2.1); index is the version.
	older  [3]time.Time
	speaks int // the version spoken since the host last looked

	pending []Record // reports due, not yet polled
	olds    []older  // the same in older versions
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

	modeLeft int       // reports of a change of the mode left
	changes  []change  // changes of sources to report
	changeAt time.Time // when changes are reported next; zero: never
	leaving  bool      // nothing is wanted any more; it goes when all is reported

	answerAt time.Time    // when a query for the group is answered; zero: never
	answer   []netip.Addr // sources asked for; none: all

	at    time.Time // the earlier of changeAt and answerAt, as the agenda has it
	place int       // in the agenda, from 1; 0: not there
}

type change struct {
	source netip.Addr
	left   int
}

// NewHost returns a host that wants nothing.
func NewHost(config HostConfig) *Host {
	config.populate()
	h := &Host{config: config, robustness: config.Robustness, interval: DefaultQueryInterval}
	h.speaks = h.newest()
	return h
}

// SetFilter sets what the host wants of a group and schedules the reports of
// the change. The sources are copied. The error matches [ErrGroup].
func (h *Host) SetFilter(now time.Time, group netip.Addr, filter Filter) error {
	if err := h.check(group, filter); err != nil {
		return err
	}
	h.switchVersion(now)
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
		h.wanted++
	}
	m := h.groups[i]
	if m.leaving {
		h.wanted++
	}
	set := m.set
	if h.old(h.speaks) {
		set = m.setOlder
	}
	if set(filter, h.robustness) {
		m.changeAt = now
		h.plan(m)
	}
	if m.leaving {
		h.wanted--
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

// SetSource changes the source address of reports. An MLD host that had none
// reports everything again, since routers discarded what it said (RFC 3810
// section 5.2.13).
func (h *Host) SetSource(now time.Time, source netip.Addr) {
	had := h.config.Source
	h.config.Source = source
	if h.config.IPv6 && source.IsLinkLocalUnicast() && !had.IsLinkLocalUnicast() {
		h.generalAt = now
	}
}

// Member reports whether the host wants anything.
func (h *Host) Member() bool { return h.wanted > 0 }

// Robustness returns how many times a change is reported.
func (h *Host) Robustness() int { return h.robustness }

// Version returns the version that the host speaks: 3 for IGMP and 2 for MLD,
// unless a querier of an older one has been heard within the Older Version
// Querier Present Timeout. Older versions do not report sources, so that
// source-specific channels may not arrive (RFC 4604 section 2.2.3).
func (h *Host) Version(now time.Time) int {
	for v := 1; v < len(h.older); v++ {
		if h.older[v].After(now) {
			return v
		}
	}
	return h.newest()
}

func (h *Host) newest() int {
	if h.config.IPv6 {
		return 2
	}
	return 3
}

func (h *Host) old(version int) bool { return version < h.newest() }

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
	added := m.noteChanges(filter.Sources, old.Sources, robustness)
	removed := m.noteChanges(old.Sources, filter.Sources, robustness)
	return added || removed
}

// noteChanges has the sources reported that are in one list and not in the other.
func (m *membership) noteChanges(list, other []netip.Addr, robustness int) (changed bool) {
	before := m.changes // the list names each source once
	for _, s := range list {
		for len(other) > 0 && other[0].Less(s) { // both are sorted
			other = other[1:]
		}
		if len(other) > 0 && other[0] == s {
			continue
		}
		changed = true
		i := slices.IndexFunc(before, func(c change) bool { return c.source == s })
		if i < 0 {
			m.changes = append(m.changes, change{s, robustness})
		} else {
			m.changes[i].left = robustness
		}
	}
	return changed
}

// setOlder is set for IGMPv1, IGMPv2 and MLDv1, which know of groups alone.
func (m *membership) setOlder(filter Filter, robustness int) bool {
	was := m.filter.empty()
	m.filter = filter
	m.leaving = filter.empty()
	if was == m.leaving {
		return false
	}
	m.changes = m.changes[:0]
	m.modeLeft = robustness // RFC 2236 section 3
	return true
}
