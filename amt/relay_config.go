package amt

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// RelayConfig configures a [Relay]. One of IPv4 and IPv6 is required, the rest
// has useful defaults.
type RelayConfig struct {
	// IPv4 and IPv6 are the unicast addresses that the relay advertises. Without
	// an address of the family that a discovery came by it stays unanswered.
	IPv4, IPv6 netip.Addr
	// Key is what relays behind one anycast address share, so that an Update that
	// reaches another relay than its Request did is believed; 16 octets at least.
	// Default: drawn at random.
	Key []byte

	// QueryInterval is how often gateways are to send a Request. Default: 125 s.
	QueryInterval time.Duration
	// Robustness is how often gateways report a change, 1 to 7. Default: 2.
	Robustness int
	// QueryResponseInterval is added to Robustness times QueryInterval for the
	// time after which a silent gateway is forgotten. Default and minimum: 10 s.
	QueryResponseInterval time.Duration
	// Linger is how long a channel that nobody wants any more stays joined, for
	// the viewer who returns. Default: 2 s; negative: not at all.
	Linger time.Duration

	// MaxTunnels bounds the endpoints. Default: 100,000.
	MaxTunnels int
	// HighWater is the part of MaxTunnels from which new gateways are told by the
	// L flag to look elsewhere. Default: 0.9.
	HighWater float64
	// MaxTunnelsPerAddress bounds the endpoints with one IPv4 address, as many as one
	// NAT may need, or in one IPv6 /64, of which a single host may use any address.
	// Default: 4,096.
	MaxTunnelsPerAddress int
	// MaxGroups and MaxSources bound the groups of an endpoint and the sources of
	// each. Default: 64.
	MaxGroups, MaxSources int
	// MaxChannelsPerTunnel bounds the sources of all groups of an endpoint, so that it
	// takes many of them to use up MaxChannels. Default: 512.
	MaxChannelsPerTunnel int
	// MaxChannels bounds the different channels of all endpoints. Default: 65,536.
	MaxChannels int
	// MaxCopies bounds the tunnels that one packet is copied to; what more of them
	// ask for is ignored. Default: MaxTunnels.
	MaxCopies int
	// Allow decides which channels a gateway may have; source is the zero address
	// for all sources of a group. Default: all.
	Allow func(gateway netip.AddrPort, source, group netip.Addr) bool

	// Rate bounds the messages of endpoints without a tunnel that are answered in
	// a second, all together, and PrefixRate those of an IPv4 /24 or IPv6 /56.
	// Of Updates and Teardowns with a wrong MAC as many are checked; beyond that they
	// are dropped before the MAC is computed. Each allows a burst of one second.
	// Default: 100,000 and 1,000.
	Rate, PrefixRate int
	// TunnelRate is the same for each endpoint with a tunnel, which is not
	// counted in the others. Default: 10; Linux sends 2 a second.
	TunnelRate int

	// PathMTU is the MTU of the paths to the gateways with their IP header.
	// Default: 1500.
	PathMTU int
	// FollowPathMTU lowers the MTU of a tunnel when a router on its path says so,
	// which anybody can pretend to be, down to MinPathMTU. Default: off, 1280.
	FollowPathMTU bool
	MinPathMTU    int
	// MaxUnreachable is the number of ICMP errors in a row, without a message from
	// the gateway between them, after which a tunnel is taken down. Default: 8.
	MaxUnreachable int

	// Compat says what other programs are forgiven.
	Compat RelayCompat
}

// EndpointMode says when Queries carry the G flag and the gateway's endpoint.
type EndpointMode uint8

const (
	// EndpointAuto sets G once the endpoint has a tunnel and has not shown itself
	// to be Linux, which drops every Query with G, or js4ms, which fails at most of
	// them and numbers its Requests. Thus the first Query departs
	// from RFC 7450 section 5.3.3.3, and nothing is lost: a gateway without a
	// tunnel has nothing to tear down.
	EndpointAuto EndpointMode = iota
	// EndpointAlways sets G in every Query.
	EndpointAlways
	// EndpointNever sets it in none.
	EndpointNever
)

