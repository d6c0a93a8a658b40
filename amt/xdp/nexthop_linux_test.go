package xdp

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// More changes than the kernel keeps for somebody who does not listen: the last
// one counts.
func TestNeighboursOverflow(t *testing.T) {
	peer := nettest.NewPeer(t, "out", "10.1.0.1/16", "10.1.255.1/16")
	hop := netip.MustParseAddr("10.1.7.7")
	var block atomic.Bool
	blocked := make(chan struct{})
	missed := make(chan struct{}, 1)
	n, err := watchNeighbours(peer.Here, func(a netip.Addr) {
		if block.Load() {
			<-blocked
		}
		if !a.IsValid() {
			select {
			case missed <- struct{}{}:
			default:
			}
		}
	})
	require.NoError(t, err)
	defer n.close()
	block.Store(true)
	set := func(m mac) {
		require.NoError(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: peer.Here.Index, IP: ipOf(hop), State: netlink.NUD_PERMANENT, HardwareAddr: net.HardwareAddr(m[:]),
		}))
	}
	for i := range 30_000 {
		set(mac{2, 0, 0, 0, byte(i >> 8), byte(i)})
	}
	last := mac{2, 1, 1, 1, 1, 1}
	set(last)
	close(blocked)
	block.Store(false)
	require.Eventually(t, func() bool {
		_, m, ok := n.resolve(netip.MustParseAddr("10.1.0.1"), hop)
		return ok && m == last
	}, 10*time.Second, time.Millisecond)
	select {
	case <-missed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told that changes have been missed")
	}
}
