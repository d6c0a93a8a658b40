package amt

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// Path names a socket of a gateway: each relay is spoken to from a socket of its
// own, control and data alike. Paths are numbered from 1 and never used twice.
type Path uint32

// Why a gateway leaves a relay; the causes in [GatewayEvent].
var (
	ErrNoAnswer    = errors.New("amt: the relay does not answer")
	ErrUnreachable = errors.New("amt: the relay is unreachable")
	ErrFull        = errors.New("amt: the relay takes no new tunnels")
	ErrNoData      = errors.New("amt: no data from the relay")
)

// session is a gateway's dealing with one relay: a pseudo-interface of RFC 7450
// section 5.2.
type session struct {
	gateway   *Gateway
	path      Path
	candidate int // in Gateway.candidates; -1 once that is no candidate any more

	relay netip.AddrPort // valid once known

	discovery  uint32 // nonce of a discovery without an answer; 0: none
	discovered netip.AddrPort
	tries      int       // of the discovery
	sentAt     time.Time // of the discovery
	retryAt    time.Time // of the discovery

	hosts  [2]*gmp.Host // IGMP, MLD
	cycles [2]cycle
	nonce  uint32 // of the present cycles

	joined bool                // Updates are sent
	groups []netip.Addr        // asked for here, now or once: maxGroups, or as many as are wanted
	asked  map[netip.Addr]bool // the same

	wanted struct{ source, group netip.Addr } // of the last packet, which saves looking it up

	lastData   time.Time
	paused     time.Time     // lastData before a pause that was asked about
	gap        time.Duration // longest pause of the data, fading
	probing    bool          // a Request asks whether the relay is alive
	noDataAt   time.Time     // when to give up waiting for the first packet
	noDataRuns int

	repeats  int       // of the whole state, while no data come
	repeatAt time.Time // of the next
	refusesE bool      // the relay answers only without the E flag

	hurry int // cycles that follow at once, to learn a new endpoint

	discoveryRTT time.Duration // 0: not known, or it is not the relay's

	rtt      time.Duration // of the last Request that was the only one of its cycle; 0: none was
	rttLimit time.Duration // from the first Request of a cycle with several to the answer

	answeredAt time.Time // when the last Query was taken
	teardowns  []teardown
	leaving    bool      // it only says goodbye
	closeAt    time.Time // of a session that is leaving
}

// cycle is the membership query cycle of one protocol (RFC 7450 section
// 5.2.3.5).
type cycle struct {
	pending bool // a Request is without an answer
	nonce   uint32
	tries   int
	firstAt time.Time // when the first Request of this cycle was sent
	retryAt time.Time
	nextAt  time.Time // of the next cycle

	// The last Query taken: what Updates and Teardowns carry.
	confirmed bool
	query     Message // without its Packet
	endpoint  Message // the last one that told our endpoint; Type 0: none
	sentE     bool    // the last Request had the E flag
	triedE    bool    // a Request of this cycle had it

	linux     bool // this relay may want the P flag where Linux has it
	sentLinux bool // the last Request had it there
	mixed     bool // Requests of this cycle had it in either place
	settled   bool // an answer has shown that linux is right
	doubts    int  // answers that did not
}

type teardown struct {
	message Message
	left    int
	at      time.Time
}

const (
	protocolIGMP = 0
	protocolMLD  = 1

	controlMTU = 1200 // of reports; any path takes as much
	learnAfter = 4 * time.Second
	maxGroups  = 256

	probes = 2 // Requests to a silent relay, before another one that answers has preference
)

func protocolOf(group netip.Addr) int {
	if group.Is6() {
		return protocolMLD
	}
	return protocolIGMP
}

