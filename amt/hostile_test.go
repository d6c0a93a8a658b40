package amt_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// A Query may ask for anything: what it costs the gateway and the network is a few
// messages a second.
func TestAbsurdQueries(t *testing.T) {
	for _, q := range []gmp.Query{
		{}, // intervals of 0, robustness 0
		{MaxResponse: time.Hour, Robustness: 7, Interval: time.Second},
		{MaxResponse: time.Hour, Robustness: 7, Interval: 31744 * time.Second, Suppress: true},
	} {
		for _, flags := range []amt.Flags{0, amt.FlagG, amt.FlagL, amt.FlagL | amt.FlagG} {
			q.Group = netip.IPv4Unspecified()
			g := amt.NewGateway(amt.GatewayConfig{Relays: direct(relayA, relayB)})
			now := epoch
			require.NoError(t, g.Join(now, netip.MustParseAddr(source4), netip.MustParseAddr(group4)))
			sent := map[amt.Type]int{}
			port := uint16(1)
			for end := now.Add(time.Hour); now.Before(end); {
				for {
					tr, ok := g.PollTransmission()
					if !ok {
						break
					}
					var m amt.Message
					require.NoError(t, m.Unmarshal(tr.Payload))
					sent[m.Type]++
					if m.Type != amt.TypeRequest {
						continue
					}
					a := amt.Message{Type: amt.TypeQuery, Flags: flags, Nonce: m.Nonce, Packet: gmp.AppendQuery(nil, netip.Addr{}, 3, &q)}
					if flags&amt.FlagG != 0 {
						a.Gateway = netip.AddrPortFrom(gateway4.Addr(), port) // always another one
						port++
					}
					b, err := a.AppendTo(nil)
					require.NoError(t, err)
					g.HandleDatagram(now, tr.Path, &amt.Datagram{Remote: tr.To, Payload: b}, 0, new(amt.Packet))
				}
				for {
					if _, ok := g.PollEvent(); !ok {
						break
					}
				}
				at := g.NextTimeout()
				if at.IsZero() {
					break
				}
				now = later(at, now)
				g.HandleTimeout(now)
			}
			require.Less(t, sent[amt.TypeRequest], 2*3600)
			require.Less(t, sent[amt.TypeUpdate], 9*3600)
			require.Less(t, sent[amt.TypeTeardown], 9*3600)
		}
	}
}

// Two relays that advertise each other: an Advertisement is followed once, by a Request.
func TestAdvertisementsInCircles(t *testing.T) {
	g := amt.NewGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
	now := epoch
	require.NoError(t, g.Join(now, netip.MustParseAddr(source4), netip.MustParseAddr(group4)))
	sent := map[amt.Type]int{}
	for end := now.Add(time.Hour); now.Before(end); {
		for {
			tr, ok := g.PollTransmission()
			if !ok {
				break
			}
			var m amt.Message
			require.NoError(t, m.Unmarshal(tr.Payload))
			sent[m.Type]++
			other := netip.MustParseAddr("192.0.2.2")
			if tr.To.Addr() == other {
				other = netip.MustParseAddr("192.0.2.1")
			}
			b, err := (&amt.Message{Type: amt.TypeAdvertisement, Nonce: m.Nonce, Relay: other}).AppendTo(nil)
			require.NoError(t, err)
			for range 3 {
				g.HandleDatagram(now, tr.Path, &amt.Datagram{Remote: tr.To, Payload: b}, 0, new(amt.Packet))
			}
		}
		for {
			if _, ok := g.PollEvent(); !ok {
				break
			}
		}
		at := g.NextTimeout()
		require.False(t, at.IsZero())
		now = later(at, now)
		g.HandleTimeout(now)
	}
	require.Less(t, sent[amt.TypeDiscovery], 600)
	require.LessOrEqual(t, sent[amt.TypeRequest], 4*sent[amt.TypeDiscovery])
}

// A flood of what nobody asked for costs the gateway no memory, and does not count as
// data of the relay.
func TestUnwantedFlood(t *testing.T) {
	s := newSim(t, 1)
	s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	g.join(source4, group4)
	s.run(time.Second)
	next := g.gateway.NextTimeout()
	var p amt.Packet
	var b []byte
	d := amt.Datagram{Remote: netip.MustParseAddrPort(relayA)}
	to := netip.MustParseAddrPort("232.9.9.9:1")
	payload := []byte("x")
	i := 0
	flood := func() {
		i++
		b = append(b[:0], byte(amt.TypeData), 0)
		b = amt.AppendUDP(b, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 12, byte(i >> 8), byte(i)}), 1),
			to, 9, payload)
		d.Payload = b
		if g.gateway.HandleDatagram(s.now, 1, &d, 0, &p) {
			t.Fatal("taken")
		}
	}
	require.Zero(t, testing.AllocsPerRun(10_000, flood))
	require.EqualValues(t, i, g.gateway.Stats().Unwanted)
	require.Equal(t, next, g.gateway.NextTimeout())
	require.Zero(t, g.gateway.Stats().Packets)
}

