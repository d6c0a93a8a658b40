package authority

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// AppendZone appends what the authority knows in a zone in the format of zone files
// (RFC 1035 section 5), with wildcards for prefixes, for other servers and for
// signers. AMTRELAY records are in the generic form of RFC 3597 if generic, for
// servers that do not know the type. Weights, Clients and MaxRecords are lost, and unhealthy
// relays are left out as in answers. It appends nothing for a name that is no zone.
func (a *Authority) AppendZone(b []byte, name dns.Name, generic bool) []byte {
	i := slices.IndexFunc(a.zones, func(z zone) bool { return z.Name.Equal(&name) })
	if i < 0 {
		return b
	}
	z, t := &a.zones[i], a.table.Load()
	line := func(owner []byte, ttl uint32, kind dns.Type) {
		b = append(b, owner...)
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(ttl), 10)
		b = append(b, " IN "...)
		if kind == dns.TypeAMTRELAY && generic {
			b = append(b, "TYPE260 "...)
		} else {
			b = append(b, kind.String()...)
			b = append(b, ' ')
		}
	}
	top := z.Name.AppendText(nil)
	line(top, z.ttl, dns.TypeSOA)
	b = z.NameServers[0].AppendText(b)
	b = append(b, ' ')
	b = z.Mailbox.AppendText(b)
	for _, v := range []uint32{t.serial, soaTimes[0], soaTimes[1], soaTimes[2], z.negative} {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	b = append(b, '\n')
	for rr := range a.contents(z, t) {
		line(rr.owner.AppendText(nil), z.ttl, rr.kind)
		switch {
		case rr.kind == dns.TypeNS:
			b = rr.target.AppendText(b)
		case rr.relay == nil:
			b = append(append(append(b, '"'), noAddress...), '"')
		case z.source.Plain:
			b = rr.relay.Record.Address.AppendTo(b)
		case generic:
			b, _ = rr.relay.Record.AppendGeneric(b)
		default:
			b, _ = rr.relay.Record.AppendText(b)
		}
		b = append(b, '\n')
	}
	return b
}

// zoneRecord is a record of a zone but its SOA record.
type zoneRecord struct {
	owner  dns.Name
	kind   dns.Type
	target *dns.Name // NS
	relay  *compiled // AMTRELAY, A, AAAA
}

// noAddress is the text of a TXT record: the name has to be there, or a wildcard above it
// would answer.
const noAddress = "no address"

// contents yields what is in a zone, with wildcards for prefixes. Zones below it that are
// here, too, are delegated.
func (a *Authority) contents(z *zone, t *table) iter.Seq[zoneRecord] {
	return func(yield func(zoneRecord) bool) {
		for i := range z.NameServers {
			if !yield(zoneRecord{owner: z.Name, kind: dns.TypeNS, target: &z.NameServers[i]}) {
				return
			}
		}
		cuts := a.cuts(z)
		for _, c := range cuts {
			for i := range c.NameServers {
				if !yield(zoneRecord{owner: c.Name, kind: dns.TypeNS, target: &c.NameServers[i]}) {
					return
				}
			}
		}
		var chosen chosen
		for _, p := range t.wildcards(z.source.Prefix) {
			if slices.ContainsFunc(cuts, func(c *zone) bool {
				return !c.moved && c.source.Prefix.Contains(p.Addr()) && c.source.Prefix.Bits() <= p.Bits()
			}) {
				continue
			}
			owner := z.ownerOf(p)
			t.choose(p, netip.Prefix{}, &chosen)
			list := chosen.list[:chosen.n]
			if z.source.Plain {
				if list = chosen.plain(); len(list) == 0 && !yield(zoneRecord{owner: owner, kind: dns.TypeTXT}) {
					return
				}
			}
			for _, c := range list {
				rr := zoneRecord{owner: owner, kind: dns.TypeAMTRELAY, relay: c.relay}
				if z.source.Plain {
					rr.kind = c.relay.kind
				}
				if !yield(rr) {
					return
				}
			}
		}
	}
}

// cuts returns the zones right below one.
func (a *Authority) cuts(z *zone) (list []*zone) {
	for i := range slices.Backward(a.zones) { // the shortest names first
		c := &a.zones[i]
		if c != z && c.Name.In(&z.Name) && !c.Name.Equal(&z.Name) && !slices.ContainsFunc(list, func(x *zone) bool { return c.Name.In(&x.Name) }) {
			list = append(list, c)
		}
	}
	return list
}

// ownerOf returns the name of an address, or the wildcard for those of a prefix of
// whole labels.
func (z *zone) ownerOf(p netip.Prefix) dns.Name {
	n := amtrelay.ReverseName(p.Addr())
	if z.source.Plain {
		n = amtrelay.PlainName(p.Addr())
	}
	skip := (p.Addr().BitLen() - p.Bits()) / digit(p.Addr())
	for range skip {
		n = *parent(n)
	}
	if z.moved && n.Equal(&z.For) {
		n = z.Name
	} else if z.moved {
		n, _ = n.Substitute(&z.For, &z.Name)
	}
	if skip > 0 {
		n, _ = n.Under("*")
	}
	return n
}