func newSession(g *Gateway, now time.Time, candidate int) *session {
	g.paths++
	s := &session{gateway: g, path: g.paths, candidate: candidate, asked: make(map[netip.Addr]bool)}
	for i := range s.hosts {
		s.hosts[i] = gmp.NewHost(gmp.HostConfig{IPv6: i == protocolMLD, Prompt: true, MTU: controlMTU, Rand: g.config.Rand})
	}
	for group, f := range g.filters {
		s.setFilter(now, group, f)
	}
	c := &g.candidates[candidate]
	if c.Direct {
		s.relay = c.Address
		s.request(now)
	} else {
		s.discovery = g.nonce()
		s.discover(now)
	}
	return s
}

func (s *session) setFilter(now time.Time, group netip.Addr, f gmp.Filter) {
	s.wanted.source, s.wanted.group = netip.Addr{}, netip.Addr{}
	_ = s.hosts[protocolOf(group)].SetFilter(now, group, f) // was checked when the gateway took it
	if s.asked[group] {
		return
	}
	_, wanted := s.gateway.filters[group]
	unwanted := len(s.groups) - len(s.gateway.filters)
	if wanted {
		unwanted++ // this one, which is not among the groups
	}
	if len(s.groups) >= maxGroups && unwanted > 0 {
		gone := slices.IndexFunc(s.groups, func(g netip.Addr) bool { _, wanted := s.gateway.filters[g]; return !wanted })
		if gone >= 0 {
			delete(s.asked, s.groups[gone])
			s.groups = slices.Delete(s.groups, gone, gone+1)
		}
	}
	s.groups = append(s.groups, group)
	s.asked[group] = true
}

// backoff is the random time before a repetition (RFC 7450 section 5.2.3.4.3).
func (s *session) backoff(tries int) time.Duration {
	c := &s.gateway.config
	limit := c.RequestTimeout
	for range tries {
		if limit *= 2; limit >= c.MaxTimeout {
			limit = c.MaxTimeout
			break
		}
	}
	return c.RequestTimeout + s.gateway.random(limit-c.RequestTimeout)
}

func (s *session) discover(now time.Time) {
	s.discovered = s.gateway.candidates[s.candidate].Address
	s.send(s.discovered, Message{Type: TypeDiscovery, Nonce: s.discovery})
	s.sentAt, s.retryAt = now, now.Add(s.backoff(s.tries))
	s.tries++
}

// request starts a cycle of the protocols in use. They share a nonce: Linux
// keeps one per tunnel, so that a second would make Updates for the first void.
func (s *session) request(now time.Time) {
	s.nonce = s.gateway.nonce()
	for i := range s.cycles {
		c := &s.cycles[i]
		c.nextAt = time.Time{}
		c.pending = s.hosts[i].Member()
		if !c.pending {
			c.confirmed = false // too old by the time it may be needed
		} else {
			c.nonce = s.nonce
			c.tries = 0
			s.sendRequest(now, i)
		}
	}
}

func (s *session) sendRequest(now time.Time, protocol int) {
	c := &s.cycles[protocol]
	m := Message{Type: TypeRequest, Nonce: c.nonce}
	if c.tries == 0 {
		c.firstAt, c.triedE, c.mixed = now, false, false
	}
	tries := c.tries
	if s.joined {
		tries = min(tries, 3) // not the longest times: the tunnel may depend on it
	}
	wait := s.backoff(tries)
	// A relay that has not heard of RFC 9601 may drop what has reserved bits set,
	// as Linux does: the first Request, on which joining depends, goes without, and
	// so does a repeated one.
	c.sentE = s.gateway.config.ECN && c.confirmed && c.tries == 0 && !s.refusesE
	if c.sentE {
		m.Flags |= FlagE
		c.triedE = true
	}
	if protocol == protocolMLD {
		// A relay that does not answer may be Linux, which ignores Requests with
		// either flag and looks for P elsewhere.
		other := c.tries%2 == 1 && (!c.settled || c.tries > 2)
		linux := !s.gateway.config.Compat.NoLinuxP && c.linux != other
		c.mixed = c.mixed || c.tries > 0 && linux != c.sentLinux
		c.sentLinux = linux
		if c.sentLinux {
			m.Flags = FlagLinuxP
		} else {
			m.Flags |= FlagP
		}
		if !c.confirmed && c.tries == 0 && !s.gateway.config.Compat.NoLinuxP {
			wait = linuxTimeout
		}
	}
	if s.probing && c.tries < probes {
		wait = s.gateway.config.Silence
	}
	s.send(s.relay, m)
	c.tries++
	c.retryAt = now.Add(max(wait, s.patience()))
}

