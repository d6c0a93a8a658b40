package amt_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// Many gateways on one relay: they join within a few seconds, stay, and come
// back after the relay has lost everything, with loss on the way.
// TestHalfAMillion has more of them, and less of each.
func TestStorm(t *testing.T) {
	const n, steady, farewell = 3000, 2 * time.Minute, 10 * time.Minute
	s := newSim(t, 1)
	s.loss, s.jitter = 0.02, 50*time.Millisecond
	config := amt.RelayConfig{MaxTunnels: n + 10, HighWater: 1, Rate: 4*n + 1000, PrefixRate: 1000}
	r := s.addRelay(relayA, config)
	start := time.Now()
	source, group := netip.MustParseAddr(source4), netip.MustParseAddr(group4)
	for range n {
		g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA), Silence: -1})
		s.after(time.Duration(s.rng.Int64N(int64(3*time.Second))), func() {
			require.NoError(t, g.gateway.Join(s.now, source, group))
			g.after()
		})
	}
	joined := func(part float64) time.Duration {
		begin := s.now
		for float64(r.relay.Stats().Tunnels) < part*float64(n) {
			s.run(100 * time.Millisecond)
			require.Less(t, s.now.Sub(begin), 5*time.Minute)
		}
		return s.now.Sub(begin)
	}
	t.Logf("%d gateways: 99.9 %% joined after %v", n, joined(0.999))
	require.True(t, r.joined[simChannel{source, group}])
	s.run(steady)
	// Some are late, and with 4 Requests in a row without an answer now and then
	// one begins anew.
	require.GreaterOrEqual(t, r.relay.Stats().Tunnels, n-1-n/1000)

	r.restart()
	most := joined(0.99)
	t.Logf("after a restart: 99 %% back after %v, 99.9 %% after %v more", most, joined(0.999))
	// Here nothing but the next Request tells a gateway; data that cease do it in a
	// fraction of a second, see TestRelayDies.
	require.LessOrEqual(t, most, 26*time.Second)

	r.down = true
	s.run(30 * time.Second)
	r.restart()
	t.Logf("after 30 s without it: all back after %v", joined(1))
	for _, g := range s.gateways {
		require.NoError(t, g.gateway.Leave(s.now, source, group))
		g.after()
	}
	s.run(farewell)
	require.Zero(t, r.relay.Stats().Tunnels)
	require.Empty(t, r.joined)
	t.Logf("%v of simulated time in %v", s.now.Sub(epoch), time.Since(start))
}
