package amt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// Datagram is a UDP datagram that arrived. IPv4 addresses are not in IPv6 form.
type Datagram struct {
	Local   netip.AddrPort // where it was sent to
	Remote  netip.AddrPort // where it came from
	Payload []byte
}

// Relay is the relay's side of AMT (RFC 7450 section 5.3), without sockets and
// without a clock: datagrams and times go in, answers, events and the time of
// the next timeout come out. It is not safe for concurrent use.
//
// Discoveries and Requests are answered without a trace. A tunnel exists from
// the first Update with a valid MAC that subscribes to something until the last
// subscription has gone. It takes about 200 octets.
type Relay struct {
	config  RelayConfig
	router  *gmp.Router
	respond responder
	queries [2][]byte // IGMP, MLD

	base      time.Time
	endpoints map[endpointKey]TunnelID
	addresses map[[16]byte]uint32 // endpoints of a site
	tunnels   []*[tunnelPage]tunnel
	locals    []netip.AddrPort // addresses that tunnels use, by tunnel.local
	changes   uint32           // of tunnels that Version does not see

	prefixes prefixes
	all      bucket
	wrong    prefixes // the same for MACs
	allWrong bucket
	draining bool
	full     bool // the L flag is set

	events    []Event
	next      int
	lingering []lingering
	stats     RelayStats
}

// TunnelID names a tunnel while it exists; IDs of tunnels that have gone are
// given out again.
type TunnelID uint32

type endpointKey struct {
	addr [16]byte
	port uint16
}

func keyOf(e netip.AddrPort) endpointKey { return endpointKey{e.Addr().As16(), e.Port()} }

func (k endpointKey) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.addr).Unmap(), k.port)
}

// site is what counts as one address for MaxTunnelsPerAddress: a host has all of an IPv6
// /64 to itself if it likes.
func (k *endpointKey) site() (site [16]byte) {
	if netip.AddrFrom16(k.addr).Is4In6() {
		return k.addr
	}
	copy(site[:8], k.addr[:])
	return site
}

const tunnelPage = 1024

// tunnel is what the relay knows of an endpoint beyond its subscriptions, which
// the router has.
type tunnel struct {
	key         endpointKey
	local       uint16 // in Relay.locals
	pathMTU     uint16 // 0: as configured
	flags       tunnelFlags
	unreachable uint8  // ICMP errors in a row
	secret      uint16 // that the last Update was proved with, see responder.checkSecret
	pathMTUAt   uint32 // tick of pathMTU
	rate        bucket
	packets     uint64
	octets      uint64
}

type tunnelFlags uint8

const (
	tunnelECN       tunnelFlags = 1 << iota // FlagE of the Request
	tunnelLinux                             // FlagLinuxP of a Request
	tunnelRequested                         // a Request came since the tunnel exists
)

// mostCounted bounds the nonces of gateways that count their Requests instead of
// drawing a nonce (RFC 7450 section 5.1.3.6), which js4ms does: it reads the port
// in a Query with G as two signed octets, and its tunnel ends when one of them is
// negative. Others lose a Teardown at most by a Query without G.
const mostCounted = 1<<16 - 1

const maxLingering = 1024

// lingering is a channel that nobody wants, until at.
type lingering struct {
	source, group netip.Addr
	at            time.Time
}

// RelayStats counts what a relay did. All counters but Tunnels and Channels rise
// only.
type RelayStats struct {
	Tunnels  int // that exist now
	Channels int // subscribed to now, groups as a whole included

	Discoveries uint64 // answered
	Requests    uint64 // answered
	Updates     uint64 // with a valid MAC
	Teardowns   uint64 // with a valid MAC
	Opened      uint64 // tunnels
	Closed      uint64 // tunnels
	Expired     uint64 // tunnels closed since their gateway was silent

	Malformed   uint64 // messages, and packets in Updates
	Unexpected  uint64 // messages that are not for relays
	BadMAC      uint64 // Updates and Teardowns
	Limited     uint64 // messages over a rate
	Refused     uint64 // Updates that would have opened one tunnel too many
	Ignored     uint64 // additions over a limit of an endpoint, or not allowed
	Denied      uint64 // of these, not allowed
	NoAddress   uint64 // discoveries by a family of which the relay has no address
	LinuxP      uint64 // Requests with the P flag where Linux has it
	OddHeaders  uint64 // Updates with an unexpected inner header
	ShortMAC    uint64 // Updates that only RelayCompat.ShortMAC let through
	Unreachable uint64 // tunnels closed for ICMP errors

	Greedy netip.AddrPort // the last gateway with an addition over a limit; invalid: none
}

