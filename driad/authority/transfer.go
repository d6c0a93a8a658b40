package authority

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"github.com/treedn/treedn/driad/dns"
)

// maxTransfer is the length of a message of a transfer, in octets: many records, and not
// so many that a reader has to wait.
const maxTransfer = 16 << 10

// transferable says whether a client may have the zone that the question is about.
func (r *response) transferable(z *zone) dns.RCode {
	switch {
	case z == nil || r.q.Class != dns.ClassINET || !r.q.Name.Equal(&z.Name):
		return dns.RCodeNotAuth // RFC 5936 section 2.2.1
	case !slices.ContainsFunc(r.a.config.Transfer, func(p netip.Prefix) bool { return p.Contains(r.client) }):
		return dns.RCodeRefused
	}
	return dns.RCodeSuccess
}

// transfer returns the answers to a request by TCP for a whole zone (RFC 5936), nil if it
// is none. Each is valid until the next. IXFR brings all of it, too, unless the client has
// what there is (RFC 1995 section 4): old versions are not kept.
func (a *Authority) transfer(client netip.Addr, msg, out []byte) iter.Seq[[]byte] {
	var p dns.Parser
	if p.Start(msg) != nil || p.Header.Flags&dns.FlagResponse != 0 || p.Header.Opcode() != dns.OpcodeQuery || p.Header.Counts[0] != 1 {
		return nil
	}
	r := response{a: a, client: client}
	if ok, err := p.Question(&r.q); !ok || err != nil || r.q.Type != dns.TypeAXFR && r.q.Type != dns.TypeIXFR {
		return nil
	}
	version, some := readVersion(p, &r.q)
	if r.readEDNS(&p) != nil || r.edns.Version != 0 || r.q.Type == dns.TypeIXFR && !some {
		if r.edns.Version == 0 {
			r.rcode = dns.RCodeFormatError
		} else {
			r.rcode = dns.RCodeBadVersion
		}
	}
	r.hasSubnet = false
	h := dns.Header{ID: p.Header.ID, Flags: dns.FlagResponse | p.Header.Flags&dns.FlagRecursionDesired}
	z := a.zoneOf(&r.q.Name)
	if r.rcode == dns.RCodeSuccess {
		r.rcode = r.transferable(z)
	}
	a.stats.queries.Add(1)
	if r.rcode != dns.RCodeSuccess {
		a.stats.refused.Add(1)
		r.b = dns.NewBuilder(out, h, &r.q)
		return func(yield func([]byte) bool) { yield(r.finish(nil)) }
	}
	a.stats.transfers.Add(1)
	h.Flags |= dns.FlagAuthoritative
	t := a.table.Load()
	return func(yield func([]byte) bool) {
		r.begin(h, out)
		r.soa(z, t)
		if r.q.Type == dns.TypeIXFR && int32(version-t.serial) >= 0 { // RFC 1982
			yield(r.end())
			return
		}
		for rr := range a.contents(z, t) {
			data := rr.appendData(r.scratch[:0], &r.b)
			if r.b.Len()+rr.owner.Len()+10+len(data) > maxTransfer {
				if !yield(r.end()) {
					return
				}
				r.begin(h, out)
				data = rr.appendData(r.scratch[:0], &r.b)
			}
			r.record(&rr.owner, rr.kind, z.ttl, data)
		}
		r.soa(z, t) // there is room for it beside maxTransfer
		yield(r.end())
	}
}

func (r *response) begin(h dns.Header, out []byte) {
	r.b = dns.NewBuilder(out[:0], h, &r.q)
	r.b.PreserveCase()
}

func (r *response) end() []byte {
	if r.hasEDNS {
		r.b.EDNS(dns.EDNS{UDPSize: uint16(r.a.config.MaxUDP), DO: r.edns.DO}, nil)
	}
	return r.b.Message()
}

// readVersion reads the serial of the version that a client has (RFC 1995 section 3).
func readVersion(p dns.Parser, q *dns.Question) (serial uint32, ok bool) {
	var rr dns.Resource
	for {
		if more, err := p.Next(&rr); err != nil || !more {
			return 0, false
		}
		// The last 20 octets are of fixed size, the serial in front.
		if rr.Section == dns.SectionAuthority && rr.Type == dns.TypeSOA && rr.Name.Equal(&q.Name) && len(rr.Data) >= 22 {
			return binary.BigEndian.Uint32(rr.Data[len(rr.Data)-20:]), true
		}
	}
}

// appendData appends the data of the record.
func (rr *zoneRecord) appendData(b []byte, m *dns.Builder) []byte {
	switch {
	case rr.kind == dns.TypeNS:
		return m.AppendName(b, rr.target)
	case rr.relay == nil:
		return append(append(b, byte(len(noAddress))), noAddress...)
	case rr.kind == dns.TypeAMTRELAY:
		return append(b, rr.relay.data...)
	}
	return append(b, rr.relay.addr...)
}