// patience is the least time that an answer takes some of which is to spare, as far
// as that is known: satellites and full queues make it seconds.
func (s *session) patience() time.Duration {
	rtt := s.rtt
	if rtt == 0 {
		rtt = s.rttLimit
	}
	return min(rtt+rtt/2, maxPatience)
}

// learn takes what the answer to a Request tells of the relay. If there were several
// Requests, which share a nonce, nobody knows which of them it answers.
func (s *session) learn(now time.Time, c *cycle) {
	if c.tries == 1 {
		s.rtt = max(now.Sub(c.firstAt), 1) // a coarse clock does not make it unknown
	} else {
		s.rttLimit = now.Sub(c.firstAt)
	}
	if c.triedE && !c.sentE {
		s.refusesE = true // or the first one was lost; then it does without
	}
	if !c.mixed {
		c.linux, c.settled, c.doubts = c.sentLinux, true, 0
		return
	}
	// A slow relay is asked the same once more, with patience. If it still does not
	// answer to that alone, the next cycles begin with the P flag where it was not.
	c.settled = false
	if c.doubts++; c.doubts%2 == 0 {
		c.linux = !c.linux
	}
}

// roundTrip is the time that the relay takes to answer, 0 if it is not known. A message
// that was repeated tells nothing, since nobody knows which of them was answered (Karn's
// rule, RFC 6298 section 3), and a discovery address that is another than the relay's
// tells nothing of the relay.
func (s *session) roundTrip() time.Duration {
	if s.discoveryRTT > 0 {
		return s.discoveryRTT
	}
	return s.rtt
}

func (s *session) send(to netip.AddrPort, m Message) {
	payload, err := m.AppendTo(nil)
	if err != nil {
		return // the addresses are valid, and so is the type
	}
	s.gateway.out = append(s.gateway.out, Transmission{Path: s.path, To: to, Payload: payload})
}

// handleAdvertisement takes the answer to a discovery (RFC 7450 section
// 5.2.3.4.4).
func (s *session) handleAdvertisement(now time.Time, d *Datagram, m *Message) {
	relay, ok := usable(m.Relay, s.discovered.Addr())
	if !ok || s.discovery == 0 || m.Nonce != s.discovery || d.Remote != s.discovered {
		s.gateway.stats.Unexpected++
		return
	}
	s.discovery = 0
	s.retryAt = time.Time{}
	s.relay = netip.AddrPortFrom(relay, s.discovered.Port())
	if s.tries == 1 && s.relay == s.discovered {
		s.discoveryRTT = max(now.Sub(s.sentAt), 1)
	}
	s.request(now)
}

// usable reports whether an address that was advertised from another can be that of
// a relay, and returns it with the zone that it needs.
func usable(a, from netip.Addr) (netip.Addr, bool) {
	switch {
	case a.Is4() != from.Is4(), // RFC 7450 section 5.3.3.2
		!a.IsValid(), a.Is4In6(), a.IsUnspecified(), a.IsMulticast(), a.IsLoopback() && !from.IsLoopback():
		return a, false
	case a.IsLinkLocalUnicast():
		a = a.WithZone(from.Zone())
		return a, from.IsLinkLocalUnicast() && a.Zone() != ""
	}
	return a, true
}

