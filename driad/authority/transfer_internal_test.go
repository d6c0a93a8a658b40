package authority

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// transferred has zones one of which is below the other, in letters of both cases.
func transferred(t testing.TB) *Authority {
	zone := func(name, server string) Zone {
		return Zone{Name: dns.MustParseName(name), NameServers: []dns.Name{dns.MustParseName(server)}}
	}
	a, err := New(Config{Serial: 7, Rate: -1, Transfer: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Zones: []Zone{zone("25.69.in-addr.arpa", "ns.25.69.In-Addr.arpa"), zone("95.25.69.in-addr.arpa", "ns.example"), zone("8.b.d.0.1.0.0.2.ip6.arpa", "ns.example")}})
	require.NoError(t, err)
	require.NoError(t, a.SetRelays([]Relay{
		{Record: amtrelay.Record{Type: amtrelay.IPv4, Address: netip.MustParseAddr("203.0.113.15")},
			Coverage: []netip.Prefix{netip.MustParsePrefix("69.25.0.0/17"), netip.MustParsePrefix("69.25.95.7/32"), netip.MustParsePrefix("2001:db8::/33")}},
	}))
	return a
}

func request(name string, kind dns.Type, serial uint32, edns bool) []byte {
	b := dns.NewBuilder(nil, dns.Header{ID: 4711, Flags: dns.FlagCheckingDisabled}, &dns.Question{Name: dns.MustParseName(name), Type: kind})
	if kind == dns.TypeIXFR {
		soa := make([]byte, 22)
		binary.BigEndian.PutUint32(soa[2:], serial)
		n := dns.MustParseName(name)
		b.Record(dns.SectionAuthority, &n, dns.TypeSOA, dns.ClassINET, 0, soa)
	}
	if edns {
		b.EDNS(dns.EDNS{UDPSize: 1232}, nil)
	}
	return b.Message()
}

// received reads a transfer: the records of all messages, and the last RCODE.
func received(t testing.TB, a *Authority, client string, msg []byte) (list []string, rcode dns.RCode) {
	t.Helper()
	messages := a.transfer(netip.MustParseAddr(client), msg, nil)
	require.NotNil(t, messages)
	for m := range messages {
		var p dns.Parser
		require.NoError(t, p.Start(m))
		require.EqualValues(t, 4711, p.Header.ID)
		require.Zero(t, p.Header.Flags&(dns.FlagTruncated|dns.FlagCheckingDisabled|dns.FlagAuthenticData|dns.FlagRecursionAvailable))
		require.LessOrEqual(t, len(m), maxTransfer+600)
		rcode = p.Header.RCode()
		require.Equal(t, rcode == 0, p.Header.Flags&dns.FlagAuthoritative != 0)
		for {
			var r dns.Resource
			ok, err := p.Next(&r)
			require.NoError(t, err)
			if !ok {
				break
			}
			if r.Section != dns.SectionAnswer {
				require.Equal(t, dns.TypeOPT, r.Type)
				continue
			}
			text := r.Name.String() + " " + r.Type.String()
			if r.Type == dns.TypeNS {
				n, _, err := r.NameAt(0)
				require.NoError(t, err)
				text += " " + n.String()
			}
			list = append(list, text)
		}
	}
	return list, rcode
}

func TestTransfer(t *testing.T) {
	a := transferred(t)
	list, rcode := received(t, a, "192.0.2.1", request("25.69.IN-ADDR.arpa", dns.TypeAXFR, 0, true))
	require.Zero(t, rcode)
	require.Len(t, list, 1+1+1+127+1, "SOA, NS, NS of the zone below, prefixes but that, SOA")
	require.Equal(t, []string{"25.69.in-addr.arpa. SOA", "25.69.in-addr.arpa. NS ns.25.69.In-Addr.arpa.", "95.25.69.in-addr.arpa. NS ns.example."}, list[:3],
		"letters are of the case that they are configured in")
	require.Equal(t, list[0], list[len(list)-1])
	require.NotContains(t, list, "*.95.25.69.in-addr.arpa. AMTRELAY")
	list, _ = received(t, a, "2001:db8::1", request("95.25.69.in-addr.arpa", dns.TypeAXFR, 0, false))
	require.Equal(t, []string{"95.25.69.in-addr.arpa. SOA", "95.25.69.in-addr.arpa. NS ns.example.", "*.95.25.69.in-addr.arpa. AMTRELAY",
		"7.95.25.69.in-addr.arpa. AMTRELAY", "95.25.69.in-addr.arpa. SOA"}, list)

	// Serials are compared on a circle (RFC 1982). Ours is 8.
	for serial, most := range map[uint32]bool{7: true, 0: true, 1<<31 + 9: true, 8: false, 9: false, 1<<31 + 7: false} {
		list, rcode = received(t, a, "192.0.2.1", request("95.25.69.in-addr.arpa", dns.TypeIXFR, serial, true))
		require.Zero(t, rcode)
		require.Equal(t, most, len(list) > 1, serial)
		b := a.Respond(time.Time{}, netip.MustParseAddr("192.0.2.1"), true, request("95.25.69.in-addr.arpa", dns.TypeIXFR, serial, true), nil)
		answer, err := dns.ParseAnswer(b, dns.Question{Name: dns.MustParseName("95.25.69.in-addr.arpa"), Type: dns.TypeSOA})
		require.NoError(t, err)
		require.Len(t, answer.Records, 1)
	}
	none := dns.NewBuilder(nil, dns.Header{ID: 4711}, &dns.Question{Name: dns.MustParseName("95.25.69.in-addr.arpa"), Type: dns.TypeIXFR})
	for want, c := range map[dns.RCode]struct {
		client string
		msg    []byte
	}{
		dns.RCodeRefused:     {"192.0.3.1", request("95.25.69.in-addr.arpa", dns.TypeAXFR, 0, true)},
		dns.RCodeNotAuth:     {"192.0.2.1", request("7.95.25.69.in-addr.arpa", dns.TypeAXFR, 0, true)},
		dns.RCodeFormatError: {"192.0.2.1", none.Message()}, // IXFR without the version
	} {
		list, rcode = received(t, a, c.client, c.msg)
		require.Empty(t, list)
		require.Equal(t, want, rcode)
	}
	for _, kind := range []dns.Type{dns.TypeAXFR, dns.TypeIXFR} {
		b := a.Respond(time.Time{}, netip.MustParseAddr("192.0.3.1"), true, request("95.25.69.in-addr.arpa", kind, 0, true), nil)
		require.EqualValues(t, dns.RCodeRefused, b[3]&0xf)
	}
	require.Nil(t, a.transfer(netip.MustParseAddr("192.0.2.1"), request("95.25.69.in-addr.arpa", dns.TypeSOA, 0, true), nil))
}

