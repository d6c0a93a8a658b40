package gmp

import (
	"net/netip"
	"time"
)

// sharedLink is what a link with several hosts needs beyond the groups: the
// querier (RFC 3376 section 6.6), queries before pruning (section 6.4.2), and
// hosts of older versions (section 7.3).
type sharedLink struct {
	family [2]querier // IGMP, MLD
	asked  map[uint32]*lastMember
	older  map[uint32]*[3]tick // until when hosts of a version are present, by group
	out    []Query
}

type querier struct {
	source  netip.Addr // zero: the protocol is not spoken
	general tick       // when the next General Query is due
	startup int        // General Queries at the shorter interval left
	other   tick       // until when another querier is present
}

// lastMember is a group that is asked for its last members.
type lastMember struct {
	at      tick           // when the next queries are due
	group   int            // Group-Specific Queries left
	sources map[uint32]int // the same for sources, by channel
}

// AddSharedLink adds a link with any number of hosts, on which the router is a
// querier. The addresses are its own on the link; a protocol whose address is
// the zero address is not spoken.
func (r *Router) AddSharedLink(now time.Time, igmp, mld netip.Addr) Link {
	r.now = r.tick(now)
	l := r.AddLink()
	r.links.at(uint32(l)).shared = true
	s := &sharedLink{asked: make(map[uint32]*lastMember), older: make(map[uint32]*[3]tick)}
	for i, source := range [...]netip.Addr{igmp, mld} {
		if source.IsValid() {
			s.family[i] = querier{source: source, general: r.now, startup: r.config.Robustness}
		}
	}
	r.shared[l] = s
	return l
}

func ticks(d time.Duration) tick { return max(1, tick(d/tickUnit)) }

// HandleQuery takes a query of another router on a shared link (RFC 3376
// section 6.6.2): the lower address is the querier.
func (r *Router) HandleQuery(now time.Time, l Link, m *Message) {
	r.now = r.tick(now)
	s := r.shared[l]
	if s == nil || m.Type != TypeQuery {
		return
	}
	q := &s.family[0]
	if m.IPv6() {
		q = &s.family[1]
	}
	from := m.Header.Source
	if !q.source.IsValid() || from.IsUnspecified() || !from.Less(q.source) {
		return
	}
	q.other = r.now + ticks(time.Duration(r.config.Robustness)*r.config.QueryInterval+r.config.QueryResponseInterval/2)
	if m.General() || m.Query.Suppress {
		return
	}
	// Section 6.6.1: the timers follow the querier's question.
	g := r.lookup(l, m.Query.Group)
	if g == 0 {
		return
	}
	limit := r.now + r.lastMemberTime()
	if m.Query.Sources.Len() == 0 {
		if state := r.groups.at(g); state.mode == Exclude && state.expiry > limit {
			state.expiry = limit
			r.scheduleAt(uint32(l), limit)
		}
		return
	}
	for a := range m.Query.Sources.All() {
		if ch, ok := r.index[keyOf(a, m.Query.Group)]; ok {
			if p := r.findSource(g, ch); *p != 0 && r.sources.at(*p).expiry > limit {
				r.sources.at(*p).expiry = limit
				r.scheduleAt(uint32(l), limit)
			}
		}
	}
}

// lastMemberTime is the Last Member Query Time (RFC 3376 section 8.8 and 8.9).
func (r *Router) lastMemberTime() tick {
	return tick(r.config.Robustness) * ticks(r.config.LastMemberQueryInterval)
}

// PollQuery appends the next query to send on a shared link to b, as an IP
// packet.
func (r *Router) PollQuery(b []byte) (packet []byte, l Link, ok bool) {
	for l, s := range r.shared {
		if len(s.out) == 0 {
			continue
		}
		q := s.out[0]
		s.out = s.out[1:]
		if q.Group.Is6() {
			return AppendQuery(b, s.family[1].source, 2, &q), l, true
		}
		return AppendQuery(b, s.family[0].source, 3, &q), l, true
	}
	return b, 0, false
}

// next returns when something is due, or 0.
func (s *sharedLink) next() (t tick) {
	for i := range s.family {
		if q := &s.family[i]; q.source.IsValid() && (t == 0 || max(q.general, q.other) < t) {
			t = max(q.general, q.other)
		}
	}
	for _, a := range s.asked {
		if t == 0 || a.at < t {
			t = a.at
		}
	}
	return t
}

func (r *Router) handleShared(l Link, s *sharedLink) {
	for i, group := range [...]netip.Addr{unspecified4, unspecified6} {
		q := &s.family[i]
		if !q.source.IsValid() || max(q.general, q.other) > r.now {
			continue
		}
		s.out = append(s.out, r.query(group, r.config.QueryResponseInterval))
		q.general = r.now + ticks(r.config.QueryInterval)
		if q.startup > 1 { // sections 8.6 and 8.7
			q.startup--
			q.general = r.now + ticks(r.config.QueryInterval/4)
		}
	}
	for g, a := range s.asked {
		if a.at <= r.now {
			r.ask(l, s, g, a)
		}
	}
}

func (r *Router) query(group netip.Addr, response time.Duration) Query {
	return Query{
		Group: group, MaxResponse: response,
		Robustness: uint8(r.config.Robustness), Interval: r.config.QueryInterval,
	}
}

