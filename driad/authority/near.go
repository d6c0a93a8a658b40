package authority

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// networks are prefixes, made for the search of the longest that an address is in.
type networks struct {
	list [2][]network // of IPv4 and IPv6, in the order of addresses, the shorter first
}

type network struct {
	prefix netip.Prefix
	parent int // the longest one around it, -1 if there is none
}

// noMatch is less than the length of any prefix.
const noMatch = -1

func compileNetworks(prefixes []netip.Prefix) *networks {
	n := new(networks)
	for _, p := range prefixes {
		f := family(p.Addr())
		n.list[f] = append(n.list[f], network{p.Masked(), -1})
	}
	for f, list := range n.list {
		slices.SortFunc(list, func(a, b network) int {
			return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
		})
		list = slices.CompactFunc(list, func(a, b network) bool { return a.prefix == b.prefix })
		for i := range list {
			for j := i - 1; j >= 0; j = list[j].parent {
				if list[j].prefix.Contains(list[i].prefix.Addr()) {
					list[i].parent = j
					break
				}
			}
		}
		n.list[f] = list
	}
	return n
}

// match returns the length of the longest prefix that all of p is in, noMatch if there
// is none, and that of the prefix of p's address all of whose addresses have the same.
// The latter may be longer than p is: then p is not narrow enough to tell.
func (n *networks) match(p netip.Prefix) (length, scope int) {
	list := n.list[family(p.Addr())]
	next, _ := slices.BinarySearchFunc(list, p.Addr(), func(x network, a netip.Addr) int {
		if x.prefix.Addr().Compare(a) <= 0 {
			return -1
		}
		return 1
	})
	length = noMatch
	for i := next - 1; i >= 0; i = list[i].parent {
		x := list[i].prefix
		if x.Bits() <= p.Bits() && x.Contains(p.Addr()) {
			length, scope = x.Bits(), max(scope, x.Bits())
			break
		}
		scope = max(scope, apart(x, p))
	}
	if next < len(list) {
		scope = max(scope, apart(list[next].prefix, p))
	}
	return length, scope
}

// apart returns how long the prefix of p's address has to be so that nothing of x is in
// it; the length of x if the address is in x.
func apart(x, p netip.Prefix) int {
	a, b := x.Addr().As16(), p.Addr().As16()
	skip := 0
	if x.Addr().Is4() {
		skip = 12
	}
	same := 0
	for i := skip; i < 16; i++ {
		if d := a[i] ^ b[i]; d != 0 {
			same += bits.LeadingZeros8(d)
			break
		}
		same += 8
	}
	return min(same+1, x.Bits())
}

// nearest keeps the relays of a choice that are nearest to a client, if they say whom
// they are near to, and returns the scope of that (RFC 7871 section 7.2.1).
func (c *chosen) nearest(client netip.Prefix) (scope int) {
	best := noMatch
	var length [maxPerSource]int
	for i, x := range c.list[:c.n] {
		if x.relay.near != nil {
			var s int
			length[i], s = x.relay.near.match(client)
			scope = max(scope, s)
		} // else it is near to all, with a prefix of length 0
		best = max(best, length[i])
	}
	n := 0
	for i, x := range c.list[:c.n] {
		if length[i] == best {
			c.list[n] = x
			n++
		}
	}
	c.n = n
	return scope
}
