package authority

import (
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
	for i := range z.NameServers {
		line(top, z.ttl, dns.TypeNS)
		b = z.NameServers[i].AppendText(b)
		b = append(b, '\n')
	}
	var r response
	r.a = a
	for _, p := range t.wildcards(z.source.Prefix) {
		owner := ownerOf(p, z.source.Plain)
		t.choose(p, netip.Prefix{}, &r.chosen)
		if z.source.Plain && len(r.chosen.plain()) == 0 {
			// The name has to be there, or a wildcard above it would answer.
			line(owner, z.ttl, dns.TypeTXT)
			b = append(b, "\"no address\"\n"...)
		}
		for _, c := range r.chosen.list[:r.chosen.n] {
			switch {
			case z.source.Plain:
				line(owner, z.ttl, c.relay.kind)
				b = c.relay.Record.Address.AppendTo(b)
			case generic:
				line(owner, z.ttl, dns.TypeAMTRELAY)
				b, _ = c.relay.Record.AppendGeneric(b)
			default:
				line(owner, z.ttl, dns.TypeAMTRELAY)
				b, _ = c.relay.Record.AppendText(b)
			}
			b = append(b, '\n')
		}
	}
	return b
}

// ownerOf returns the name of an address, or the wildcard for those of a prefix of
// whole labels.
func ownerOf(p netip.Prefix, plain bool) []byte {
	n := amtrelay.ReverseName(p.Addr())
	if plain {
		n = amtrelay.PlainName(p.Addr())
	}
	skip := (p.Addr().BitLen() - p.Bits()) / digit(p.Addr())
	text := n.AppendText(nil)
	for range skip {
		text = text[slices.Index(text, '.')+1:]
	}
	if skip > 0 {
		text = append([]byte("*."), text...)
	}
	return text
}
