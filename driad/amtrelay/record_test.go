package amtrelay_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

func relay4(precedence uint8, d bool, a string) amtrelay.Record {
	return amtrelay.Record{Precedence: precedence, DiscoveryOptional: d, Type: amtrelay.IPv4, Address: netip.MustParseAddr(a)}
}

var cases = []struct {
	name, text, raw string
	record          amtrelay.Record
}{
	{"RFC 8777 section 4.3.2, first", "10 0 1 203.0.113.15", "0a01cb00710f", relay4(10, false, "203.0.113.15")},
	// The generic form there ends in 0f, which is another address than in the text.
	{"RFC 8777 section 4.3.2, second", "10 0 2 2001:db8::15", "0a0220010db8000000000000000000000015",
		amtrelay.Record{Precedence: 10, Type: amtrelay.IPv6, Address: netip.MustParseAddr("2001:db8::15")}},
	// The generic form there is without the root label.
	{"RFC 8777 section 4.3.2, third", "128 1 3 amtrelays.example.com.", "808309616d7472656c617973076578616d706c6503636f6d00",
		amtrelay.Record{Precedence: 128, DiscoveryOptional: true, Type: amtrelay.Name, Host: dns.MustParseName("amtrelays.example.com")}},
	{"no relay", "0 0 0 .", "0000", amtrelay.Record{}},
	{"no relay, D", "255 1 0 .", "ff80", amtrelay.Record{Precedence: 255, DiscoveryOptional: true}},
	{"D and IPv4", "10 1 1 203.0.113.15", "0a81cb00710f", relay4(10, true, "203.0.113.15")},
	{"the root as name", "1 0 3 .", "010300", amtrelay.Record{Precedence: 1, Type: amtrelay.Name}},
	{"a name with a dot in a label", `1 0 3 a\.b.c.`, "010303612e62016300",
		amtrelay.Record{Precedence: 1, Type: amtrelay.Name, Host: dns.MustParseName(`a\.b.c`)}},
	{"unknown type", `\# 4 0a04beef`, "0a04beef", amtrelay.Record{Precedence: 10, Type: 4, Unknown: []byte{0xbe, 0xef}}},
	{"unknown type, D", `\# 2 0aff`, "0aff", amtrelay.Record{Precedence: 10, DiscoveryOptional: true, Type: 127, Unknown: []byte{}}},
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestRecordWire(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.raw)
			var r amtrelay.Record
			require.NoError(t, r.Unmarshal(raw))
			require.Equal(t, c.record, r)
			require.Equal(t, len(raw), r.Len())
			b, err := r.AppendTo([]byte("x"))
			require.NoError(t, err)
			require.Equal(t, append([]byte("x"), raw...), b)
		})
	}
}

func TestRecordText(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.text, c.record.String())
			r, err := amtrelay.Parse(c.text, dns.Name{})
			require.NoError(t, err)
			require.Equal(t, c.record, r)
			b, err := c.record.AppendGeneric(nil)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf(`\# %d %s`, len(c.raw)/2, c.raw), string(b))
			r, err = amtrelay.Parse(string(b), dns.Name{})
			require.NoError(t, err)
			require.Equal(t, c.record, r)
			require.NoError(t, r.UnmarshalText([]byte(c.text)))
			require.Equal(t, c.record, r)
		})
	}
}

// As RFC 8777 section 4.3.2 prints it.
func TestParseMultiline(t *testing.T) {
	r, err := amtrelay.Parse(`\# (
              6  ; length
              0a ; precedence=10
              01 ; D=0, relay type=1, an IPv4 address
              cb00710f ) ; 203.0.113.15`, dns.Name{})
	require.NoError(t, err)
	require.Equal(t, relay4(10, false, "203.0.113.15"), r)
	_, err = amtrelay.Parse(`\# (
              24 ; length
              80 ; precedence=128
              83 ; D=1, relay type=3, a wire-encoded domain name
            09616d7472656c617973076578616d706c6503636f6d ) ; domain name`, dns.Name{})
	require.ErrorIs(t, err, dns.ErrName, "the standard's own mistake: the root label is missing")
	r, err = amtrelay.Parse("1 0 3 relays", dns.MustParseName("example.com"))
	require.NoError(t, err)
	require.Equal(t, "1 0 3 relays.example.com.", r.String())
	r, err = amtrelay.Parse("1 0 3 @", dns.MustParseName("example.com"))
	require.NoError(t, err)
	require.Equal(t, "1 0 3 example.com.", r.String())
}

