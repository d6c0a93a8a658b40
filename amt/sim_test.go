package amt_test

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// sim is a network of relays and gateways in virtual time, with delay, loss and
// NAT.
type sim struct {
	t     testing.TB
	rng   *rand.Rand
	now   time.Time
	queue simQueue

	loss   float64       // of a datagram
	delay  time.Duration // of all datagrams
	jitter time.Duration // added at random

	relays   map[netip.AddrPort]*simRelay // by every address
	gateways []*simGateway
	publics  map[netip.AddrPort]simPath
	timers   map[*simRelay]time.Time
}

// simPath is a socket of a gateway.
type simPath struct {
	gateway int
	path    amt.Path
}

type simRelay struct {
	sim      *sim
	config   amt.RelayConfig
	address  netip.AddrPort
	relay    *amt.Relay
	down     bool // answers nothing
	refusing bool // answers with ICMP errors
	drops    func(message []byte) bool
	joined   map[simChannel]bool
	index    int
}

type simChannel struct{ source, group netip.Addr }

type simGateway struct {
	sim     *sim
	index   int
	gateway *amt.Gateway
	address netip.Addr
	ports   uint16 // the first public port; a NAT that forgets gives others
	timer   time.Time

	events  []amt.GatewayEvent
	packets map[uint32]int // numbered packets that came, by number
	last    time.Time      // of a packet
	gap     time.Duration  // longest time between two packets
}

type simEvent struct {
	at      time.Time
	kind    uint8
	gateway int // of eventGatewayTimer
	relay   *simRelay
	from    netip.AddrPort
	to      netip.AddrPort
	payload []byte
	do      func()
}

const (
	eventToRelay = iota
	eventToGateway
	eventRelayTimer
	eventGatewayTimer
	eventICMP
	eventDo
)

// simQueue holds events by the millisecond that they are due in, those of one
// in the order in which they came.
type simQueue struct {
	slots map[int64][]simEvent
	times simTimes // of the slots
	free  [][]simEvent
}

type simTimes []int64

func (q simTimes) Len() int           { return len(q) }
func (q simTimes) Less(i, j int) bool { return q[i] < q[j] }
func (q simTimes) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *simTimes) Push(x any)        { *q = append(*q, x.(int64)) }
func (q *simTimes) Pop() any {
	old := *q
	t := old[len(old)-1]
	*q = old[:len(old)-1]
	return t
}

func newSim(t testing.TB, seed uint64) *sim {
	return &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: epoch, delay: 10 * time.Millisecond,
		relays: make(map[netip.AddrPort]*simRelay), publics: make(map[netip.AddrPort]simPath),
		timers: make(map[*simRelay]time.Time), queue: simQueue{slots: make(map[int64][]simEvent)},
	}
}

func (s *sim) push(e simEvent) {
	q := &s.queue
	t := int64((e.at.Sub(epoch) + time.Millisecond - 1) / time.Millisecond)
	slot, ok := q.slots[t]
	if !ok {
		heap.Push(&q.times, t)
		if n := len(q.free); n > 0 {
			slot, q.free = q.free[n-1], q.free[:n-1]
		}
	}
	q.slots[t] = append(slot, e)
}

// at calls do after d.
func (s *sim) after(d time.Duration, do func()) {
	s.push(simEvent{at: s.now.Add(d), kind: eventDo, do: do})
}

func (s *sim) travel() time.Duration {
	d := s.delay
	if s.jitter > 0 {
		d += time.Duration(s.rng.Int64N(int64(s.jitter)))
	}
	return d
}

func (s *sim) addRelay(address string, config amt.RelayConfig) *simRelay {
	a := netip.MustParseAddrPort(address)
	if a.Addr().Is4() {
		config.IPv4 = a.Addr()
	} else {
		config.IPv6 = a.Addr()
	}
	r := &simRelay{sim: s, config: config, address: a, index: len(s.timers)}
	s.relays[a] = r
	r.restart()
	return r
}

// restart begins again without any state.
func (r *simRelay) restart() {
	relay, err := amt.NewRelay(r.sim.now, r.config)
	require.NoError(r.sim.t, err)
	r.relay, r.down, r.refusing = relay, false, false
	r.joined = make(map[simChannel]bool)
	r.sim.timers[r] = time.Time{}
}

