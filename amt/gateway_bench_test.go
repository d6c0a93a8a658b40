package amt_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// Joins of 10,000 groups through one tunnel, with their reports, and the look at the
// timers that each batch of packets takes.
func BenchmarkGatewayGroups(b *testing.B) {
	const n = 10_000
	for b.Loop() {
		r := newRelayRig(b, amt.RelayConfig{MaxGroups: n, MaxChannelsPerTunnel: n, TunnelRate: 1e9})
		g := amt.NewGateway(amt.GatewayConfig{Relays: direct(relayA), Silence: -1})
		relay := netip.MustParseAddrPort(relayA)
		pump := func() {
			for {
				tr, ok := g.PollTransmission()
				if !ok {
					break
				}
				d := amt.Datagram{Local: relay, Remote: gateway4, Payload: tr.Payload}
				if a := r.relay.HandleDatagram(epoch, &d, nil); len(a) > 0 {
					g.HandleDatagram(epoch, tr.Path, &amt.Datagram{Remote: relay, Payload: a}, 0, new(amt.Packet))
				}
			}
			for {
				if _, ok := g.PollEvent(); !ok {
					break
				}
			}
		}
		source := netip.MustParseAddr(source4)
		for i := range n {
			require.NoError(b, g.Join(epoch, source, netip.AddrFrom4([4]byte{232, 1, byte(i >> 8), byte(i)})))
			pump()
			g.NextTimeout()
		}
		require.Equal(b, n, r.relay.Stats().Channels)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "us/group")
}