func TestRecordRefuses(t *testing.T) {
	for _, s := range []string{"", "0a", "0a00ff", "0a01", "0a01cb0071", "0a01cb00710f00", "0a0220010db8", "0a03", "0a0301", "0a030161",
		"0a0301610000", "0a03c000", "0a0340", "0a8320"} {
		var r amtrelay.Record
		require.ErrorIs(t, r.Unmarshal(unhex(t, s)), amtrelay.ErrRecord, s)
	}
	for _, s := range []string{"", "10 0 1", "256 0 0 .", "-1 0 0 .", "1 2 0 .", "1 0 128 .", "1 0 0 x.", "1 0 1 2001:db8::1", "1 0 2 192.0.2.1",
		"1 0 2 fe80::1%eth0", "1 0 1 x", "1 0 3 a..b.", "1 0 4 .", "1 0 0 . .", `\#`, `\# x`, `\# 2`, `\# 2 00`, `\# 2 0`, `\# 3 000000`,
		"(1 0 0 .", "1 0 0 .)", "((1 0 0 .))", "1 0\n0 .", "1 0 3 " + strings.Repeat("a.", 128)} {
		_, err := amtrelay.Parse(s, dns.Name{})
		require.ErrorIs(t, err, amtrelay.ErrRecord, s)
	}
	for _, r := range []amtrelay.Record{
		{Type: amtrelay.IPv4}, {Type: amtrelay.IPv6, Address: netip.MustParseAddr("192.0.2.1")}, {Type: 128},
		{Type: amtrelay.IPv4, Address: netip.MustParseAddr("::ffff:192.0.2.1")}, {Type: 5, Unknown: make([]byte, 65534)},
	} {
		_, err := r.AppendTo(nil)
		require.ErrorIs(t, err, amtrelay.ErrRecord)
	}
}

