// Package amt carries multicast over networks that have none: Automatic
// Multicast Tunneling (RFC 7450). A relay stands where multicast is; a gateway,
// anywhere on the Internet, asks it for channels and gets their packets by
// unicast UDP.
//
// # Receiving
//
// [Dial] receives one channel, natively if the network can, else through a relay,
// here of a netip.AddrPort whose port may be 0 for the usual one:
//
//	conn, err := amt.Dial(ctx, source, netip.AddrPortFrom(group, 5000), amt.DialConfig{
//		Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
//	})
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	messages := ssm.NewMessages(8)
//	for {
//		n, err := conn.ReadBatch(messages)
//		if err != nil {
//			return err
//		}
//		for i := range messages[:n] {
//			for packet := range messages[i].Segments {
//				handle(packet)
//			}
//		}
//	}
//
// Both ways stay watched: when native packets return, or another relay is moved
// to, the two sequences are aligned and joined so that nothing is lost or
// doubled; when a relay fails, the next one takes over within a second.
//
// # Running a relay
//
// [Serve] runs a relay on the sockets of this machine, with packets from an
// [Upstream]: from this machine's networks by [Native], or from another relay by
// [Chain]. [Bridge] brings channels out of a tunnel onto a network.
//
// # Without sockets
//
// [Gateway] and [Relay] are the protocol alone: datagrams and times go in,
// datagrams, packets, events and the time of the next timeout come out. They run
// in simulations of half a million gateways as they do in Dial and Serve.
// [Message] is the codec. Package gmp below has IGMP and MLD, package ssm the
// sockets for native source-specific multicast.
//
// # Other programs
//
// The machines get along with what is in the field, Linux above all, whose relay
// and gateway differ from the standard in many ways: [RelayCompat] and
// [GatewayCompat] say which, and each is counted.
//
// # Standards
//
// RFC 7450, with RFC 9601 (ECN) and what RFC 8777 says about the choice between
// relays; module driad looks relays up in the DNS. A relay's first Query to an
// endpoint does not carry the G flag, see [EndpointAuto], and it believes reports
// whose IP headers are not quite what they should be, see [RelayCompat]. Data
// with checksums of zero over IPv6 are taken, and never sent.
//
// # Threats
//
// A relay hears from the whole Internet. Before a gateway has shown that it
// receives what is sent to its address, nothing is kept of it, and an answer is at
// most 3.7 times as long as the question; rates bound the answers by prefix and
// in all. After that, its endpoints, groups and sources are bounded. Whoever reads
// along on the path can do what the gateway can.
//
// A gateway takes data from its relay alone, and of these only what was asked
// for. The relay and everybody before it can forge packets: authentication is the
// business of the layers above.
package amt
