package resolver

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/treedn/treedn/driad/dns"
)

// System returns a resolver that asks the servers of the network adapters that are up
// and have a gateway, as package net does, and their domains.
func System() (*Plain, []dns.Name, error) {
	// The first one of the list is at the buffer's start, and all pointers lead into it.
	buffer := make([]byte, 15000) // as Windows recommends
	for size := uint32(len(buffer)); ; buffer = make([]byte, size) {
		const flags = windows.GAA_FLAG_INCLUDE_GATEWAYS | windows.GAA_FLAG_SKIP_UNICAST | windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, (*windows.IpAdapterAddresses)(unsafe.Pointer(&buffer[0])), &size)
		if err == nil {
			break
		}
		if err != windows.ERROR_BUFFER_OVERFLOW || size <= uint32(len(buffer)) {
			return nil, nil, fmt.Errorf("%w: GetAdaptersAddresses: %w", ErrSystem, err)
		}
	}
	p, search := fromAdapters((*windows.IpAdapterAddresses)(unsafe.Pointer(&buffer[0])))
	if len(p.Servers) == 0 {
		return nil, nil, ErrSystem
	}
	return p, search, nil
}

func fromAdapters(list *windows.IpAdapterAddresses) (*Plain, []dns.Name) {
	p := new(Plain)
	var search []dns.Name
	for a := list; a != nil; a = a.Next {
		if a.OperStatus != windows.IfOperStatusUp || a.FirstGatewayAddress == nil {
			continue
		}
		for s := a.FirstDnsServerAddress; s != nil && len(p.Servers) < maxServers; s = s.Next {
			if server, ok := serverOf(&s.Address, a.Ipv6IfIndex); ok {
				p.Servers = append(p.Servers, netip.AddrPortFrom(server, 53))
			}
		}
		if n, err := dns.ParseName(windows.UTF16PtrToString(a.DnsSuffix)); err == nil && !n.IsRoot() {
			search = append(search, n)
		}
	}
	return p, search
}

// siteLocal has the servers that Windows assumes where none are configured for IPv6;
// nobody has had them since RFC 3879.
var siteLocal = netip.MustParsePrefix("fec0::/10")

// serverOf reads the address of a server; one of a link is on that of the adapter with
// index, unless it says more.
func serverOf(s *windows.SocketAddress, index uint32) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(s.IP())
	if !ok || siteLocal.Contains(a) {
		return a, false
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		raw := (*windows.RawSockaddrInet6)(unsafe.Pointer(s.Sockaddr))
		if index = cmp.Or(raw.Scope_id, index); index == 0 {
			return a, false
		}
		a = a.WithZone(strconv.FormatUint(uint64(index), 10))
	}
	return a, true
}