// The serial grows only with what changes: secondaries need not come for nothing.
func TestSerial(t *testing.T) {
	a := transferred(t)
	require.EqualValues(t, 8, a.table.Load().serial)
	changed := a.next()
	require.NoError(t, a.SetRelays(a.relays))
	require.EqualValues(t, 8, a.table.Load().serial)
	require.NoError(t, a.SetRelays(nil))
	require.EqualValues(t, 9, a.table.Load().serial)
	<-changed
	a.begin(time.Unix(2_000_000_000, 0))
	require.EqualValues(t, 9, a.table.Load().serial, "as configured")
	b, err := New(Config{})
	require.NoError(t, err)
	require.EqualValues(t, 1, b.table.Load().serial)
	b.begin(time.Unix(2_000_000_000, 0))
	b.begin(time.Unix(2_000_000_009, 0))
	require.EqualValues(t, 2_000_000_000, b.table.Load().serial, "greater than before a restart")
}

// Messages are sent again until there is an answer, and not for ever.
func TestNotices(t *testing.T) {
	a := transferred(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	n := newNotices(a, rand.New(rand.NewPCG(1, 2)))
	require.Nil(t, n.poll(now))
	n.changed(now)
	n.changed(now.Add(time.Second / 2))
	require.Equal(t, now.Add(notifyDelay), n.at, "a change after the other does not put it off")
	answer := func(b []byte, q dns.Question, flags, id uint16) []byte {
		m := dns.NewBuilder(nil, dns.Header{ID: binary.BigEndian.Uint16(b) + id, Flags: dns.FlagResponse | dns.OpcodeNotify<<11 | flags}, &q)
		return m.Message()
	}
	count := map[string]int{}
	var first, other time.Time
	for !n.at.IsZero() {
		now = n.at
		for b := n.poll(now); b != nil; b = n.poll(now) {
			var p dns.Parser
			var q dns.Question
			require.NoError(t, p.Start(b))
			require.Equal(t, dns.OpcodeNotify, p.Header.Opcode())
			require.NotZero(t, p.Header.Flags&dns.FlagAuthoritative)
			_, err := p.Question(&q)
			require.NoError(t, err)
			require.Equal(t, dns.TypeSOA, q.Type)
			name := q.Name.String()
			if count[name]++; name == "95.25.69.in-addr.arpa." {
				require.NoError(t, n.handle(answer(b, q, 0, 1)), "another's ID")
				if count[name] == 2 {
					require.ErrorIs(t, n.handle(answer(b, q, uint16(dns.RCodeRefused), 0)), errNotify)
				}
				require.NoError(t, n.handle(answer(b, q, 0, 1)))
			}
			if first.IsZero() {
				first = now
			}
			other = now
		}
	}
	require.Equal(t, map[string]int{"25.69.in-addr.arpa.": 5, "95.25.69.in-addr.arpa.": 2, "8.b.d.0.1.0.0.2.ip6.arpa.": 5}, count)
	require.Equal(t, (5+10+20+40)*time.Second, other.Sub(first))
	n.changed(now)
	require.NotZero(t, n.at)
}

// Whatever is asked, a transfer begins and ends with the SOA record, or is an error.
func FuzzTransfer(f *testing.F) {
	f.Add(request("25.69.in-addr.arpa", dns.TypeAXFR, 0, true), true)
	f.Add(request("8.b.d.0.1.0.0.2.ip6.arpa", dns.TypeIXFR, 3, false), true)
	f.Add(request("95.25.69.in-addr.arpa", dns.TypeIXFR, 8, true), false)
	a := transferred(f)
	f.Fuzz(func(t *testing.T, msg []byte, may bool) {
		client := netip.MustParseAddr("192.0.3.1")
		if may {
			client = netip.MustParseAddr("192.0.2.1")
		}
		messages := a.transfer(client, msg, nil)
		if messages == nil {
			return
		}
		var kinds []dns.Type
		var rcode dns.RCode
		for m := range messages {
			var p dns.Parser
			require.NoError(t, p.Start(m))
			require.Equal(t, msg[:2], m[:2])
			rcode |= p.Header.RCode()
			for {
				var r dns.Resource
				ok, err := p.Next(&r)
				require.NoError(t, err)
				if !ok {
					break
				}
				if e, ok := dns.ParseEDNS(&r); ok {
					rcode |= dns.RCode(e.Extended) << 4
				} else {
					kinds = append(kinds, r.Type)
				}
			}
		}
		if rcode != 0 {
			require.Empty(t, kinds)
			return
		}
		require.True(t, may)
		require.Equal(t, dns.TypeSOA, kinds[0])
		require.Equal(t, dns.TypeSOA, kinds[len(kinds)-1])
	})
}
