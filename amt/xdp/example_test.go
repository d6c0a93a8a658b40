package xdp_test

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/treedn/treedn/amt/xdp"
)

// A relay that has copies made in the kernel where that works, and by its sockets
// where not. The loopback interface is one where it does not.
func Example() {
	source, group := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("232.1.1.1")
	tunnels := []xdp.Tunnel{
		{Local: netip.MustParseAddrPort("192.0.2.1:2268"), Gateway: netip.MustParseAddrPort("203.0.113.7:51000")},
		{Local: netip.MustParseAddrPort("192.0.2.1:2268"), Gateway: netip.MustParseAddrPort("203.0.113.9:51000")},
	}
	var packets [][]byte // whole IP packets, from upstream
	sockets := func(packets [][]byte, tunnels []xdp.Tunnel) { fmt.Println(len(tunnels), "tunnels by sockets") }

	taken := make([]bool, len(tunnels))
	n := 0
	plane, err := xdp.Open(xdp.Config{Egress: "lo"})
	switch {
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, xdp.ErrConfig):
	case err != nil:
		fmt.Println(err)
		return
	default:
		defer plane.Close()
		// Again when the tunnels change, or plane.Version().
		if err := plane.Route(source, group, 1470, tunnels, taken); err != nil {
			fmt.Println(err)
		}
		if n, err = plane.Send(source, group, packets); err != nil {
			fmt.Println(err)
		}
	}
	var rest []xdp.Tunnel
	for i, t := range tunnels {
		if !taken[i] {
			rest = append(rest, t)
		}
	}
	if len(rest) > 0 {
		sockets(packets[:n], rest)
	}
	if n < len(packets) {
		sockets(packets[n:], tunnels)
	}
	// Output: 2 tunnels by sockets
}
