package amt

import "net/netip"

// Plane copies packets of channels to gateways in another way than by the sockets
// of a [Server], such as in the kernel: see module amt/xdp. Its methods are called
// by one goroutine at a time.
type Plane interface {
	// Forward makes packets from source to group go to copies, in the place of
	// those before, from now on. What the plane takes does not reach the upstream;
	// what it cannot handle, such as packets that are too big for some tunnel, does,
	// and the server sends it. After an error the plane takes nothing of the channel
	// any more. It keeps copies.
	Forward(source, group netip.Addr, copies []PlaneCopy) error
	// Version returns a number that changes when Forward might answer otherwise than
	// it did: what it had taken it has given up, as an interface has gone, or what it
	// refused it could take now. It may be called at any time.
	Version() uint64
	// Stop ends Forward.
	Stop(source, group netip.Addr)
	// Counters yields what has been sent to each tunnel since it was asked last,
	// in octets of the inner packets.
	Counters(yield func(t *Tunnel, packets, octets uint64))
}

// PlaneCopy is where a [Plane] sends a copy of each packet to, and where that
// comes from.
type PlaneCopy struct {
	Tunnel Tunnel
	From   netip.AddrPort
}
