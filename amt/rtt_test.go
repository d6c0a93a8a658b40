package amt_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// The event of a relay has the round trip to it, from the first exchange with it.
func TestRoundTrip(t *testing.T) {
	for _, list := range [][]amt.Candidate{candidates(relayA), direct(relayA), candidates(relayC), direct(relayC)} {
		for _, delay := range []time.Duration{0, 7 * time.Millisecond, 40 * time.Millisecond} {
			s := newSim(t, 1)
			s.delay = delay
			s.addRelay(list[0].Address.String(), amt.RelayConfig{})
			g := s.addGateway(amt.GatewayConfig{Relays: list})
			g.join(source4, group4)
			s.run(time.Second)
			require.Equal(t, amt.GatewayConnected, g.events[0].Type)
			require.Equal(t, max(2*delay, 1), g.events[0].RTT)
		}
	}
}

// What was repeated is not measured: the answer may be to either (RFC 6298 section 3).
func TestRoundTripOfRepeated(t *testing.T) {
	for _, c := range []struct {
		name  string
		list  []amt.Candidate
		drops amt.Type
		known bool
	}{
		{"Discovery", candidates(relayA), amt.TypeDiscovery, true}, // by the Request
		{"Request", direct(relayA), amt.TypeRequest, false},
		{"Request after a Discovery", candidates(relayA), amt.TypeRequest, true}, // by the Discovery
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, 1)
			r := s.addRelay(relayA, amt.RelayConfig{})
			dropped := 0
			r.drops = func(message []byte) bool {
				if amt.Type(message[0]&0xf) == c.drops {
					dropped++
					return dropped == 1
				}
				return false
			}
			g := s.addGateway(amt.GatewayConfig{Relays: c.list})
			g.join(source4, group4)
			s.run(5 * time.Second)
			require.Equal(t, 2, dropped)
			require.Equal(t, amt.GatewayConnected, g.events[0].Type)
			if c.known {
				require.Equal(t, 20*time.Millisecond, g.events[0].RTT)
			} else {
				require.Zero(t, g.events[0].RTT)
			}
		})
	}

	// The answer to the first of two, and then that to the second.
	s := newSim(t, 1)
	s.delay = 700 * time.Millisecond
	s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	g.join(source4, group4)
	s.run(10 * time.Second)
	require.Equal(t, amt.GatewayConnected, g.events[0].Type)
	require.Zero(t, g.events[0].RTT)
}

// A discovery address that names a relay elsewhere says nothing of how far that is.
func TestRoundTripBehindDiscoveryAddress(t *testing.T) {
	rig := newRelayRig(t, amt.RelayConfig{})
	g := amt.NewGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	now := epoch
	require.NoError(t, g.Join(now, netip.MustParseAddr(source4), netip.MustParseAddr(group4)))
	handle := func(from string, m amt.Message) {
		b, err := m.AppendTo(nil)
		require.NoError(t, err)
		g.HandleDatagram(now, 1, &amt.Datagram{Local: gateway4, Remote: netip.MustParseAddrPort(from), Payload: b}, 0, new(amt.Packet))
	}
	sent := func() (m amt.Message) {
		tr, ok := g.PollTransmission()
		require.True(t, ok)
		require.NoError(t, m.Unmarshal(tr.Payload))
		return m
	}
	d := sent()
	now = now.Add(3 * time.Millisecond)
	handle(relayA, amt.Message{Type: amt.TypeAdvertisement, Nonce: d.Nonce, Relay: netip.MustParseAddr("192.0.2.7")})
	r := sent()
	now = now.Add(80 * time.Millisecond)
	handle("192.0.2.7:2268", rig.query(gateway4, 0, r.Nonce))
	e, ok := g.PollEvent()
	require.True(t, ok)
	require.Equal(t, amt.GatewayConnected, e.Type)
	require.Equal(t, 80*time.Millisecond, e.RTT)
	require.Equal(t, relayA, e.Candidate.String())
}