// handleQuery takes the answer to a Request (RFC 7450 section 5.2.3.5.4).
func (s *session) handleQuery(now time.Time, d *Datagram, m *Message) {
	var q gmp.Message
	if q.Parse(m.Packet) != nil || !q.General() {
		s.gateway.stats.Malformed++
		return
	}
	protocol := protocolIGMP
	if q.IPv6() {
		protocol = protocolMLD
	}
	c := &s.cycles[protocol]
	newest := 3 - protocol
	if !c.pending || m.Nonce != c.nonce || d.Remote != s.relay || q.Version != newest {
		s.gateway.stats.Unexpected++
		return
	}
	if m.Flags&FlagL != 0 {
		if !s.joined {
			s.gateway.lost(now, s, ErrFull)
			return
		}
		defer s.gateway.advised(now, s)
	}
	s.gateway.stats.Queries++
	s.learn(now, c)
	s.answeredAt = now
	c.pending = false
	c.retryAt = time.Time{}
	c.confirmed = true
	c.query = *m
	c.query.Packet = nil
	s.hosts[protocol].HandleQuery(now, &q)
	if s.probing {
		s.probing = false
		s.paused, s.lastData = s.lastData, time.Time{} // until there are data again
		s.expectData(now)
		if c.endpoint.Type != 0 && m.Flags&FlagG == 0 {
			s.hurry = 2
		}
	}
	c.nextAt = now.Add(s.interval(protocol))
	if m.Flags&FlagG != 0 {
		if s.joined && c.endpoint.Type != 0 && c.endpoint.Gateway != m.Gateway {
			// The NAT has given us another address; the relay still sends to the old one.
			s.teardown(now, c.endpoint)
		}
		c.endpoint = c.query
		s.hurry = 0
	}
	if !s.joined {
		s.gateway.connected(now, s)
		return
	}
	s.report(now, s.hosts[protocol])
}

// report tells the relay the whole state, and again if no data come: a report
// that answers a query is not repeated by the rules of IGMP, since the next
// query would do that, much later.
func (s *session) report(now time.Time, hosts ...*gmp.Host) {
	for _, h := range hosts {
		h.Refresh(now)
	}
	s.repeats, s.repeatAt = 0, time.Time{}
	if s.lastData.IsZero() {
		s.repeats = s.robustness() - 1
		s.repeatAt = now.Add(s.gateway.random(gmp.DefaultUnsolicitedReportInterval))
	}
	s.flush(now)
}

// interval is the time until the next cycle, spread so that the gateways of one
// relay do not march in step.
func (s *session) interval(protocol int) time.Duration {
	if s.hurry > 0 {
		s.hurry--
		return time.Second
	}
	if !s.joined && s.cycles[protocol].query.Flags&FlagG == 0 {
		// Relays tell the endpoint once there is a tunnel, and without it nothing
		// could be torn down.
		return learnAfter + s.gateway.random(learnAfter)
	}
	d := min(s.hosts[protocol].Interval(), s.gateway.config.Keepalive)
	if other := s.cycles[1-protocol].nextAt; !other.IsZero() {
		return d // the other protocol decides, see handleTimeout
	}
	return d - s.gateway.random(d/4)
}

func (s *session) teardown(now time.Time, q Message) {
	m := Message{Type: TypeTeardown, MAC: q.MAC, Nonce: q.Nonce, Gateway: q.Gateway}
	s.teardowns = append(s.teardowns, teardown{m, max(1, s.robustness()), now})
}

func (s *session) robustness() int {
	return max(s.hosts[protocolIGMP].Robustness(), s.hosts[protocolMLD].Robustness())
}

// join starts to send Updates.
func (s *session) join(now time.Time) {
	s.joined = true
	s.expectData(now)
	s.report(now, s.hosts[:]...)
}

// expectData arms the timer of a relay that answers and does not deliver.
func (s *session) expectData(now time.Time) {
	c := &s.gateway.config
	limit := c.NoData
	for range s.noDataRuns {
		limit = min(2*limit, c.MaxTimeout)
	}
	s.noDataAt = now.Add(c.NoData + s.gateway.random(limit-c.NoData))
}