// RelayCompat says how a [Relay] treats what other programs do against the
// standard. The zero value gets along with all known ones.
type RelayCompat struct {
	// NoLinuxP ignores bit 0x80 of a Request, in which Linux has the P flag.
	NoLinuxP bool
	// StrictHeaders ignores Updates whose inner IP header is not what RFC 3376 or
	// RFC 3810 ask for: TTL 1, Router Alert, the right destination. RFC 7450 section
	// 5.3.3.4 wants that; go-amt's and VLC's would be ignored.
	StrictHeaders bool
	// ShortMAC accepts a MAC of which the first 4 octets are right. Cisco IOS XE
	// 3.16 and 3.17 gateways need that. It leaves 32 bits.
	ShortMAC bool
	// Endpoint says when Queries carry the gateway's endpoint.
	Endpoint EndpointMode
}

// ErrConfig is matched by errors about a configuration.
var ErrConfig = errors.New("invalid configuration")

func (c *RelayConfig) populate() error {
	if !c.IPv4.IsValid() && !c.IPv6.IsValid() {
		return fmt.Errorf("amt: relay: %w: IPv4 or IPv6 is required, the unicast address that gateways are told", ErrConfig)
	}
	for _, a := range []netip.Addr{c.IPv4, c.IPv6} {
		if a.IsValid() && (a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "") {
			return fmt.Errorf("amt: relay: %w: cannot advertise %v", ErrConfig, a)
		}
	}
	if c.IPv4.Is6() || c.IPv6.Is4() {
		return fmt.Errorf("amt: relay: %w: address families of %v and %v", ErrConfig, c.IPv4, c.IPv6)
	}
	if len(c.Key) > 0 && len(c.Key) < 16 {
		return fmt.Errorf("amt: relay: %w: key of %d octets, at least 16 are needed", ErrConfig, len(c.Key))
	}
	if c.Robustness < 0 || c.Robustness > 7 {
		return fmt.Errorf("amt: relay: %w: robustness %d is not in 1 to 7", ErrConfig, c.Robustness)
	}
	if c.QueryInterval != 0 && (c.QueryInterval < time.Second || c.QueryInterval > 31744*time.Second) {
		return fmt.Errorf("amt: relay: %w: query interval %v is not in 1 s to 31744 s", ErrConfig, c.QueryInterval)
	}
	orDefault(&c.QueryInterval, gmp.DefaultQueryInterval)
	orDefault(&c.Robustness, gmp.DefaultRobustness)
	c.QueryResponseInterval = max(c.QueryResponseInterval, gmp.DefaultQueryResponseInterval)
	if c.Linger == 0 {
		c.Linger = 2 * time.Second
	}
	orDefault(&c.MaxTunnels, 100_000)
	orDefault(&c.HighWater, 0.9)
	orDefault(&c.MaxCopies, c.MaxTunnels)
	orDefault(&c.MaxTunnelsPerAddress, 4096)
	c.populateLimits()
	orDefault(&c.MaxChannels, 1<<16)
	orDefault(&c.Rate, 100_000)
	orDefault(&c.PrefixRate, 1000)
	orDefault(&c.TunnelRate, 10)
	orDefault(&c.PathMTU, 1500)
	orDefault(&c.MinPathMTU, 1280)
	orDefault(&c.MaxUnreachable, 8)
	return nil
}

// populateLimits is for what Relay.SetLimits changes.
func (c *RelayConfig) populateLimits() {
	orDefault(&c.MaxGroups, 64)
	orDefault(&c.MaxSources, 64)
	orDefault(&c.MaxChannelsPerTunnel, 512)
}

func orDefault[T int | float64 | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}
