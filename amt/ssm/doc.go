// Package ssm sends and receives source-specific multicast (RFC 4607) over
// UDP: the sockets, and nothing of the protocols above them.
//
// # Receiving
//
// A [Host] holds the memberships of one node. [Host.Join] opens a socket for
// one [Channel], that is one source, one group and one UDP port, and returns
// its [Receiver]:
//
//	host := ssm.NewHost(ssm.Config{})
//	defer host.Close()
//	rx, err := host.Join(ctx, ssm.Channel{
//		Source: netip.MustParseAddr("192.0.2.10"),
//		Group:  netip.MustParseAddr("232.1.1.10"),
//		Port:   5000,
//	}, "")
//	if err != nil {
//		return err
//	}
//	msgs := ssm.NewMessages(8)
//	for {
//		n, err := rx.ReadBatch(msgs)
//		if err != nil {
//			return err
//		}
//		for i := range msgs[:n] {
//			for packet := range msgs[i].Segments {
//				handle(packet)
//			}
//		}
//	}
//
// Every Join has a socket of its own, also when several users of a Host join
// the same channel: the kernel copies each packet to all of them, so a slow
// user loses only its own packets and a Leave takes nothing from the others.
// It also keeps every socket at one membership with one source, far from the
// limits of the kernel (Linux: 20 memberships per socket, 10 sources per
// group). The number of channels is bounded by [Config.MaxReceivers] and by
// the file descriptors of the process.
//
// On Linux a socket is bound to the group (bound to the wildcard address it
// would also get what other processes joined), takes only what it joined itself
// (IP_MULTICAST_ALL=0), and reads batches (recvmmsg) of coalesced packets
// (UDP_GRO). ReadBatch allocates nothing.
//
// # Sending
//
// A [Sender] is always bound to a source address and an outgoing interface: an
// unbound multicast socket sends wherever the default route points. WriteBatch
// hands runs of packets of one size to the kernel as one (UDP_SEGMENT), many
// runs with one call (sendmmsg). [Pacer] is the token bucket that keeps such
// bursts within what receivers and queues can take.
//
// # Loopback
//
// On Linux an ordinary user can run sender and receivers on the loopback
// interface: any source in 127/8 and any group in 232/8, no route and no
// privilege needed. [Probe] finds out whether that works and, if not, says
// what is in the way and what to do.
//
// # Other systems
//
// macOS, iOS, FreeBSD, Solaris, illumos and Windows join sources, too, with one
// packet per read. OpenBSD, NetBSD, DragonFly, AIX, Plan 9 and WebAssembly do
// not: there Join returns an error that matches [errors.ErrUnsupported], and an
// AMT tunnel is the way (package amt). On Windows a receiver of one group gets
// nothing of others on its port, so that it does not need the destination of a
// packet, which the system does not tell; see [Message.Destination].
//
// # Threats
//
// Packets are data of whoever can spoof the source address on the path: the
// package checks source and destination of each packet and promises no more.
// Authentication is the business of the layers above.
package ssm