// flush sends the reports of the hosts as Updates. Those that come before the
// first Query are dropped: the answer to that will say it all (RFC 7450 section
// 5.2.3.6.1).
func (s *session) flush(now time.Time) {
	var buf [1500]byte
	for i, h := range s.hosts {
		h.HandleTimeout(now)
		for {
			p, ok := h.Poll(buf[:0])
			if !ok {
				break
			}
			if c := &s.cycles[i]; s.joined && c.confirmed {
				s.send(s.relay, Message{Type: TypeUpdate, MAC: c.query.MAC, Nonce: c.query.Nonce, Packet: p})
				s.gateway.stats.Updates++
			}
		}
	}
}

// changed follows a change of the filters.
func (s *session) changed(now time.Time) {
	if s.relay.IsValid() {
		for i := range s.cycles {
			// A protocol that was not in use has no MAC yet.
			if c := &s.cycles[i]; s.hosts[i].Member() && !c.confirmed && !c.pending {
				c.pending, c.nonce, c.tries = true, s.nonce, 0
				s.sendRequest(now, i)
			}
		}
	}
	s.flush(now)
}

// handleData reports whether a packet from the relay is wanted.
func (s *session) handleData(now time.Time, d *Datagram, p *Packet) bool {
	if d.Remote != s.relay || !s.joined {
		return false
	}
	if source, group := p.Source.Addr(), p.Destination.Addr(); source != s.wanted.source || group != s.wanted.group {
		if !s.hosts[protocolOf(group)].Wants(source, group) {
			return false
		}
		s.wanted.source, s.wanted.group = source, group
	}
	s.probing = false
	if s.lastData.IsZero() {
		s.noDataAt = time.Time{}
		s.noDataRuns = 0
		if !s.paused.IsZero() { // next time, such a pause is no surprise
			s.gap = max(s.gap, now.Sub(s.paused))
			s.paused = time.Time{}
		}
	} else if gap := now.Sub(s.lastData); gap > s.gap {
		s.gap = gap
	} else {
		s.gap -= s.gap / 256
	}
	s.lastData = now
	return true
}

// silentAt returns when the pause of the data becomes suspicious; the zero time
// means never.
func (s *session) silentAt() time.Time {
	c := &s.gateway.config
	if c.Silence < 0 || s.lastData.IsZero() || s.probing || !s.joined || s.leaving {
		return time.Time{}
	}
	return s.lastData.Add(min(max(c.Silence, 4*s.gap), 10*time.Second))
}

// goodbye leaves the relay: a Teardown if it has told our endpoint, else Updates
// that delete everything (RFC 7450 section 5.2.3.8). What is wanted now goes by
// the rules of IGMP, which means BLOCK_OLD_SOURCES: some relays know no other way
// to leave a source. What was ever wanted here goes by a change to include
// nothing.
func (s *session) goodbye(now time.Time) {
	if !s.joined {
		return
	}
	for _, group := range s.groups {
		if c := &s.cycles[protocolOf(group)]; c.query.Flags&FlagG == 0 {
			s.setFilter(now, group, gmp.Filter{})
		}
	}
	s.flush(now)
	for i := range s.cycles {
		c := &s.cycles[i]
		if !c.confirmed {
			continue
		}
		if c.query.Flags&FlagG != 0 {
			s.send(s.relay, Message{Type: TypeTeardown, MAC: c.query.MAC, Nonce: c.query.Nonce, Gateway: c.query.Gateway})
			continue
		}
		host := gmp.NewHost(gmp.HostConfig{IPv6: i == protocolMLD, MTU: controlMTU})
		for _, group := range s.groups {
			if protocolOf(group) == i {
				host.Deleted(group)
			}
		}
		for {
			p, ok := host.Poll(nil)
			if !ok {
				break
			}
			s.send(s.relay, Message{Type: TypeUpdate, MAC: c.query.MAC, Nonce: c.query.Nonce, Packet: p})
		}
	}
}

func (s *session) nextTimeout() (t time.Time) {
	if s.leaving {
		return s.closeAt
	}
	t = sooner(s.retryAt, s.silentAt())
	for i := range s.cycles {
		c := &s.cycles[i]
		if c.pending {
			t = sooner(t, c.retryAt)
		} else {
			t = sooner(t, c.nextAt)
		}
		if s.joined {
			t = sooner(t, s.hosts[i].NextTimeout())
		}
	}
	for i := range s.teardowns {
		t = sooner(t, s.teardowns[i].at)
	}
	return sooner(sooner(t, s.noDataAt), s.repeatAt)
}

