package gmp

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// RouterConfig configures a [Router]. The zero value is useful.
type RouterConfig struct {
	// Robustness is the Robustness Variable, 1 to 7. Default: 2.
	Robustness int
	// QueryInterval is the time between General Queries. Default: 125 s.
	QueryInterval time.Duration
	// QueryResponseInterval is the time for hosts to answer them; on shared links, at
	// most the Query Interval. Default: 10 s.
	QueryResponseInterval time.Duration
	// LastMemberQueryInterval is the time for hosts to object to a leave.
	// Default: 1 s.
	LastMemberQueryInterval time.Duration

	// MaxGroups bounds the groups of a link. Default: 64; at most 65,535.
	MaxGroups int
	// MaxSources bounds the sources of a group on a link. Default: 64; at most
	// 65,535.
	MaxSources int
	// MaxLinkSources bounds the sources of all groups of a link together. Default: no
	// bound but what MaxGroups and MaxSources make of it.
	MaxLinkSources int
	// MaxChannels bounds the different channels and groups of all links together.
	// Default: 65,536.
	MaxChannels int
	// MaxMembers bounds the links that packets of a channel go to. Default: no
	// bound.
	MaxMembers int
	// Allow decides which channels may be subscribed to; source is the zero
	// address for the group as a whole. Default: all.
	Allow func(link Link, source, group netip.Addr) bool
}

func (c *RouterConfig) populate() {
	if c.Robustness <= 0 || c.Robustness > 7 {
		c.Robustness = DefaultRobustness
	}
	if c.QueryInterval <= 0 {
		c.QueryInterval = DefaultQueryInterval
	}
	if c.QueryResponseInterval <= 0 {
		c.QueryResponseInterval = DefaultQueryResponseInterval
	}
	if c.LastMemberQueryInterval <= 0 {
		c.LastMemberQueryInterval = DefaultLastMemberQueryInterval
	}
	if c.MaxGroups <= 0 {
		c.MaxGroups = 64
	}
	if c.MaxSources <= 0 {
		c.MaxSources = 64
	}
	c.MaxGroups, c.MaxSources = min(c.MaxGroups, math.MaxUint16), min(c.MaxSources, math.MaxUint16)
	if c.MaxChannels <= 0 {
		c.MaxChannels = 1 << 16
	}
}

// membershipInterval is the Group Membership Interval (RFC 3376 section 8.4).
func (c *RouterConfig) membershipInterval() time.Duration {
	return time.Duration(c.Robustness)*c.QueryInterval + c.QueryResponseInterval
}

// Link is a link of a [Router]: an interface, or a tunnel. Numbers of removed
// links are given out again.
type Link uint32

// Router is the router's side of IGMP and MLD on any number of links (RFC 3376
// section 6, RFC 3810 section 7). It is not safe for concurrent use.
//
// A link with a single host, as a tunnel is, needs no queries: what the host
// leaves is gone at once, since nobody else could object (RFC 7450 section
// 5.3.1). It takes about 80 octets for a link with one channel. On a shared
// link the Router is a querier, elects and gives way as the standards say, and
// asks before it prunes.
type Router struct {
	config RouterConfig
	base   time.Time
	now    tick
	gmi    tick // Group Membership Interval
	hold   tick // the same on the link of the report at hand

	links    slab[link]
	groups   slab[groupState]
	sources  slab[sourceState]
	channels slab[channel]
	index    map[channelKey]uint32
	wheel    wheel
	mark     uint32
	versions uint32 // of channels, given out
	ignored  int    // additions over a limit or not allowed, of the report at hand
	denied   int    // those of them that are not allowed
	changed  bool
	freed    bool // by the report at hand: a group or a source is gone

	events []Event
	next   int // of events

	shared map[Link]*sharedLink
}

type link struct {
	first      uint32 // its groups
	prev, next uint32 // in its slot of the wheel
	due        tick   // 0: not in the wheel
	groups     uint16
	shared     bool
}

// groupState is a group on a link: the record of RFC 3376 section 6.2.
type groupState struct {
	link    Link
	channel uint32 // the group as a whole
	next    uint32 // of the link
	first   uint32 // its sources
	pos     uint32 // among the members of the channel, in mode EXCLUDE
	expiry  tick   // the group timer, in mode EXCLUDE
	sources uint16
	mode    FilterMode
}