func (r *simRelay) after() {
	for {
		e, ok := r.relay.PollEvent()
		if !ok {
			break
		}
		switch e.Type {
		case amt.EventJoin:
			r.joined[simChannel{e.Source, e.Group}] = true
		case amt.EventLeave:
			delete(r.joined, simChannel{e.Source, e.Group})
		}
	}
	if at := r.relay.NextTimeout(); !at.IsZero() && !at.Equal(r.sim.timers[r]) {
		r.sim.timers[r] = at
		r.sim.push(simEvent{at: later(at, r.sim.now), kind: eventRelayTimer, relay: r})
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// forward sends a packet through all tunnels that want it.
func (r *simRelay) forward(source, group netip.Addr, packet []byte) {
	if r.down || r.refusing || !r.joined[simChannel{source, group}] && !r.joined[simChannel{netip.Addr{}, group}] {
		return
	}
	tunnels, _ := r.relay.AppendTunnels(nil, nil, source, group)
	for i := range tunnels {
		m := amt.Message{Type: amt.TypeData, Packet: packet}
		b, err := m.AppendTo(nil)
		require.NoError(r.sim.t, err)
		r.sim.toGateway(r.relay.Local(&tunnels[i]), tunnels[i].Gateway(), b)
		r.relay.Count(&tunnels[i], 1, uint64(len(packet)))
	}
}

func (s *sim) toGateway(from, to netip.AddrPort, payload []byte) {
	if s.rng.Float64() >= s.loss {
		s.push(simEvent{at: s.now.Add(s.travel()), kind: eventToGateway, from: from, to: to, payload: payload})
	}
}

func (s *sim) addGateway(config amt.GatewayConfig) *simGateway {
	config.Rand = s.rng
	i := len(s.gateways)
	g := &simGateway{
		sim: s, index: i, gateway: amt.NewGateway(config), ports: 10000,
		address: netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)}),
		packets: make(map[uint32]int),
	}
	s.gateways = append(s.gateways, g)
	return g
}

func (g *simGateway) public(p amt.Path) netip.AddrPort {
	return netip.AddrPortFrom(g.address, g.ports+uint16(p))
}

// publicTo is public in the family of the peer.
func (g *simGateway) publicTo(p amt.Path, peer netip.Addr) netip.AddrPort {
	a := g.public(p)
	if peer.Is6() {
		v4 := a.Addr().As4()
		a = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 12: v4[0], v4[1], v4[2], v4[3]}), a.Port())
	}
	return a
}

// rebind makes the NAT forget: replies to what was sent before go nowhere.
func (g *simGateway) rebind() {
	for to, p := range g.sim.publics {
		if p.gateway == g.index {
			delete(g.sim.publics, to)
		}
	}
	g.ports += 1000
}

func (g *simGateway) join(source, group string) {
	require.NoError(g.sim.t, g.gateway.Join(g.sim.now, netip.MustParseAddr(source), netip.MustParseAddr(group)))
	g.after()
}

func (g *simGateway) leave(source, group string) {
	require.NoError(g.sim.t, g.gateway.Leave(g.sim.now, netip.MustParseAddr(source), netip.MustParseAddr(group)))
	g.after()
}

func (g *simGateway) after() {
	s := g.sim
	for {
		t, ok := g.gateway.PollTransmission()
		if !ok {
			break
		}
		from := g.publicTo(t.Path, t.To.Addr())
		s.publics[from] = simPath{g.index, t.Path}
		if s.rng.Float64() >= s.loss {
			s.push(simEvent{at: s.now.Add(s.travel()), kind: eventToRelay, from: from, to: t.To, payload: t.Payload})
		}
	}
	for {
		e, ok := g.gateway.PollEvent()
		if !ok {
			break
		}
		g.events = append(g.events, e)
		if e.Type == amt.GatewayClosed {
			delete(s.publics, g.publicTo(e.Path, e.Relay.Addr()))
		}
	}
	if at := g.gateway.NextTimeout(); !at.IsZero() && (g.timer.IsZero() || at.Before(g.timer)) {
		g.timer = later(at, s.now)
		s.push(simEvent{at: g.timer, kind: eventGatewayTimer, gateway: g.index})
	}
}