// EventType says what happened in a relay.
type EventType uint8

// Types of event.
const (
	// EventJoin: packets of the channel are needed. Source is the zero address for
	// all sources of the group.
	EventJoin EventType = 1 + iota
	// EventLeave ends EventJoin.
	EventLeave
	// EventTunnelUp: an endpoint has its first subscription.
	EventTunnelUp
	// EventTunnelDown: it has none any more; its counters are still to be had.
	EventTunnelDown
	// EventFull: the relay takes hardly any new tunnels; its anycast prefix should
	// be withdrawn (RFC 7450 section 5.3.3.8).
	EventFull
	// EventReady ends EventFull.
	EventReady
)

// String returns a few words.
func (t EventType) String() string {
	return eventName(uint8(t), "join", "leave", "tunnel up", "tunnel down", "full", "ready")
}

// eventName returns the name of an event, of which the first is 1.
func eventName(t uint8, names ...string) string {
	if t >= 1 && int(t) <= len(names) {
		return names[t-1]
	}
	return fmt.Sprintf("event %d", t)
}

// Event is what [Relay.PollEvent] returns.
type Event struct {
	Type          EventType
	Source, Group netip.Addr     // of EventJoin and EventLeave
	Tunnel        TunnelID       // of EventTunnelUp and EventTunnelDown
	Gateway       netip.AddrPort // the same
	Reason        DownReason     // of EventTunnelDown, as what follows
	Packets       uint64         // all that Count counted
	Octets        uint64
}

// DownReason says why a tunnel ended.
type DownReason uint8

// Reasons of EventTunnelDown.
const (
	DownLeft        DownReason = 1 + iota // an Update left the last channel
	DownTeardown                          // by Teardown
	DownExpired                           // the gateway was silent
	DownUnreachable                       // ICMP errors
)

// String returns a word for r.
func (r DownReason) String() string {
	switch r {
	case DownLeft:
		return "left"
	case DownTeardown:
		return "teardown"
	case DownExpired:
		return "expired"
	case DownUnreachable:
		return "unreachable"
	}
	return "unknown"
}

// NewRelay returns a relay without tunnels. The error matches [ErrConfig].
func NewRelay(now time.Time, config RelayConfig) (*Relay, error) {
	if err := config.populate(); err != nil {
		return nil, err
	}
	r := &Relay{
		config: config,
		base:   now,
		respond: newResponder(config.Key,
			max(2*config.QueryInterval, time.Duration(config.Robustness)*config.QueryInterval+config.QueryResponseInterval)),
		endpoints: make(map[endpointKey]TunnelID),
		addresses: make(map[[16]byte]uint32),
		prefixes:  newPrefixes(1 << 14),
		wrong:     newPrefixes(1 << 14),
	}
	routerConfig := gmp.RouterConfig{
		Robustness:            config.Robustness,
		QueryInterval:         config.QueryInterval,
		QueryResponseInterval: config.QueryResponseInterval,
		MaxGroups:             config.MaxGroups,
		MaxSources:            config.MaxSources,
		MaxLinkSources:        config.MaxChannelsPerTunnel,
		MaxChannels:           config.MaxChannels,
		MaxMembers:            config.MaxCopies,
	}
	if config.Allow != nil {
		routerConfig.Allow = func(l gmp.Link, source, group netip.Addr) bool {
			return config.Allow(r.tunnel(TunnelID(l)).key.addrPort(), source, group)
		}
	}
	r.router = gmp.NewRouter(now, routerConfig)
	// A maximum response time of one unit makes gateways answer at once (RFC 7450
	// section 5.3.3.3). The sources are of our choice; Linux wants the one of MLD
	// to be link-local.
	q := gmp.Query{
		Group: netip.IPv4Unspecified(), MaxResponse: 100 * time.Millisecond,
		Robustness: uint8(config.Robustness), Interval: config.QueryInterval,
	}
	r.queries[0] = gmp.AppendQuery(nil, netip.Addr{}, 3, &q)
	q.Group, q.MaxResponse = netip.IPv6Unspecified(), time.Millisecond
	r.queries[1] = gmp.AppendQuery(nil, netip.AddrFrom16([16]byte{0xfe, 0x80, 15: 2}), 2, &q)
	return r, nil
}

