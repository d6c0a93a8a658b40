// Package rawip takes whole IP multicast packets off a network interface and
// puts them onto one, with the headers that they have. Both need CAP_NET_RAW,
// and Linux.
package rawip

import "errors"

// ErrUnsupported is returned on systems other than Linux.
var ErrUnsupported = errors.New("rawip: whole IP packets are to be had on Linux only")

// Frame is a packet that [Capture.Read] took.
type Frame struct {
	Packet []byte
	// Outgoing: this machine sends it on the interface.
	Outgoing bool
	// Station is the link-layer address of the sender, as far as the link has
	// such addresses.
	Station [8]byte
}
