package amt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// requests counts the Requests that a relay gets, and those with the P flag where Linux
// has it. A relay that is as strict as Linux takes no others for MLD.
type requests struct{ all, linux int }

func countRequests(r *simRelay, isLinux bool) *requests {
	var n requests
	r.drops = func(b []byte) bool {
		if b[0] != byte(amt.TypeRequest) {
			return false
		}
		n.all++
		if b[1]&byte(amt.FlagLinuxP) != 0 {
			n.linux++
			return false
		}
		return isLinux && b[1] != 0
	}
	return &n
}

// However long answers take, the gateway learns where a relay has the P flag, and then
// asks once a cycle; the relay learns that the gateway is not Linux.
func TestSlowRelayAndLinuxP(t *testing.T) {
	for _, rtt := range []time.Duration{20, 100, 240, 260, 400, 700, 990, 1010, 1500, 2000, 3000} {
		for _, isLinux := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d ms, Linux %v", rtt, isLinux), func(t *testing.T) {
				s := newSim(t, 1)
				s.delay = rtt * time.Millisecond / 2
				r := s.addRelay(relayA, amt.RelayConfig{})
				n := countRequests(r, isLinux)
				g := s.addGateway(amt.GatewayConfig{Relays: direct(relayA)})
				s.stream(source6, group6, 200*time.Millisecond)
				g.join(source6, group6)
				s.run(500*time.Millisecond + 3*rtt*time.Millisecond)
				require.NotEmpty(t, g.packets)
				s.run(2 * time.Minute)
				n.all, n.linux = 0, 0
				queries := g.gateway.Stats().Queries
				s.run(time.Hour)
				require.InDelta(t, 3600/22, n.all, 20)
				require.InDelta(t, n.all, g.gateway.Stats().Queries-queries, 1, "Requests without an answer")
				if isLinux {
					require.Equal(t, n.all, n.linux)
				} else {
					require.Zero(t, n.linux)
				}
				require.Equal(t, []amt.GatewayEventType{amt.GatewayConnected}, g.types())
				require.LessOrEqual(t, g.gap, 220*time.Millisecond)
				before := r.relay.Stats().Teardowns
				g.leave(source6, group6)
				s.run(10 * time.Second)
				require.Zero(t, r.relay.Stats().Tunnels)
				require.Equal(t, !isLinux, r.relay.Stats().Teardowns > before, "the G flag")
			})
		}
	}
}

// Over a satellite and under heavy loss a gateway joins before long, and keeps its
// tunnel; pauses of the source make it leave nothing. Under loss, a relay with a source
// that pauses may look dead for a while, which does not happen often.
func TestSlowAndLossy(t *testing.T) {
	for _, c := range []struct {
		loss   float64
		pauses bool
		join   time.Duration // at most, beyond the round trips
		lost   int           // relays in two hours at most, after that
	}{
		{0, false, 0, 0}, {0, true, 20 * time.Second, 0}, {0.3, false, 30 * time.Second, 0}, {0.3, true, 30 * time.Second, 10},
	} {
		for _, rtt := range []time.Duration{600 * time.Millisecond, 3 * time.Second} {
			t.Run(fmt.Sprintf("%v, %v lost, pauses %v", rtt, c.loss, c.pauses), func(t *testing.T) {
				lost := 0
				for seed := range uint64(2) {
					s := newSim(t, seed)
					s.delay, s.jitter, s.loss = rtt*9/20, rtt/10, c.loss
					s.addRelay(relayA, amt.RelayConfig{})
					g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA)})
					for _, ch := range [][2]string{{source4, group4}, {source6, group6}} {
						st := s.stream(ch[0], ch[1], 200*time.Millisecond)
						var pause func()
						pause = func() {
							if st.stopped = !st.stopped; !st.stopped {
								st.tick()
							}
							s.after(time.Second+time.Duration(s.rng.Int64N(int64(20*time.Second))), pause)
						}
						if c.pauses {
							pause()
						}
					}
					start := s.now
					g.join(source4, group4)
					g.join(source6, group6)
					for len(g.packets) == 0 && s.now.Sub(start) < time.Minute {
						s.run(100 * time.Millisecond)
					}
					joined, before := s.now.Sub(start), len(g.events)
					s.run(time.Hour)
					for _, e := range g.events[before:] {
						if e.Type == amt.GatewayLost {
							lost++
						}
					}
					require.LessOrEqual(t, joined, rtt*33/10+400*time.Millisecond+c.join)
				}
				require.LessOrEqual(t, lost, c.lost)
			})
		}
	}
}