func (r *Relay) tick(now time.Time) uint32 {
	return 1 + uint32(max(0, now.Sub(r.base))/relayTick)
}

func (r *Relay) tunnel(id TunnelID) *tunnel {
	return &r.tunnels[id/tunnelPage][id%tunnelPage]
}

// HandleDatagram takes a datagram and appends the answer, if there is one, to b.
// It is to be sent to d.Remote, from d.Local (RFC 7450 sections 5.3.3.2 and
// 5.3.3.3). Datagrams that are malformed or not for a relay are counted and
// dropped. It allocates nothing but what new tunnels need.
func (r *Relay) HandleDatagram(now time.Time, d *Datagram, b []byte) []byte {
	var m Message
	if err := m.Unmarshal(d.Payload); err != nil {
		r.stats.Malformed++
		return b
	}
	switch m.Type {
	case TypeDiscovery:
		return r.handleDiscovery(now, d, &m, b)
	case TypeRequest:
		return r.handleRequest(now, d, &m, b)
	case TypeUpdate:
		r.handleUpdate(now, d, &m)
	case TypeTeardown:
		r.handleTeardown(now, d, &m)
	default:
		r.stats.Unexpected++
	}
	return b
}

// admit applies the rates to a message that costs an answer.
func (r *Relay) admit(now uint32, d *Datagram, t *tunnel) bool {
	perTick := float32(relayTick.Seconds())
	if t != nil && t.rate.take(now, float32(r.config.TunnelRate)*perTick, 2*float32(r.config.TunnelRate)) {
		return true
	}
	// A tunnel whose tokens somebody else has spent in its name has the chance of
	// all others.
	rate, prefix := float32(r.config.Rate), float32(r.config.PrefixRate)
	if r.prefixes.of(d.Remote.Addr()).take(now, prefix*perTick, prefix) && r.all.take(now, rate*perTick, rate) {
		return true
	}
	r.stats.Limited++
	return false
}

// believes reports whether so few MACs from a prefix, and from all, were wrong that one
// more may be checked. They have rates of their own: a flood of Requests keeps out no
// Update that is right, which costs nothing here.
func (r *Relay) believes(now uint32, d *Datagram) bool {
	perTick := float32(relayTick.Seconds())
	rate, prefix := float32(r.config.Rate), float32(r.config.PrefixRate)
	if r.wrong.of(d.Remote.Addr()).has(now, prefix*perTick, prefix) && r.allWrong.has(now, rate*perTick, rate) {
		return true
	}
	r.stats.Limited++
	return false
}

// refuse counts a MAC that is wrong.
func (r *Relay) refuse(d *Datagram) {
	r.stats.BadMAC++
	wrong := r.wrong.of(d.Remote.Addr())
	wrong.tokens = max(0, wrong.tokens-1)
	r.allWrong.tokens = max(0, r.allWrong.tokens-1)
}

func (r *Relay) handleDiscovery(now time.Time, d *Datagram, m *Message, b []byte) []byte {
	if r.draining { // RFC 7450 section 5.3.4
		return b
	}
	address := r.config.IPv4
	if d.Remote.Addr().Is6() {
		address = r.config.IPv6
	}
	if !address.IsValid() {
		r.stats.NoAddress++
		return b
	}
	if !r.admit(r.tick(now), d, nil) {
		return b
	}
	answer := Message{Type: TypeAdvertisement, Nonce: m.Nonce, Relay: address}
	out, err := answer.AppendTo(b)
	if err != nil {
		return b
	}
	r.stats.Discoveries++
	return out
}

