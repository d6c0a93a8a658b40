package authority

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// Relay is a relay, or the statement that there is none, for some sources.
type Relay struct {
	// Record is what is published.
	Record amtrelay.Record
	// Coverage has the prefixes of sources that the relay serves, at least one. Each
	// has something in common with a zone. A source that is in prefixes of several
	// relays has them all.
	Coverage []netip.Prefix
	// Clients are the networks that the relay is near to. Of the relays that serve a
	// source, those are answered that have the longest prefix of who asks: the client
	// if the resolver tells (RFC 7871), else the resolver. One without Clients is
	// answered to who is in none of the others' networks.
	Clients []netip.Prefix
	// Weight is the share of gateways, relative to other relays of the same
	// precedence: those of greater weight come first more often, and are left out
	// less often when there are too many. 0 counts as 1.
	Weight uint16
	// Unhealthy relays are left out, unless all that serve a source are unhealthy.
	Unhealthy bool
}

// ErrRelays is matched by errors about lists of relays.
var ErrRelays = errors.New("authority: invalid relays")

// maxPerSource bounds the relays of one source.
const maxPerSource = 256

// table is a list of relays, made for look-ups. It does not change.
type table struct {
	serial uint32
	relays []compiled
	cover  map[netip.Prefix][]int32
	bits   [2][]int // lengths of prefixes of IPv4 and IPv6 in cover
	// nodes are the names above prefixes: those of whole octets or digits.
	nodes map[netip.Prefix]bool
	near  bool // there are relays with Clients
}

type compiled struct {
	Relay
	data []byte // of the AMTRELAY record
	addr []byte // of the A or AAAA record
	kind dns.Type
	near *networks // nil without Clients
}

