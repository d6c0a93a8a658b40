package xdp

import (
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbours resolves the Ethernet addresses of next hops on one interface, by
// the tables of the kernel and as they change.
type neighbours struct {
	ifi    *net.Interface
	handle *netlink.Handle
	done   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex // guards below
	known map[netip.Addr]mac
}

// usable are the states of an entry whose address can be sent to.
const usable = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE |
	netlink.NUD_PERMANENT | netlink.NUD_NOARP

// watchNeighbours calls changed when an address has come, changed or gone, with
// it, and with the zero address when routes or interfaces have changed.
func watchNeighbours(ifi *net.Interface, changed func(hop netip.Addr)) (*neighbours, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	n := &neighbours{ifi: ifi, handle: h, done: make(chan struct{}), known: make(map[netip.Addr]mac)}
	neigh := make(chan netlink.NeighUpdate, 64)
	route := make(chan netlink.RouteUpdate, 64)
	links := make(chan netlink.LinkUpdate, 64)
	if err = netlink.NeighSubscribeWithOptions(neigh, n.done, netlink.NeighSubscribeOptions{}); err == nil {
		err = netlink.RouteSubscribeWithOptions(route, n.done, netlink.RouteSubscribeOptions{})
	}
	if err == nil {
		err = netlink.LinkSubscribeWithOptions(links, n.done, netlink.LinkSubscribeOptions{})
	}
	if err == nil {
		err = n.load()
	}
	if err != nil {
		close(n.done)
		h.Close()
		return nil, err
	}
	n.wg.Go(func() {
		// Ends when all three have been closed, which follows the end of done.
		for neigh != nil || route != nil || links != nil {
			select {
			case u, ok := <-neigh:
				if !ok {
					neigh = nil
				} else if u.LinkIndex == ifi.Index {
					if hop, ok := n.update(u.Type == unix.RTM_DELNEIGH, &u.Neigh); ok {
						changed(hop)
					}
				}
			case _, ok := <-route:
				if !ok {
					route = nil
				} else {
					changed(netip.Addr{})
				}
			case u, ok := <-links:
				if !ok {
					links = nil
				} else if int(u.Index) == ifi.Index {
					changed(netip.Addr{})
				}
			}
		}
	})
	return n, nil
}

func (n *neighbours) close() {
	close(n.done)
	n.wg.Wait()
	n.handle.Close()
}

func (n *neighbours) load() error {
	list, err := n.handle.NeighList(n.ifi.Index, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range list {
		n.update(false, &list[i])
	}
	return nil
}

// update takes an entry of the kernel's table, and reports whether what is known
// has changed. The address of an entry that has failed or aged is kept: the
// kernel forgets those that it does not itself send to.
func (n *neighbours) update(gone bool, e *netlink.Neigh) (hop netip.Addr, changed bool) {
	hop, ok := netip.AddrFromSlice(e.IP)
	hop = hop.Unmap()
	if gone || !ok || e.State&usable == 0 || len(e.HardwareAddr) != 6 {
		return hop, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := mac(e.HardwareAddr)
	if n.known[hop] == m {
		return hop, false
	}
	n.known[hop] = m
	return hop, true
}

// resolve finds where a packet from local to gateway goes first. It is not ok
// if that is by another interface, or to an address that is not known yet; the
// kernel has then been asked to find it, and hop says what will come.
func (n *neighbours) resolve(local, gateway netip.Addr) (hop netip.Addr, m mac, ok bool) {
	routes, err := n.handle.RouteGetWithOptions(ipOf(gateway), &netlink.RouteGetOptions{SrcAddr: ipOf(local)})
	if err != nil || len(routes) == 0 {
		// An anycast address need not be one that routes accept as a source.
		routes, err = n.handle.RouteGetWithOptions(ipOf(gateway), nil)
	}
	if err != nil || len(routes) == 0 || routes[0].LinkIndex != n.ifi.Index || routes[0].Type != unix.RTN_UNICAST {
		return netip.Addr{}, mac{}, false
	}
	hop = gateway
	if r := &routes[0]; r.Gw != nil {
		hop, _ = netip.AddrFromSlice(r.Gw)
	} else if via, isVia := r.Via.(*netlink.Via); isVia {
		hop, _ = netip.AddrFromSlice(via.Addr)
	}
	hop = hop.Unmap()
	n.mu.Lock()
	m, ok = n.known[hop]
	n.mu.Unlock()
	if !ok {
		n.use(hop)
	}
	return hop, m, ok
}

// use makes the kernel verify an entry as if it had a packet for it.
func (n *neighbours) use(hop netip.Addr) {
	_ = n.handle.NeighSet(&netlink.Neigh{LinkIndex: n.ifi.Index, Flags: netlink.NTF_USE, IP: ipOf(hop)})
}