func (r *Relay) handleRequest(now time.Time, d *Datagram, m *Message, b []byte) []byte {
	var t *tunnel
	id, known := r.endpoints[keyOf(d.Remote)]
	if known {
		t = r.tunnel(id)
		t.unreachable = 0
		if t.pathMTU != 0 && r.tick(now)-t.pathMTUAt >= pathMTUTicks {
			t.pathMTU = 0
			r.changes++
		}
	}
	if !r.admit(r.tick(now), d, t) {
		return b
	}
	query := r.queries[0]
	linux := m.Flags&FlagLinuxP != 0 && !r.config.Compat.NoLinuxP
	if linux {
		r.stats.LinuxP++
	}
	if m.Flags&FlagP != 0 || linux {
		query = r.queries[1]
	}
	var flags Flags
	if !known && r.full || r.draining {
		flags |= FlagL
	}
	switch r.config.Compat.Endpoint {
	case EndpointAlways:
		flags |= FlagG
	case EndpointAuto:
		// Linux sends two Requests, and may send the one that gives it away second.
		if known {
			switch {
			case m.Flags&FlagP != 0:
				t.flags &^= tunnelLinux // which never has it there
			case linux:
				t.flags |= tunnelLinux
			}
			if t.flags&(tunnelRequested|tunnelLinux) == tunnelRequested && m.Nonce > mostCounted {
				flags |= FlagG
			}
			t.flags |= tunnelRequested
		}
	}
	mac := r.respond.make(now, d.Remote, m.Nonce, m.Flags&FlagE != 0)
	b = append(b, byte(TypeQuery), byte(flags))
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint32(b, m.Nonce)
	b = append(b, query...)
	if flags&FlagG != 0 {
		b = appendEndpoint(b, d.Remote)
	}
	r.stats.Requests++
	return b
}

func (r *Relay) handleUpdate(now time.Time, d *Datagram, m *Message) {
	id, known := r.endpoints[keyOf(d.Remote)]
	// Those who have a tunnel are not to be kept out by others in their name.
	if !known && !r.believes(r.tick(now), d) {
		return
	}
	p, ok := r.authentic(now, d.Remote, m)
	if !ok && known {
		// VLC sends one Request, and Updates with its MAC as long as it plays. An old
		// secret proves as much as a new one of an endpoint that has never been silent
		// since; RFC 7450 section 5.3.3.4 sets the least that is believed.
		p, ok = r.respond.checkSecret(now, r.tunnel(id).secret, d.Remote, m.Nonce, m.MAC)
	}
	if !ok {
		r.refuse(d)
		return
	}
	// IGMPv1 is not among what RFC 7450 section 5.3.3.4 lists.
	var report gmp.Message
	if report.Parse(m.Packet) != nil || report.Type == gmp.TypeQuery || !report.IPv6() && report.Version == 1 {
		r.stats.Malformed++
		return
	}
	if report.Validate() != nil {
		r.stats.OddHeaders++
		if r.config.Compat.StrictHeaders {
			return
		}
	}
	if known {
		// The rate comes after the MAC: others cannot use up what is the gateway's.
		perTick := float32(relayTick.Seconds())
		if t := r.tunnel(id); !t.rate.take(r.tick(now), float32(r.config.TunnelRate)*perTick, 2*float32(r.config.TunnelRate)) {
			r.stats.Limited++
			return
		}
	} else if id, ok = r.open(d); !ok {
		return
	}
	r.stats.Updates++
	t := r.tunnel(id)
	t.unreachable = 0
	if secret := uint16(p.epoch); !known || int16(secret-t.secret) > 0 {
		t.secret = secret
	}
	if (t.flags&tunnelECN != 0) != p.ecn {
		t.flags ^= tunnelECN
		r.changes++
	}
	if local := r.local(d.Local); t.local != local {
		t.local = local
		r.changes++
	}
	result := r.router.HandleReport(now, gmp.Link(id), &report)
	r.stats.Ignored += uint64(result.Ignored)
	r.stats.Denied += uint64(result.Denied)
	if result.Ignored > result.Denied {
		r.stats.Greedy = d.Remote
	}
	idle := r.router.Idle(gmp.Link(id))
	switch {
	case !known && idle:
		r.forget(id)
	case !known:
		r.opened(id)
	}
	r.handleEvents(now, DownLeft)
}

// authentic checks the MAC of an Update or Teardown against the endpoint that
// it speaks for.
func (r *Relay) authentic(now time.Time, gateway netip.AddrPort, m *Message) (proof, bool) {
	p, ok := r.respond.check(now, gateway, m.Nonce, m.MAC, len(m.MAC))
	if !ok && r.config.Compat.ShortMAC {
		if p, ok = r.respond.check(now, gateway, m.Nonce, m.MAC, 4); ok {
			r.stats.ShortMAC++
		}
	}
	return p, ok
}

