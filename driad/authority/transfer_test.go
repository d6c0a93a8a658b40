package authority_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/internal/dnstest"
)

var everybody = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// primary runs a server that tells a secondary of changes.
func primary(t testing.TB, a *authority.Authority, secondary netip.AddrPort) netip.AddrPort {
	s, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Notify: []netip.AddrPort{secondary}, MaxConns: 1024})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	return s.Addrs()[0]
}

// Secondaries get the zones, say what we say, and hear of changes.
func TestSecondaries(t *testing.T) {
	names := []string{"69.in-addr.arpa", "69.amt.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "8.b.d.0.1.0.0.2.amt.ip6.arpa"}
	for what, start := range map[string]func(t testing.TB, at, primary netip.AddrPort, zones ...string){
		"BIND": dnstest.StartBINDSecondary, "NSD": dnstest.StartNSDSecondary, "Knot": dnstest.StartKnotSecondary,
	} {
		t.Run(what, func(t *testing.T) {
			at := dnstest.Address(t)
			a := nestedIn(t, authority.Config{Rate: -1, MaxRecords: 64, Transfer: everybody})
			from := primary(t, a, at)
			start(t, at, from, names...)
			same := func(q dns.Question) bool {
				query := dns.Query{ID: uint16(rand.Uint32()), Question: q}
				theirs, err := dnstest.Exchange(at, query.AppendTo(nil), time.Second)
				if err != nil {
					return false
				}
				ours := a.Respond(epoch, client, true, query.AppendTo(nil), nil)
				return summary(t, theirs, q) == summary(t, ours, q)
			}
			compare := func() {
				t.Helper()
				for _, q := range questions(rand.New(rand.NewPCG(1, 2))) {
					if slices.ContainsFunc(names, func(s string) bool { z := dns.MustParseName(s); return q.Name.In(&z) }) {
						require.Eventually(t, func() bool { return same(q) }, 30*time.Second, 20*time.Millisecond, q)
					}
				}
			}
			compare()
			// They would look by themselves after two hours.
			require.NoError(t, a.SetRelays([]authority.Relay{relay("10 0 1 203.0.113.200", "69.25.0.0/16", "2001:db8::/33")}))
			compare()
			require.GreaterOrEqual(t, a.Stats().Transfers, uint64(8))
		})
	}
}

// What dig makes of transfers, whole ones and such as only say that there is nothing new.
func TestTransfers(t *testing.T) {
	a := nestedIn(t, authority.Config{Rate: -1, Serial: 41, Transfer: everybody})
	at := serve(t, a)
	dig := func(args ...string) []string {
		return lines(dnstest.Run(t, "dig", append([]string{"@127.0.0.1", "-p", fmt.Sprint(at.Port()), "+onesoa", "+nostats", "+nocomments", "+noquestion"}, args...)...))
	}
	for _, zone := range []string{"69.in-addr.arpa", "69.amt.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"} {
		var want []string
		for l := range strings.Lines(string(a.AppendZone(nil, dns.MustParseName(zone), false))) {
			want = append(want, strings.Join(strings.Fields(l), " "))
		}
		for _, how := range [][]string{{"AXFR"}, {"AXFR", "+noedns"}, {"IXFR=40"}, {"IXFR=7", "+tcp"}} {
			var got []string
			for _, l := range dig(append([]string{zone}, how...)...) {
				got = append(got, strings.Join(strings.Fields(l), " "))
			}
			if last := len(got) - 1; last > 0 && got[last] == got[0] {
				got = got[:last] // +onesoa is for AXFR only
			}
			require.ElementsMatch(t, want, got, "%s %v", zone, how)
		}
		for _, how := range [][]string{{"IXFR=42"}, {"IXFR=42", "+tcp"}, {"IXFR=43"}} {
			require.Len(t, dig(append([]string{zone}, how...)...), 1, "%s %v", zone, how)
		}
	}
	require.Contains(t, dnstest.Run(t, "dig", "@127.0.0.1", "-p", fmt.Sprint(at.Port()), "25.69.in-addr.arpa", "AXFR"), "Transfer failed")
}

// A zone of less than an octet (RFC 2317): CNAME records of the reverse tree lead to it.
func TestClasslessZone(t *testing.T) {
	const name = "0/26.2.0.192.in-addr.arpa"
	a := newAuthority(t, authority.Config{Rate: -1, Transfer: everybody, Zones: []authority.Zone{
		{Name: dns.MustParseName(name), For: dns.MustParseName("2.0.192.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}},
		{Name: dns.MustParseName("rev.example"), For: dns.MustParseName("8.b.d.0.1.0.0.2.ip6.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}},
	}}, relay("10 0 1 203.0.113.15", "192.0.2.8/30"), relay("10 0 2 2001:db8::15", "2001:db8::/35"))
	require.Equal(t, []string{"10 0 1 203.0.113.15"}, answers(t, ask(t, a, "10."+name, dns.TypeAMTRELAY)))
	require.Equal(t, dnsmessage.RCodeNameError, ask(t, a, "12."+name, dns.TypeAMTRELAY).RCode)
	require.Equal(t, dnsmessage.RCodeSuccess, ask(t, a, "0.0.rev.example", dns.TypeAMTRELAY).RCode, "an empty non-terminal")
	require.Equal(t, dnsmessage.RCodeNameError, ask(t, a, "0.4.rev.example", dns.TypeAMTRELAY).RCode)
	require.Equal(t, dnsmessage.RCodeRefused, ask(t, a, "10.2.0.192.in-addr.arpa", dns.TypeAMTRELAY).RCode)
	_, err := authority.New(authority.Config{Zones: []authority.Zone{{Name: dns.MustParseName(strings.Repeat("a.", 110)), For: dns.MustParseName("2.0.192.in-addr.arpa"),
		NameServers: []dns.Name{dns.MustParseName("ns.example")}}}})
	require.ErrorIs(t, err, authority.ErrConfig)

	at := serve(t, a)
	b := dnstest.StartBIND(t, map[string]string{
		"2.0.192.in-addr.arpa": "$TTL 300\n@ IN SOA a. b. 1 7200 900 1209600 60\n@ IN NS a.\n0/26 IN NS a.\n10 IN CNAME 10.0/26\n",
		"ip6.arpa":             "$TTL 300\n@ IN SOA a. b. 1 7200 900 1209600 60\n@ IN NS a.\n8.b.d.0.1.0.0.2 IN DNAME rev.example.\n",
	}, map[string]netip.AddrPort{name: at, "rev.example": at})
	dig := func(name string) []string {
		return lines(dnstest.Run(t, "dig", "@127.0.0.1", "-p", fmt.Sprint(b.Plain.Port()), "+short", name, "AMTRELAY"))
	}
	require.Equal(t, []string{"10." + name + ".", "10 0 1 203.0.113.15"}, dig("10.2.0.192.in-addr.arpa"))
	reverse := amtrelay.ReverseName(netip.MustParseAddr("2001:db8::1"))
	got := dig(reverse.String())
	require.Equal(t, "10 0 2 2001:db8::15", got[len(got)-1])

	// Other servers have it by zone file.
	text := string(a.AppendZone(nil, dns.MustParseName(name), true))
	require.Contains(t, text, "10."+name+". 300 IN TYPE260")
	require.Contains(t, string(a.AppendZone(nil, dns.MustParseName("rev.example"), true)), "*.1.rev.example. 300 IN TYPE260")
}
