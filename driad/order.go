package driad

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// order sorts candidates: by method and precedence, then as RFC 6724 says, then by
// chance, which leans to relays that are known to be near (RFC 8777 section 3.1.2).
// Within a precedence, families alternate (RFC 8305 section 4).
func (m *Machine) order(s *search, list []Candidate) []Candidate {
	type ranked struct {
		c    Candidate
		d    destination
		rank float64
	}
	all := make([]ranked, 0, len(list))
	var best time.Duration
	for _, c := range list {
		if r := m.relays[c.Address]; r != nil && r.rtt > 0 && (best == 0 || r.rtt < best) {
			best = r.rtt
		}
	}
	for _, c := range list {
		r := ranked{c: c, rank: s.draw(m.config.Rand, &c)}
		if best > 0 && c.Method != ServiceDiscovery { // there, weights are the operator's wish
			if known := m.relays[c.Address]; known != nil && known.rtt > 0 {
				r.rank = float64(known.rtt)
			} else {
				// One that is not known has a chance to become so.
				r.rank = float64(best) * (0.5 + min(r.rank, 4))
			}
		}
		r.d = destination{address: c.Address.Addr()}
		if m.config.Local != nil {
			r.d.source = m.config.Local(c.Address.Addr()).Unmap()
			if !r.d.source.IsValid() && c.Method != Configured {
				continue // RFC 6724 rule 1
			}
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		if o := cmp.Or(cmp.Compare(a.c.Method, b.c.Method), cmp.Compare(a.c.Precedence, b.c.Precedence)); o != 0 || a.c.Method == Configured {
			return o
		}
		return cmp.Compare(a.rank, b.rank)
	})
	out := make([]Candidate, 0, len(all))
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].c.Method == all[0].c.Method && all[n].c.Precedence == all[0].c.Precedence {
			n++
		}
		group := all[:n]
		all = all[n:]
		if group[0].c.Method != Configured && m.config.Local != nil {
			slices.SortStableFunc(group, func(a, b ranked) int { return compareDestinations(&a.d, &b.d) })
		}
		start := len(out)
		for _, r := range group {
			out = append(out, r.c)
		}
		interleave(out[start:])
	}
	return out
}

// interleave lets families alternate, from that of the first.
func interleave(list []Candidate) {
	for i := 1; i < len(list); i++ {
		want := !list[i-1].Address.Addr().Is4()
		j := slices.IndexFunc(list[i:], func(c Candidate) bool { return c.Address.Addr().Is4() == want })
		if j > 0 {
			c := list[i+j]
			copy(list[i+1:i+j+1], list[i:i+j])
			list[i] = c
		}
	}
}

// destination is an address with that from which it is reached.
type destination struct {
	address, source netip.Addr
}

// policy is the default policy table of RFC 6724 section 2.1, longest prefix first.
var policy = []struct {
	prefix            netip.Prefix
	precedence, label int
}{
	{netip.MustParsePrefix("::1/128"), 50, 0},
	{netip.MustParsePrefix("::ffff:0:0/96"), 35, 4},
	{netip.MustParsePrefix("::/96"), 1, 3},
	{netip.MustParsePrefix("2001::/32"), 5, 5},
	{netip.MustParsePrefix("2002::/16"), 30, 2},
	{netip.MustParsePrefix("3ffe::/16"), 1, 12},
	{netip.MustParsePrefix("fec0::/10"), 1, 11},
	{netip.MustParsePrefix("fc00::/7"), 3, 13},
	{netip.MustParsePrefix("::/0"), 40, 1},
}

var siteLocal = netip.MustParsePrefix("fec0::/10")

// classify returns what the policy table and section 3.1 of RFC 6724 say of an
// address.
func classify(a netip.Addr) (precedence, label, scope int) {
	full := netip.AddrFrom16(a.As16())
	for _, p := range policy {
		if p.prefix.Contains(full) || p.prefix.Bits() == 96 && p.label == 4 && a.Is4() {
			precedence, label = p.precedence, p.label
			break
		}
	}
	scope = 14 // global, also for private IPv4 addresses (RFC 6724 section 3.2)
	switch {
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		scope = 2
	case siteLocal.Contains(a):
		scope = 5
	}
	return precedence, label, scope
}

// compareDestinations is section 6 of RFC 6724 with what is known here: rules 1, 2,
// 5, 6, 8 and 9.
func compareDestinations(a, b *destination) int {
	if a.source.IsValid() != b.source.IsValid() {
		return first(a.source.IsValid())
	}
	if !a.source.IsValid() {
		return 0
	}
	aPrecedence, aLabel, aScope := classify(a.address)
	bPrecedence, bLabel, bScope := classify(b.address)
	_, aSourceLabel, aSourceScope := classify(a.source)
	_, bSourceLabel, bSourceScope := classify(b.source)
	if x, y := aScope == aSourceScope, bScope == bSourceScope; x != y {
		return first(x)
	}
	if x, y := aLabel == aSourceLabel, bLabel == bSourceLabel; x != y {
		return first(x)
	}
	if o := cmp.Or(cmp.Compare(bPrecedence, aPrecedence), cmp.Compare(aScope, bScope)); o != 0 {
		return o
	}
	if a.address.Is6() && b.address.Is6() {
		return cmp.Compare(common(b.address, b.source), common(a.address, a.source))
	}
	return 0 // not for IPv4, where it defeats DNS load balancing
}

func first(yes bool) int {
	if yes {
		return -1
	}
	return 1
}

// common returns the bits of the prefix that two addresses have in common, at most
// 64.
func common(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for i := range 8 {
		if d := x[i] ^ y[i]; d != 0 {
			n := 8 * i
			for d&0x80 == 0 {
				n++
				d <<= 1
			}
			return n
		}
	}
	return 64
}
