package driad

import (
	"net/netip"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// Port is the UDP port of AMT (RFC 7450 section 7.2).
const Port = 2268

// Well-known anycast discovery addresses (RFC 7450 section 7.1).
var (
	AnycastIPv4 = netip.AddrFrom4([4]byte{192, 52, 193, 1})
	AnycastIPv6 = netip.AddrFrom16([16]byte{0x20, 1, 0, 3, 15: 1})
)

// Method is how a relay has been found. Lower ones are preferred (RFC 8777 section
// 3.1.2).
type Method uint8

// Methods.
const (
	// Configured: it is in the configuration.
	Configured Method = iota
	// ServiceDiscovery: DNS-SD, _amt._udp (RFC 6763).
	ServiceDiscovery
	// Anycast: the well-known addresses.
	Anycast
	// DRIAD: the AMTRELAY record of the source (RFC 8777).
	DRIAD
	// Plain: A and AAAA records under amt.in-addr.arpa, for sources that have no
	// AMTRELAY record.
	Plain
	methods
)

// String returns the name of the method.
func (m Method) String() string {
	switch m {
	case Configured:
		return "configured"
	case ServiceDiscovery:
		return "DNS-SD"
	case Anycast:
		return "anycast"
	case DRIAD:
		return "DRIAD"
	case Plain:
		return "plain"
	}
	return "method"
}

// Candidate is a relay, or a discovery address of one, that may be used for a
// source.
type Candidate struct {
	Address netip.AddrPort
	// Direct is the D bit: an AMT Request may go to the address. Otherwise a Relay
	// Discovery must be answered first (RFC 8777 section 4.2.2).
	Direct bool
	Method Method
	// Precedence is the record's, or the priority of an SRV record. Lower ones are
	// preferred.
	Precedence uint16
	// Weight is that of an SRV record.
	Weight uint16
	// Name is the relay's domain name; the root if it was found by address.
	Name dns.Name
	// Authentic: all answers that led here had the AD bit (RFC 4035 section 3.2.3),
	// which is worth what the way to the resolver is worth.
	Authentic bool
}

// Outcome is what became of the use of a candidate.
type Outcome uint8

// Outcomes.
const (
	// Connected: a valid Membership Query without the L flag has arrived (RFC 8777
	// section 3.2.3). No other candidate is tried.
	Connected Outcome = 1 + iota
	// Unreachable: there was no answer, or one that it cannot be reached; or a relay
	// that was connected answers no more.
	Unreachable
	// Overloaded: the L flag is set. The relay is held down for about 10 minutes
	// (RFC 8777 section 3.3.5).
	Overloaded
	// NoTraffic: a subscription was reported and nothing has come. The relay is held
	// down for this source, for 3 to 4 minutes (RFC 8777 section 3.3.4.1).
	NoTraffic
	// Congested: much is lost. Discovery begins again after a random time of up to 10
	// s (RFC 8777 section 3.3.4.2).
	Congested
)

// String returns the name of the outcome.
func (o Outcome) String() string {
	switch o {
	case Connected:
		return "connected"
	case Unreachable:
		return "unreachable"
	case Overloaded:
		return "overloaded"
	case NoTraffic:
		return "no traffic"
	case Congested:
		return "congested"
	}
	return "outcome"
}

// Usable reports whether an address can be that of a relay: no unspecified,
// loopback, multicast, link-local or reserved one.
func Usable(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Zone() != "" {
		return false
	}
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first < 240
	}
	return true
}

// Hold-downs and restarts of RFC 8777 section 3.3.
const (
	holdNoTraffic     = 3 * time.Minute
	holdNoTrafficSpan = time.Minute
	holdOverloaded    = 10 * time.Minute
	holdUnreachable   = 30 * time.Second // and twice as long each time; of our own
	congestedSpan     = 10 * time.Second
	restartTimeout    = 4 * time.Second
	restartMaxTimeout = 120 * time.Second
)

// As converts candidates to another package's type for them, such as
//
//	conn.SetRelays(driad.As[amt.Candidate](list))
func As[T ~struct {
	Address netip.AddrPort
	Direct  bool
}](list []Candidate) []T {
	out := make([]T, len(list))
	for i, c := range list {
		out[i] = T(struct {
			Address netip.AddrPort
			Direct  bool
		}{c.Address, c.Direct})
	}
	return out
}
