package gmp

import (
	"math"
	"net/netip"
	"time"
)

// ReportResult says what a report did.
type ReportResult struct {
	// Changed: something else is forwarded than before.
	Changed bool
	// Ignored is the number of additions that a limit or Allow refused.
	Ignored int
	// Denied is the number of these that Allow refused.
	Denied int
	// Err says why the report as a whole was discarded, as routers have to do on a
	// shared link (RFC 3810 section 7.4). It matches [ErrHeader].
	Err error
}

// HandleReport takes a report or leave from a host on the link, the tables of
// RFC 3376 section 6.4. Records of unknown type, of groups that are not for
// routers, and what RFC 4604 section 3 has routers ignore in the range of
// source-specific groups, are passed over.
func (r *Router) HandleReport(now time.Time, l Link, m *Message) ReportResult {
	r.now = r.tick(now)
	r.ignored, r.denied, r.changed, r.freed = 0, 0, false, false
	r.hold = r.gmi
	if r.links.at(uint32(l)).shared {
		q := r.shared[l].of(m.IPv6())
		if !q.source.IsValid() || q.version == 1 && m.Type == TypeLeave && !m.IPv6() { // RFC 3376 section 7.3.1
			return ReportResult{}
		}
		if err := m.checkLink(); err != nil {
			return ReportResult{Err: err}
		}
		r.hold = q.membershipInterval(&r.config)
	}
	before := r.Idle(l)
	r.applyAll(l, m)
	if r.freed && r.ignored > r.denied && !r.links.at(uint32(l)).shared {
		// What a single host leaves makes room for what it adds, which it would else not
		// ask for again until the next query, whatever the order of the records: Linux has
		// ALLOW before BLOCK. Applied once more, a report makes the same of what it made.
		r.ignored, r.denied = 0, 0
		r.applyAll(l, m)
	}
	if !before && r.Idle(l) {
		r.emit(EventIdle, l, nil)
	}
	r.schedule(uint32(l))
	return ReportResult{Changed: r.changed, Ignored: r.ignored, Denied: r.denied}
}

func (r *Router) applyAll(l Link, m *Message) {
	for rec := range m.Records {
		if !Routable(rec.Group) {
			continue
		}
		if SourceSpecific(rec.Group) &&
			(m.older() || rec.Type == ModeIsExclude || rec.Type == ChangeToExclude) {
			continue
		}
		if m.older() {
			r.noteOlder(l, m)
		}
		r.apply(l, &rec)
	}
}

func (r *Router) apply(l Link, rec *Record) {
	g := r.lookup(l, rec.Group)
	if g == 0 {
		adds := rec.Type == ModeIsExclude || rec.Type == ChangeToExclude
		if rec.Type == ModeIsInclude || rec.Type == AllowNewSources || rec.Type == ChangeToInclude {
			adds = rec.Sources.Len() > 0
		}
		if !adds {
			return
		}
		if g = r.addGroup(l, rec.Group); g == 0 {
			r.ignored++
			return
		}
	}
	shared := r.links.at(uint32(l)).shared
	if shared && r.ignoresForOlder(g, rec) {
		return
	}
	switch rec.Type {
	case ModeIsInclude, AllowNewSources:
		r.include(g, rec)
	case ChangeToInclude:
		if shared {
			r.askAllBut(g, rec)
			r.include(g, rec)
		} else {
			r.replaceByInclude(g, rec)
		}
	case ModeIsExclude, ChangeToExclude:
		r.exclude(g, rec, shared)
	case BlockOldSources:
		if shared {
			r.askBlocked(g, rec)
		} else {
			r.block(g, rec)
		}
	}
	if s := r.groups.at(g); s.mode == Include && s.first == 0 {
		r.removeGroup(g)
	}
}

// lookup returns the state of a group on a link, or 0.
func (r *Router) lookup(l Link, group netip.Addr) uint32 {
	ch, ok := r.index[keyOf(netip.Addr{}, group)]
	if !ok {
		return 0
	}
	k := r.links.at(uint32(l))
	if k.shared {
		return r.shared[l].groups[ch]
	}
	for i := k.first; i != 0; i = r.groups.at(i).next {
		if r.groups.at(i).channel == ch {
			return i
		}
	}
	return 0
}

