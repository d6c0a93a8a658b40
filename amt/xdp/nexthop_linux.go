package xdp

import (
	"net"
	"net/netip"
	"sync"
	"time"

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
	f, err := n.subscribe(changed)
	if err != nil {
		close(n.done)
		h.Close()
		return nil, err
	}
	n.wg.Go(func() {
		for f.follow(n, changed) {
			// The kernel has told more than there was room for. What has been missed is
			// in its tables.
			for f, err = n.subscribe(changed); err != nil; f, err = n.subscribe(changed) {
				select {
				case <-n.done:
					return
				case <-time.After(time.Second):
				}
			}
			changed(netip.Addr{})
		}
	})
	return n, nil
}

// feed is what the kernel tells of changes, until it fails or stop is closed.
type feed struct {
	neigh chan netlink.NeighUpdate
	route chan netlink.RouteUpdate
	links chan netlink.LinkUpdate
	stop  chan struct{}
}

// feedBuffer holds a few thousand changes.
const feedBuffer = 4 << 20

// subscribe asks to be told, and then takes what there is already.
func (n *neighbours) subscribe(changed func(hop netip.Addr)) (*feed, error) {
	f := &feed{stop: make(chan struct{})}
	neigh, route, links := make(chan netlink.NeighUpdate, 64), make(chan netlink.RouteUpdate, 64), make(chan netlink.LinkUpdate, 64)
	err := netlink.NeighSubscribeWithOptions(neigh, f.stop, netlink.NeighSubscribeOptions{
		ReceiveBufferSize: feedBuffer, ReceiveBufferForceSize: true,
	})
	if err == nil {
		f.neigh = neigh
		err = netlink.RouteSubscribeWithOptions(route, f.stop, netlink.RouteSubscribeOptions{
			ReceiveBufferSize: feedBuffer, ReceiveBufferForceSize: true,
		})
	}
	if err == nil {
		f.route = route
		err = netlink.LinkSubscribeWithOptions(links, f.stop, netlink.LinkSubscribeOptions{})
	}
	if err == nil {
		f.links = links
		err = n.load(changed)
	}
	if err != nil {
		f.end()
		return nil, err
	}
	return f, nil
}

// end ends the feed, and waits for that.
func (f *feed) end() {
	close(f.stop)
	for f.neigh != nil || f.route != nil || f.links != nil {
		select {
		case _, ok := <-f.neigh:
			if !ok {
				f.neigh = nil
			}
		case _, ok := <-f.route:
			if !ok {
				f.route = nil
			}
		case _, ok := <-f.links:
			if !ok {
				f.links = nil
			}
		}
	}
}

// follow takes what the kernel tells, until that fails, and then returns true, or
// until n is closed.
func (f *feed) follow(n *neighbours, changed func(hop netip.Addr)) bool {
	defer f.end()
	for {
		select {
		case <-n.done:
			return false
		case u, ok := <-f.neigh:
			if !ok {
				return true
			}
			if u.LinkIndex == n.ifi.Index {
				if hop, ok := n.update(u.Type == unix.RTM_DELNEIGH, &u.Neigh); ok {
					changed(hop)
				}
			}
		case _, ok := <-f.route:
			if !ok {
				return true
			}
			changed(netip.Addr{})
		case u, ok := <-f.links:
			if !ok {
				return true
			}
			if int(u.Index) == n.ifi.Index {
				changed(netip.Addr{})
			}
		}
	}
}

func (n *neighbours) close() {
	close(n.done)
	n.wg.Wait()
	n.handle.Close()
}

func (n *neighbours) load(changed func(hop netip.Addr)) error {
	list, err := n.handle.NeighList(n.ifi.Index, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range list {
		if hop, ok := n.update(false, &list[i]); ok {
			changed(hop)
		}
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
