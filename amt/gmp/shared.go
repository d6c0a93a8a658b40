package gmp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// sharedLink is what a link with several hosts needs beyond the groups: the
// querier (RFC 3376 section 6.6), queries before pruning (section 6.4.2), and
// hosts of older versions (section 7.3).
type sharedLink struct {
	family [2]querier // IGMP, MLD
	mtu    int
	groups map[uint32]uint32 // groupState by channel
	asked  map[uint32]*lastMember
	older  map[uint32]*[3]tick // until when hosts of a version are present, by group
	out    []Query
}

type querier struct {
	source  netip.Addr // zero: the protocol is not spoken
	version int        // of the queries
	general tick       // when the next General Query is due
	startup int        // General Queries at the shorter interval left
	other   tick       // until when another querier is present

	// What the queries of the other querier say; the configuration while there is
	// none (RFC 3376 sections 4.1.6 and 4.1.7).
	robustness int
	interval   time.Duration
}

// lastMember is a group that is asked for its last members.
type lastMember struct {
	group   asking            // Group-Specific Queries
	sources map[uint32]asking // the same for sources, by channel
}

// asking is a question that is put a number of times.
type asking struct {
	at   tick // when it is due next
	left int
}

// LinkConfig configures a link with several hosts.
type LinkConfig struct {
	// IGMP and MLD are the router's own addresses on the link, which queries come
	// from; that of MLD is link-local. A protocol whose address is the zero address
	// is not spoken.
	IGMP, MLD netip.Addr
	// IGMPVersion, 1 to 3, and MLDVersion, 1 or 2, are those of the queries. They
	// have to be the lowest that any router on the link speaks (RFC 3376 section
	// 7.3.1, RFC 3810 section 8.3.1). Default: 3 and 2.
	IGMPVersion, MLDVersion int
	// MTU bounds queries, in octets with the IP header. Default: 1500; at least 128.
	MTU int
}

func (c *LinkConfig) populate() {
	if c.IGMPVersion < 1 || c.IGMPVersion > 3 {
		c.IGMPVersion = 3
	}
	if c.MLDVersion < 1 || c.MLDVersion > 2 {
		c.MLDVersion = 2
	}
	if c.MTU <= 0 {
		c.MTU = DefaultMTU
	}
	c.MTU = max(c.MTU, 128)
}

// ErrVersion is matched by what [Router.HandleQuery] returns about a querier that
// speaks another version than the router is configured for. Hosts follow the
// older one. The standards have it logged, at a limited rate.
var ErrVersion = errors.New("querier of another version")

var errVersion = fmt.Errorf("gmp: %w", ErrVersion)

// AddSharedLink adds a link with any number of hosts, on which the router is a
// querier.
func (r *Router) AddSharedLink(now time.Time, config LinkConfig) Link {
	config.populate()
	r.now = r.tick(now)
	l := r.AddLink()
	r.links.at(uint32(l)).shared = true
	s := &sharedLink{
		mtu:    config.MTU,
		groups: make(map[uint32]uint32),
		asked:  make(map[uint32]*lastMember),
		older:  make(map[uint32]*[3]tick),
	}
	for i, source := range [...]netip.Addr{config.IGMP, config.MLD} {
		if source.IsValid() {
			s.family[i] = querier{
				source: source.WithZone(""), version: [...]int{config.IGMPVersion, config.MLDVersion}[i],
				general: r.now, startup: r.config.Robustness,
			}
			s.family[i].adopt(&r.config, &Query{})
		}
	}
	r.shared[l] = s
	return l
}

func ticks(d time.Duration) tick { return max(1, tick(d/tickUnit)) }

// of returns the querier of a protocol.
func (s *sharedLink) of(v6 bool) *querier {
	if v6 {
		return &s.family[1]
	}
	return &s.family[0]
}

func (q *querier) newest() bool { return q.version == 3 || q.version == 2 && q.source.Is6() }

// adopt takes over what a query says about the intervals; 0 says nothing.
func (q *querier) adopt(c *RouterConfig, query *Query) {
	q.robustness, q.interval = c.Robustness, c.QueryInterval
	if query.Robustness > 0 {
		q.robustness = int(query.Robustness)
	}
	if query.Interval > 0 {
		q.interval = query.Interval
	}
}

// membershipInterval is the Group Membership Interval on the link (RFC 3376
// section 8.4).
func (q *querier) membershipInterval(c *RouterConfig) tick {
	return ticks(time.Duration(q.robustness)*q.interval + q.responseInterval(c))
}

// responseInterval is the Query Response Interval, which hosts of IGMPv1 take for
// 10 s whatever it is (RFC 2236 section 4).
func (q *querier) responseInterval(c *RouterConfig) time.Duration {
	if q.version == 1 && q.source.Is4() {
		return max(c.sharedResponseInterval(), DefaultQueryResponseInterval)
	}
	return c.sharedResponseInterval()
}

