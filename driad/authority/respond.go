package authority

import (
	"net/netip"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// Respond appends the answer to a message from a client to out, which is empty, and
// returns it; nothing if there is to be no answer. By UDP, answers are bounded in
// length and rate.
func (a *Authority) Respond(now time.Time, client netip.Addr, udp bool, msg, out []byte) []byte {
	var p dns.Parser
	if p.Start(msg) != nil || p.Header.Flags&dns.FlagResponse != 0 {
		a.stats.malformed.Add(1)
		return nil // an answer to an answer could go on for ever
	}
	a.stats.queries.Add(1)
	r := response{a: a, client: client, now: now, udp: udp}
	h := dns.Header{ID: p.Header.ID, Flags: dns.FlagResponse | p.Header.Flags&(0xf<<11|dns.FlagRecursionDesired|dns.FlagCheckingDisabled)}
	if p.Header.Opcode() != 0 {
		a.stats.refused.Add(1)
		r.b = dns.NewBuilder(out, h, nil)
		r.rcode = dns.RCodeNotImplemented
		return r.finish(nil)
	}
	ok, err := p.Question(&r.q)
	if err != nil || !ok || p.Header.Counts[0] != 1 || r.readEDNS(&p) != nil {
		a.stats.malformed.Add(1)
		r.b = dns.NewBuilder(out, h, nil)
		r.rcode = dns.RCodeFormatError
		return r.finish(nil)
	}
	r.b = dns.NewBuilder(out, h, &r.q)
	switch z := a.zoneOf(&r.q.Name); {
	case r.edns.Version != 0:
		r.rcode = dns.RCodeBadVersion
	case z != nil && r.q.Type == dns.TypeIXFR && r.transferable(z) == dns.RCodeSuccess:
		// By UDP there is room to say which version is the current one, for which
		// who wants it comes by TCP (RFC 1995 section 2).
		r.b.SetFlags(dns.FlagAuthoritative)
		r.soa(z, a.table.Load())
		a.stats.answers.Add(1)
		return r.finish(z)
	case z == nil || r.q.Class != dns.ClassINET || r.q.Type == dns.TypeAXFR || r.q.Type == dns.TypeIXFR:
		a.stats.refused.Add(1)
		r.rcode = dns.RCodeRefused
	default:
		r.b.SetFlags(dns.FlagAuthoritative)
		r.answer(z)
		return r.finish(z)
	}
	return r.finish(nil)
}

// response is an answer in the making.
type response struct {
	a       *Authority
	b       dns.Builder
	q       dns.Question
	client  netip.Addr
	now     time.Time
	udp     bool
	hasEDNS bool
	edns    dns.EDNS
	// subnet is answered only where answers may depend on it.
	hasSubnet bool
	subnet    dns.ClientSubnet
	rcode     dns.RCode
	positive  bool
	chosen    chosen
	scratch   [600]byte
	options   [24]byte
}

// readEDNS looks for an OPT record; there is at most one (RFC 6891 section 6.1.1).
func (r *response) readEDNS(p *dns.Parser) error {
	var rr dns.Resource
	for {
		ok, err := p.Next(&rr)
		if err != nil || !ok {
			return err
		}
		if rr.Type != dns.TypeOPT {
			continue
		}
		e, ok := dns.ParseEDNS(&rr)
		if !ok || r.hasEDNS {
			return dns.ErrMessage
		}
		r.hasEDNS, r.edns = true, e
		if r.a.table.Load().near {
			var err error
			if r.subnet, r.hasSubnet, err = dns.ParseClientSubnet(rr.Data); err != nil {
				return err
			}
			r.subnet.Scope = 0
		}
	}
}

// record appends an answer.
func (r *response) record(owner *dns.Name, t dns.Type, ttl uint32, data []byte) {
	r.positive = true
	r.b.Record(dns.SectionAnswer, owner, t, dns.ClassINET, ttl, data)
}

func (r *response) soa(z *zone, t *table) {
	r.record(&z.Name, dns.TypeSOA, z.ttl, z.appendSOA(r.scratch[:0], &r.b, t.serial))
}

// answer appends the records for a question within a zone, or the SOA record if there
// are none.
func (r *response) answer(z *zone) {
	t := r.a.table.Load()
	apex := r.q.Name.Equal(&z.Name)
	asked := func(k dns.Type) bool { return r.q.Type == k || r.q.Type == dns.TypeANY }
	exists := apex
	if s, ok := z.sourceOf(&r.q.Name); ok {
		if !s.Below && s.Prefix.IsSingleIP() {
			r.choose(t, s.Prefix)
			exists = exists || r.chosen.n > 0
			if z.source.Plain {
				r.plain(z)
			} else if asked(dns.TypeAMTRELAY) {
				for _, c := range r.chosen.list[:min(r.chosen.n, r.a.config.MaxRecords)] {
					r.record(&r.q.Name, dns.TypeAMTRELAY, z.ttl, c.relay.data)
				}
			}
		} else if !s.Below {
			exists = exists || t.exists(s.Prefix)
		}
	}
	if apex && asked(dns.TypeSOA) {
		r.soa(z, t)
	}
	if apex && asked(dns.TypeNS) {
		for i := range z.NameServers {
			r.record(&z.Name, dns.TypeNS, z.ttl, r.b.AppendName(r.scratch[:0], &z.NameServers[i]))
		}
	}
	if r.positive {
		r.a.stats.answers.Add(1)
		return
	}
	r.a.stats.negative.Add(1)
	if !exists {
		r.rcode = dns.RCodeNameError
	}
	// The TTL is the lesser of the two that RFC 2308 section 5 has.
	r.b.Record(dns.SectionAuthority, &z.Name, dns.TypeSOA, dns.ClassINET, min(z.ttl, z.negative), z.appendSOA(r.scratch[:0], &r.b, t.serial))
}

// choose finds the relays of a source for the client, or the resolver if that does not
// say who it is.
func (r *response) choose(t *table, source netip.Prefix) {
	client := netip.PrefixFrom(r.client, r.client.BitLen())
	known := r.hasSubnet && r.subnet.Prefix.Bits() > 0
	if known {
		client = r.subnet.Prefix
	}
	scope := t.choose(source, client, &r.chosen)
	if known {
		r.subnet.Scope = uint8(scope)
	}
}

// plain appends addresses.
func (r *response) plain(z *zone) {
	n := 0
	for _, c := range r.chosen.plain() {
		if n < r.a.config.MaxRecords && (r.q.Type == c.relay.kind || r.q.Type == dns.TypeANY) {
			r.record(&r.q.Name, c.relay.kind, z.ttl, c.relay.addr)
			n++
		}
	}
}

// finish adds the OPT record, and truncates or leaves out what is too much.
func (r *response) finish(z *zone) []byte {
	limit := dns.MaxMessage
	if r.udp {
		limit = minUDP
		if r.hasEDNS {
			limit = min(max(int(r.edns.UDPSize), minUDP), r.a.config.MaxUDP)
		}
	}
	var options []byte
	if r.hasSubnet && r.rcode != dns.RCodeFormatError {
		options = r.subnet.AppendTo(r.options[:0])
	}
	if r.hasEDNS {
		limit -= dns.EDNSLen + len(options)
	}
	truncate := r.b.Len() > limit
	if r.udp && r.a.limiter != nil {
		switch r.a.limiter.check(r.now, r.client, r.key(z)) {
		case drop:
			r.a.stats.limited.Add(1)
			return nil
		case slip:
			r.a.stats.limited.Add(1)
			truncate = true
		}
	}
	if truncate {
		r.a.stats.truncated.Add(1)
		r.b.Truncate()
	}
	r.b.SetFlags(uint16(r.rcode & 0xf))
	if r.hasEDNS {
		r.b.EDNS(dns.EDNS{UDPSize: uint16(r.a.config.MaxUDP), Extended: uint8(r.rcode >> 4), DO: r.edns.DO}, options)
	}
	return r.b.Message()
}

// key is what answers of the same content have in common: the name if it exists, else
// the zone, else nothing but that it is an error.
func (r *response) key(z *zone) []byte {
	b := append(r.scratch[:0], byte(r.rcode))
	switch {
	case z != nil && (r.positive || r.rcode == dns.RCodeSuccess):
		n := r.q.Name.Lower()
		return n.AppendTo(b)
	case z != nil:
		return z.Name.AppendTo(b)
	}
	return b
}
