package amt_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

const (
	relayA = "192.0.2.1:2268"
	relayB = "192.0.2.2:2268"
	relayC = "[2001:db8::3]:2268"

	source4, group4 = "10.12.0.1", "232.1.1.1"
	source6, group6 = "2001:db8:12::1", "ff3e::8000:d"
)

// Both families in both, by discovery and directly.
func TestGatewayReceives(t *testing.T) {
	for _, relay := range []string{relayA, relayC} {
		for _, c := range [][]amt.Candidate{candidates(relay), direct(relay)} {
			s := newSim(t, 1)
			r := s.addRelay(relay, amt.RelayConfig{})
			g := s.addGateway(amt.GatewayConfig{Relays: c})
			s.stream(source4, group4, 20*time.Millisecond)
			s.stream(source6, group6, 20*time.Millisecond)
			g.join(source4, group4)
			s.run(time.Second)
			require.InDelta(t, 45, len(g.packets), 4)
			g.join(source6, group6)
			s.run(10 * time.Minute)
			require.Equal(t, 1, r.relay.Stats().Tunnels)
			require.InDelta(t, 30_050, g.packets[10]+len(g.packets), 50)
			require.Equal(t, []amt.GatewayEventType{amt.GatewayConnected}, g.types())

			g.leave(source4, group4)
			g.leave(source6, group6)
			s.run(5 * time.Second)
			require.Zero(t, r.relay.Stats().Tunnels)
			require.Empty(t, r.joined)
			require.Equal(t, []amt.GatewayEventType{amt.GatewayConnected, amt.GatewayClosed}, g.types())
			require.Zero(t, g.gateway.NextTimeout())
		}
	}
}

// The first byte comes after discovery, query and update: three round trips and
// a packet.
func TestJoinTime(t *testing.T) {
	s := newSim(t, 1)
	s.addRelay(relayA, amt.RelayConfig{})
	s.stream(source4, group4, time.Millisecond)
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	s.run(time.Second)
	g.join(source4, group4)
	start := s.now
	for len(g.packets) == 0 {
		s.run(time.Millisecond)
	}
	require.LessOrEqual(t, s.now.Sub(start), 63*time.Millisecond)
}

func TestGatewayUnderLoss(t *testing.T) {
	for seed := range uint64(10) {
		s := newSim(t, seed)
		s.loss, s.jitter = 0.3, 30*time.Millisecond
		r := s.addRelay(relayA, amt.RelayConfig{})
		g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
		s.stream(source4, group4, 20*time.Millisecond)
		g.join(source4, group4)
		s.run(20 * time.Minute)
		before := g.gateway.Stats().Packets
		s.run(time.Minute)
		require.InDelta(t, 3000*0.7, float64(g.gateway.Stats().Packets-before), 120, "seed %d", seed)
		require.Equal(t, 1, r.relay.Stats().Tunnels)
	}
}

// A relay that dies is replaced within a second, one that restarts is told again.
func TestRelayDies(t *testing.T) {
	for seed := range uint64(20) {
		s := newSim(t, seed)
		s.jitter = 5 * time.Millisecond
		a, b := s.addRelay(relayA, amt.RelayConfig{}), s.addRelay(relayB, amt.RelayConfig{})
		g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
		s.stream(source4, group4, 20*time.Millisecond)
		g.join(source4, group4)
		s.run(time.Duration(5000+137*seed) * time.Millisecond)
		require.Equal(t, 1, a.relay.Stats().Tunnels)
		g.gap = 0
		a.down = true
		s.run(10 * time.Second)
		require.LessOrEqual(t, g.gap, time.Second)
		require.Equal(t, 1, b.relay.Stats().Tunnels)
		lost := g.events[1]
		require.Equal(t, amt.GatewayLost, lost.Type)
		require.ErrorIs(t, lost.Err, amt.ErrNoAnswer)
		relay, _ := g.gateway.Active()
		require.Equal(t, relayB, relay.String())

		g.gap = 0
		b.restart()
		s.run(10 * time.Second)
		require.LessOrEqual(t, g.gap, time.Second)
		require.Equal(t, 1, b.relay.Stats().Tunnels)

		// ICMP errors make it faster.
		a.restart()
		s.run(time.Minute)
		g.gap = 0
		b.refusing = true
		s.run(10 * time.Second)
		require.LessOrEqual(t, g.gap, time.Second)
		require.Equal(t, 1, a.relay.Stats().Tunnels)
	}
}

