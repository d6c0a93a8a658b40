package authority_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
)

var (
	epoch  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	client = netip.MustParseAddr("192.0.2.99")
)

func record(s string) amtrelay.Record {
	r, err := amtrelay.Parse(s, dns.Name{})
	if err != nil {
		panic(err)
	}
	return r
}

func relay(s string, coverage ...string) authority.Relay {
	r := authority.Relay{Record: record(s)}
	for _, c := range coverage {
		r.Coverage = append(r.Coverage, netip.MustParsePrefix(c))
	}
	return r
}

func zones(names ...string) (list []authority.Zone) {
	for _, n := range names {
		list = append(list, authority.Zone{Name: dns.MustParseName(n), NameServers: []dns.Name{
			dns.MustParseName("ns1.example.com"), dns.MustParseName("ns2." + n)}})
	}
	return list
}

func newAuthority(t testing.TB, config authority.Config, relays ...authority.Relay) *authority.Authority {
	if config.Zones == nil {
		config.Zones = zones("69.in-addr.arpa", "69.amt.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "8.b.d.0.1.0.0.2.amt.ip6.arpa")
	}
	if config.Serial == 0 {
		config.Serial = 1
	}
	a, err := authority.New(config)
	require.NoError(t, err)
	require.NoError(t, a.SetRelays(relays))
	return a
}

// standard has relays for nested prefixes.
func standard(t testing.TB) *authority.Authority {
	return newAuthority(t, authority.Config{Rate: -1},
		relay("10 0 1 203.0.113.15", "69.25.0.0/16", "2001:db8::/40"),
		relay("10 1 2 2001:db8::15", "69.25.95.0/24"),
		relay("20 1 3 relays.example.com.", "69.25.94.0/23"),
		relay("0 0 0 .", "69.25.95.66/32"),
	)
}

func query(name string, t dns.Type, edns bool) []byte {
	q := dns.Query{ID: 4711, Question: dns.Question{Name: dns.MustParseName(name), Type: t}, NoEDNS: !edns}
	return q.AppendTo(nil)
}

// ask returns the answer as the other implementation reads it.
func ask(t testing.TB, a *authority.Authority, name string, typ dns.Type) dnsmessage.Message {
	t.Helper()
	b := a.Respond(epoch, client, true, query(name, typ, true), nil)
	require.NotNil(t, b)
	var m dnsmessage.Message
	require.NoError(t, m.Unpack(b))
	require.EqualValues(t, 4711, m.ID)
	require.True(t, m.Response)
	require.Equal(t, name, strings.TrimSuffix(m.Questions[0].Name.String(), "."))
	return m
}

func answers(t testing.TB, m dnsmessage.Message) (out []string) {
	t.Helper()
	for _, rr := range m.Answers {
		require.Equal(t, dnsmessage.ClassINET, rr.Header.Class)
		switch b := rr.Body.(type) {
		case *dnsmessage.UnknownResource:
			var r amtrelay.Record
			require.NoError(t, r.Unmarshal(b.Data))
			out = append(out, r.String())
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(b.AAAA).String())
		case *dnsmessage.NSResource:
			out = append(out, b.NS.String())
		case *dnsmessage.SOAResource:
			out = append(out, fmt.Sprint(b.NS, b.MBox, b.Serial, b.MinTTL))
		}
	}
	return out
}

