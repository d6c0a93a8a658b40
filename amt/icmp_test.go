package amt_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// forge sends a gateway ICMP errors about all that it sends, each millisecond, until the
// returned function is called.
func (g *simGateway) forge() (stop func()) {
	stopped := false
	var tick func()
	tick = func() {
		if stopped {
			return
		}
		var paths []amt.Path
		for _, p := range g.sim.publics {
			if p.gateway == g.index {
				paths = append(paths, p.path)
			}
		}
		slices.Sort(paths)
		for _, p := range paths {
			g.gateway.HandleUnreachable(g.sim.now, p)
		}
		g.after()
		g.sim.after(time.Millisecond, tick)
	}
	g.sim.after(0, tick)
	return func() { stopped = true }
}

// Who forges ICMP errors does not make a gateway leave a relay that delivers, or at least
// answers, nor does it send more for that than a Request a second.
func TestForgedUnreachable(t *testing.T) {
	for _, silence := range []time.Duration{0, -1} {
		for _, interval := range []time.Duration{20 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second, time.Hour} {
			for _, jitter := range []time.Duration{0, 5 * time.Millisecond} {
				s := newSim(t, 1)
				s.jitter = jitter
				a := s.addRelay(relayA, amt.RelayConfig{})
				s.addRelay(relayB, amt.RelayConfig{}).down = true
				g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB), Silence: silence})
				s.stream(source4, group4, interval)
				g.join(source4, group4)
				g.join(source6, group6) // two cycles
				s.run(10 * time.Second)
				requests, packets := a.relay.Stats().Requests, len(g.packets)
				stop := g.forge()
				s.run(10 * time.Minute)
				for _, e := range g.events {
					require.False(t, e.Type == amt.GatewayLost && e.Relay.String() == relayA, "packets each %v: %v", interval, e.Err)
				}
				require.NotZero(t, g.gateway.Stats().Disproved)
				require.Less(t, a.relay.Stats().Requests-requests, uint64(2*700))
				if interval < time.Second {
					require.InDelta(t, float64(10*time.Minute/interval), len(g.packets)-packets, 2)
				}

				stop()
				s.run(time.Minute)
				relay, _ := g.gateway.Active()
				require.Equal(t, relayA, relay.String())
				require.Equal(t, 1, a.relay.Stats().Tunnels)
			}
		}
	}
}

// A relay that has gone is left as soon as its data have paused for longer than they do
// and a Request has not been answered, whether others forge errors or not.
func TestUnreachableRelayIsLeft(t *testing.T) {
	for _, forged := range []bool{false, true} {
		for seed := range uint64(20) {
			s := newSim(t, seed)
			a, b := s.addRelay(relayA, amt.RelayConfig{}), s.addRelay(relayB, amt.RelayConfig{})
			g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA, relayB)})
			s.stream(source4, group4, 20*time.Millisecond)
			g.join(source4, group4)
			s.run(time.Duration(5000+137*seed) * time.Millisecond)
			if forged {
				defer g.forge()()
				s.run(time.Second)
			}
			g.gap = 0
			a.refusing = true
			from := s.now
			var left time.Duration
			for left == 0 && s.now.Sub(from) < 5*time.Second {
				s.run(time.Millisecond)
				if len(g.events) > 1 {
					left = s.now.Sub(from)
				}
			}
			require.Equal(t, amt.GatewayLost, g.events[1].Type)
			require.ErrorIs(t, g.events[1].Err, amt.ErrUnreachable)
			require.LessOrEqual(t, left, 350*time.Millisecond) // 250, and two round trips and a half
			if forged {
				continue // no other relay can be reached for the first time
			}
			s.run(time.Second)
			require.LessOrEqual(t, g.gap, 500*time.Millisecond)
			require.Equal(t, 1, b.relay.Stats().Tunnels)
		}
	}

	// Nothing has been delivered: the next Request is what shows it.
	s := newSim(t, 1)
	a := s.addRelay(relayA, amt.RelayConfig{})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
	g.join(source4, group4)
	s.run(2 * time.Minute)
	a.refusing = true
	s.run(30 * time.Second)
	i := slices.Index(g.types(), amt.GatewayLost)
	require.Positive(t, i)
	require.ErrorIs(t, g.events[i].Err, amt.ErrUnreachable)
}
