package amt

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// Transmission is a datagram to send.
type Transmission struct {
	Path    Path
	To      netip.AddrPort
	Payload []byte
}

// GatewayEventType says what happened in a gateway.
type GatewayEventType uint8

// Types of event.
const (
	// GatewayConnected: the relay has answered and been told what is wanted. If
	// another one was in use, it has been lost.
	GatewayConnected GatewayEventType = 1 + iota
	// GatewayMoving: the same for the relay of a planned move. Data come on both
	// paths until Commit, or until the overlap has taken too long.
	GatewayMoving
	// GatewayMoved: only the new relay is in use.
	GatewayMoved
	// GatewayLost: the relay is left for the reason in Err. The gateway goes on
	// with the next one.
	GatewayLost
	// GatewayExhausted: all candidates have failed. They are tried again; new ones
	// would be welcome.
	GatewayExhausted
	// GatewayClosed: the path is not used any more, its socket can be closed.
	GatewayClosed
	// GatewaySilent: the relay in use answers, but has delivered nothing for so long
	// that another one is looked for. It stays in use until that has answered.
	GatewaySilent
)

// String returns a word.
func (t GatewayEventType) String() string {
	return eventName(uint8(t), "connected", "moving", "moved", "lost", "exhausted", "closed", "silent")
}

// GatewayEvent is what [Gateway.PollEvent] returns.
type GatewayEvent struct {
	Type  GatewayEventType
	Path  Path
	Relay netip.AddrPort // or the candidate, if that has not answered
	// Candidate is the address of the candidate that has led to the relay, which is
	// another than Relay's for a discovery address.
	Candidate netip.AddrPort
	// RTT is the time from a Discovery to the Advertisement if the relay has answered
	// from the candidate's address, else that from a Request to the Query; 0 if neither
	// is known, as when the messages were repeated. It cannot be forged to be shorter
	// by who does not see the nonce.
	RTT time.Duration
	Err error // of GatewayLost and GatewaySilent
}

// GatewayStats counts what a gateway did. All counters rise only.
type GatewayStats struct {
	Packets    uint64 // taken
	Octets     uint64 // of these, with their IP headers
	Unwanted   uint64 // packets of sources or groups that nobody asked for
	Malformed  uint64 // messages and packets
	Unexpected uint64 // messages that nothing asked for, or from somebody else
	Dropped    uint64 // packets that RFC 6040 has dropped for congestion
	Queries    uint64 // taken
	Updates    uint64 // sent
	Lost       uint64 // relays left against the gateway's will
	Disproved  uint64 // ICMP errors that were ignored since the relay delivers or answers
	Moves      uint64 // planned
}

// Gateway is the gateway's side of AMT (RFC 7450 section 5.2), without sockets
// and without a clock: datagrams and times go in; transmissions, packets, events
// and the time of the next timeout come out. It is not safe for concurrent use.
//
// It speaks to one relay at a time, the first of its candidates that answers,
// and goes on to the next when that one fails: it does not answer, is full, or
// falls silent. A planned move goes to the new relay before it leaves the old.
type Gateway struct {
	config     GatewayConfig
	candidates []candidate
	filters    map[netip.Addr]gmp.Filter

	active  *session
	next    *session   // of a planned move, has been told what is wanted
	racing  []*session // have not answered, or wait for the verdict on active
	leaving []*session
	order   int       // position in the list of candidates of the next attempt
	raceAt  time.Time // of the next attempt
	rounds  int       // in which all candidates failed
	moveTo  int       // candidate of a planned move; -1: none
	moveEnd time.Time // of the overlap

	out    []Transmission
	events []GatewayEvent
	paths  Path
	stats  GatewayStats
}

type candidate struct {
	Candidate
	heldUntil time.Time
}

// NewGateway returns a gateway that wants nothing.
func NewGateway(config GatewayConfig) *Gateway {
	config.populate()
	g := &Gateway{config: config, filters: make(map[netip.Addr]gmp.Filter), moveTo: -1}
	g.candidates = candidatesOf(config.Relays)
	return g
}

func candidatesOf(relays []Candidate) (list []candidate) {
	for _, c := range relays {
		a := c.Address.Addr().Unmap()
		port := c.Address.Port()
		if port == 0 {
			port = Port
		}
		c.Address = netip.AddrPortFrom(a, port)
		if a.IsValid() && !slices.ContainsFunc(list, func(o candidate) bool { return o.Candidate == c }) {
			list = append(list, candidate{Candidate: c})
		}
	}
	return list
}