func (r *Relay) handleTeardown(now time.Time, d *Datagram, m *Message) {
	if !r.believes(r.tick(now), d) {
		return
	}
	// The endpoint in the message is what the MAC has to prove: the gateway has
	// another one by now (RFC 7450 section 5.3.3.5).
	if _, ok := r.authentic(now, m.Gateway, m); !ok {
		r.refuse(d)
		return
	}
	r.stats.Teardowns++
	if id, known := r.endpoints[keyOf(m.Gateway)]; known {
		r.close(id, DownTeardown)
		r.handleEvents(now, DownTeardown)
	}
}

// open makes room for a new endpoint.
func (r *Relay) open(d *Datagram) (TunnelID, bool) {
	k := keyOf(d.Remote)
	if len(r.endpoints) >= r.config.MaxTunnels || r.draining ||
		int(r.addresses[k.site()]) >= r.config.MaxTunnelsPerAddress {
		r.stats.Refused++
		return 0, false
	}
	id := TunnelID(r.router.AddLink())
	for int(id/tunnelPage) >= len(r.tunnels) {
		r.tunnels = append(r.tunnels, new([tunnelPage]tunnel))
	}
	*r.tunnel(id) = tunnel{key: k, local: r.local(d.Local)}
	return id, true
}

// opened: the endpoint has subscribed to something.
func (r *Relay) opened(id TunnelID) {
	t := r.tunnel(id)
	r.endpoints[t.key] = id
	r.addresses[t.key.site()]++
	r.stats.Opened++
	r.events = append(r.events, Event{Type: EventTunnelUp, Tunnel: id, Gateway: t.key.addrPort()})
	r.watermark()
}

// forget removes what open made.
func (r *Relay) forget(id TunnelID) {
	r.router.RemoveLink(gmp.Link(id))
	*r.tunnel(id) = tunnel{}
}

func (r *Relay) close(id TunnelID, reason DownReason) {
	t := r.tunnel(id)
	if t.key == (endpointKey{}) {
		return
	}
	delete(r.endpoints, t.key)
	site := t.key.site()
	if r.addresses[site]--; r.addresses[site] == 0 {
		delete(r.addresses, site)
	}
	r.stats.Closed++
	r.events = append(r.events, Event{
		Type: EventTunnelDown, Tunnel: id, Gateway: t.key.addrPort(), Reason: reason, Packets: t.packets, Octets: t.octets,
	})
	r.forget(id)
	r.watermark()
}

// watermark sets the L flag, and clears it well below the mark.
func (r *Relay) watermark() {
	mark := max(1, int(float64(r.config.MaxTunnels)*r.config.HighWater))
	switch n := len(r.endpoints); {
	case !r.full && n >= mark:
		r.full = true
		r.events = append(r.events, Event{Type: EventFull})
	case r.full && n < mark-mark/20:
		r.full = false
		r.events = append(r.events, Event{Type: EventReady})
	}
}

// local returns the index of an address of the relay.
func (r *Relay) local(a netip.AddrPort) uint16 {
	for i, l := range r.locals {
		if l == a {
			return uint16(i)
		}
	}
	if len(r.locals) == 1<<16-1 {
		return 0
	}
	r.locals = append(r.locals, a)
	return uint16(len(r.locals) - 1)
}

// handleEvents turns the router's events into the relay's; reason is what ends tunnels.
func (r *Relay) handleEvents(now time.Time, reason DownReason) {
	for {
		e, ok := r.router.PollEvent()
		if !ok {
			return
		}
		switch e.Type {
		case gmp.EventSubscribed:
			r.stats.Channels++
			r.join(e.Source, e.Group)
		case gmp.EventUnsubscribed:
			r.stats.Channels--
			r.leave(now, e.Source, e.Group)
		case gmp.EventIdle:
			r.close(TunnelID(e.Link), reason)
		}
	}
}

func (r *Relay) join(source, group netip.Addr) {
	for i, l := range r.lingering {
		if l.source == source && l.group == group {
			r.lingering = append(r.lingering[:i], r.lingering[i+1:]...)
			return
		}
	}
	r.events = append(r.events, Event{Type: EventJoin, Source: source, Group: group})
}