func compile(serial uint32, list []Relay) (*table, error) {
	t := &table{serial: serial, cover: make(map[netip.Prefix][]int32), nodes: make(map[netip.Prefix]bool)}
	for i, r := range list {
		data, err := r.Record.AppendTo(nil)
		if err != nil {
			return nil, fmt.Errorf("%w: relay %d: %w", ErrRelays, i, err)
		}
		c := compiled{Relay: r, data: data}
		switch r.Record.Type {
		case amtrelay.IPv4:
			c.addr, c.kind = data[2:], dns.TypeA
		case amtrelay.IPv6:
			c.addr, c.kind = data[2:], dns.TypeAAAA
		}
		c.Weight = max(c.Weight, 1)
		for _, p := range r.Clients {
			if !p.IsValid() || p.Addr().Is4In6() {
				return nil, fmt.Errorf("%w: relay %d: client prefix %v", ErrRelays, i, p)
			}
		}
		if len(r.Clients) > 0 {
			c.near, t.near = compileNetworks(r.Clients), true
		}
		t.relays = append(t.relays, c)
		for _, p := range r.Coverage {
			p = p.Masked()
			if !slices.Contains(t.cover[p], int32(i)) {
				t.cover[p] = append(t.cover[p], int32(i))
			}
		}
	}
	for p := range t.cover {
		f := family(p.Addr())
		if !slices.Contains(t.bits[f], p.Bits()) {
			t.bits[f] = append(t.bits[f], p.Bits())
		}
		for n := p.Bits() / digit(p.Addr()) * digit(p.Addr()); n >= 0; n -= digit(p.Addr()) {
			t.nodes[mask(p.Addr(), n)] = true
		}
	}
	slices.Sort(t.bits[0])
	slices.Sort(t.bits[1])
	for p := range t.cover {
		if n := t.count(p); n > maxPerSource {
			return nil, fmt.Errorf("%w: %d serve %v, at most %d may", ErrRelays, n, p, maxPerSource)
		}
	}
	return t, nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// digit returns the bits of a label of the reverse tree.
func digit(a netip.Addr) int {
	if a.Is4() {
		return 8
	}
	return 4
}

// mask returns the prefix; bits is in range.
func mask(a netip.Addr, bits int) netip.Prefix {
	p, _ := a.Prefix(bits)
	return p
}

// count returns the number of relays that serve all of a prefix.
func (t *table) count(p netip.Prefix) (n int) {
	for _, bits := range t.bits[family(p.Addr())] {
		if bits > p.Bits() {
			break
		}
		n += len(t.cover[mask(p.Addr(), bits)])
	}
	return n
}

// exists reports whether there is a name for a prefix of whole labels, or one below
// it.
func (t *table) exists(p netip.Prefix) bool { return t.nodes[p] || t.count(p) > 0 }

// chosen is a choice of relays, in the order of the answer.
type chosen struct {
	n    int
	list [maxPerSource]choice
}

type choice struct {
	relay *compiled
	rank  float64
}

// choose finds the relays of the sources of a prefix, near to a client if that is
// valid: the healthy ones in an order of chance in which weights count. It returns the
// scope of the choice.
func (t *table) choose(p, client netip.Prefix, out *chosen) (scope int) {
	out.n = 0
	healthy := 0
	for _, bits := range t.bits[family(p.Addr())] {
		if bits > p.Bits() {
			break
		}
		for _, i := range t.cover[mask(p.Addr(), bits)] {
			r := &t.relays[i]
			if t.listed(out, r) {
				continue // its prefixes overlap
			}
			out.list[out.n] = choice{r, rand.ExpFloat64() / float64(r.Weight)}
			out.n++
			if !r.Unhealthy {
				healthy++
			}
		}
	}
	if healthy > 0 && healthy < out.n {
		n := 0
		for _, c := range out.list[:out.n] {
			if !c.relay.Unhealthy {
				out.list[n] = c
				n++
			}
		}
		out.n = n
	}
	if t.near && client.IsValid() {
		scope = out.nearest(client)
	}
	slices.SortFunc(out.list[:out.n], func(a, b choice) int {
		return cmp.Or(cmp.Compare(a.relay.Record.Precedence, b.relay.Record.Precedence), cmp.Compare(a.rank, b.rank))
	})
	return scope
}

// plain keeps the relays that plain names have: those with addresses. Addresses have
// no precedence of their own, so that only those of the lowest are there.
func (c *chosen) plain() []choice {
	n := 0
	for _, x := range c.list[:c.n] {
		if x.relay.Record.Type == amtrelay.None {
			break // no relay from here on
		}
		if x.relay.addr == nil {
			continue
		}
		if n > 0 && x.relay.Record.Precedence != c.list[0].relay.Record.Precedence {
			break
		}
		c.list[n] = x
		n++
	}
	c.n = n
	return c.list[:n]
}

func (t *table) listed(out *chosen, r *compiled) bool {
	if len(r.Coverage) < 2 {
		return false
	}
	for _, c := range out.list[:out.n] {
		if c.relay == r {
			return true
		}
	}
	return false
}

// wildcards returns the prefixes of whole labels by which wildcards in a zone say what
// the table says.
func (t *table) wildcards(zone netip.Prefix) []netip.Prefix {
	all := make(map[netip.Prefix]bool)
	if t.count(zone) > 0 {
		all[zone] = true
	}
	for p := range t.cover {
		if !zone.Contains(p.Addr()) || p.Bits() < zone.Bits() {
			continue
		}
		d := digit(p.Addr())
		// A prefix between labels is that of several labels.
		up := (p.Bits() + d - 1) / d * d
		for i := range 1 << (up - p.Bits()) {
			all[nth(p, up, i)] = true
		}
	}
	// A name that exists keeps the wildcards above it from those below (RFC 4592
	// section 2.2.2), so that each name on the way needs its own.
	for p := range maps.Clone(all) {
		for n := p.Bits() - digit(p.Addr()); n > zone.Bits(); n -= digit(p.Addr()) {
			if q := mask(p.Addr(), n); t.count(q) > 0 {
				all[q] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
}

// nth returns the i-th prefix of a length within p; they differ in one octet only.
func nth(p netip.Prefix, bits, i int) netip.Prefix {
	b := p.Addr().AsSlice()
	if bits > 0 {
		b[(bits-1)/8] |= byte(i << ((8 - bits%8) % 8))
	}
	a, _ := netip.AddrFromSlice(b)
	return mask(a, bits)
}