func (g *Gateway) nonce() uint32 {
	for {
		var n uint32
		if g.config.Rand != nil {
			n = g.config.Rand.Uint32()
		} else {
			var b [4]byte
			crand.Read(b[:]) // never fails
			n = binary.BigEndian.Uint32(b[:])
		}
		if n != 0 { // which some relays ignore
			return n
		}
	}
}

// random returns a time in [0, limit].
func (g *Gateway) random(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	if g.config.Rand != nil {
		return time.Duration(g.config.Rand.Int64N(int64(limit) + 1))
	}
	return rand.N(limit + 1)
}

// SetRelays replaces the candidates. The relay in use stays in use, also if it
// is none of them.
func (g *Gateway) SetRelays(now time.Time, relays []Candidate) {
	old := g.candidates
	g.candidates = candidatesOf(relays)
	find := func(c Candidate) int {
		return slices.IndexFunc(g.candidates, func(o candidate) bool { return o.Candidate == c })
	}
	for i := range old {
		if j := find(old[i].Candidate); j >= 0 {
			g.candidates[j].heldUntil = old[i].heldUntil
		}
	}
	for _, s := range g.sessions() {
		if s.candidate >= 0 {
			s.candidate = find(old[s.candidate].Candidate)
		}
	}
	if g.moveTo >= 0 {
		g.moveTo = find(old[g.moveTo].Candidate)
	}
	for i := len(g.racing) - 1; i >= 0; i-- {
		if g.racing[i].candidate < 0 {
			g.abandon(g.racing[i])
		}
	}
	g.order, g.rounds = 0, 0
	g.race(now)
}

func (g *Gateway) sessions() []*session { return g.appendSessions(nil) }

func (g *Gateway) appendSessions(list []*session) []*session {
	list = append(list, g.racing...)
	list = append(list, g.leaving...)
	if g.active != nil {
		list = append(list, g.active)
	}
	if g.next != nil {
		list = append(list, g.next)
	}
	return list
}

// SetFilter sets what is wanted of a group. The error matches [gmp.ErrGroup].
func (g *Gateway) SetFilter(now time.Time, group netip.Addr, filter gmp.Filter) error {
	// A host of no consequence checks it.
	check := gmp.NewHost(gmp.HostConfig{IPv6: group.Is6()})
	if err := check.SetFilter(now, group, filter); err != nil {
		return err
	}
	filter = check.Filter(group)
	if filter.Mode == gmp.Include && len(filter.Sources) == 0 {
		delete(g.filters, group)
	} else {
		g.filters[group] = filter
	}
	for _, s := range g.sessions() {
		if !s.leaving {
			s.setFilter(now, group, filter)
			s.changed(now)
		}
	}
	if len(g.filters) == 0 {
		g.idle(now)
		return nil
	}
	g.race(now)
	return nil
}

// Join adds a source of a group to what is wanted.
func (g *Gateway) Join(now time.Time, source, group netip.Addr) error {
	f := g.filters[group]
	return g.SetFilter(now, group, gmp.Filter{Sources: append(slices.Clone(f.Sources), source)})
}

// Leave ends Join.
func (g *Gateway) Leave(now time.Time, source, group netip.Addr) error {
	f := g.filters[group]
	f.Sources = slices.DeleteFunc(slices.Clone(f.Sources), func(a netip.Addr) bool { return a == source })
	return g.SetFilter(now, group, f)
}

// idle lets go of all relays, once the last reports are through.
func (g *Gateway) idle(now time.Time) {
	for len(g.racing) > 0 {
		g.abandon(g.racing[0])
	}
	g.raceAt = time.Time{}
	for _, s := range []*session{g.active, g.next} {
		if s != nil {
			g.retire(now, s)
		}
	}
	g.active, g.next, g.moveTo = nil, nil, -1
}