func (r *Relay) leave(now time.Time, source, group netip.Addr) {
	// The list is searched at each join, and strangers fill it.
	if r.config.Linger <= 0 || len(r.lingering) >= maxLingering {
		r.events = append(r.events, Event{Type: EventLeave, Source: source, Group: group})
		return
	}
	r.lingering = append(r.lingering, lingering{source, group, now.Add(r.config.Linger)})
}

// PollEvent returns the next event, in the order in which they happened.
func (r *Relay) PollEvent() (Event, bool) {
	if r.next == len(r.events) {
		r.events, r.next = r.events[:0], 0
		return Event{}, false
	}
	r.next++
	return r.events[r.next-1], true
}

// NextTimeout returns when HandleTimeout is due; the zero time means never.
func (r *Relay) NextTimeout() time.Time {
	t := r.router.NextTimeout()
	if len(r.lingering) > 0 && (t.IsZero() || r.lingering[0].at.Before(t)) {
		t = r.lingering[0].at
	}
	return t
}

// HandleTimeout does what is due at now: it forgets what gateways have not
// refreshed, and leaves channels.
func (r *Relay) HandleTimeout(now time.Time) {
	closed := r.stats.Closed
	r.router.HandleTimeout(now)
	r.handleEvents(now, DownExpired)
	r.stats.Expired += r.stats.Closed - closed
	n := 0
	for n < len(r.lingering) && !r.lingering[n].at.After(now) {
		l := &r.lingering[n]
		r.events = append(r.events, Event{Type: EventLeave, Source: l.source, Group: l.group})
		n++
	}
	r.lingering = append(r.lingering[:0], r.lingering[n:]...)
}

// Drain makes the relay take no new tunnels: it answers no discovery and sets
// the L flag, also for gateways that it serves, which a [Gateway] takes as advice
// to move to another relay. Tunnels go on.
func (r *Relay) Drain() { r.draining = true }

// HandleUnreachable takes an ICMP error other than "fragmentation needed" about
// a datagram to the gateway. A number of them in a row ends the tunnel (RFC 7450
// section 5.3.3.6.4).
func (r *Relay) HandleUnreachable(now time.Time, gateway netip.AddrPort) {
	id, known := r.endpoints[keyOf(gateway)]
	if !known {
		return
	}
	t := r.tunnel(id)
	if t.unreachable++; int(t.unreachable) >= min(r.config.MaxUnreachable, 255) {
		r.stats.Unreachable++
		r.close(id, DownUnreachable)
		r.handleEvents(now, DownUnreachable)
	}
}

// HandlePathMTU takes the MTU that a router on the path to the gateway has
// reported, which holds for 10 minutes, and does nothing unless RelayConfig.FollowPathMTU
// is set.
func (r *Relay) HandlePathMTU(now time.Time, gateway netip.AddrPort, mtu int) {
	id, known := r.endpoints[keyOf(gateway)]
	if !known || !r.config.FollowPathMTU || mtu >= r.config.PathMTU {
		return
	}
	t := r.tunnel(id)
	t.pathMTU, t.pathMTUAt = uint16(max(mtu, r.config.MinPathMTU)), r.tick(now)
	r.changes++
}

// pathMTUTicks is for how long a path MTU that was reported holds: the path may be another
// one by then (RFC 1191 section 6.3, RFC 8201 section 4).
const pathMTUTicks = uint32(10 * time.Minute / relayTick)

// SetLimits changes MaxGroups, MaxSources and MaxChannelsPerTunnel of [RelayConfig] for
// what gateways ask for from now on, 0 meaning the default. What they have they keep.
func (r *Relay) SetLimits(maxGroups, maxSources, maxChannelsPerTunnel int) {
	c := &r.config
	c.MaxGroups, c.MaxSources, c.MaxChannelsPerTunnel = maxGroups, maxSources, maxChannelsPerTunnel
	c.populateLimits()
	r.router.SetLimits(c.MaxGroups, c.MaxSources, c.MaxChannelsPerTunnel)
}

// Stats returns the counters.
func (r *Relay) Stats() RelayStats {
	s := r.stats
	s.Tunnels = len(r.endpoints)
	return s
}
