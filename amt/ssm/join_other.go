//go:build !windows

package ssm

import (
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

func joinSource(conn *net.UDPConn, ch Channel, ifi *net.Interface) error {
	group, source := &net.UDPAddr{IP: ch.Group.AsSlice()}, &net.UDPAddr{IP: ch.Source.AsSlice()}
	if ch.Group.Is4() {
		return ipv4.NewPacketConn(conn).JoinSourceSpecificGroup(ifi, group, source)
	}
	return ipv6.NewPacketConn(conn).JoinSourceSpecificGroup(ifi, group, source)
}