// Updates and Teardowns with wrong MACs: beyond the rate no MAC is computed, for
// endpoints without a tunnel; those with one are not kept out, and neither is another
// network.
func TestWrongMACs(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{PrefixRate: 100})
	viewer := netip.MustParseAddrPort("203.0.113.7:5000")
	q := r.join(viewer, source4, group4)
	wrong := q
	wrong.MAC[5] ^= 1
	r.wait(time.Second)
	before := r.relay.Stats()
	for i := range 1000 {
		r.update(netip.AddrPortFrom(viewer.Addr(), uint16(10_000+i)), wrong, allow(group4, source4))
	}
	s := r.relay.Stats()
	require.EqualValues(t, 100, s.BadMAC-before.BadMAC)
	require.EqualValues(t, 900, s.Limited-before.Limited)
	for range 1000 {
		m := wrong
		m.Type, m.Flags, m.Packet, m.Gateway = amt.TypeTeardown, 0, nil, viewer
		r.send(netip.AddrPortFrom(viewer.Addr(), 9), m)
	}
	require.Equal(t, s.BadMAC, r.relay.Stats().BadMAC)
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	for range 1000 {
		r.update(viewer, wrong, allow(group4, source4))
	}
	r.update(viewer, q, allow("232.1.1.2", source4))
	require.Len(t, r.tunnels(source4, "232.1.1.2"), 1)
	r.join(gateway4, source4, group4)
	require.Equal(t, 2, r.relay.Stats().Tunnels)
	r.wait(time.Second)
	r.join(netip.AddrPortFrom(viewer.Addr(), 8), source4, group4)
	require.Equal(t, 3, r.relay.Stats().Tunnels)
}

// A gateway that hops from port to port, each with a valid handshake: so many tunnels as
// an address may have, and all of them end.
func TestPortHopping(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxTunnelsPerAddress: 50, PrefixRate: 10_000})
	hopper := netip.MustParseAddr("203.0.113.7")
	for i := range 2000 {
		r.join(netip.AddrPortFrom(hopper, uint16(10_000+i)), source4, fmt.Sprintf("232.1.%d.1", i%200))
	}
	s := r.relay.Stats()
	require.Equal(t, 50, s.Tunnels)
	require.EqualValues(t, 1950, s.Refused)
	require.Equal(t, 50, s.Channels)
	r.join(gateway4, source4, group4)
	require.Equal(t, 51, r.relay.Stats().Tunnels)
	r.wait(10 * time.Minute)
	require.Zero(t, r.relay.Stats().Tunnels)
	require.Zero(t, r.relay.Stats().Channels)
}

// Joins and leaves as fast as the rate of a tunnel allows make no more joins upstream
// than that, and none that does not end.
func TestAlternatingJoins(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.join(gateway4, source4, "232.2.2.2") // so that the tunnel stays
	r.events()
	for i := range 60_000 {
		rec := allow(group4, source4)
		if i%2 == 1 {
			rec = record(gmp.BlockOldSources, group4, source4)
		}
		r.update(gateway4, q, rec)
		r.wait(time.Millisecond)
	}
	s := r.relay.Stats()
	require.InDelta(t, 60*10, s.Updates, 25)
	joins := 0
	for _, e := range r.events() {
		if e == "join ("+source4+","+group4+")" {
			joins++
		}
	}
	require.LessOrEqual(t, joins, 31, "the channel lingers for 2 s")
	r.wait(10 * time.Minute)
	require.Zero(t, r.relay.Stats().Channels)
}

// Groups that a long-lived gateway once wanted are not remembered for ever, which shows
// in what it has to say when it leaves.
func TestManyGroupsOneAfterAnother(t *testing.T) {
	s := newSim(t, 1)
	r := s.addRelay(relayA, amt.RelayConfig{Compat: amt.RelayCompat{Endpoint: amt.EndpointNever}, TunnelRate: 1e6})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	g.join(source4, group4)
	s.run(time.Second)
	for i := range 5000 {
		group := netip.AddrFrom4([4]byte{232, 3, byte(i >> 8), byte(i)}).String()
		g.join(source4, group)
		g.leave(source4, group)
	}
	s.run(10 * time.Second)
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	octets := 0
	r.drops = func(b []byte) bool {
		octets += len(b)
		return false
	}
	g.leave(source4, group4)
	s.run(5 * time.Second)
	require.Zero(t, r.relay.Stats().Tunnels)
	require.Less(t, octets, 8*1200)
}

// The largest Update there is, for each octet of which a gateway has to send one, costs a
// time that grows with its length alone.
func BenchmarkManySources(b *testing.B) {
	for _, t := range []gmp.RecordType{gmp.ModeIsInclude, gmp.ChangeToInclude, gmp.BlockOldSources, gmp.ModeIsExclude} {
		for _, n := range []int{1600, 16_000} {
			b.Run(fmt.Sprintf("%v/%d", t, n), func(b *testing.B) {
				r := newRelayRig(b, amt.RelayConfig{TunnelRate: 1e9})
				group := netip.MustParseAddr("239.1.1.1")
				var sources []netip.Addr
				for i := range n {
					sources = append(sources, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
				}
				q := r.query(gateway4, 0, 7)
				r.update(gateway4, q, gmp.Record{Type: gmp.ModeIsInclude, Group: group, Sources: gmp.SourcesOf(sources[n-64:]...)})
				raw, err := (&amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce, Packet: gmp.AppendReport(nil, netip.Addr{}, false,
					gmp.Record{Type: t, Group: group, Sources: gmp.SourcesOf(sources...)})}).AppendTo(nil)
				require.NoError(b, err)
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				d := amt.Datagram{Local: relay4, Remote: gateway4, Payload: raw}
				for b.Loop() {
					r.relay.HandleDatagram(r.now, &d, nil)
					for {
						if _, ok := r.relay.PollEvent(); !ok {
							break
						}
					}
				}
			})
		}
	}
}