// race starts the next attempt if there is no relay, or none but a doubtful one.
func (g *Gateway) race(now time.Time) {
	if len(g.filters) == 0 || g.active != nil && !g.active.probing && g.active.noDataRuns == 0 || len(g.candidates) == 0 {
		g.raceAt = time.Time{}
		return
	}
	if !g.raceAt.IsZero() && g.raceAt.After(now) {
		return
	}
	g.raceAt = time.Time{}
	for g.order < len(g.candidates) {
		i := g.order
		g.order++
		if g.candidates[i].heldUntil.After(now) || g.inUse(i) {
			continue
		}
		g.racing = append(g.racing, newSession(g, now, i))
		if g.order < len(g.candidates) {
			g.raceAt = now.Add(g.config.Attempt)
		}
		return
	}
	if len(g.racing) > 0 || g.active != nil && g.active.noDataRuns == 0 {
		return
	}
	// All have failed, or are held down: begin again, after a while.
	if g.active == nil {
		g.events = append(g.events, GatewayEvent{Type: GatewayExhausted})
	}
	limit := g.config.RequestTimeout
	for range min(g.rounds, 10) {
		limit = min(2*limit, g.config.MaxTimeout)
	}
	g.rounds++
	g.raceAt = now.Add(g.config.RequestTimeout + g.random(limit-g.config.RequestTimeout))
	g.order = 0
	if g.active == nil {
		// Better a relay that failed than none.
		soonest := 0
		for i := range g.candidates {
			if g.candidates[i].heldUntil.Before(g.candidates[soonest].heldUntil) {
				soonest = i
			}
		}
		g.candidates[soonest].heldUntil = time.Time{}
	}
}

func (g *Gateway) inUse(candidate int) bool {
	for _, s := range g.racing {
		if s.candidate == candidate {
			return true
		}
	}
	return g.active != nil && g.active.candidate == candidate || g.next != nil && g.next.candidate == candidate
}

// connected: a relay in the race has answered.
func (g *Gateway) connected(now time.Time, s *session) {
	if g.moveTo >= 0 && s.candidate == g.moveTo {
		g.remove(s)
		g.next, g.moveTo = s, -1
		g.moveEnd = now.Add(g.config.Overlap)
		s.join(now)
		g.emit(GatewayMoving, s, nil)
		return
	}
	if a := g.active; a != nil && a.probing {
		if a.inVain() {
			g.lost(now, a, ErrNoAnswer) // in favour of this one
		}
		return // or it waits for the verdict
	}
	g.promote(now, s)
}

// promote makes a relay that has answered the one in use.
func (g *Gateway) promote(now time.Time, s *session) {
	g.remove(s)
	for len(g.racing) > 0 {
		g.abandon(g.racing[0]) // nothing is known of us there
	}
	runs := 0
	if old := g.active; old != nil {
		runs = old.noDataRuns
		g.retire(now, old)
	}
	g.active = s
	s.noDataRuns = runs
	g.raceAt, g.order, g.rounds = time.Time{}, 0, 0
	s.join(now)
	g.emit(GatewayConnected, s, nil)
}

// remove takes a session out of the race.
func (g *Gateway) remove(s *session) {
	g.racing = slices.DeleteFunc(g.racing, func(o *session) bool { return o == s })
}

// abandon forgets a session that the relay knows nothing of.
func (g *Gateway) abandon(s *session) {
	g.remove(s)
	g.emit(GatewayClosed, s, nil)
}

// retire says goodbye to a relay, and again a second later.
func (g *Gateway) retire(now time.Time, s *session) {
	s.goodbye(now)
	s.leaving = true
	s.closeAt = now.Add(time.Second)
	g.leaving = append(g.leaving, s)
}

// silent: the relay in use delivers nothing and has been asked why. Another one
// is looked for meanwhile, which costs the others nothing.
func (g *Gateway) silent(now time.Time, s *session) {
	if s == g.active {
		g.order = 0
		g.race(now)
	}
}

// lost leaves a relay for a reason.
func (g *Gateway) lost(now time.Time, s *session, reason error) {
	if s.candidate >= 0 {
		hold := g.config.HoldDown
		switch reason {
		case ErrFull:
			hold = holdDownFull
		case ErrUnreachable, ErrNoAnswer:
			hold = holdDownUnreachable
		}
		g.candidates[s.candidate].heldUntil = now.Add(hold)
	}
	if reason == ErrNoData && s == g.active {
		// It stays until there is a better one: the source may just not send.
		s.noDataRuns++
		s.expectData(now)
		g.emit(GatewaySilent, s, reason)
		if other := g.ready(); other != nil {
			g.promote(now, other)
			return
		}
		g.order = 0
		g.race(now)
		return
	}
	g.stats.Lost++
	g.emit(GatewayLost, s, reason)
	switch s {
	case g.active:
		g.active = nil
		g.retire(now, s)
		if g.next != nil {
			g.commit(now)
			return
		}
		if other := g.ready(); other != nil {
			g.promote(now, other)
			return
		}
		g.order = 0
	case g.next:
		g.next = nil
		g.retire(now, s)
		return
	default:
		if s.candidate >= 0 && s.candidate == g.moveTo {
			g.moveTo = -1
		}
		g.abandon(s)
	}
	g.raceAt = time.Time{} // the next candidate at once
	g.race(now)
}

