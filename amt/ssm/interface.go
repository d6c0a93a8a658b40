package ssm

import (
	"net"
	"net/netip"
)

// InterfaceFor returns the interface on which [Host.Join] joins a source: the
// one given by name, index or address, or, if name is empty, the one on the route
// to the source. Failures are of type [*Error].
func InterfaceFor(name string, source netip.Addr) (*net.Interface, error) {
	return pickInterface(name, source)
}