func (r *Router) addGroup(l Link, group netip.Addr) uint32 {
	k := r.links.at(uint32(l))
	if int(k.groups) >= r.config.MaxGroups {
		return 0
	}
	ch := r.intern(keyOf(netip.Addr{}, group))
	if ch == 0 {
		return 0
	}
	r.channels.at(ch).refs++
	i := r.groups.alloc()
	*r.groups.at(i) = groupState{link: l, channel: ch, next: k.first}
	k.first = i
	k.groups++
	if k.shared {
		r.shared[l].groups[ch] = i
	}
	return i
}

// removeGroup forgets a group on a link with all its sources.
func (r *Router) removeGroup(g uint32) {
	r.freed = true
	s := r.groups.at(g)
	for s.first != 0 {
		r.dropSource(g, &s.first)
	}
	if s.mode == Exclude {
		r.prune(s.channel, s.pos)
	}
	k := r.links.at(uint32(s.link))
	p := &k.first
	for *p != g {
		p = &r.groups.at(*p).next
	}
	*p = s.next
	k.groups--
	if k.shared {
		r.forgetShared(s.link, g)
	}
	ch := s.channel
	r.groups.release(g)
	r.unref(ch)
}

// findSource returns the link to the source record of a channel, which holds 0
// if there is none.
func (r *Router) findSource(g, ch uint32) *uint32 {
	p := &r.groups.at(g).first
	for *p != 0 && r.sources.at(*p).channel != ch {
		p = &r.sources.at(*p).next
	}
	return p
}

// addSource adds a record to the group; in mode INCLUDE its packets are
// forwarded, in mode EXCLUDE they are unless expiry is 0.
func (r *Router) addSource(g, ch uint32, expiry tick) {
	s := r.groups.at(g)
	i := r.sources.alloc()
	*r.sources.at(i) = sourceState{channel: ch, next: s.first, expiry: expiry, mark: r.mark}
	s.first = i
	s.sources++
	r.channels.at(ch).refs++
	switch {
	case s.mode == Include:
		r.sources.at(i).pos = r.forward(ch, g, i)
	case expiry == 0:
		r.noteBlock(g, ch, EventBlock)
	}
}

// dropSource removes the record that *p links to.
func (r *Router) dropSource(g uint32, p *uint32) {
	r.freed = true
	i := *p
	s := r.sources.at(i)
	state := r.groups.at(g)
	ch := s.channel
	switch {
	case state.mode == Include:
		r.prune(ch, s.pos)
	case s.expiry == 0:
		r.noteBlock(g, ch, EventUnblock)
	}
	if r.links.at(uint32(state.link)).shared {
		r.forgetAsked(g, ch)
	}
	*p = s.next
	state.sources--
	r.sources.release(i)
	r.unref(ch)
}

// noteBlock tells that a group as a whole is forwarded without, or again with,
// one of its sources.
func (r *Router) noteBlock(g, ch uint32, t EventType) {
	r.touch(r.channels.at(ch))
	r.touch(r.channels.at(r.groups.at(g).channel))
	r.emit(t, r.groups.at(g).link, &r.channels.at(ch).key)
}

func (r *Router) setExpiry(g, i uint32, expiry tick) {
	s := r.sources.at(i)
	was := s.expiry
	s.expiry = expiry
	if r.groups.at(g).mode == Exclude && (was == 0) != (expiry == 0) {
		if expiry == 0 {
			r.noteBlock(g, s.channel, EventBlock)
		} else {
			r.noteBlock(g, s.channel, EventUnblock)
		}
	}
}

// each calls do for each source of the record with its channel and the link to
// its source record. A source beyond a limit, or one that only makes sense if
// it is known and is not, is left out.
func (r *Router) each(g uint32, rec *Record, add bool, do func(ch uint32, p *uint32)) {
	group := rec.Group
	room := -1 // on the link, not known yet
	for i := range rec.Sources.Len() {
		source := rec.Sources.At(i)
		if source.IsMulticast() || source.IsUnspecified() {
			continue
		}
		k := keyOf(source, group)
		ch := r.index[k]
		var p *uint32
		if ch != 0 {
			p = r.findSource(g, ch)
		}
		if p == nil || *p == 0 {
			if !add {
				continue
			}
			state := r.groups.at(g)
			if room < 0 {
				room = r.room(state.link)
			}
			if !r.allows(state.link, source, group) {
				continue
			}
			if int(state.sources) >= r.config.MaxSources || room == 0 || r.crowded(ch) {
				r.ignored++
				continue
			}
			if ch = r.intern(k); ch == 0 {
				r.ignored++
				continue
			}
			p = r.findSource(g, ch)
			room--
		}
		do(ch, p)
	}
}