// ready returns a relay in the race that has answered, or nil.
func (g *Gateway) ready() *session {
	for _, s := range g.racing {
		if s.cycles[protocolIGMP].confirmed || s.cycles[protocolMLD].confirmed {
			return s
		}
	}
	return nil
}

// Move starts a planned move to the candidate with the address, and reports
// whether it is one that is not in use. Data come on both paths, first on the
// old, until Commit is called or the overlap has taken too long; a relay that
// does not deliver within that time is left again.
func (g *Gateway) Move(now time.Time, address netip.AddrPort) bool {
	i := slices.IndexFunc(g.candidates, func(c candidate) bool { return c.Address == address })
	if i < 0 || g.active == nil || g.inUse(i) || g.next != nil {
		return false
	}
	g.moveTo = i
	g.stats.Moves++
	g.racing = append(g.racing, newSession(g, now, i))
	return true
}

// advised: the relay in use takes no new tunnels. One that is full keeps those
// that it has and says so to others only; this one is about to go. A gateway may
// stay (RFC 7450 section 5.2.3.5.4), and this one moves if there is another
// relay: while the old one still delivers, nothing is lost by it.
func (g *Gateway) advised(now time.Time, s *session) {
	if s != g.active || g.next != nil || g.moveTo >= 0 || len(g.racing) > 0 {
		return
	}
	if s.candidate >= 0 {
		g.candidates[s.candidate].heldUntil = now.Add(holdDownFull)
	}
	for i := range g.candidates {
		if g.candidates[i].heldUntil.After(now) || g.inUse(i) {
			continue
		}
		g.Move(now, g.candidates[i].Address)
		return
	}
}

// Commit ends the overlap of a planned move: the new relay is in use, the old
// one is left.
func (g *Gateway) Commit(now time.Time) {
	if g.next != nil {
		g.commit(now)
	}
}

func (g *Gateway) commit(now time.Time) {
	old := g.active
	g.active, g.next = g.next, nil
	if old != nil {
		g.retire(now, old)
	}
	g.emit(GatewayMoved, g.active, nil)
}

func (g *Gateway) emit(t GatewayEventType, s *session, err error) {
	relay := s.relay
	if !relay.IsValid() {
		relay = s.discovered // it has not answered
	}
	candidate := s.discovered
	if !candidate.IsValid() {
		candidate = s.relay
	}
	g.events = append(g.events, GatewayEvent{Type: t, Path: s.path, Relay: relay, Candidate: candidate, RTT: s.roundTrip(), Err: err})
}

func (g *Gateway) find(path Path) *session {
	for _, s := range [...]*session{g.active, g.next} {
		if s != nil && s.path == path {
			return s
		}
	}
	for _, s := range g.racing {
		if s.path == path {
			return s
		}
	}
	return nil
}

// HandleDatagram takes a datagram that arrived on a path, with the ECN field of
// its IP header; it may change the datagram by that field. If it holds a packet
// that is wanted, p is that packet. It allocates nothing for packets.
func (g *Gateway) HandleDatagram(now time.Time, path Path, d *Datagram, ecn uint8, p *Packet) bool {
	var m Message
	if m.Unmarshal(d.Payload) != nil {
		g.stats.Malformed++
		return false
	}
	s := g.find(path)
	if s == nil {
		g.stats.Unexpected++
		return false
	}
	switch m.Type {
	case TypeData:
		if g.config.ECN && !decapsulateECN(m.Packet, ecn) {
			g.stats.Dropped++
			return false
		}
		if p.Parse(m.Packet) != nil {
			g.stats.Malformed++
			return false
		}
		if !s.handleData(now, d, p) {
			g.stats.Unwanted++
			return false
		}
		g.stats.Packets++
		g.stats.Octets += uint64(len(p.Raw))
		if len(g.racing) > 0 && s == g.active && g.moveTo < 0 {
			g.calm()
		}
		return true
	case TypeAdvertisement:
		s.handleAdvertisement(now, d, &m)
	case TypeQuery:
		s.handleQuery(now, d, &m)
	default:
		g.stats.Unexpected++
	}
	return false
}

