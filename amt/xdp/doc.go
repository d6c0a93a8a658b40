// Package xdp copies packets of multicast channels to AMT gateways in the kernel
// of Linux, for an [amt.Server]:
//
//	plane, err := xdp.Open(xdp.Config{Upstream: "eth0", Egress: "eth1"})
//	if err != nil {
//		return err // or go on without: the server's sockets do the same
//	}
//	defer plane.Close()
//	return amt.Serve(ctx, amt.ServerConfig{Plane: plane, Listen: …, Upstream: …})
//
// A program on the interface that the channels come in by (XDP) encapsulates a
// packet once, and broadcasts it to the interface that leads to the gateways, once
// for each of them; another program gives each copy its destination. No copy
// comes to user space. That needs Linux 5.15, CAP_BPF and CAP_NET_ADMIN.
//
// # What it takes
//
// A channel is taken on when all of its tunnels are by IPv4 through that interface
// and their number lies between MinCopies and MaxCopies. The latter is a cap on
// the copies of a packet: all are handed to the interface at once, and those that
// its ring has no room for are lost. Everything else is left to the sockets of the
// server: IPv6, fragments, packets with options, and packets that do not fit all
// tunnels.
//
// What is taken does not reach anybody else on the machine: a program that
// receives the same channel by a socket hears nothing of it any more.
//
// [SelfTest] shows whether the kernel can do all that, on interfaces of its own in
// a network namespace of its own; [Open] runs it. Whether the driver of the egress
// interface takes frames in this way is for its documentation (ndo_xdp_xmit).
package xdp