func FuzzRecord(f *testing.F) {
	for _, c := range cases {
		f.Add(unhex(f, c.raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r amtrelay.Record
		if err := r.Unmarshal(raw); err != nil {
			require.ErrorIs(t, err, amtrelay.ErrRecord)
			return
		}
		b, err := r.AppendTo(nil)
		if len(raw) <= dns.MaxMessage {
			require.NoError(t, err)
			require.Equal(t, raw, b)
			require.Equal(t, len(raw), r.Len())
			again, err := amtrelay.Parse(r.String(), dns.Name{})
			require.NoError(t, err, "%s", r)
			require.Equal(t, r, again)
		}
		if r.Type != amtrelay.Name {
			return
		}
		// The other decoder of names, for those that it takes.
		msg := append(make([]byte, 12), raw[2:]...)
		msg[5] = 1
		var p dnsmessage.Parser
		_, err = p.Start(append(msg, 0, 1, 0, 1))
		require.NoError(t, err)
		if q, err := p.Question(); err == nil && !strings.Contains(r.Host.String(), `\`) {
			require.Equal(t, q.Name.String(), r.Host.String())
		}
	})
}

// The text of zone files is an input of its own.
func TestParseNeverPanics(t *testing.T) {
	for _, c := range cases {
		for i := range c.text {
			for _, x := range []string{"\\", "(", ")", ";", "\n", "\x00", "."} {
				_, _ = amtrelay.Parse(c.text[:i]+x+c.text[i:], dns.Name{})
				_, _ = amtrelay.Parse(c.text[:i]+x, dns.Name{})
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	var r amtrelay.Record
	buf := make([]byte, 0, 512)
	for _, c := range cases {
		raw := unhex(t, c.raw)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_ = r.Unmarshal(raw)
			_, _ = r.AppendTo(buf)
			if r.Known() {
				_, _ = r.AppendText(buf)
			}
		}), c.name)
	}
	a := netip.MustParseAddr("2001:db8::a")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n := amtrelay.ReverseName(a)
		_, _ = amtrelay.ParseSource(&n)
	}))
}

func TestReverseNames(t *testing.T) {
	for _, c := range []struct{ source, reverse, plain string }{
		{"198.51.100.12", "12.100.51.198.in-addr.arpa.", "12.100.51.198.amt.in-addr.arpa."}, // RFC 8777 section 2.2
		{"69.25.95.10", "10.95.25.69.in-addr.arpa.", "10.95.25.69.amt.in-addr.arpa."},
		{"::ffff:192.0.2.255", "255.2.0.192.in-addr.arpa.", "255.2.0.192.amt.in-addr.arpa."},
		{"2001:db8::a", // RFC 8777 section 2.2
			"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
			"a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.amt.ip6.arpa."},
		{"4321:0:1:2:3:4:567:89ab", // RFC 3596 section 2.5
			"b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa.",
			"b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.amt.ip6.arpa."},
	} {
		a := netip.MustParseAddr(c.source)
		n, p := amtrelay.ReverseName(a), amtrelay.PlainName(a)
		require.Equal(t, c.reverse, n.String())
		require.Equal(t, c.plain, p.String())
		whole := netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		s, ok := amtrelay.ParseSource(&n)
		require.True(t, ok)
		require.Equal(t, amtrelay.Source{Prefix: whole}, s)
		s, ok = amtrelay.ParseSource(&p)
		require.True(t, ok)
		require.Equal(t, amtrelay.Source{Prefix: whole, Plain: true}, s)
	}
	n := amtrelay.ReverseName(netip.Addr{})
	require.True(t, n.IsRoot())
	for _, c := range []struct {
		name, prefix string
		plain, below bool
	}{
		{"in-addr.arpa", "0.0.0.0/0", false, false},
		{"AMT.in-addr.ARPA", "0.0.0.0/0", true, false},
		{"25.69.in-addr.arpa", "69.25.0.0/16", false, false},
		{"x.25.69.in-addr.arpa", "69.25.0.0/16", false, true},
		{"7.x.25.69.in-addr.arpa", "69.25.0.0/16", false, true},
		{"025.69.in-addr.arpa", "69.0.0.0/8", false, true},
		{"256.in-addr.arpa", "0.0.0.0/0", false, true},
		{"1.2.3.4.5.in-addr.arpa", "5.4.3.2/32", false, true},
		{"8.B.d.0.1.0.0.2.ip6.arpa", "2001:db8::/32", false, false},
		{"g.8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::/32", false, true},
		{"8.b.d.0.1.0.0.2.amt.ip6.arpa", "2001:db8::/32", true, false},
	} {
		n := dns.MustParseName(c.name)
		s, ok := amtrelay.ParseSource(&n)
		require.True(t, ok, c.name)
		require.Equal(t, amtrelay.Source{Prefix: netip.MustParsePrefix(c.prefix), Plain: c.plain, Below: c.below}, s, c.name)
	}
	n = dns.MustParseName("1.example.com")
	_, ok := amtrelay.ParseSource(&n)
	require.False(t, ok)
}

func BenchmarkUnmarshal(b *testing.B) {
	for _, c := range cases[:3] {
		b.Run(c.text, func(b *testing.B) {
			raw := unhex(b, c.raw)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			var r amtrelay.Record
			for b.Loop() {
				_ = r.Unmarshal(raw)
			}
		})
	}
}

func BenchmarkAppendTo(b *testing.B) {
	for _, c := range cases[:3] {
		b.Run(c.text, func(b *testing.B) {
			buf := make([]byte, 0, 512)
			b.SetBytes(int64(len(c.raw) / 2))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.record.AppendTo(buf)
			}
		})
	}
}

// A DNS library carries the data as those of an unknown type.
func Example() {
	r, _ := amtrelay.Parse("10 1 1 203.0.113.15", dns.Name{})
	data, _ := r.AppendTo(nil)
	owner := amtrelay.ReverseName(netip.MustParseAddr("198.51.100.12"))
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	_ = b.StartAnswers()
	_ = b.UnknownResource(dnsmessage.ResourceHeader{
		Name: dnsmessage.MustNewName(owner.String()), Class: dnsmessage.ClassINET, TTL: 300,
	}, dnsmessage.UnknownResource{Type: dnsmessage.Type(dns.TypeAMTRELAY), Data: data})
	msg, _ := b.Finish()

	var p dnsmessage.Parser
	_, _ = p.Start(msg)
	_ = p.SkipAllQuestions()
	h, _ := p.AnswerHeader()
	u, _ := p.UnknownResource()
	var got amtrelay.Record
	fmt.Println(h.Name, got.Unmarshal(u.Data), got)
	// Output: 12.100.51.198.in-addr.arpa. <nil> 10 1 1 203.0.113.15
}
