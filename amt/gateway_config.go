package amt

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Candidate is a relay that a gateway may use.
type Candidate struct {
	// Address is that of the relay or of a discovery address. Port 0 means [Port].
	Address netip.AddrPort
	// Direct: the address is that of a relay, so that a Request may go there. By
	// default a Relay Discovery asks it for the relay's address (RFC 8777 section
	// 4.2.2).
	Direct bool
}

// Well-known anycast discovery addresses (RFC 7450 section 7.1).
var (
	DiscoveryIPv4 = netip.AddrFrom4([4]byte{192, 52, 193, 1})
	DiscoveryIPv6 = netip.AddrFrom16([16]byte{0x20, 1, 0, 3, 15: 1})
)

// GatewayConfig configures a [Gateway]. The zero value is useful once there are
// Relays.
type GatewayConfig struct {
	// Relays are the candidates in the order of preference.
	Relays []Candidate
	// Keepalive is the longest time between two Requests, which also keep the
	// state of NATs alive. A shorter query interval of the relay has precedence.
	// Default: 25 s, since many NATs forget after 30; at least 15 s (RFC 8085
	// section 3.5).
	Keepalive time.Duration
	// Attempt is the time between the first messages to one candidate and to the
	// next, while none has answered. Default: 250 ms (RFC 8305 section 5).
	Attempt time.Duration
	// RequestTimeout and MaxTimeout bound the time between repetitions of a
	// Discovery or a Request. Default: 1 s and 120 s (RFC 7450 section 5.2.3.5.3).
	RequestTimeout, MaxTimeout time.Duration
	// MaxRequests is the number of messages without an answer after which a relay
	// counts as lost. Default: 4.
	MaxRequests int
	// Silence is the shortest pause of the data after which the gateway asks the
	// relay whether it is alive; it is longer for data that pause by themselves.
	// If it has not answered after twice this time, and three times what its answers
	// took before, it counts as lost once another relay has answered, or after
	// MaxRequests. Default: 250 ms; negative: never ask.
	Silence time.Duration
	// NoData is how long a relay has to deliver the first packet before another
	// one is tried. Default: 4 s (RFC 8777 section 3.3.4.1).
	NoData time.Duration
	// HoldDown is how long a relay that did not deliver is avoided. Default: 3
	// minutes (the same section).
	HoldDown time.Duration
	// Overlap bounds the time in which a planned move receives from both relays.
	// Default: 10 s.
	Overlap time.Duration
	// ECN tells relays that the gateway handles the ECN field of the outer header,
	// which the caller then gives to HandleDatagram (RFC 9601 section 6.1.4).
	ECN bool

	// Compat says what other programs are forgiven.
	Compat GatewayCompat
	// Rand makes random times and nonces repeatable, for simulations. Default:
	// crypto/rand.
	Rand *rand.Rand
}

// GatewayCompat says how a [Gateway] treats what other programs do against the
// standard. The zero value gets along with all known ones.
type GatewayCompat struct {
	// NoLinuxP never sends a Request with the P flag where Linux has it, which is
	// done when the right one is not answered.
	NoLinuxP bool
}

// Hold-downs that the RFCs give.
const (
	holdDownFull        = 10 * time.Minute // for a relay with the L flag, RFC 8777 section 3.3.5
	holdDownUnreachable = 30 * time.Second
	minKeepalive        = 15 * time.Second // RFC 8085 section 3.5
	linuxTimeout        = 250 * time.Millisecond
	maxPatience         = 10 * time.Second
	minPatience         = 25 * time.Millisecond // with a relay that ICMP errors are about
)

func (c *GatewayConfig) populate() {
	orDefault(&c.Keepalive, 25*time.Second)
	c.Keepalive = max(c.Keepalive, minKeepalive)
	orDefault(&c.Attempt, 250*time.Millisecond)
	c.Attempt = min(max(c.Attempt, 100*time.Millisecond), 2*time.Second) // RFC 8305 section 8
	orDefault(&c.RequestTimeout, time.Second)
	orDefault(&c.MaxTimeout, 120*time.Second)
	orDefault(&c.MaxRequests, 4)
	if c.Silence == 0 {
		c.Silence = 250 * time.Millisecond
	}
	orDefault(&c.NoData, 4*time.Second)
	orDefault(&c.HoldDown, 3*time.Minute)
	orDefault(&c.Overlap, 10*time.Second)
}
