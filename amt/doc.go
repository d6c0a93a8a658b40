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
// Both ways stay watched: when native packets return, [Conn.SetMode] asks for the
// other way, or another relay is moved to, the two deliver side by side until their
// sequences are aligned, and are joined so that nothing is lost or doubled: that is
// a planned switch, the same in all directions. A payload that a channel has many
// times is delivered as often. The way that is behind may be so by 8192 packets, 8
// MiB, or what comes in 10 s, whichever is least; beyond that the switch is one that
// was not planned. When a relay fails, the next one takes over within a second, and
// [ConnSwitched] tells for how long nothing came.
//
// Native reception is taken back if it does not lose more packets than the tunnel,
// at once the first time; if it is lost again soon, only after it has come without a
// pause for NativeTimeout, and each time for twice as long, up to 5 minutes.
//
// What a caller decides on by errors: [ErrNoRelays] and [ssm.ErrChannel] of Dial;
// [errors.ErrUnsupported], in an [*ssm.Error], where the system has no source-specific
// multicast and the mode is ModeNative; [os.ErrDeadlineExceeded], [net.ErrClosed] and
// the cause of the context of reads; and what [Conn.Reason] lists.
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
