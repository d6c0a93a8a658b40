package driad

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// Config configures a [Machine]. With the zero value, the anycast addresses and the
// source's DNS records are used.
type Config struct {
	// Relays are preferred to all others, in this order. A port of 0 is [Port]. One
	// without an address is looked up by its Name.
	Relays []Candidate
	// Domains are where to look for relays by DNS-SD, and for domains to look in
	// (RFC 6763 section 11): those of the network that the machine is in. Below local
	// multicast DNS is asked: who is on a link with this machine can then offer relays.
	Domains []dns.Name
	// NoServiceDiscovery, NoAnycast, NoDRIAD and NoPlain leave a method out.
	NoServiceDiscovery, NoAnycast, NoDRIAD, NoPlain bool
	// NoMulticast leaves names below local out. They are also left out with
	// RequireAuthentic, and where it is a source that names them.
	NoMulticast bool
	// NoIPv4 and NoIPv6 leave relays of a family out, and questions about them.
	NoIPv4, NoIPv6 bool
	// RequireAuthentic believes only answers of the DNS that are authentic: they had
	// the AD flag, by a way that can be trusted. Nothing else makes a candidate, or
	// says that there is no relay; see [ErrNotAuthentic].
	RequireAuthentic bool
	// Allow says whether an address from the DNS may be that of a relay. Default:
	// [Usable].
	Allow func(netip.Addr) bool
	// Local returns this machine's address that packets to a relay come from; an
	// invalid one if there is no route. Addresses are then put in the order of RFC
	// 6724. Default: they are in random order.
	Local func(netip.Addr) netip.Addr

	// AttemptDelay is the time between attempts. Default: 250 ms; at least 100 ms
	// and at most 2 s (RFC 8305 section 8).
	AttemptDelay time.Duration
	// ResolutionDelay is how long a candidate waits for answers that could bring
	// preferred ones. Default: 50 ms (RFC 8305 section 8).
	ResolutionDelay time.Duration
	// AttemptTimeout is after how long without a report an attempt counts as over.
	// Default: 10 s.
	AttemptTimeout time.Duration
	// MaxTTL bounds how long answers are kept. Default: 5 min. MinTTL is the least.
	// Default: 1 s.
	MaxTTL, MinTTL time.Duration
	// MaxStale is how long an answer is used beyond its TTL while there is no newer
	// one to be had (RFC 8767). Default: 1 h; negative: not at all.
	MaxStale time.Duration
	// MaxEntries bounds the answers and the relays that are remembered. Default:
	// 4,096 of each.
	MaxEntries int
	// MaxCandidates bounds those of one source and method. Default: 64.
	MaxCandidates int
	// MaxLookups bounds the questions for one source and method. Default: 64.
	MaxLookups int
	// QueriesPer100ms bounds the questions in any 100 ms. Default: 10 (RFC 8777
	// section 3.2.2).
	QueriesPer100ms int
	// Rand makes random choices repeatable, for simulations. Default: dns.NewRand.
	Rand *rand.Rand
}

func orDefault[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c *Config) populate() {
	orDefault(&c.AttemptDelay, 250*time.Millisecond)
	c.AttemptDelay = min(max(c.AttemptDelay, 100*time.Millisecond), 2*time.Second)
	orDefault(&c.ResolutionDelay, 50*time.Millisecond)
	orDefault(&c.AttemptTimeout, 10*time.Second)
	orDefault(&c.MaxTTL, 5*time.Minute)
	orDefault(&c.MinTTL, time.Second)
	orDefault(&c.MaxStale, time.Hour)
	c.MaxStale = max(c.MaxStale, 0)
	orDefault(&c.MaxEntries, 4096)
	orDefault(&c.MaxCandidates, 64)
	orDefault(&c.MaxLookups, 64)
	orDefault(&c.QueriesPer100ms, 10)
	if c.Allow == nil {
		c.Allow = Usable
	}
	if c.Rand == nil {
		c.Rand = dns.NewRand()
	}
	relays := make([]Candidate, len(c.Relays))
	for i, r := range c.Relays {
		if r.Address.Port() == 0 {
			r.Address = netip.AddrPortFrom(r.Address.Addr(), Port)
		}
		r.Address = netip.AddrPortFrom(r.Address.Addr().Unmap(), r.Address.Port())
		r.Method, r.Precedence = Configured, uint16(min(i, 65535))
		relays[i] = r
	}
	c.Relays = relays
}