// A source that pauses is no reason to leave a relay for good, and to ask it
// again and again neither.
func TestSourcePauses(t *testing.T) {
	s := newSim(t, 1)
	a := s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	st := s.stream(source4, group4, 20*time.Millisecond)
	g.join(source4, group4)
	s.run(5 * time.Second)
	requests := a.relay.Stats().Requests
	st.stopped = true
	s.run(time.Second)
	require.Equal(t, requests+1, a.relay.Stats().Requests)
	s.run(10 * time.Minute)
	require.Less(t, a.relay.Stats().Requests, requests+40)
	st.stopped = false
	st.tick()
	before := len(g.packets)
	s.run(time.Second)
	require.InDelta(t, 50, len(g.packets)-before, 2)
	for _, e := range g.events {
		require.NotEqual(t, amt.GatewayLost, e.Type)
	}
}

// The first candidate does not answer: the next one is asked 250 ms later.
func TestHappyEyeballs(t *testing.T) {
	s := newSim(t, 1)
	a := s.addRelay(relayA, amt.RelayConfig{})
	b := s.addRelay(relayB, amt.RelayConfig{})
	a.down = true
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	s.stream(source4, group4, 20*time.Millisecond)
	g.join(source4, group4)
	s.run(400 * time.Millisecond)
	require.NotEmpty(t, g.packets)
	require.Equal(t, 1, b.relay.Stats().Tunnels)

	// One that is refused gives way at once.
	s = newSim(t, 1)
	a, b = s.addRelay(relayA, amt.RelayConfig{}), s.addRelay(relayB, amt.RelayConfig{})
	a.refusing = true
	g = s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	s.stream(source4, group4, 5*time.Millisecond)
	g.join(source4, group4)
	s.run(100 * time.Millisecond)
	require.NotEmpty(t, g.packets)
	require.Equal(t, 1, b.relay.Stats().Tunnels)
	require.ErrorIs(t, g.events[0].Err, amt.ErrUnreachable)
}

func TestFullRelayIsAvoided(t *testing.T) {
	s := newSim(t, 1)
	a := s.addRelay(relayA, amt.RelayConfig{MaxTunnels: 1, HighWater: 1})
	b := s.addRelay(relayB, amt.RelayConfig{})
	s.stream(source4, group4, 20*time.Millisecond)
	first := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	first.join(source4, group4)
	s.run(time.Second)
	second := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	second.join(source4, group4)
	s.run(time.Second)
	require.Equal(t, 1, a.relay.Stats().Tunnels)
	require.Equal(t, 1, b.relay.Stats().Tunnels)
	require.ErrorIs(t, second.events[0].Err, amt.ErrFull)
	require.NotEmpty(t, second.packets)
	s.run(10 * time.Minute)
	require.Contains(t, first.types(), amt.GatewayConnected)
	require.Len(t, first.events, 1, "the flag does not concern who is there already")
}

// A relay that answers and does not deliver is left for one that does.
func TestNoData(t *testing.T) {
	s := newSim(t, 1)
	a := s.addRelay(relayA, amt.RelayConfig{Allow: func(netip.AddrPort, netip.Addr, netip.Addr) bool { return false }})
	b := s.addRelay(relayB, amt.RelayConfig{})
	s.stream(source4, group4, 20*time.Millisecond)
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	g.join(source4, group4)
	s.run(6 * time.Second)
	require.NotEmpty(t, g.packets)
	require.NotZero(t, a.relay.Stats().Ignored)
	require.Equal(t, 1, b.relay.Stats().Tunnels)
}