// run goes on for d.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	q := &s.queue
	for len(q.times) > 0 {
		t := q.times[0]
		at := epoch.Add(time.Duration(t) * time.Millisecond)
		if at.After(end) {
			break
		}
		s.now = later(at, s.now)
		for i := 0; i < len(q.slots[t]); i++ { // events may add to their own slot
			e := q.slots[t][i]
			s.handle(&e)
		}
		slot := q.slots[t]
		clear(slot)
		q.free = append(q.free, slot[:0])
		delete(q.slots, t)
		heap.Pop(&q.times)
	}
	s.now = end
}

func (s *sim) handle(e *simEvent) {
	switch e.kind {
	case eventDo:
		e.do()
	case eventToRelay:
		r := s.relays[e.to]
		if r == nil || r.down || r.drops != nil && r.drops(e.payload) {
			return
		}
		if r.refusing {
			s.push(simEvent{at: s.now.Add(s.travel()), kind: eventICMP, to: e.from})
			return
		}
		d := amt.Datagram{Local: e.to, Remote: e.from, Payload: e.payload}
		if answer := r.relay.HandleDatagram(s.now, &d, nil); len(answer) > 0 {
			s.toGateway(e.to, e.from, answer)
		}
		r.after()
	case eventRelayTimer:
		if s.timers[e.relay].After(s.now) {
			return
		}
		s.timers[e.relay] = time.Time{}
		e.relay.relay.HandleTimeout(s.now)
		e.relay.after()
	case eventICMP:
		if p, ok := s.publics[e.to]; ok {
			g := s.gateways[p.gateway]
			g.gateway.HandleUnreachable(s.now, p.path)
			g.after()
		}
	case eventToGateway:
		p, ok := s.publics[e.to]
		if !ok {
			return
		}
		g := s.gateways[p.gateway]
		d := amt.Datagram{Local: e.to, Remote: e.from, Payload: e.payload}
		var packet amt.Packet
		if g.gateway.HandleDatagram(s.now, p.path, &d, 0, &packet) {
			g.received(&packet)
		}
		g.after()
	case eventGatewayTimer:
		g := s.gateways[e.gateway]
		if g.timer.After(s.now) || g.timer.IsZero() {
			return
		}
		g.timer = time.Time{}
		g.gateway.HandleTimeout(s.now)
		g.after()
	}
}

func (g *simGateway) received(p *amt.Packet) {
	require.NoError(g.sim.t, p.ParseUDP())
	g.packets[binary.BigEndian.Uint32(p.Payload)]++
	if !g.last.IsZero() {
		g.gap = max(g.gap, g.sim.now.Sub(g.last))
	}
	g.last = g.sim.now
}

// stream sends numbered packets of a channel to all relays.
type stream struct {
	sim      *sim
	channel  simChannel
	interval time.Duration
	next     uint32
	stopped  bool
}

func (s *sim) stream(source, group string, interval time.Duration) *stream {
	st := &stream{sim: s, channel: simChannel{netip.MustParseAddr(source), netip.MustParseAddr(group)}, interval: interval}
	st.tick()
	return st
}

func (st *stream) tick() {
	if st.stopped {
		return
	}
	payload := make([]byte, 100)
	binary.BigEndian.PutUint32(payload, st.next)
	st.next++
	packet := amt.AppendUDP(nil, netip.AddrPortFrom(st.channel.source, 5000), netip.AddrPortFrom(st.channel.group, 5000), 16, payload)
	for _, r := range st.sim.relays {
		r.forward(st.channel.source, st.channel.group, packet)
	}
	st.sim.after(st.interval, st.tick)
}

func candidates(list ...string) (c []amt.Candidate) {
	for _, a := range list {
		c = append(c, amt.Candidate{Address: netip.MustParseAddrPort(a)})
	}
	return c
}

func direct(list ...string) []amt.Candidate {
	c := candidates(list...)
	for i := range c {
		c[i].Direct = true
	}
	return c
}

func (g *simGateway) types() (list []amt.GatewayEventType) {
	for _, e := range g.events {
		list = append(list, e.Type)
	}
	return list
}