// sharedResponseInterval keeps to RFC 3376 section 8.3. On tunnels nobody is asked
// here: there it is but a part of the time after which a gateway is forgotten.
func (c *RouterConfig) sharedResponseInterval() time.Duration {
	return min(c.QueryResponseInterval, c.QueryInterval)
}

// lower reports whether the address of another router makes that the querier. Of
// MLD the interface identifiers count (RFC 3810 section 7.6.2).
func (q *querier) lower(other netip.Addr) bool {
	if other.Is6() {
		a, b := other.As16(), q.source.As16()
		return bytes.Compare(a[8:], b[8:]) < 0
	}
	return other.Less(q.source)
}

// HandleQuery takes a query of another router on a shared link (RFC 3376
// section 6.6, RFC 3810 section 7.6): the lower address is the querier. An error
// matches [ErrHeader] if the query is one that routers discard. If it matches
// [ErrVersion], the query was taken.
func (r *Router) HandleQuery(now time.Time, l Link, m *Message) error {
	r.now = r.tick(now)
	s := r.shared[l]
	if s == nil || m.Type != TypeQuery {
		return nil
	}
	q := s.of(m.IPv6())
	if !q.source.IsValid() {
		return nil
	}
	if err := m.checkLink(); err != nil {
		return err
	}
	from := m.Header.Source
	if from.IsUnspecified() || from.WithZone("") == q.source {
		return nil // a switch that takes part in no election (RFC 4541 section 2.1.1), or the router itself
	}
	var odd error
	if m.Version != q.version && (m.Version == 1 || m.General()) {
		odd = errVersion
	}
	if !q.lower(from) {
		return odd
	}
	q.adopt(&r.config, &m.Query)
	q.other = r.now + ticks(time.Duration(q.robustness)*q.interval+q.responseInterval(&r.config)/2)
	for g := range s.asked { // the other one asks now
		if r.groupAddress(g).Is6() == m.IPv6() {
			delete(s.asked, g)
		}
	}
	if !m.General() && !m.Query.Suppress {
		r.lowerTimers(l, &m.Query, q.robustness)
	}
	return odd
}

// lowerTimers: the timers follow the querier's question (RFC 3376 section 6.6.1).
// How long hosts have is what it says itself (RFC 2236 section 3).
func (r *Router) lowerTimers(l Link, q *Query, count int) {
	g := r.lookup(l, q.Group)
	if g == 0 {
		return
	}
	interval := q.MaxResponse
	if interval == 0 {
		interval = r.config.LastMemberQueryInterval
	}
	limit := r.now + tick(count)*ticks(interval)
	if q.Sources.Len() == 0 {
		if state := r.groups.at(g); state.mode == Exclude && state.expiry > limit {
			state.expiry = limit
			r.scheduleAt(uint32(l), limit)
		}
		return
	}
	for a := range q.Sources.All() {
		if ch, ok := r.index[keyOf(a, q.Group)]; ok {
			if p := r.findSource(g, ch); *p != 0 && r.sources.at(*p).expiry > limit {
				r.sources.at(*p).expiry = limit
				r.scheduleAt(uint32(l), limit)
			}
		}
	}
}

func (r *Router) groupAddress(g uint32) netip.Addr {
	_, group := r.channels.at(r.groups.at(g).channel).key.addresses()
	return group
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
		if s.out = s.out[1:]; len(s.out) == 0 {
			s.out = nil
		}
		family := s.of(q.Group.Is6())
		return AppendQuery(b, family.source, family.version, &q), l, true
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
		if n := a.next(); t == 0 || n < t {
			t = n
		}
	}
	return t
}

// next returns when the next question is due.
func (a *lastMember) next() (t tick) {
	if a.group.left > 0 {
		t = a.group.at
	}
	for _, s := range a.sources {
		if t == 0 || s.at < t {
			t = s.at
		}
	}
	return t
}

