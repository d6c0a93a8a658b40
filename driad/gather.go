package driad

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// gathering is a walk through what is known, from the names that are given to the
// addresses of relays. What is not known is asked for on the way, and the walk is
// taken again with each answer.
type gathering struct {
	m   *Machine
	s   *search
	now time.Time

	list    []Candidate
	pending [methods]bool
	noRelay bool
	held    int
	expires time.Time // of the first answer to do so
	retry   time.Time // when the first question that failed may be asked again
	err     error
	forged  questions // whose answers may be, and are not believed
	lookups [methods]int
	counts  [methods]int // candidates, also those held down
}

func (g *gathering) anyPending() bool { return g.pendingUpTo(methods - 1) }

// pendingUpTo reports whether questions are open whose answers may be preferred to
// candidates of a method.
func (g *gathering) pendingUpTo(m Method) bool { return slices.Contains(g.pending[:m+1], true) }

func (m *Machine) gather(now time.Time, s *search) gathering {
	g := gathering{m: m, s: s, now: now}
	if s.source.IsValid() && !m.config.NoDRIAD {
		// This question goes first: those of a network with many domains take
		// some time at the rate that is allowed.
		m.lookup(now, s, DRIAD, amtrelay.ReverseName(s.source), dns.TypeAMTRELAY)
	}
	for _, r := range m.config.Relays {
		if r.Address.Addr().IsValid() {
			g.add(r, false)
		} else {
			g.addresses(r.Name, r, true, bothFamilies)
		}
	}
	if !m.config.NoServiceDiscovery {
		g.serviceDiscovery()
	}
	if !m.config.NoAnycast {
		g.add(Candidate{Address: netip.AddrPortFrom(AnycastIPv4, Port), Method: Anycast}, false)
		g.add(Candidate{Address: netip.AddrPortFrom(AnycastIPv6, Port), Method: Anycast}, false)
	}
	if s.source.IsValid() {
		found := false
		if !m.config.NoDRIAD {
			found = g.driad()
		}
		if !m.config.NoPlain && !found {
			g.addresses(amtrelay.PlainName(s.source), Candidate{Method: Plain}, true, bothFamilies)
		}
	}
	return g
}

// ask returns what is known about a question, nil if nothing is.
func (g *gathering) ask(by Method, name dns.Name, kind dns.Type) *dns.Answer {
	if name.IsMulticast() && !g.multicast(by) {
		return nil
	}
	if g.lookups[by]++; g.lookups[by] > g.m.config.MaxLookups {
		g.err = errTooManyLookups
		return nil
	}
	e, state := g.m.lookup(g.now, g.s, by, name, kind)
	switch state {
	case lookupPending:
		g.pending[by] = true
		if e.known && len(g.s.list) > 0 && g.now.Before(e.expires.Add(g.m.config.MaxStale)) {
			return &e.answer // until there is a newer one
		}
		return nil
	case lookupTooMany:
		g.err = errTooManyLookups
		return nil
	case lookupFailed:
		if g.err == nil || kind == dns.TypeAMTRELAY {
			g.err = e.err // else it is that of the last name that was tried instead
		}
		if g.retry.IsZero() || e.retryAt.Before(g.retry) {
			g.retry = e.retryAt
		}
		return nil
	}
	at := later(e.expires, e.retryAt)
	if g.expires.IsZero() || at.Before(g.expires) {
		g.expires = at
	}
	// That nothing else names a relay is told without it. Of the source's own records it
	// counts, too, that there are none.
	if g.m.config.RequireAuthentic && !e.answer.Authentic && (len(e.answer.Records) > 0 || kind == dns.TypeAMTRELAY) {
		g.forged.add(e.key)
	}
	return &e.answer
}

// questions are a few of those that have something in common.
type questions []key

func (q *questions) add(k key) {
	if len(*q) < 4 && !slices.Contains(*q, k) {
		*q = append(*q, k)
	}
}

// String lists them.
func (q questions) String() string {
	var b strings.Builder
	for i, k := range q {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", k.name, k.kind)
	}
	return b.String()
}

// multicast reports whether names below local may be asked. Records of a source cannot
// know them, and nobody validates their answers.
func (g *gathering) multicast(by Method) bool {
	return !g.m.config.NoMulticast && !g.m.config.RequireAuthentic && by <= ServiceDiscovery
}

// found reports whether there is a candidate with the same address. Of records of the same
// precedence that which asks for a Relay Discovery rules, in whatever order they come (RFC
// 8777 section 4.2.2).
func (g *gathering) found(c *Candidate) bool {
	i := slices.IndexFunc(g.list, func(o Candidate) bool { return o.Address == c.Address })
	if i < 0 {
		return false
	}
	if o := &g.list[i]; o.Method == c.Method && o.Precedence == c.Precedence {
		o.Direct = o.Direct && c.Direct
	}
	return true
}

// add takes a candidate unless it cannot be used.
func (g *gathering) add(c Candidate, fromDNS bool) {
	a := c.Address.Addr()
	config := &g.m.config
	switch {
	case a.Is4() && config.NoIPv4, a.Is6() && config.NoIPv6:
	case fromDNS && c.Method != Configured && !config.Allow(a):
	case fromDNS && config.RequireAuthentic && !c.Authentic:
	case g.found(&c): // by a preferred method or record
	case g.counts[c.Method] >= config.MaxCandidates:
	case g.m.held(g.now, g.s.source, c.Address):
		g.counts[c.Method]++
		g.held++
	default:
		g.counts[c.Method]++
		g.list = append(g.list, c)
	}
}