// A NAT that gives another port: the gateway notices, and the relay's state for
// the old one goes with a Teardown.
func TestNATRebinding(t *testing.T) {
	s := newSim(t, 1)
	r := s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	s.stream(source4, group4, 20*time.Millisecond)
	g.join(source4, group4)
	s.run(2 * time.Minute) // until Queries carry the endpoint
	g.gap = 0
	g.rebind()
	s.run(5 * time.Second)
	require.LessOrEqual(t, g.gap, time.Second)
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	require.Equal(t, uint64(1), min(1, r.relay.Stats().Teardowns))
	tunnels, _ := r.relay.AppendTunnels(nil, nil, netip.MustParseAddr(source4), netip.MustParseAddr(group4))
	require.Len(t, tunnels, 1)
	require.Equal(t, g.public(1), tunnels[0].Gateway())
}

// A planned move: no packet is missing, and the old relay forgets us.
func TestPlannedMove(t *testing.T) {
	s := newSim(t, 1)
	a, b := s.addRelay(relayA, amt.RelayConfig{}), s.addRelay(relayB, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	st := s.stream(source4, group4, 5*time.Millisecond)
	g.join(source4, group4)
	s.run(time.Second)
	for i := range 100 {
		to := relayB
		if i%2 == 1 {
			to = relayA
		}
		require.True(t, g.gateway.Move(s.now, netip.MustParseAddrPort(to)))
		g.after()
		s.run(200 * time.Millisecond)
		g.gateway.Commit(s.now)
		g.after()
		s.run(100 * time.Millisecond)
		relay, _ := g.gateway.Active()
		require.Equal(t, to, relay.String())
	}
	s.run(3 * time.Second)
	require.Equal(t, 1, a.relay.Stats().Tunnels)
	require.Zero(t, b.relay.Stats().Tunnels)
	first := uint32(0)
	for g.packets[first] == 0 {
		first++
	}
	for i := first; i < st.next-10; i++ {
		require.NotZero(t, g.packets[i], i)
	}
	require.EqualValues(t, 100, g.gateway.Stats().Moves)

	// A move to a relay that does not deliver, and to one that does not answer.
	b.down = true
	require.True(t, g.gateway.Move(s.now, netip.MustParseAddrPort(relayB)))
	g.after()
	s.run(time.Minute)
	relay, _ := g.gateway.Active()
	require.Equal(t, relayA, relay.String())
	b.restart()
	b.refusing = false
	b.config.Allow = func(netip.AddrPort, netip.Addr, netip.Addr) bool { return false }
	b.restart()
	require.True(t, g.gateway.Move(s.now, netip.MustParseAddrPort(relayB)))
	g.after()
	s.run(time.Minute)
	relay, _ = g.gateway.Active()
	require.Equal(t, relayA, relay.String())
}

// Without a candidate that works the gateway goes on trying.
func TestAllRelaysDown(t *testing.T) {
	s := newSim(t, 1)
	a := s.addRelay(relayA, amt.RelayConfig{})
	a.down = true
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	s.stream(source4, group4, 20*time.Millisecond)
	g.join(source4, group4)
	s.run(5 * time.Minute)
	require.Contains(t, g.types(), amt.GatewayExhausted)
	a.restart()
	s.run(3 * time.Minute)
	require.NotEmpty(t, g.packets)

	// New candidates are used at once.
	s = newSim(t, 2)
	s.addRelay(relayB, amt.RelayConfig{})
	g = s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	s.stream(source4, group4, 20*time.Millisecond)
	g.join(source4, group4)
	s.run(time.Minute)
	g.gateway.SetRelays(s.now, candidates(relayB))
	g.after()
	s.run(200 * time.Millisecond)
	require.NotEmpty(t, g.packets)
}

// Datagrams from somebody else, with another nonce or in the wrong state.
func TestGatewayBelievesNobodyElse(t *testing.T) {
	rig := newRelayRig(t, amt.RelayConfig{})
	g := amt.NewGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	now := epoch
	require.NoError(t, g.Join(now, netip.MustParseAddr(source4), netip.MustParseAddr(group4)))
	var p amt.Packet
	handle := func(from string, m amt.Message) bool {
		b, err := m.AppendTo(nil)
		require.NoError(t, err)
		return g.HandleDatagram(now, 1, &amt.Datagram{Local: gateway4, Remote: netip.MustParseAddrPort(from), Payload: b}, 0, &p)
	}
	sent := func() amt.Message {
		tr, ok := g.PollTransmission()
		require.True(t, ok)
		var m amt.Message
		require.NoError(t, m.Unmarshal(tr.Payload))
		return m
	}
	silent := func() {
		_, ok := g.PollTransmission()
		require.False(t, ok)
	}
	d := sent()
	require.Equal(t, amt.TypeDiscovery, d.Type)
	require.NotZero(t, d.Nonce)
	adv := amt.Message{Type: amt.TypeAdvertisement, Nonce: d.Nonce, Relay: netip.MustParseAddr("192.0.2.7")}
	handle(relayB, adv)
	handle("192.0.2.1:2269", adv)
	adv.Nonce++
	handle(relayA, adv)
	adv.Nonce--
	for _, bad := range []string{"0.0.0.0", "224.0.0.1", "fe80::1"} {
		adv.Relay = netip.MustParseAddr(bad)
		handle(relayA, adv)
	}
	silent()
	adv.Relay = netip.MustParseAddr("192.0.2.7")
	handle(relayA, adv)
	r := sent()
	require.Equal(t, amt.TypeRequest, r.Type)
	require.NotEqual(t, d.Nonce, r.Nonce)
	handle(relayA, adv)
	silent()

	q := rig.query(gateway4, 0, r.Nonce)
	mld := rig.query(gateway4, amt.FlagP, r.Nonce)
	handle(relayA, q)
	handle("192.0.2.7:2268", mld)
	specific := gmp.AppendQuery(nil, netip.Addr{}, 3, &gmp.Query{Group: netip.MustParseAddr(group4)})
	handle("192.0.2.7:2268", amt.Message{Type: amt.TypeQuery, Nonce: r.Nonce, Packet: specific})
	q.Nonce++
	handle("192.0.2.7:2268", q)
	q.Nonce--
	silent()
	handle("192.0.2.7:2268", q)
	u := sent()
	require.Equal(t, amt.TypeUpdate, u.Type)
	require.Equal(t, q.MAC, u.MAC)
	handle("192.0.2.7:2268", q)
	silent()

	data := func(from, source, group string) bool {
		packet := amt.AppendUDP(nil, netip.AddrPortFrom(netip.MustParseAddr(source), 1), netip.AddrPortFrom(netip.MustParseAddr(group), 2), 1, []byte("x"))
		return handle(from, amt.Message{Type: amt.TypeData, Packet: packet})
	}
	require.True(t, data("192.0.2.7:2268", source4, group4))
	require.False(t, data(relayA, source4, group4))
	require.False(t, data("192.0.2.7:2269", source4, group4))
	require.False(t, data("192.0.2.7:2268", "10.12.0.2", group4))
	require.False(t, data("192.0.2.7:2268", source4, "232.1.1.2"))
	require.False(t, data("192.0.2.7:2268", source4, "10.1.1.1"))
}

// A source that is left is not wanted any more at once, others of its group still are.
func TestGatewayLeavesSource(t *testing.T) {
	s := newSim(t, 1)
	s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	const other = "10.12.0.2"
	g.join(source4, group4)
	g.join(other, group4)
	s.run(time.Second)
	wanted := func(source string) bool {
		b := amt.AppendUDP([]byte{byte(amt.TypeData), 0}, netip.MustParseAddrPort(source+":1"), netip.MustParseAddrPort(group4+":2"), 1, []byte("x"))
		return g.gateway.HandleDatagram(s.now, 1, &amt.Datagram{Local: g.public(1), Remote: netip.MustParseAddrPort(relayA), Payload: b}, 0, new(amt.Packet))
	}
	for range 2 {
		require.True(t, wanted(source4))
	}
	require.True(t, wanted(other))
	require.True(t, wanted(source4))
	g.leave(source4, group4)
	require.False(t, wanted(source4))
	require.True(t, wanted(other))
	g.join(source4, group4)
	require.True(t, wanted(source4))
}

func TestGatewayAllocates(t *testing.T) {
	s := newSim(t, 1)
	s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	g.join(source4, group4)
	s.run(time.Second)
	m := amt.Message{Type: amt.TypeData, Packet: amt.AppendUDP(nil, netip.MustParseAddrPort(source4+":1"),
		netip.MustParseAddrPort(group4+":2"), 1, make([]byte, 1316))}
	b, err := m.AppendTo(nil)
	require.NoError(t, err)
	var p amt.Packet
	d := amt.Datagram{Local: g.public(1), Remote: netip.MustParseAddrPort(relayA), Payload: b}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if !g.gateway.HandleDatagram(s.now, 1, &d, 0, &p) || p.ParseUDP() != nil {
			t.Fatal("refused")
		}
	}))
}

