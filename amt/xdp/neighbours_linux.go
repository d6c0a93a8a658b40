package xdp

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbours finds the link-layer address of the next hop to a gateway.
type neighbours struct {
	egress *net.Interface

	mu    sync.Mutex               // guards below
	known map[netip.Addr]neighbour // by next hop
}

type neighbour struct {
	mac   [6]byte
	until time.Time // after that it is looked up again
}

// neighbourLifetime is below the time after which Linux itself doubts an entry.
const neighbourLifetime = 15 * time.Second

func newNeighbours(egress *net.Interface) *neighbours {
	return &neighbours{egress: egress, known: make(map[netip.Addr]neighbour)}
}

// find asks the system for its route. A next hop that it does not know is sent
// something, so that it asks.
func (n *neighbours) find(to netip.Addr) (hop netip.Addr, mac [6]byte, err error) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return hop, mac, fmt.Errorf("xdp: no route to %v: %w", to, err)
	}
	if routes[0].LinkIndex != n.egress.Index {
		return hop, mac, fmt.Errorf("xdp: the route to %v does not lead through %s", to, n.egress.Name)
	}
	hop = to
	if gw, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		hop = gw.Unmap()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if k, ok := n.known[hop]; ok && k.until.After(now) {
		return hop, k.mac, nil
	}
	for try := 0; ; try++ {
		if mac, ok := n.lookup(hop); ok {
			n.known[hop] = neighbour{mac, now.Add(neighbourLifetime)}
			return hop, mac, nil
		}
		if try == 20 {
			return hop, mac, fmt.Errorf("xdp: the next hop %v to %v does not answer", hop, to)
		}
		if try == 0 {
			const discard = 9
			if c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(hop, discard))); err == nil {
				_, _ = c.Write([]byte{0})
				_ = c.Close()
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (n *neighbours) lookup(hop netip.Addr) (mac [6]byte, ok bool) {
	list, err := netlink.NeighList(n.egress.Index, unix.AF_INET)
	if err != nil {
		return mac, false
	}
	for _, e := range list {
		a, _ := netip.AddrFromSlice(e.IP)
		if a.Unmap() == hop && len(e.HardwareAddr) == 6 && e.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) == 0 {
			return [6]byte(e.HardwareAddr), true
		}
	}
	return mac, false
}
