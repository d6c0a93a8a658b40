package driad_test

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
)

// simulation has many gateways, each with a machine of its own, and resolvers that
// lose datagrams, fail, and are imitated by forgers.
type simulation struct {
	t        testing.TB
	r        *rand.Rand
	now      time.Time
	queue    simQueue
	seq      int
	zone     zone
	servers  []netip.AddrPort
	loss     float64
	forged   int
	accepted int // forged answers that were taken
	queries  map[netip.AddrPort]int
	dead     map[netip.AddrPort]bool // relays
	load     map[netip.AddrPort]int
	gateways []*simGateway
}

type simEvent struct {
	at  time.Time
	seq int
	do  func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func (s *simulation) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, simEvent{s.now.Add(d), s.seq, do})
}

func (s *simulation) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.queue) > 0 && !s.queue[0].at.After(end) {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		e.do()
	}
	s.now = end
}

type simGateway struct {
	s         *simulation
	m         *driad.Machine
	id        driad.ID
	armed     time.Time
	connected netip.AddrPort
	since     time.Time
}

func (g *simGateway) pump() {
	for {
		l, ok := g.m.PollQuery()
		if !ok {
			break
		}
		x := dns.NewExchange(g.s.now, l.Question, dns.ExchangeConfig{Servers: g.s.servers, Rand: g.s.r})
		g.exchange(l, x, new(bool))
	}
	for {
		e, ok := g.m.PollEvent()
		if !ok {
			break
		}
		if e.Type == driad.EventAttempt {
			g.attempt(e.Candidate.Address)
		}
	}
	if at := g.m.NextTimeout(); !at.IsZero() && (g.armed.IsZero() || at.Before(g.armed)) {
		g.armed = at
		g.s.after(at.Sub(g.s.now), func() {
			if g.armed.Equal(at) {
				g.armed = time.Time{}
				g.m.HandleTimeout(g.s.now)
				g.pump()
			}
		})
	}
}

// exchange drives x until it has a result.
func (g *simGateway) exchange(l driad.Lookup, x *dns.Exchange, done *bool) {
	s := g.s
	if *done {
		return
	}
	for {
		tr, ok := x.PollTransmission()
		if !ok {
			break
		}
		s.queries[tr.Server]++
		for range 3 { // forgers who know all but ID and case
			q := l.Question
			forged := zone{reverse: {"60 0 1 1 203.0.113.66"}}.respond(s.t, q, true)
			forged[0], forged[1] = byte(s.r.Uint32()), byte(s.r.Uint32())
			s.forged++
			s.after(time.Millisecond, func() { x.HandleDatagram(s.now, tr.Server, forged); g.exchange(l, x, done) })
		}
		if s.r.Float64() < s.loss {
			continue
		}
		var p dns.Parser
		var q dns.Question
		require.NoError(s.t, p.Start(tr.Payload))
		_, err := p.Question(&q)
		require.NoError(s.t, err)
		answer := s.zone.respond(s.t, q, false)
		answer[0], answer[1] = tr.Payload[0], tr.Payload[1]
		rtt := time.Duration(5+s.r.IntN(60)) * time.Millisecond
		s.after(rtt, func() { x.HandleDatagram(s.now, tr.Server, answer); g.exchange(l, x, done) })
	}
	state, msg, _, err := x.Result()
	switch state {
	case dns.ExchangePending:
		at := x.NextTimeout()
		s.after(at.Sub(s.now), func() {
			if !*done && x.NextTimeout().Equal(at) {
				x.HandleTimeout(s.now)
				g.exchange(l, x, done)
			}
		})
		return
	case dns.ExchangeAnswered:
		g.m.Answer(s.now, l.ID, dns.Response{Message: msg})
	case dns.ExchangeUseTCP: // where forgers are not
		g.m.Answer(s.now, l.ID, dns.Response{Message: s.zone.respond(s.t, l.Question, false)})
	default:
		g.m.Failed(s.now, l.ID, err)
	}
	*done = true
	g.pump()
}

func (g *simGateway) attempt(a netip.AddrPort) {
	s := g.s
	if a == port("203.0.113.66") {
		s.accepted++
	}
	rtt := time.Duration(10+s.r.IntN(100)) * time.Millisecond
	if s.dead[a] {
		s.after(4*time.Second, func() { g.m.Report(s.now, g.id, a, driad.Unreachable, 0); g.pump() })
		return
	}
	s.after(rtt, func() {
		if g.connected.IsValid() {
			return
		}
		g.m.Report(s.now, g.id, a, driad.Connected, rtt)
		g.connected, g.since = a, s.now
		s.load[a]++
		g.pump()
	})
}