// sourceState is a source record. In mode EXCLUDE expiry 0 says that packets of
// the source are not wanted.
type sourceState struct {
	channel uint32
	next    uint32 // of the group
	pos     uint32 // among the members of the channel, in mode INCLUDE
	expiry  tick
	mark    uint32
}

// channel is a source and a group, or a group as a whole.
type channel struct {
	key     channelKey
	refs    uint32
	version uint32   // of what is forwarded
	members []uint32 // groupState of each link that gets the packets
	owners  []uint32 // sourceState of each member, unless it is a group as a whole
}

// channelKey holds IPv4 addresses in their IPv6 form.
type channelKey struct{ source, group [16]byte }

func keyOf(source, group netip.Addr) (k channelKey) {
	if source.IsValid() {
		k.source = source.As16()
	}
	k.group = group.As16()
	return k
}

func (k *channelKey) addresses() (source, group netip.Addr) {
	if k.source != [16]byte{} {
		source = netip.AddrFrom16(k.source).Unmap()
	}
	return source, netip.AddrFrom16(k.group).Unmap()
}

// EventType says what happened to a channel.
type EventType uint8

// Types of event.
const (
	// EventSubscribed: the first link wants the channel; the router joins it.
	EventSubscribed EventType = 1 + iota
	// EventUnsubscribed: no link wants the channel any more.
	EventUnsubscribed
	// EventForward: packets of the channel go to the link.
	EventForward
	// EventPrune: they no longer do.
	EventPrune
	// EventBlock: of a group that the link wants as a whole, packets from Source
	// do not go to it.
	EventBlock
	// EventUnblock ends EventBlock.
	EventUnblock
	// EventIdle: the link wants nothing any more.
	EventIdle
)

// String returns a word.
func (t EventType) String() string {
	switch t {
	case EventSubscribed:
		return "subscribed"
	case EventUnsubscribed:
		return "unsubscribed"
	case EventForward:
		return "forward"
	case EventPrune:
		return "prune"
	case EventBlock:
		return "block"
	case EventUnblock:
		return "unblock"
	case EventIdle:
		return "idle"
	}
	return fmt.Sprintf("event %d", uint8(t))
}

// Event is a change of what is forwarded where. Source is the zero address
// where it is about all sources of the group.
type Event struct {
	Type   EventType
	Link   Link // not for EventSubscribed and EventUnsubscribed
	Source netip.Addr
	Group  netip.Addr
}

// NewRouter returns a router without links.
func NewRouter(now time.Time, config RouterConfig) *Router {
	config.populate()
	r := &Router{
		config: config,
		base:   now,
		now:    1,
		gmi:    tick(config.membershipInterval() / tickUnit),
		index:  make(map[channelKey]uint32),
		shared: make(map[Link]*sharedLink),
	}
	r.wheel.now = 1
	return r
}

// SetLimits changes MaxGroups, MaxSources and MaxLinkSources for additions from now on,
// with the defaults of [RouterConfig]. What is above a limit stays.
func (r *Router) SetLimits(maxGroups, maxSources, maxLinkSources int) {
	r.config.MaxGroups, r.config.MaxSources, r.config.MaxLinkSources = maxGroups, maxSources, maxLinkSources
	r.config.populate()
}

func (r *Router) tick(now time.Time) tick {
	d := now.Sub(r.base)
	if d < 0 {
		return 1
	}
	return 1 + tick(d/tickUnit)
}

func (r *Router) time(t tick) time.Time { return r.base.Add(time.Duration(t-1) * tickUnit) }

// AddLink adds a link with a single host.
func (r *Router) AddLink() Link { return Link(r.links.alloc()) }

// RemoveLink forgets a link and all that it wanted.
func (r *Router) RemoveLink(l Link) {
	for r.links.at(uint32(l)).first != 0 {
		r.removeGroup(r.links.at(uint32(l)).first)
	}
	r.unschedule(uint32(l))
	delete(r.shared, l)
	r.links.release(uint32(l))
}

// Links returns the number of links.
func (r *Router) Links() int { return r.links.live }

// Channels returns the number of different channels and groups subscribed to.
func (r *Router) Channels() int { return r.channels.live }