// ask sends the queries that are due for a group (RFC 3376 section 6.6.3). Those
// whose timers have been refreshed meanwhile go with the S flag.
func (r *Router) ask(l Link, s *sharedLink, g uint32, a *lastMember) {
	state := r.groups.at(g)
	_, group := r.channels.at(state.channel).key.addresses()
	limit := r.now + r.lastMemberTime()
	if a.group > 0 {
		a.group--
		q := r.query(group, r.config.LastMemberQueryInterval)
		q.Suppress = state.expiry > limit
		s.out = append(s.out, q)
	}
	var sources [2][]netip.Addr
	for i := state.first; i != 0; i = r.sources.at(i).next {
		src := r.sources.at(i)
		left := a.sources[src.channel]
		if left == 0 {
			continue
		}
		if left--; left == 0 {
			delete(a.sources, src.channel)
		} else {
			a.sources[src.channel] = left
		}
		address, _ := r.channels.at(src.channel).key.addresses()
		refreshed := 0
		if src.expiry > limit {
			refreshed = 1
		}
		sources[refreshed] = append(sources[refreshed], address)
	}
	for refreshed, list := range sources {
		if len(list) > 0 {
			q := r.query(group, r.config.LastMemberQueryInterval)
			q.Suppress = refreshed == 1
			q.Sources = SourcesOf(list...)
			s.out = append(s.out, q)
		}
	}
	a.at = r.now + ticks(r.config.LastMemberQueryInterval)
	if a.group == 0 && len(a.sources) == 0 {
		delete(s.asked, g)
	}
}

// querying returns the state of the questions about a group, or nil while
// another router asks them.
func (r *Router) querying(g uint32) *lastMember {
	l := r.groups.at(g).link
	s := r.shared[l]
	_, group := r.channels.at(r.groups.at(g).channel).key.addresses()
	q := &s.family[0]
	if group.Is6() {
		q = &s.family[1]
	}
	if q.other > r.now || !q.source.IsValid() {
		return nil
	}
	a := s.asked[g]
	if a == nil {
		a = &lastMember{sources: make(map[uint32]int)}
		s.asked[g] = a
	}
	a.at = r.now
	return a
}

// askSource lowers the timer of a source and asks for it (section 6.6.3.2).
func (r *Router) askSource(a *lastMember, g, i uint32) {
	s := r.sources.at(i)
	limit := r.now + r.lastMemberTime()
	if s.expiry <= limit {
		return
	}
	s.expiry = limit
	a.sources[s.channel] = r.config.Robustness
	r.scheduleAt(uint32(r.groups.at(g).link), limit)
}

// askGroup lowers the group timer and asks for the group (section 6.6.3.1).
func (r *Router) askGroup(a *lastMember, g uint32) {
	state := r.groups.at(g)
	limit := r.now + r.lastMemberTime()
	state.expiry = min(state.expiry, limit)
	a.group = r.config.Robustness
	r.scheduleAt(uint32(state.link), limit)
}

// askAllBut: TO_IN leaves what it does not list.
func (r *Router) askAllBut(g uint32, rec *Record) {
	a := r.querying(g)
	if a == nil {
		return
	}
	state := r.groups.at(g)
	for i := state.first; i != 0; i = r.sources.at(i).next {
		source, _ := r.channels.at(r.sources.at(i).channel).key.addresses()
		if r.sources.at(i).expiry != 0 && !rec.Sources.Contains(source) {
			r.askSource(a, g, i)
		}
	}
	if state.mode == Exclude {
		r.askGroup(a, g)
	}
}

// askRequested: TO_EX leaves some of the sources that are forwarded for others.
func (r *Router) askRequested(g uint32) {
	a := r.querying(g)
	if a == nil {
		return
	}
	for i := r.groups.at(g).first; i != 0; i = r.sources.at(i).next {
		if r.sources.at(i).expiry != 0 {
			r.askSource(a, g, i)
		}
	}
}

// askBlocked: BLOCK leaves what it lists.
func (r *Router) askBlocked(g uint32, rec *Record) {
	state := r.groups.at(g)
	exclude := state.mode == Exclude
	a := r.querying(g)
	r.each(g, rec, exclude, func(ch uint32, p *uint32) {
		i := *p
		if i == 0 {
			r.addSource(g, ch, state.expiry)
			i = *r.findSource(g, ch)
		}
		if a != nil && r.sources.at(i).expiry != 0 {
			r.askSource(a, g, i)
		}
	})
}

func (r *Router) forgetShared(l Link, g uint32) {
	if s := r.shared[l]; s != nil {
		delete(s.asked, g)
		delete(s.older, g)
	}
}

// noteOlder remembers that a host of an older version is a member of the group
// (RFC 3376 section 7.3.1).
func (r *Router) noteOlder(l Link, m *Message) {
	s := r.shared[l]
	if s == nil || m.Type != TypeReport {
		return
	}
	g := r.lookup(l, m.Query.Group)
	if g == 0 {
		if g = r.addGroup(l, m.Query.Group); g == 0 {
			return
		}
	}
	if s.older[g] == nil {
		s.older[g] = new([3]tick)
	}
	s.older[g][m.Version] = r.now + r.gmi
}

// ignoresForOlder applies RFC 3376 section 7.3.2: what hosts of the older
// version could not express does not count while one of them is a member.
func (r *Router) ignoresForOlder(g uint32, rec *Record) bool {
	o := r.shared[r.groups.at(g).link].older[g]
	if o == nil {
		return false
	}
	v1 := o[1] > r.now && rec.Group.Is4()
	v2 := o[2] > r.now || o[1] > r.now // of MLD, version 1 has leaves
	switch rec.Type {
	case BlockOldSources:
		return v1 || v2
	case ChangeToInclude:
		return v1
	case ChangeToExclude:
		if v1 || v2 {
			rec.Sources = Sources{}
		}
	}
	return false
}
