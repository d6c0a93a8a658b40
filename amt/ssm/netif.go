package ssm

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// pickInterface returns the interface given by name, index or address, or, if
// name is empty, the one through which this machine reaches peer. A loopback peer has
// to be on a loopback interface: elsewhere its packets are martians.
func pickInterface(name string, peer netip.Addr) (*net.Interface, error) {
	ifi, err := findInterface(name, peer)
	if err != nil {
		return nil, newError("interface", nil, peer, netip.Addr{}, err)
	}
	loopback := ifi.Flags&net.FlagLoopback != 0
	switch {
	case ifi.Flags&net.FlagUp == 0:
		e := newError("interface", ifi, peer, netip.Addr{}, fmt.Errorf("%w: %s is down", ErrInterface, ifi.Name))
		e.Remedy = "bring it up: ip link set " + ifi.Name + " up (as root, or when the container is started)"
		return nil, e
	case loopback != peer.IsLoopback() && peer.IsLoopback():
		return nil, newError("interface", ifi, peer, netip.Addr{},
			fmt.Errorf("%w: loopback address on %s", ErrInterface, ifi.Name))
	case !loopback && ifi.Flags&net.FlagMulticast == 0:
		e := newError("interface", ifi, peer, netip.Addr{}, fmt.Errorf("%w: %s has no multicast", ErrInterface, ifi.Name))
		e.Remedy = "turn it on (ip link set " + ifi.Name + " multicast on) or choose another interface"
		return nil, e
	}
	return ifi, nil
}

func findInterface(name string, peer netip.Addr) (*net.Interface, error) {
	if name != "" {
		return namedInterface(name)
	}
	if !peer.IsValid() {
		return nil, fmt.Errorf("%w: any-source groups need an interface by name", ErrInterface)
	}
	if peer.IsLoopback() {
		return loopbackInterface()
	}
	local, err := localAddrToward(peer)
	if err != nil {
		return nil, fmt.Errorf("no route to %v: %w", peer, err)
	}
	return interfaceWith(local)
}

func namedInterface(name string) (*net.Interface, error) {
	if ifi, err := net.InterfaceByName(name); err == nil {
		return ifi, nil
	}
	if index, err := strconv.Atoi(name); err == nil && index > 0 {
		if ifi, err := net.InterfaceByIndex(index); err == nil {
			return ifi, nil
		}
	}
	if a, err := netip.ParseAddr(name); err == nil {
		if a.Zone() != "" { // several interfaces may have that address
			return namedInterface(a.Zone())
		}
		return interfaceWith(a.Unmap())
	}
	return nil, fmt.Errorf("%w: no interface %q", ErrInterface, name)
}

func loopbackInterface() (*net.Interface, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range ifs {
		if ifs[i].Flags&net.FlagLoopback != 0 {
			return &ifs[i], nil
		}
	}
	return nil, fmt.Errorf("%w: no loopback interface", ErrInterface)
}

// interfaceWith returns the interface that has an address.
func interfaceWith(local netip.Addr) (*net.Interface, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range ifs {
		addrs, err := ifs[i].Addrs()
		if err != nil {
			continue // it may have gone since it was listed
		}
		for _, a := range addrs {
			if prefix, ok := a.(*net.IPNet); ok && prefix.IP.Equal(net.IP(local.AsSlice())) {
				return &ifs[i], nil
			}
		}
	}
	return nil, fmt.Errorf("%w: none has address %v", ErrInterface, local)
}

// localAddrToward asks the routing table by way of a connected UDP socket, over
// which nothing is sent.
func localAddrToward(peer netip.Addr) (netip.Addr, error) {
	const discard = 9
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, discard)))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""), nil
}