// calm ends the search for another relay: the one in use delivers.
func (g *Gateway) calm() {
	for len(g.racing) > 0 {
		g.abandon(g.racing[0])
	}
	g.raceAt, g.order = time.Time{}, 0
}

// HandleUnreachable takes an ICMP error about what was sent on a path (RFC 7450
// section 5.2.3.9). A relay that has not answered yet gives way to the next
// candidate. Whoever guesses address and port can forge such errors: they are ignored as
// long as the relay delivers or has just answered, and at other times one is asked first.
func (g *Gateway) HandleUnreachable(now time.Time, path Path) {
	s := g.find(path)
	switch {
	case s == nil:
	case s.reachable(now):
		g.stats.Disproved++
	case !s.joined || s.disown(now):
		g.lost(now, s, ErrUnreachable)
	}
}

// NextTimeout returns when HandleTimeout is due; the zero time means never.
func (g *Gateway) NextTimeout() time.Time {
	t := g.raceAt
	for _, s := range [...]*session{g.active, g.next} {
		if s != nil {
			t = sooner(t, s.nextTimeout())
		}
	}
	for _, s := range g.racing {
		t = sooner(t, s.nextTimeout())
	}
	for _, s := range g.leaving {
		t = sooner(t, s.nextTimeout())
	}
	if g.next != nil {
		t = sooner(t, g.moveEnd)
	}
	return t
}

// HandleTimeout does what is due at now.
func (g *Gateway) HandleTimeout(now time.Time) {
	for len(g.leaving) > 0 && isDue(g.leaving[0].closeAt, now) {
		s := g.leaving[0]
		g.leaving = g.leaving[1:]
		// Whoever has come back to the relay meanwhile has done so from the same port,
		// and would be sent away.
		if !slices.ContainsFunc([]*session{g.active, g.next}, func(o *session) bool { return o != nil && o.relay == s.relay }) {
			s.goodbye(now)
		}
		g.emit(GatewayClosed, s, nil)
	}
	if g.next != nil && isDue(g.moveEnd, now) {
		if g.next.lastData.IsZero() {
			g.lost(now, g.next, ErrNoData)
		} else {
			g.commit(now)
		}
	}
	var some [4]*session
	for _, s := range g.appendSessions(some[:0]) {
		if s.leaving || s != g.active && s != g.next && !slices.Contains(g.racing, s) {
			continue // it has gone meanwhile
		}
		if err := s.handleTimeout(now); err != nil {
			g.lost(now, s, err)
		}
	}
	if isDue(g.raceAt, now) {
		g.race(now)
	}
}

// PollTransmission returns the next datagram to send.
func (g *Gateway) PollTransmission() (Transmission, bool) {
	if len(g.out) == 0 {
		return Transmission{}, false
	}
	t := g.out[0]
	if g.out = g.out[1:]; len(g.out) == 0 {
		g.out = nil
	}
	return t, true
}

// PollEvent returns the next event.
func (g *Gateway) PollEvent() (GatewayEvent, bool) {
	if len(g.events) == 0 {
		return GatewayEvent{}, false
	}
	e := g.events[0]
	if g.events = g.events[1:]; len(g.events) == 0 {
		g.events = nil
	}
	return e, true
}

// Active returns the relay in use, which is invalid if there is none.
func (g *Gateway) Active() (relay netip.AddrPort, path Path) {
	if g.active == nil {
		return netip.AddrPort{}, 0
	}
	return g.active.relay, g.active.path
}

// Stats returns the counters.
func (g *Gateway) Stats() GatewayStats { return g.stats }

// Close leaves all relays at once; what it has to say is in PollTransmission.
func (g *Gateway) Close(now time.Time) {
	for i := range 2 { // the second time for the first may be lost
		for _, s := range [...]*session{g.active, g.next} {
			if s != nil {
				// Nobody waits until a report is due again.
				s.goodbye(now.Add(time.Duration(i) * gmp.DefaultUnsolicitedReportInterval))
			}
		}
	}
	g.filters = make(map[netip.Addr]gmp.Filter)
	for _, s := range g.sessions() {
		g.emit(GatewayClosed, s, nil)
	}
	g.active, g.next, g.racing, g.leaving, g.raceAt = nil, nil, nil, nil, time.Time{}
}
