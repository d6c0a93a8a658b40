package gmp

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// NextTimeout returns when HandleTimeout is due; the zero time means never.
func (h *Host) NextTimeout() time.Time {
	if len(h.agenda) == 0 {
		return h.generalAt
	}
	return earlier(h.generalAt, h.agenda[0].at)
}

// HandleTimeout does what is due at now.
func (h *Host) HandleTimeout(now time.Time) {
	h.switchVersion(now)
	if due(h.generalAt, now) {
		h.generalAt = time.Time{}
		for _, m := range h.groups {
			h.answer(m, nil)
			h.plan(m)
		}
	}
	var again time.Time // one for all, so that what was reported together is repeated together
	h.due = h.due[:0]
	for len(h.agenda) > 0 && due(h.agenda[0].at, now) {
		m := h.agenda[0]
		h.agenda.remove(m)
		h.due = append(h.due, m)
	}
	slices.SortFunc(h.due, func(a, b *membership) int { return a.group.Compare(b.group) })
	for _, m := range h.due {
		if due(m.answerAt, now) {
			h.answer(m, m.answer)
		}
		if due(m.changeAt, now) {
			m.changeAt = time.Time{}
			if h.reportChange(m) {
				if again.IsZero() {
					again = now.Add(h.random(h.repeatInterval()))
				}
				m.changeAt = again
			} else if m.leaving {
				h.remove(m)
				continue
			}
		}
		h.plan(m)
	}
	clear(h.due)
}

// plan puts a group on the agenda for when it has something to report, or takes it off.
func (h *Host) plan(m *membership) {
	at := earlier(m.answerAt, m.changeAt)
	switch {
	case at.IsZero():
		h.agenda.remove(m)
	case m.place == 0:
		m.at = at
		heap.Push(&h.agenda, m)
	case at != m.at:
		m.at = at
		heap.Fix(&h.agenda, m.place-1)
	}
}

// remove forgets a group that is leaving.
func (h *Host) remove(m *membership) {
	h.agenda.remove(m)
	i, _ := slices.BinarySearchFunc(h.groups, m.group, func(m *membership, g netip.Addr) int { return m.group.Compare(g) })
	h.groups = slices.Delete(h.groups, i, i+1)
}

// agenda is a heap of groups with something to report, the next one first.
type agenda []*membership

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	m := x.(*membership)
	*a = append(*a, m)
	m.place = len(*a)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	m := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	m.place, m.at = 0, time.Time{}
	return m
}

func (a *agenda) remove(m *membership) {
	if m.place != 0 {
		heap.Remove(a, m.place-1)
	}
}

func (h *Host) repeatInterval() time.Duration {
	switch {
	case h.config.UnsolicitedReportInterval > 0:
		return h.config.UnsolicitedReportInterval
	case h.old(h.speaks):
		return OlderUnsolicitedReportInterval
	}
	return DefaultUnsolicitedReportInterval
}

// Refresh makes the next reports of the host current-state reports, as a General
// Query does, and forgets changes: the state says it all.
func (h *Host) Refresh(now time.Time) {
	h.generalAt = now
	h.pending = h.pending[:0]
	h.groups = slices.DeleteFunc(h.groups, func(m *membership) bool {
		m.quiet()
		h.plan(m)
		if m.leaving {
			h.agenda.remove(m)
		}
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

// answer queues the current state of m, as far as it is asked for (RFC 3376
// section 5.2).
func (h *Host) answer(m *membership, asked []netip.Addr) {
	m.answerAt = time.Time{}
	if m.leaving {
		return
	}
	if h.old(h.speaks) {
		h.queueOlder(TypeReport, m)
		return
	}
	if len(asked) == 0 {
		t := ModeIsInclude
		if m.filter.Mode == Exclude {
			t = ModeIsExclude
		}
		h.queue(Record{t, m.group, SourcesOf(m.filter.Sources...)})
		return
	}
	var wanted []netip.Addr
	for _, s := range asked {
		if m.filter.wants(s) {
			wanted = append(wanted, s)
		}
	}
	if len(wanted) > 0 {
		h.queue(Record{ModeIsInclude, m.group, SourcesOf(wanted...)})
	}
}

// reportChange queues what changed in m and reports whether it has to be
// repeated.
func (h *Host) reportChange(m *membership) (more bool) {
	switch {
	case h.old(h.speaks):
		h.reportOlder(m)
	case m.modeLeft > 0:
		h.reportMode(m)
	default:
		h.reportSources(m)
	}
	return m.modeLeft > 0 || len(m.changes) > 0
}

// reportMode: the record says what changed of the sources, too.
func (h *Host) reportMode(m *membership) {
	m.modeLeft--
	m.countChanges()
	t := ChangeToInclude
	if m.filter.Mode == Exclude {
		t = ChangeToExclude
	}
	h.queue(Record{t, m.group, SourcesOf(m.filter.Sources...)})
}

func (h *Host) reportSources(m *membership) {
	var allow, block []netip.Addr
	for _, c := range m.changes {
		if m.filter.wants(c.source) {
			allow = append(allow, c.source)
		} else {
			block = append(block, c.source)
		}
	}
	m.countChanges()
	if len(allow) > 0 {
		h.queue(Record{AllowNewSources, m.group, SourcesOf(allow...)})
	}
	if len(block) > 0 {
		h.queue(Record{BlockOldSources, m.group, SourcesOf(block...)})
	}
}

func (m *membership) countChanges() {
	for i := range m.changes {
		m.changes[i].left--
	}
	m.changes = slices.DeleteFunc(m.changes, func(c change) bool { return c.left <= 0 })
}

func (h *Host) queue(r Record) {
	if reported(r.Group) {
		h.pending = append(h.pending, r)
	}
}

// reportOlder reports a group without its sources, and a leave once (RFC 2236
// section 3). A host that does not remember whether another one answered last
// may always say that it leaves.
func (h *Host) reportOlder(m *membership) {
	m.modeLeft--
	switch {
	case !m.leaving:
		h.queueOlder(TypeReport, m)
	default:
		m.modeLeft = 0
		if h.speaks > 1 || h.config.IPv6 {
			h.queueOlder(TypeLeave, m)
		}
	}
}

func (h *Host) queueOlder(t Type, m *membership) {
	if reported(m.group) {
		h.olds = append(h.olds, older{t, h.speaks, m.group})
	}
}

// Poll appends the next packet to send to b, if there is one.
func (h *Host) Poll(b []byte) ([]byte, bool) {
	if len(h.olds) > 0 {
		l := h.olds[0]
		h.olds = h.olds[1:]
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