func (g *simGateway) lose() {
	a := g.connected
	g.connected = netip.AddrPort{}
	g.s.load[a]--
	g.m.Report(g.s.now, g.id, a, driad.Unreachable, 0)
	g.pump()
}

// 2,000 gateways find a relay through resolvers that lose a fifth, of which one is
// dead, and beside forgers; then half of the relays die.
func TestManyResolvers(t *testing.T) {
	s := &simulation{
		t: t, r: rand.New(rand.NewPCG(5, 6)), now: epoch, loss: 0.2,
		queries: make(map[netip.AddrPort]int), dead: make(map[netip.AddrPort]bool), load: make(map[netip.AddrPort]int),
		servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.54:53"), netip.MustParseAddrPort("192.0.2.55:53")},
		zone: zone{
			reverse:             {"60 1 1 3 relays.example.", "60 2 1 1 198.51.100.200"},
			"relays.example. A": {"60 198.51.100.1", "60 198.51.100.2", "60 198.51.100.3", "60 198.51.100.4"},
		},
	}
	const gateways = 2000
	for range gateways {
		g := &simGateway{s: s, m: driad.NewMachine(driad.Config{
			NoServiceDiscovery: true, NoAnycast: true, NoIPv6: true, Rand: s.r,
		})}
		s.gateways = append(s.gateways, g)
		s.after(time.Duration(s.r.IntN(1000))*time.Millisecond, func() {
			g.since = s.now
			g.id = g.m.Start(s.now, source)
			g.pump()
		})
	}
	took := func(start time.Time) time.Duration {
		var all []time.Duration
		for _, g := range s.gateways {
			require.True(t, g.connected.IsValid(), "without a relay")
			all = append(all, g.since.Sub(start))
		}
		slices.Sort(all)
		t.Logf("median %v, 99 %% %v, all %v", all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
		return all[len(all)*99/100]
	}
	s.run(time.Minute)
	require.Less(t, took(epoch), 10*time.Second)
	require.Zero(t, s.accepted, "of %d forged answers", s.forged)
	t.Logf("%d forged answers; queries %v; load %v", s.forged, s.queries, s.load)
	// The relay of lower preference has those to whom the answer about the names of
	// the others came late.
	rest := gateways - s.load[port("198.51.100.200")]
	require.Greater(t, rest, gateways/2)
	for i := range byte(4) {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1 + i}), driad.Port)
		require.InDelta(t, rest/4, s.load[a], gateways/25, "load of %v", a)
	}

	// A storm: two relays die at once.
	start := s.now
	for _, a := range []netip.AddrPort{port("198.51.100.1"), port("198.51.100.2")} {
		s.dead[a] = true
	}
	for _, g := range s.gateways {
		if s.dead[g.connected] {
			g.lose()
		} else {
			g.since = start
		}
	}
	s.run(time.Minute)
	require.Less(t, took(start), 5*time.Second)
	for _, g := range s.gateways {
		require.False(t, s.dead[g.connected])
	}
}