func BenchmarkGatewayData(b *testing.B) {
	s := newSim(b, 1)
	s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	g.join(source4, group4)
	s.run(time.Second)
	m := amt.Message{Type: amt.TypeData, Packet: amt.AppendUDP(nil, netip.MustParseAddrPort(source4+":1"),
		netip.MustParseAddrPort(group4+":2"), 1, make([]byte, 1316))}
	raw, err := m.AppendTo(nil)
	require.NoError(b, err)
	var p amt.Packet
	d := amt.Datagram{Local: g.public(1), Remote: netip.MustParseAddrPort(relayA), Payload: raw}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if !g.gateway.HandleDatagram(s.now, 1, &d, 0, &p) || p.ParseUDP() != nil {
			b.Fatal("refused")
		}
	}
}

// A relay that drains says so to the gateways that it serves, and they move to
// another one without a pause. With nowhere to go they stay.
func TestGatewayLeavesDrainingRelay(t *testing.T) {
	for seed := range uint64(10) {
		s := newSim(t, seed)
		a, b := s.addRelay(relayA, amt.RelayConfig{}), s.addRelay(relayB, amt.RelayConfig{})
		g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
		alone := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
		st := s.stream(source4, group4, 20*time.Millisecond)
		g.join(source4, group4)
		alone.join(source4, group4)
		s.run(10 * time.Second)
		g.gap, alone.gap = 0, 0
		first := st.next
		a.relay.Drain()
		s.run(45 * time.Second)
		st.stopped = true
		last := st.next
		s.run(time.Second)
		require.Equal(t, 1, a.relay.Stats().Tunnels, "the one that has no other")
		require.Equal(t, 1, b.relay.Stats().Tunnels)
		relay, _ := g.gateway.Active()
		require.Equal(t, relayB, relay.String())
		for i := first; i < last; i++ {
			require.NotZero(t, g.packets[i], "packet %d", i)
			require.Equal(t, 1, alone.packets[i])
		}
		require.Equal(t, uint64(1), g.gateway.Stats().Moves)
	}
}

// The E flag waits until the relay has answered, so that it delays no join, and
// is left out for a relay that does not answer to it.
func TestGatewayECN(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		s := newSim(t, 1)
		r := s.addRelay(relayA, amt.RelayConfig{})
		dropped := 0
		r.drops = func(b []byte) bool {
			if refuses && b[0] == 3 && b[1]&0x7e != 0 { // as Linux does
				dropped++
				return true
			}
			return false
		}
		g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA), ECN: true})
		s.stream(source4, group4, 20*time.Millisecond)
		g.join(source4, group4)
		s.run(time.Second)
		require.NotEmpty(t, g.packets, "it need not wait")
		g.gap = 0
		s.run(2 * time.Minute)
		tunnels, _ := r.relay.AppendTunnels(nil, nil, netip.MustParseAddr(source4), netip.MustParseAddr(group4))
		require.Len(t, tunnels, 1)
		require.Equal(t, !refuses, tunnels[0].ECN)
		require.LessOrEqual(t, dropped, 1)
		require.LessOrEqual(t, g.gap, 50*time.Millisecond)
	}
}