func TestAnswers(t *testing.T) {
	a := standard(t)
	for _, c := range []struct {
		name  string
		typ   dns.Type
		want  []string
		rcode dnsmessage.RCode
	}{
		{"10.95.25.69.in-addr.arpa", dns.TypeAMTRELAY, []string{"10 0 1 203.0.113.15", "10 1 2 2001:db8::15", "20 1 3 relays.example.com."}, 0},
		{"10.95.25.69.IN-ADDR.arpa", dns.TypeAMTRELAY, []string{"10 0 1 203.0.113.15", "10 1 2 2001:db8::15", "20 1 3 relays.example.com."}, 0},
		{"10.94.25.69.in-addr.arpa", dns.TypeAMTRELAY, []string{"10 0 1 203.0.113.15", "20 1 3 relays.example.com."}, 0},
		{"10.93.25.69.in-addr.arpa", dns.TypeANY, []string{"10 0 1 203.0.113.15"}, 0},
		{"66.95.25.69.in-addr.arpa", dns.TypeAMTRELAY, []string{"0 0 0 .", "10 0 1 203.0.113.15", "10 1 2 2001:db8::15", "20 1 3 relays.example.com."}, 0},
		{"10.93.25.69.in-addr.arpa", dns.TypePTR, nil, 0},
		{"93.25.69.in-addr.arpa", dns.TypeAMTRELAY, nil, 0},
		{"25.69.in-addr.arpa", dns.TypeA, nil, 0},
		{"26.69.in-addr.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"10.93.26.69.in-addr.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"x.93.25.69.in-addr.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"x.10.93.25.69.in-addr.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"010.93.25.69.in-addr.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"69.in-addr.arpa", dns.TypeNS, []string{"ns1.example.com.", "ns2.69.in-addr.arpa."}, 0},
		{"69.in-addr.arpa", dns.TypeSOA, []string{"ns1.example.com. hostmaster.example.com. 2 60"}, 0},
		{"69.in-addr.arpa", dns.TypeAMTRELAY, nil, 0},
		{"10.95.25.69.amt.in-addr.arpa", dns.TypeA, []string{"203.0.113.15"}, 0},
		{"10.95.25.69.amt.in-addr.arpa", dns.TypeAAAA, []string{"2001:db8::15"}, 0},
		{"10.95.25.69.amt.in-addr.arpa", dns.TypeAMTRELAY, nil, 0},
		{"66.95.25.69.amt.in-addr.arpa", dns.TypeA, nil, 0},
		{"10.93.25.69.amt.in-addr.arpa", dns.TypeAAAA, nil, 0},
		{"10.93.26.69.amt.in-addr.arpa", dns.TypeA, nil, dnsmessage.RCodeNameError},
		{"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypeAMTRELAY, []string{"10 0 1 203.0.113.15"}, 0},
		{"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"0.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypeAMTRELAY, nil, 0},
		{"1.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypeAMTRELAY, nil, dnsmessage.RCodeNameError},
		{"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.amt.ip6.arpa", dns.TypeA, []string{"203.0.113.15"}, 0},
	} {
		t.Run(c.name+" "+c.typ.String(), func(t *testing.T) {
			m := ask(t, a, c.name, c.typ)
			require.Equal(t, c.rcode, m.RCode)
			require.True(t, m.Authoritative)
			require.False(t, m.Truncated)
			require.ElementsMatch(t, c.want, answers(t, m))
			require.Len(t, m.Additionals, 1)
			if c.want == nil {
				require.Len(t, m.Authorities, 1)
				require.EqualValues(t, 60, m.Authorities[0].Header.TTL)
				require.IsType(t, &dnsmessage.SOAResource{}, m.Authorities[0].Body)
			} else {
				require.Empty(t, m.Authorities)
				require.EqualValues(t, 300, m.Answers[0].Header.TTL)
			}
			// Our own client makes of it what is meant.
			q := dns.Query{ID: 4711, Question: dns.Question{Name: dns.MustParseName(c.name), Type: c.typ, Class: dns.ClassINET}}
			b := a.Respond(epoch, client, true, query(c.name, c.typ, true), nil)
			require.NoError(t, q.Check(b))
			ans, err := dns.ParseAnswer(b, q.Question)
			require.NoError(t, err)
			if c.typ != dns.TypeANY {
				require.Len(t, ans.Records, len(c.want))
			}
		})
	}
	require.Equal(t, dnsmessage.RCodeRefused, ask(t, a, "10.95.25.70.in-addr.arpa", dns.TypeAMTRELAY).RCode)
	require.Equal(t, dnsmessage.RCodeRefused, ask(t, a, "example.com", dns.TypeA).RCode)
	require.Equal(t, dnsmessage.RCodeRefused, ask(t, a, "69.in-addr.arpa", dns.TypeAXFR).RCode)
}

func TestForm(t *testing.T) {
	a := standard(t)
	good := query("10.95.25.69.in-addr.arpa", dns.TypeAMTRELAY, true)
	respond := func(f func(b []byte) []byte) (m dnsmessage.Message, n int) {
		b := a.Respond(epoch, client, true, f(append([]byte{}, good...)), nil)
		if b == nil {
			return m, 0
		}
		require.NoError(t, m.Unpack(b))
		return m, len(b)
	}
	_, n := respond(func(b []byte) []byte { return b[:11] })
	require.Zero(t, n, "no header")
	_, n = respond(func(b []byte) []byte { b[2] |= 0x80; return b })
	require.Zero(t, n, "a response")
	m, _ := respond(func(b []byte) []byte { b[2] |= 0x20; return b })
	require.Equal(t, dnsmessage.RCodeNotImplemented, m.RCode)
	m, n = respond(func(b []byte) []byte { return b[:20] })
	require.Equal(t, dnsmessage.RCodeFormatError, m.RCode)
	require.Equal(t, 12, n)
	m, _ = respond(func(b []byte) []byte { b[5] = 2; return b })
	require.Equal(t, dnsmessage.RCodeFormatError, m.RCode)
	m, _ = respond(func(b []byte) []byte { b[11] = 2; return append(b, b[len(b)-11:]...) })
	require.Equal(t, dnsmessage.RCodeFormatError, m.RCode, "two OPT records")
	m, _ = respond(func(b []byte) []byte { b[len(b)-5] = 1; return b })
	require.EqualValues(t, 1, m.Additionals[0].Header.TTL>>24, "BADVERS")
	m, _ = respond(func(b []byte) []byte { b[len(b)-4] = 0x80; return b })
	require.EqualValues(t, 0x8000, m.Additionals[0].Header.TTL, "DO comes back")
	m, _ = respond(func(b []byte) []byte { b[11] = 0; return b[:len(b)-11] })
	require.Empty(t, m.Additionals, "no EDNS for who has none")
	require.True(t, m.RecursionDesired)
	require.False(t, m.RecursionAvailable)
}

func TestTruncation(t *testing.T) {
	var list []authority.Relay
	for i := range 100 {
		list = append(list, relay(fmt.Sprintf("%d 1 2 2001:db8::%x", i/10, i+1), "69.25.0.0/16"))
	}
	a := newAuthority(t, authority.Config{Rate: -1, MaxRecords: 100}, list...)
	for _, c := range []struct {
		edns, udp bool
		limit     int
		whole     bool
	}{{false, true, 512, false}, {true, true, 1232, false}, {true, false, 65535, true}, {false, false, 65535, true}} {
		b := a.Respond(epoch, client, c.udp, query("1.1.25.69.in-addr.arpa", dns.TypeAMTRELAY, c.edns), nil)
		require.LessOrEqual(t, len(b), c.limit)
		var m dnsmessage.Message
		require.NoError(t, m.Unpack(b))
		require.Equal(t, !c.whole, m.Truncated)
		require.Equal(t, c.whole, len(m.Answers) == 100)
		require.Len(t, m.Questions, 1)
	}
	a = newAuthority(t, authority.Config{Rate: -1}, list...)
	m := ask(t, a, "1.1.25.69.in-addr.arpa", dns.TypeAMTRELAY)
	require.Len(t, m.Answers, 8)
	for _, s := range answers(t, m) {
		require.True(t, strings.HasPrefix(s, "0 "), "the lowest precedence is first to stay: %s", s)
	}
}

func TestWeightAndHealth(t *testing.T) {
	heavy, light, sick := relay("1 0 1 192.0.2.1", "69.0.0.0/8"), relay("1 0 1 192.0.2.2", "69.0.0.0/8"), relay("0 0 1 192.0.2.3", "69.0.0.0/8")
	heavy.Weight, light.Weight, sick.Unhealthy = 30, 10, true
	a := newAuthority(t, authority.Config{Rate: -1, MaxRecords: 1}, heavy, light, sick)
	count := map[string]int{}
	for range 2000 {
		m := ask(t, a, "1.1.1.69.in-addr.arpa", dns.TypeAMTRELAY)
		require.Len(t, m.Answers, 1)
		count[answers(t, m)[0]]++
	}
	require.InDelta(t, 1500, count["1 0 1 192.0.2.1"], 120)
	require.Zero(t, count["0 0 1 192.0.2.3"])

	heavy.Unhealthy, light.Unhealthy = true, true
	require.NoError(t, a.SetRelays([]authority.Relay{heavy, light, sick}))
	require.Equal(t, []string{"0 0 1 192.0.2.3"}, answers(t, ask(t, a, "1.1.1.69.in-addr.arpa", dns.TypeAMTRELAY)), "better than none")
	require.Equal(t, []string{"ns1.example.com. hostmaster.example.com. 3 60"}, answers(t, ask(t, a, "69.in-addr.arpa", dns.TypeSOA)))

	bad := relay("1 0 1 192.0.2.1", "69.0.0.0/8")
	bad.Record.Address = netip.Addr{}
	require.ErrorIs(t, a.SetRelays([]authority.Relay{bad}), authority.ErrRelays)
	bad = relay("1 0 1 192.0.2.1", "69.0.0.0/8")
	bad.Coverage[0] = netip.Prefix{}
	require.ErrorIs(t, a.SetRelays([]authority.Relay{bad}), authority.ErrRelays)
	many := make([]authority.Relay, 257)
	for i := range many {
		many[i] = relay("1 0 1 192.0.2.1", []string{"69.0.0.0/8", "69.1.0.0/16"}[i%2])
	}
	require.ErrorIs(t, a.SetRelays(many), authority.ErrRelays)
	require.Len(t, ask(t, a, "1.1.1.69.in-addr.arpa", dns.TypeAMTRELAY).Answers, 1, "as before")
	for _, z := range [][]authority.Zone{zones("example.com"), zones("x.in-addr.arpa"), {{Name: dns.MustParseName("69.in-addr.arpa")}}} {
		_, err := authority.New(authority.Config{Zones: z})
		require.ErrorIs(t, err, authority.ErrConfig)
	}
}

func TestRateLimit(t *testing.T) {
	a := newAuthority(t, authority.Config{Rate: 10, Burst: 20}, relay("1 0 1 192.0.2.1", "69.0.0.0/8"))
	now := epoch
	count := func(n int, udp bool, from, name string) (whole, truncated int) {
		for range n {
			b := a.Respond(now, netip.MustParseAddr(from), udp, query(name, dns.TypeAMTRELAY, true), nil)
			if b == nil {
				continue
			}
			var m dnsmessage.Message
			require.NoError(t, m.Unpack(b))
			if m.Truncated {
				require.Empty(t, m.Answers)
				truncated++
			} else {
				whole++
			}
		}
		return whole, truncated
	}
	whole, truncated := count(100, true, "192.0.2.1", "1.1.1.69.in-addr.arpa")
	require.Equal(t, 20, whole)
	require.Equal(t, 40, truncated, "one in two of the others")
	whole, _ = count(10, true, "192.0.2.77", "1.1.1.69.in-addr.arpa")
	require.Zero(t, whole, "the same prefix")
	whole, _ = count(10, true, "192.0.3.1", "1.1.1.69.in-addr.arpa")
	require.Equal(t, 10, whole, "another prefix")
	whole, _ = count(10, true, "192.0.2.1", "2.1.1.69.in-addr.arpa")
	require.Equal(t, 10, whole, "another name")
	whole, _ = count(100, false, "192.0.2.1", "1.1.1.69.in-addr.arpa")
	require.Equal(t, 100, whole, "TCP")
	now = now.Add(time.Second)
	whole, _ = count(100, true, "192.0.2.1", "1.1.1.69.in-addr.arpa")
	require.Equal(t, 10, whole)
	// Names that do not exist are of one kind, however many there are.
	n := 0
	for i := range 256 {
		w, _ := count(1, true, "2001:db8::1", fmt.Sprintf("x%d.69.in-addr.arpa", i))
		n += w
	}
	require.Equal(t, 20, n)
	require.EqualValues(t, a.Stats().Limited, 80+10+90+236)
}

func FuzzRespond(f *testing.F) {
	f.Add(query("10.95.25.69.in-addr.arpa", dns.TypeAMTRELAY, true), true)
	f.Add(query("8.b.d.0.1.0.0.2.ip6.arpa", dns.TypeSOA, false), false)
	f.Add(query("10.95.25.69.amt.in-addr.arpa", dns.TypeANY, true), true)
	f.Add(subnetQuery("1.1.2.69.in-addr.arpa", []byte{0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100}), true)
	a := world(f)
	f.Fuzz(func(t *testing.T, msg []byte, udp bool) {
		b := a.Respond(epoch, client, udp, msg, nil)
		if b == nil {
			return
		}
		require.Equal(t, msg[:2], b[:2])
		if udp {
			require.LessOrEqual(t, len(b), 1232)
		}
		var p dns.Parser
		require.NoError(t, p.Start(b))
		var r dns.Resource
		for {
			ok, err := p.Next(&r)
			require.NoError(t, err)
			if !ok {
				break
			}
		}
		require.Nil(t, a.Respond(epoch, client, udp, b, nil), "an answer is not answered")
	})
}

func TestNoAllocations(t *testing.T) {
	for _, rate := range []int{-1, 1 << 30} {
		a := newAuthority(t, authority.Config{Rate: rate}, relay("10 0 1 203.0.113.15", "69.25.0.0/16"), relay("20 1 3 relays.example.com.", "69.25.94.0/23"))
		buf := make([]byte, 0, 4096)
		for _, name := range []string{"10.95.25.69.in-addr.arpa", "10.95.26.69.in-addr.arpa", "10.95.25.69.amt.in-addr.arpa"} {
			q := query(name, dns.TypeAMTRELAY, true)
			require.Zero(t, testing.AllocsPerRun(100, func() { a.Respond(epoch, client, true, q, buf) }), name)
		}
		a = world(t)
		q := subnetQuery("1.1.2.69.in-addr.arpa", []byte{0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100})
		require.Zero(t, testing.AllocsPerRun(100, func() { a.Respond(epoch, client, true, q, buf) }), "client subnet")
	}
}

func BenchmarkRespond(b *testing.B) {
	var list []authority.Relay
	for i := range 1000 {
		list = append(list, relay(fmt.Sprintf("10 1 1 192.0.2.%d", i%256), fmt.Sprintf("69.%d.%d.0/24", i/256, i%256)))
	}
	for i := range 3 {
		list = append(list, relay(fmt.Sprintf("10 1 1 203.0.113.%d", i), "69.0.0.0/12"))
	}
	for _, c := range []struct {
		what, name string
		rate       int
	}{
		{"4 relays", "10.95.2.69.in-addr.arpa", -1},
		{"4 relays, rate limit", "10.95.2.69.in-addr.arpa", 1 << 30},
		{"NXDOMAIN", "10.95.200.69.in-addr.arpa", -1},
	} {
		b.Run(c.what, func(b *testing.B) {
			a := newAuthority(b, authority.Config{Rate: c.rate}, list...)
			q := query(c.name, dns.TypeAMTRELAY, true)
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			b.SetBytes(int64(len(q)))
			for b.Loop() {
				buf = a.Respond(epoch, client, true, q, buf[:0])
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}

func TestListenConfig(t *testing.T) {
	_, err := authority.Listen(authority.ServerConfig{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.ErrorIs(t, err, authority.ErrConfig)
}

// A relay that no question would bring out is a mistake, not a wish.
func TestRelaysOfNoZone(t *testing.T) {
	plain := newAuthority(t, authority.Config{Zones: zones("69.amt.in-addr.arpa", "0.0.8.b.d.0.1.0.0.2.ip6.arpa")})
	moved := zones("0/26.2.0.192.in-addr.arpa")
	moved[0].For = dns.MustParseName("2.0.192.in-addr.arpa")
	for _, c := range []struct {
		a      *authority.Authority
		relay  authority.Relay
		reason string // none: it is right
	}{
		{plain, relay("1 0 1 192.0.2.1"), "relay 0, 1 0 1 192.0.2.1, serves nothing: it has no Coverage"},
		{plain, relay("1 0 1 192.0.2.1", "70.0.0.0/8"), "relay 0, 1 0 1 192.0.2.1: prefix 70.0.0.0/8 is outside of every zone"},
		{plain, relay("1 0 1 192.0.2.1", "69.1.0.0/16", "69.0.0.0/8", "198.51.100.0/24"), "prefix 198.51.100.0/24 is outside"},
		{plain, relay("1 0 2 2001:db8::1", "2001:db8:8000::/33"), "prefix 2001:db8:8000::/33 is outside"},
		{plain, relay("1 0 1 192.0.2.1", "0.0.0.0/0", "69.1.2.3/32", "2001:db8::/32"), ""},
		{newAuthority(t, authority.Config{Zones: moved}), relay("1 0 1 192.0.2.1", "192.0.2.7/32"), ""},
		{newAuthority(t, authority.Config{Zones: moved}), relay("1 0 1 192.0.2.1", "192.0.3.7/32"), "prefix 192.0.3.7/32 is outside"},
		{newAuthority(t, authority.Config{Zones: []authority.Zone{}}), relay("1 0 1 192.0.2.1", "69.0.0.0/8"), "prefix 69.0.0.0/8 is outside"},
	} {
		err := c.a.SetRelays([]authority.Relay{c.relay})
		if c.reason == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, authority.ErrRelays)
		require.ErrorContains(t, err, c.reason)
	}
	a := standard(t)
	require.ErrorContains(t, a.SetRelays([]authority.Relay{relay("1 0 1 192.0.2.1", "69.0.0.0/8"), relay("2 0 1 192.0.2.2", "70.0.0.0/8")}), "relay 1, 2 0 1 192.0.2.2")
	require.Len(t, ask(t, a, "1.1.25.69.in-addr.arpa", dns.TypeAMTRELAY).Answers, 1, "as before")
}
