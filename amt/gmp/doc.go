// Package gmp has the group management protocols, by which hosts tell routers
// which multicast they want: IGMPv3 (RFC 3376), IGMPv2 (RFC 2236) and IGMPv1
// (RFC 1112) for IPv4, MLDv2 (RFC 3810) and MLDv1 (RFC 2710) for IPv6. They
// differ in the format of their messages only, so that one [Message], one
// [Host] and one [Router] serve all of them.
//
// Nothing here touches a socket or a clock. Packets and times go in; packets,
// events and the time of the next timeout come out:
//
//	host := gmp.NewHost(gmp.HostConfig{})
//	host.SetFilter(now, group, gmp.Filter{Mode: gmp.Include, Sources: sources})
//	for {
//		packet, ok := host.Poll(buf[:0])
//		if !ok {
//			break // until host.NextTimeout()
//		}
//		send(packet)
//	}
//
// A packet is the whole IP packet with the headers that the protocols ask for:
// TTL 1, the Router Alert option, and for MLD the hop-by-hop header.
//
// Packets come from anybody on the link or, by way of AMT, on the Internet.
// [Parse] checks all lengths and checksums, and a Router bounds what its hosts
// can make it remember.
package gmp
