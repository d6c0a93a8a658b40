// Package xdp makes the copies of an AMT relay (RFC 7450) in the Linux kernel: a
// packet of a channel goes in once, and comes out as one Multicast Data message
// for each tunnel, each with its own Ethernet, IP and UDP headers and checksums,
// for a fifth to an eighth of what sendto costs. IPv4 and IPv6, inside and
// outside.
//
// With an [amt.Server]:
//
//	plane, err := xdp.Open(xdp.Config{Upstream: "eth0", Egress: "eth1"})
//	if err != nil {
//		return err // or go on without: the server's sockets do the same
//	}
//	defer plane.Close()
//	return amt.Serve(ctx, amt.ServerConfig{Plane: plane, Listen: …, Upstream: …})
//
// Without:
//
//	plane, err := xdp.Open(xdp.Config{Egress: "eth0"})
//	...
//	taken := make([]bool, len(tunnels))
//	err = plane.Route(source, group, mtu, tunnels, taken)
//	n, err := plane.Send(source, group, packets)
//
// # How it works
//
// XDP can redirect a packet to all entries of a device map (BPF_F_BROADCAST,
// Linux 5.14), and an entry can have a program that runs for its copy. Here all
// entries are one interface, and the program writes the headers of the next
// tunnel of the packet's channel. bpf/copy.c tells the details.
//
// Packets come in by one of two ways. By default, [Plane.Send] hands them in
// through a pair of virtual interfaces that Open makes; they may come from
// anywhere, such as from another relay. With Config.Upstream the program sits on
// an interface and takes packets of channels off it, so that they never reach
// user space; what it does not copy goes on as if it were not there, and whoever
// receives it sends it to all tunnels of the channel. Other programs on the
// machine hear nothing of what it takes.
//
// # What to know
//
//   - Nothing slows this down but the processor. Copies that find the queue of
//     the interface full are lost, so that a packet is copied at most
//     Config.MaxCopies times at once; channels with more tunnels have several
//     passes. Losses are counted, tunnel by tunnel, and Send pauses after one.
//   - Firewalls, traffic control, connection tracking and captures on the egress
//     interface do not see the copies.
//   - Next hops are those of the kernel's tables, and follow them. Tunnels that
//     are reached by another interface are not taken. Channels with a tunnel that
//     cannot be reached any more are given up whole, as are all of an interface
//     that goes down or gets another address or MTU; [Plane.Version] tells.
//   - Fragments, packets with IPv4 options or IPv6 extension headers, and packets
//     that do not fit all tunnels are left to the caller, see [Plane.Send].
//   - The interface has to be Ethernet without a VLAN, and its driver should be
//     able to send what XDP redirects to it (ndo_xdp_xmit); others are served by
//     generic XDP, at a higher price.
//
// Open does not believe the kernel: it has copies made between interfaces of its
// own and compares every octet, then has two sent by the egress interface, to
// its own address, and counts them. If anything is amiss it fails with an error
// that matches [errors.ErrUnsupported].
//
// Linux 5.18 is needed, and CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF; CAP_PERFMON
// makes accounting exact, see [Plane.Exact], and older kernels, 6.1 for one, load
// the programs with it only.
//
// The programs use no function that the kernel keeps for programs under the GPL,
// and have the licence of the rest, Apache-2.0.
package xdp