// The bytes of a script are answers, right ones and others, outcomes and steps in
// time.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 0, 3, 0x11, 4, 0, 9, 50, 3, 0x23, 7, 0})
	f.Add([]byte{0, 0, 0, 1, 1, 0, 1, 0, 2, 5, 5, 0, 6, 0, 9, 200, 8, 3, 0xaa, 0xbb, 0xcc})
	z := zone{
		reverse:                                {"1 1 0 3 r.example.", "2 1 1 1 192.0.2.1", "2 2 0 2 2001:db8::1", "5 7 0 0 ."},
		"13.100.51.198.in-addr.arpa. AMTRELAY": {"0 0 0 0 ."},
		"14.100.51.198.in-addr.arpa. AMTRELAY": {"fail"},
		"15.100.51.198.in-addr.arpa. CNAME":    {"1 12.100.51.198.in-addr.arpa."},
		"r.example. A":                         {"0 192.0.2.3", "1 192.0.2.4"},
		"_amt._udp.example.com. PTR":           {"3 i._amt._udp.example.com."},
		"i._amt._udp.example.com. SRV":         {"1 1 1 99 r.example."},
		"b._dns-sd._udp.example.com. PTR":      {"1 example.net."},
		"12.100.51.198.amt.in-addr.arpa. A":    {"1 192.0.2.5"},
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		m := driad.NewMachine(driad.Config{
			Domains: []dns.Name{dns.MustParseName("example.com")}, Rand: rand.New(rand.NewPCG(1, 2)),
			MaxEntries: 16, MaxCandidates: 6, MaxLookups: 20, Relays: []driad.Candidate{{Address: port("192.0.2.100")}},
		})
		now := epoch
		var open []driad.Lookup
		var ids []driad.ID
		started := make(map[driad.ID]map[netip.AddrPort]bool) // attempts of the round
		connected := make(map[driad.ID]bool)
		var tried []netip.AddrPort
		drain := func() {
			for {
				l, ok := m.PollQuery()
				if !ok {
					break
				}
				open = append(open, l)
				require.Less(t, len(open), 1000)
			}
			for {
				e, ok := m.PollEvent()
				if !ok {
					break
				}
				switch e.Type {
				case driad.EventAttempt:
					require.False(t, started[e.Search][e.Candidate.Address], "twice in a round")
					started[e.Search][e.Candidate.Address] = true
					tried = append(tried, e.Candidate.Address)
				case driad.EventRestarted:
					started[e.Search] = make(map[netip.AddrPort]bool)
				case driad.EventExhausted:
					require.Error(t, e.Err)
				}
			}
			for _, id := range ids {
				list := m.Candidates(id)
				require.LessOrEqual(t, len(list), 6*5)
				for i := 1; i < len(list); i++ {
					require.LessOrEqual(t, list[i-1].Method, list[i].Method)
				}
			}
			require.LessOrEqual(t, m.Stats().Entries, 16+20*5*max(len(ids), 1))
		}
		for len(script) >= 2 {
			op, arg := script[0], script[1]
			script = script[2:]
			id := driad.ID(0)
			if len(ids) > 0 {
				id = ids[int(op>>4)%len(ids)]
			}
			switch op & 0xf {
			case 0:
				if len(ids) < 4 {
					id = m.Start(now, netip.AddrFrom4([4]byte{198, 51, 100, 12 + arg%4}))
					ids = append(ids, id)
					started[id] = make(map[netip.AddrPort]bool)
				}
			case 1, 2:
				if len(open) > 0 {
					i := int(arg) % len(open)
					m.Answer(now, open[i].ID, dns.Response{Message: z.respond(t, open[i].Question, arg&1 == 1), Age: time.Duration(arg>>4) * time.Second})
					open = append(open[:i], open[i+1:]...)
				}
			case 3:
				if len(tried) > 0 {
					o := driad.Outcome(arg % 6)
					connected[id] = connected[id] || o == driad.Connected
					relay := tried[int(arg>>3)%len(tried)]
					if arg&0x80 != 0 {
						relay = port("192.0.2.200")
					}
					m.ReportVia(now, id, tried[int(arg>>3)%len(tried)], relay, o, time.Duration(arg)*time.Millisecond)
				}
			case 4:
				if len(open) > 0 {
					m.Failed(now, open[0].ID, dns.ErrTimeout)
					open = open[1:]
				}
			case 5:
				m.Restart(now, id)
			case 6:
				m.Stop(id)
			case 7:
				m.NetworkChanged(now, []dns.Name{dns.MustParseName("example.com")})
			case 8: // anything
				n := min(int(arg), len(script))
				if len(open) > 0 {
					msg := z.respond(t, open[0].Question, false)
					msg = append(msg[:len(msg)-int(arg)%len(msg)], script[:n]...)
					m.Answer(now, open[0].ID, dns.Response{Message: msg})
					open = open[1:]
				}
				script = script[n:]
			default:
				end := now.Add(time.Duration(arg) * time.Duration(arg) * 10 * time.Millisecond)
				for n := 0; ; n++ {
					drain()
					at := m.NextTimeout()
					if at.IsZero() || at.After(end) {
						break
					}
					require.Less(t, n, 20_000, "timers that never end")
					if at.After(now) {
						now = at
					}
					m.HandleTimeout(now)
				}
				now = end
			}
			drain()
		}
		for _, id := range ids {
			m.Stop(id)
		}
		require.Zero(t, m.Stats().Searches)
	})
}
