package ssm

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
)

var (
	// ErrTooManyReceivers is returned by [Host.Join] at [Config.MaxReceivers].
	ErrTooManyReceivers = errors.New("ssm: too many receivers on this host")
	// ErrNothingReceived is what [Probe] found when join and send succeeded and
	// no packet arrived.
	ErrNothingReceived = errors.New("no packet arrived")
	// ErrInterface is matched by errors about the interface: none of that name,
	// down, or without multicast.
	ErrInterface = errors.New("unusable interface")
)

// Error says which step of multicast failed on this machine, why, and what its
// owner can do about it.
type Error struct {
	Op        string     // "interface", "bind", "join", "send" or "receive"
	Interface string     // name of the interface, if one was found
	Source    netip.Addr // zero for any source
	Group     netip.Addr // zero if the failure does not depend on it
	Remedy    string     // what to do, one or two sentences; may be empty
	Err       error
}

// Error returns the step, its parameters, the cause and the remedy.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("ssm: ")
	b.WriteString(e.Op)
	if e.Group.IsValid() {
		b.WriteString(" " + e.Group.String())
	}
	if e.Source.IsValid() {
		b.WriteString(" source " + e.Source.String())
	}
	if e.Interface != "" {
		b.WriteString(" on " + e.Interface)
	}
	b.WriteString(": " + e.Err.Error())
	if e.Remedy != "" {
		b.WriteString(" (" + e.Remedy + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// newError describes the failure of op on ifi, which may be nil.
func newError(op string, ifi *net.Interface, source, group netip.Addr, err error) *Error {
	e := &Error{Op: op, Source: source, Group: group, Err: err}
	if ifi != nil {
		e.Interface = ifi.Name
	}
	e.Remedy = remedy(op, ifi, source, err)
	return e
}

func remedy(op string, ifi *net.Interface, source netip.Addr, err error) string {
	name := "the interface"
	if ifi != nil {
		name = ifi.Name
	}
	loopback6 := source.Is6() && ifi != nil && ifi.Flags&net.FlagLoopback != 0
	switch {
	case errors.Is(err, errors.ErrUnsupported) || isUnsupported(err):
		return "this system cannot join a source through the socket interface; run on Linux, FreeBSD, " +
			"macOS or Windows, or in a sandbox such as gVisor with the network of the machine (runsc --network=host)"
	case isTooMany(err) && op == "join" && runtime.GOOS == "linux":
		return "raise the limit: sysctl -w net.ipv4.igmp_max_memberships=64 net.core.optmem_max=131072"
	case (isUnreachable(err) || errors.Is(err, ErrNothingReceived)) && loopback6 && runtime.GOOS == "linux":
		// One of another type takes the packets and loses them.
		return "Linux has no multicast route on loopback for IPv6: use IPv4 (source 127.0.0.1), " +
			"or as root: ip -6 route replace local ff00::/8 dev " + name + " table local"
	case isUnreachable(err):
		return "no route for multicast on " + name + ": check that it is up and has the address"
	case isPermission(err):
		return "a firewall or sandbox forbids it: allow UDP to 232.0.0.0/8 on " + name +
			" (for example: iptables -I OUTPUT -o " + name + " -d 232.0.0.0/8 -j ACCEPT)"
	case isNoAddress(err):
		return "the source must be an address of this machine"
	case errors.Is(err, ErrNothingReceived):
		return "a firewall drops it: allow UDP to 232.0.0.0/8 in on " + name +
			" (for example: iptables -I INPUT -i " + name + " -d 232.0.0.0/8 -j ACCEPT), " +
			"and check that rp_filter accepts the source"
	}
	return ""
}