func (r *Router) handleShared(s *sharedLink) {
	for i, group := range [...]netip.Addr{unspecified4, unspecified6} {
		q := &s.family[i]
		if !q.source.IsValid() || max(q.general, q.other) > r.now {
			continue
		}
		q.adopt(&r.config, &Query{})
		s.out = append(s.out, r.query(group, r.config.sharedResponseInterval()))
		q.general = r.now + ticks(r.config.QueryInterval)
		if q.startup > 1 { // sections 8.6 and 8.7
			q.startup--
			q.general = r.now + ticks(r.config.QueryInterval/4)
		}
	}
	for g, a := range s.asked {
		if a.next() <= r.now {
			r.ask(s, g, a)
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
func (r *Router) ask(s *sharedLink, g uint32, a *lastMember) {
	state := r.groups.at(g)
	group := r.groupAddress(g)
	limit := r.now + r.lastMemberTime()
	again := r.now + ticks(r.config.LastMemberQueryInterval)
	whole := a.group.left > 0 && a.group.at <= r.now
	if whole {
		a.group = asking{again, a.group.left - 1}
		q := r.query(group, r.config.LastMemberQueryInterval)
		q.Suppress = state.expiry > limit
		if !q.Suppress || s.of(group.Is6()).newest() {
			s.out = append(s.out, q) // versions without the flag stop asking (RFC 2236 section 7)
		}
	}
	var sources [2][]netip.Addr
	for i := state.first; i != 0; i = r.sources.at(i).next {
		src := r.sources.at(i)
		asked, ok := a.sources[src.channel]
		if !ok || asked.at > r.now {
			continue
		}
		if asked = (asking{again, asked.left - 1}); asked.left == 0 {
			delete(a.sources, src.channel)
		} else {
			a.sources[src.channel] = asked
		}
		address, _ := r.channels.at(src.channel).key.addresses()
		refreshed := 0
		if src.expiry > limit {
			refreshed = 1
		}
		sources[refreshed] = append(sources[refreshed], address)
	}
	if whole {
		sources[1] = nil // may be left out (section 6.6.3.2)
	}
	for refreshed, list := range sources {
		for chunk := range slices.Chunk(list, s.maxSources(group.Is6())) {
			q := r.query(group, r.config.LastMemberQueryInterval)
			q.Suppress = refreshed == 1
			q.Sources = SourcesOf(chunk...)
			s.out = append(s.out, q)
		}
	}
	s.settle(g, a)
}

// maxSources is the number of sources that a query has room for.
func (s *sharedLink) maxSources(v6 bool) int {
	if v6 {
		return (s.mtu - sizeIPv6 - 28) / 16
	}
	return (s.mtu - sizeIPv4 - 12) / 4
}

// settle forgets a group of which nothing is asked any more.
func (s *sharedLink) settle(g uint32, a *lastMember) {
	if a.group.left == 0 && len(a.sources) == 0 {
		delete(s.asked, g)
	}
}

// querying returns the state of the questions about a group, or nil where it is
// not for this router to ask: another one does, or the version has no such
// question.
func (r *Router) querying(g uint32, version int) *lastMember {
	s := r.shared[r.groups.at(g).link]
	v6 := r.groupAddress(g).Is6()
	q := s.of(v6)
	if v6 {
		version-- // MLDv1 is IGMPv2
	}
	if q.other > r.now || q.version < version {
		return nil
	}
	a := s.asked[g]
	if a == nil {
		a = &lastMember{sources: make(map[uint32]asking)}
		s.asked[g] = a
	}
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
	a.sources[s.channel] = asking{r.now, r.config.Robustness}
	r.scheduleAt(uint32(r.groups.at(g).link), limit)
}

// askGroup lowers the group timer and asks for the group (section 6.6.3.1). As
// with sources, it does not if the timer ends as soon anyway: else hosts could
// make a router send as fast as they do.
func (r *Router) askGroup(a *lastMember, g uint32) {
	state := r.groups.at(g)
	limit := r.now + r.lastMemberTime()
	if state.expiry <= limit {
		return
	}
	state.expiry = limit
	a.group = asking{r.now, r.config.Robustness}
	r.scheduleAt(uint32(state.link), limit)
}

// askSources asks for the sources of g that are forwarded, except those wanted.
func (r *Router) askSources(g uint32, wanted func(source netip.Addr) bool) {
	a := r.querying(g, 3)
	if a == nil {
		return
	}
	for i := r.groups.at(g).first; i != 0; i = r.sources.at(i).next {
		source, _ := r.channels.at(r.sources.at(i).channel).key.addresses()
		if r.sources.at(i).expiry != 0 && !wanted(source) {
			r.askSource(a, g, i)
		}
	}
	r.settle(g, a)
}

// askAllBut: TO_IN leaves what it does not list.
func (r *Router) askAllBut(g uint32, rec *Record) {
	r.askSources(g, rec.Sources.Contains)
	if r.groups.at(g).mode == Exclude {
		if a := r.querying(g, 2); a != nil {
			r.askGroup(a, g)
			r.settle(g, a)
		}
	}
}

// askRequested: TO_EX leaves some of the sources that are forwarded for others.
func (r *Router) askRequested(g uint32) {
	r.askSources(g, func(netip.Addr) bool { return false })
}

// askBlocked: BLOCK leaves what it lists.
func (r *Router) askBlocked(g uint32, rec *Record) {
	state := r.groups.at(g)
	exclude := state.mode == Exclude
	a := r.querying(g, 3)
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
	if a != nil {
		r.settle(g, a)
	}
}

func (r *Router) settle(g uint32, a *lastMember) { r.shared[r.groups.at(g).link].settle(g, a) }

// forgetAsked: a source that is gone is not asked for any more.
func (r *Router) forgetAsked(g, ch uint32) {
	s := r.shared[r.groups.at(g).link]
	if a := s.asked[g]; a != nil {
		delete(a.sources, ch)
		s.settle(g, a)
	}
}

func (r *Router) forgetShared(l Link, g uint32) {
	if s := r.shared[l]; s != nil {
		delete(s.groups, r.groups.at(g).channel)
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
	s.older[g][m.Version] = r.now + r.hold
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