// Idle reports whether the link wants nothing.
func (r *Router) Idle(l Link) bool { return r.links.at(uint32(l)).first == 0 }

// PollEvent returns the next event, in the order in which they happened.
func (r *Router) PollEvent() (Event, bool) {
	if r.next == len(r.events) {
		r.events, r.next = r.events[:0], 0
		return Event{}, false
	}
	r.next++
	return r.events[r.next-1], true
}

func (r *Router) emit(t EventType, l Link, k *channelKey) {
	e := Event{Type: t, Link: l}
	if k != nil {
		e.Source, e.Group = k.addresses()
	}
	r.events = append(r.events, e)
	r.changed = true
}

// Version returns a number that changes when AppendLinks would append others
// for packets from source to group.
func (r *Router) Version(source, group netip.Addr) uint64 {
	return uint64(r.version(keyOf(source, group)))<<32 | uint64(r.version(keyOf(netip.Addr{}, group)))
}

// Changes returns a number that changes when Version would return another one for any
// source and group.
func (r *Router) Changes() uint32 { return r.versions }

func (r *Router) version(k channelKey) uint32 {
	if i, ok := r.index[k]; ok {
		return r.channels.at(i).version
	}
	return 0
}

// AppendLinks appends the links to which packets from source to group are
// forwarded (RFC 3376 section 6.3).
func (r *Router) AppendLinks(links []Link, source, group netip.Addr) []Link {
	specific := r.index[keyOf(source, group)]
	if specific != 0 {
		for _, g := range r.channels.at(specific).members {
			links = append(links, r.groups.at(g).link)
		}
	}
	if any := r.index[keyOf(netip.Addr{}, group)]; any != 0 {
		for _, g := range r.channels.at(any).members {
			if specific == 0 || !r.blocks(g, specific) {
				links = append(links, r.groups.at(g).link)
			}
		}
	}
	return links
}

func (r *Router) blocks(g, specific uint32) bool {
	for i := r.groups.at(g).first; i != 0; i = r.sources.at(i).next {
		if s := r.sources.at(i); s.channel == specific {
			return s.expiry == 0
		}
	}
	return false
}

// intern returns the channel of k, or 0 over the limit.
func (r *Router) intern(k channelKey) uint32 {
	if i, ok := r.index[k]; ok {
		return i
	}
	if r.channels.live >= r.config.MaxChannels {
		return 0
	}
	i := r.channels.alloc()
	r.channels.at(i).key = k
	r.index[k] = i
	return i
}

// release forgets a channel that nothing refers to.
func (r *Router) release(i uint32) {
	c := r.channels.at(i)
	if c.refs == 0 {
		delete(r.index, c.key)
		r.channels.release(i)
	}
}

func (r *Router) unref(i uint32) {
	r.channels.at(i).refs--
	r.release(i)
}

// touch gives a channel a version that none has had: one that is forgotten and comes
// again may not be taken for what it was.
func (r *Router) touch(c *channel) {
	r.versions++
	c.version = r.versions
}

// forward makes g a member of a channel, with its source s unless it is the
// group as a whole, and returns the position.
func (r *Router) forward(ch, g, s uint32) (pos uint32) {
	c := r.channels.at(ch)
	if len(c.members) == 0 {
		r.emit(EventSubscribed, 0, &c.key)
	}
	c.members = append(c.members, g)
	if s != 0 {
		c.owners = append(c.owners, s)
	}
	r.touch(c)
	r.emit(EventForward, r.groups.at(g).link, &c.key)
	return uint32(len(c.members) - 1)
}

// prune ends the membership at a position.
func (r *Router) prune(ch, pos uint32) {
	c := r.channels.at(ch)
	l := r.groups.at(c.members[pos]).link
	last := uint32(len(c.members) - 1)
	c.members[pos] = c.members[last]
	c.members = c.members[:last]
	if len(c.owners) > 0 {
		c.owners[pos] = c.owners[last]
		c.owners = c.owners[:last]
		if pos != last {
			r.sources.at(c.owners[pos]).pos = pos
		}
	} else if pos != last {
		r.groups.at(c.members[pos]).pos = pos
	}
	r.touch(c)
	r.emit(EventPrune, l, &c.key)
	if last == 0 {
		c.members, c.owners = nil, nil
		r.emit(EventUnsubscribed, 0, &c.key)
	}
}