// allows asks Allow, and counts what it refuses.
func (r *Router) allows(l Link, source, group netip.Addr) bool {
	if r.config.Allow == nil || r.config.Allow(l, source, group) {
		return true
	}
	r.ignored++
	r.denied++
	return false
}

// room returns how many sources more a link may have.
func (r *Router) room(l Link) int {
	n := r.config.MaxLinkSources
	if n <= 0 {
		return math.MaxInt
	}
	for g := r.links.at(uint32(l)).first; g != 0; g = r.groups.at(g).next {
		n -= int(r.groups.at(g).sources)
	}
	return max(0, n)
}

// crowded reports whether a channel has as many links as it may.
func (r *Router) crowded(ch uint32) bool {
	return r.config.MaxMembers > 0 && ch != 0 && len(r.channels.at(ch).members) >= r.config.MaxMembers
}

// include: IS_IN, ALLOW, and what TO_IN has in common with them.
func (r *Router) include(g uint32, rec *Record) {
	r.each(g, rec, true, func(ch uint32, p *uint32) {
		if *p == 0 {
			r.addSource(g, ch, r.now+r.hold)
			return
		}
		r.sources.at(*p).mark = r.mark
		r.setExpiry(g, *p, r.now+r.hold)
	})
}

// replaceByInclude: TO_IN of a single host.
func (r *Router) replaceByInclude(g uint32, rec *Record) {
	r.mark++
	r.include(g, rec)
	r.dropUnmarked(g)
	if r.groups.at(g).mode == Exclude {
		r.toInclude(g)
	}
}

func (r *Router) dropUnmarked(g uint32) {
	for p := &r.groups.at(g).first; *p != 0; {
		if s := r.sources.at(*p); s.mark != r.mark {
			r.dropSource(g, p)
		} else {
			p = &s.next
		}
	}
}

// exclude: IS_EX and TO_EX.
func (r *Router) exclude(g uint32, rec *Record, shared bool) {
	state := r.groups.at(g)
	if !r.allows(state.link, netip.Addr{}, rec.Group) {
		return
	}
	if state.mode != Exclude && r.crowded(state.channel) {
		r.ignored++
		return
	}
	r.mark++
	var unknown tick // the timer of sources not known before
	if shared && state.mode == Exclude {
		unknown = r.now + r.hold
		if rec.Type == ChangeToExclude {
			unknown = state.expiry
		}
	}
	r.toExclude(g)
	r.each(g, rec, true, func(ch uint32, p *uint32) {
		if *p == 0 {
			r.addSource(g, ch, unknown)
			return
		}
		r.sources.at(*p).mark = r.mark
		if !shared {
			r.setExpiry(g, *p, 0)
		}
	})
	r.dropUnmarked(g)
	state.expiry = r.now + r.hold
	if shared && rec.Type == ChangeToExclude {
		r.askRequested(g)
	}
}

// block: BLOCK of a single host.
func (r *Router) block(g uint32, rec *Record) {
	exclude := r.groups.at(g).mode == Exclude
	r.each(g, rec, exclude, func(ch uint32, p *uint32) {
		switch {
		case !exclude:
			r.dropSource(g, p)
		case *p == 0:
			r.addSource(g, ch, 0)
		default:
			r.setExpiry(g, *p, 0)
		}
	})
}

// toExclude changes the mode and leaves the sources as they are.
func (r *Router) toExclude(g uint32) {
	state := r.groups.at(g)
	if state.mode == Exclude {
		return
	}
	state.pos = r.forward(state.channel, g, 0)
	for i := state.first; i != 0; i = r.sources.at(i).next {
		r.prune(r.sources.at(i).channel, r.sources.at(i).pos)
	}
	state.mode = Exclude
}

// toInclude changes the mode; sources that were not wanted go (RFC 3376 section
// 6.5).
func (r *Router) toInclude(g uint32) {
	state := r.groups.at(g)
	for p := &state.first; *p != 0; {
		s := r.sources.at(*p)
		if s.expiry == 0 {
			r.dropSource(g, p)
			continue
		}
		s.pos = r.forward(s.channel, g, *p)
		p = &s.next
	}
	r.prune(state.channel, state.pos)
	state.mode = Include
	state.expiry = 0
}