var bothFamilies = []dns.Type{dns.TypeAAAA, dns.TypeA}

// addresses adds the addresses of a name. The candidate c says the rest.
func (g *gathering) addresses(name dns.Name, c Candidate, authentic bool, families []dns.Type) {
	c.Name = name
	if c.Address.Port() == 0 {
		c.Address = netip.AddrPortFrom(netip.Addr{}, Port)
	}
	for _, kind := range families {
		if kind == dns.TypeA && g.m.config.NoIPv4 || kind == dns.TypeAAAA && g.m.config.NoIPv6 {
			continue
		}
		if a := g.ask(c.Method, name, kind); a != nil {
			c.Authentic = authentic && a.Authentic
			for _, r := range a.Records {
				c.Address = netip.AddrPortFrom(r.Address, c.Address.Port())
				g.add(c, true)
			}
		}
	}
}

// driad follows the AMTRELAY records of the source and reports whether there are
// any (RFC 8777 section 4.2).
func (g *gathering) driad() bool {
	a := g.ask(DRIAD, amtrelay.ReverseName(g.s.source), dns.TypeAMTRELAY)
	if a == nil || g.m.config.RequireAuthentic && !a.Authentic {
		return false // that there is none, too, could be forged
	}
	records := make([]amtrelay.Record, 0, len(a.Records))
	none := 256 // the precedence of "no relay"
	least := 256
	for i := range a.Records {
		var r amtrelay.Record
		if r.Unmarshal(a.Records[i].Data) != nil || !r.Known() {
			continue // not considered (section 4.2.3); it does not mean "no relay"
		}
		if r.Type == amtrelay.None {
			none = min(none, int(r.Precedence))
		} else {
			least = min(least, int(r.Precedence))
		}
		records = append(records, r)
	}
	if none < least {
		// Before all relays: no relay is to be used for this source, however it
		// is found; what is configured is the user's own business.
		g.noRelay = true
		g.list = slices.DeleteFunc(g.list, func(c Candidate) bool { return c.Method != Configured })
		g.pending = [methods]bool{}
		return true
	}
	for i := range records {
		r := &records[i]
		c := Candidate{Method: DRIAD, Direct: r.DiscoveryOptional, Precedence: uint16(r.Precedence), Authentic: a.Authentic}
		switch {
		case int(r.Precedence) > none:
		case r.Type == amtrelay.Name && r.Host.IsRoot(): // no host is called that
		case r.Type == amtrelay.Name:
			g.addresses(r.Host, c, a.Authentic, bothFamilies)
		case r.Type != amtrelay.None:
			c.Address = netip.AddrPortFrom(r.Address.Unmap(), Port)
			g.add(c, true)
		}
	}
	return len(records) > 0
}

// Limits of DNS-SD.
const (
	maxDomains   = 8
	maxInstances = 16
)

// serviceDiscovery browses the configured domains, and those that they name for
// browsing (RFC 6763 section 11).
func (g *gathering) serviceDiscovery() {
	type domain struct {
		name      dns.Name
		authentic bool
	}
	var domains []domain
	take := func(n dns.Name, authentic bool) {
		n = n.Lower()
		if !n.IsRoot() && len(domains) < maxDomains && !slices.ContainsFunc(domains, func(d domain) bool { return d.name == n }) {
			domains = append(domains, domain{n, authentic})
		}
	}
	for _, n := range g.m.config.Domains {
		take(n, true)
	}
	for _, d := range slices.Clone(domains) {
		for _, kind := range [...]string{"lb._dns-sd._udp", "b._dns-sd._udp"} {
			if name, err := d.name.Under(kind); err == nil {
				if a := g.ask(ServiceDiscovery, name, dns.TypePTR); a != nil {
					for _, r := range a.Records {
						take(r.Target, a.Authentic)
					}
				}
			}
		}
	}
	for _, d := range domains {
		name, err := d.name.Under("_amt._udp")
		if err != nil {
			continue
		}
		// RFC 8777 section 3.2.2 speaks of SRV records for the domain itself. Hosts
		// on a link have them for instances only.
		if !name.IsMulticast() {
			g.services(name, d.authentic)
		}
		if a := g.ask(ServiceDiscovery, name, dns.TypePTR); a != nil {
			for i, r := range a.Records {
				if i < maxInstances {
					g.services(r.Target, d.authentic && a.Authentic)
				}
			}
		}
	}
}

// services follows the SRV records of a name, which authentic answers led to or not.
func (g *gathering) services(name dns.Name, authentic bool) {
	a := g.ask(ServiceDiscovery, name, dns.TypeSRV)
	if a == nil {
		return
	}
	for i := range a.Records {
		r := &a.Records[i]
		if r.Target.IsRoot() || r.Port == 0 {
			continue // the service is not there (RFC 2782)
		}
		c := Candidate{
			Method: ServiceDiscovery, Precedence: r.Priority, Weight: r.Weight, Name: r.Target,
			Address: netip.AddrPortFrom(netip.Addr{}, r.Port),
		}
		families := bothFamilies
		if !g.m.config.RequireAuthentic {
			// They came in the additional section, which the AD flag says nothing
			// about (RFC 4035 section 3.2.3).
			for _, x := range a.Addresses[r.Target.Lower()] {
				c.Address = netip.AddrPortFrom(x.Address, r.Port)
				g.add(c, true)
				families = slices.DeleteFunc(slices.Clone(families), func(t dns.Type) bool { return t == x.Type })
			}
		}
		g.addresses(r.Target, c, authentic && a.Authentic, families)
	}
}