// reachable reports whether the relay has shown so lately that it is there that nobody
// else is believed about it. That ends with a pause of the data that is suspicious, after
// which a relay that is gone should be left at once.
func (s *session) reachable(now time.Time) bool {
	limit := s.gateway.config.RequestTimeout
	fresh := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < limit }
	return !s.probing && (fresh(s.lastData) || fresh(s.answeredAt))
}

// disown takes an ICMP error about a relay that may be gone, and reports whether it is:
// it has not answered a Request in the time that it takes to, and there is an error for
// one after that.
func (s *session) disown(now time.Time) bool {
	var last *cycle
	for i := range s.cycles {
		if c := &s.cycles[i]; c.pending && (last == nil || c.firstAt.After(last.firstAt)) {
			last = c
		}
	}
	if last == nil || !s.answeredAt.Before(last.firstAt) { // to the other protocol
		s.request(now)
		return false
	}
	due := last.firstAt.Add(max(s.patience(), minPatience))
	if !due.After(now) {
		return true
	}
	last.retryAt = sooner(last.retryAt, due)
	return false
}

// inVain reports whether the relay has had its time to say why it is silent. It is left
// as soon as there is another one; for want of that it has more time.
func (s *session) inVain() bool {
	for i := range s.cycles {
		if c := &s.cycles[i]; s.probing && c.pending && c.tries > probes {
			return true
		}
	}
	return false
}

// sooner returns the earlier of two times, of which the zero time means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func isDue(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// handleTimeout does what is due. It returns the reason if the relay is lost.
func (s *session) handleTimeout(now time.Time) error {
	limit := s.gateway.config.MaxRequests
	if isDue(s.retryAt, now) {
		if s.tries >= limit {
			return ErrNoAnswer
		}
		s.discover(now)
	}
	if isDue(s.silentAt(), now) {
		s.probing = true
		s.request(now)
		s.gateway.silent(now, s)
	}
	for i := range s.cycles {
		c := &s.cycles[i]
		switch {
		case c.pending && isDue(c.retryAt, now):
			// While data come, only the way to the relay can be lossy.
			flowing := !s.probing && now.Sub(s.lastData) < s.gateway.config.RequestTimeout
			if !flowing && (c.tries >= limit || s.probing && c.tries >= probes && s.gateway.ready() != nil) {
				if i == protocolMLD && s.cycles[protocolIGMP].confirmed && !s.cycles[protocolIGMP].pending {
					// A relay need not speak both (RFC 7450 section 5.3.1).
					c.pending = false
					c.nextAt = now.Add(s.gateway.config.HoldDown)
					continue
				}
				return ErrNoAnswer
			}
			s.sendRequest(now, i)
		case !c.pending && isDue(c.nextAt, now):
			s.request(now) // of both protocols, with one nonce
		}
	}
	for i := range s.teardowns {
		if d := &s.teardowns[i]; isDue(d.at, now) {
			s.send(s.relay, d.message)
			d.left--
			d.at = now.Add(time.Second)
		}
	}
	for len(s.teardowns) > 0 && s.teardowns[0].left == 0 {
		s.teardowns = s.teardowns[1:]
	}
	if isDue(s.repeatAt, now) {
		s.repeatAt = time.Time{}
		if s.lastData.IsZero() {
			for _, h := range s.hosts {
				h.Refresh(now)
			}
			if s.repeats--; s.repeats > 0 {
				s.repeatAt = now.Add(s.gateway.random(gmp.DefaultUnsolicitedReportInterval))
			}
		}
	}
	if s.joined {
		s.flush(now)
	}
	if isDue(s.noDataAt, now) {
		s.noDataAt = time.Time{}
		return ErrNoData
	}
	return nil
}
