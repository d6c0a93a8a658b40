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
// A [Router] has links of two kinds. [Router.AddLink] is for a tunnel with one
// host, which needs no queries. [Router.AddSharedLink] is for a network: there the
// router asks, elects the querier with other routers, and asks before it prunes:
//
//	router := gmp.NewRouter(now, gmp.RouterConfig{})
//	link := router.AddSharedLink(now, gmp.LinkConfig{IGMP: address, MLD: linkLocal})
//	for {
//		router.HandleTimeout(now) // at router.NextTimeout() at the latest
//		send every packet of router.PollQuery
//		m.Parse(packet): router.HandleQuery or router.HandleReport(now, link, &m)
//		router.PollEvent says what is forwarded where, router.AppendLinks who gets a packet
//	}
//
// Of RFC 9776 and RFC 9777, which replace RFC 3376 and RFC 3810 without a change
// of the formats, nothing is used that those do not have. Left out are SSM ranges
// other than the assigned ones (RFC 4604 section 2) and the spreading of one
// host's answers over time (RFC 3376 section 5.2): a host answers a General Query
// at one random time, in as few packets as it takes.
//
// A packet is the whole IP packet with the headers that the protocols ask for:
// TTL 1, the Router Alert option, and for MLD the hop-by-hop header.
//
// Packets come from anybody on the link or, by way of AMT, on the Internet.
// [Message.Parse] checks all lengths and checksums, and a Router bounds what its hosts
// can make it remember.
package gmp
