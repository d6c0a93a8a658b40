package authority_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/internal/dnstest"
)

func near(r authority.Relay, clients ...string) authority.Relay {
	for _, c := range clients {
		r.Clients = append(r.Clients, netip.MustParsePrefix(c))
	}
	return r
}

// world has relays in two places and one for who is elsewhere.
func world(t testing.TB) *authority.Authority {
	return newAuthority(t, authority.Config{Rate: -1},
		near(relay("10 0 1 203.0.113.1", "69.0.0.0/8"), "198.51.0.0/16", "2001:db8::/32"),
		near(relay("10 0 1 203.0.113.2", "69.0.0.0/8"), "198.51.100.0/24", "192.0.2.0/24"),
		relay("10 0 1 203.0.113.3", "69.0.0.0/8"),
		relay("10 0 1 203.0.113.4", "69.1.0.0/16"),
	)
}

// subnetQuery asks for a client.
func subnetQuery(name string, option []byte) []byte {
	n := dns.MustParseName(name)
	b := dns.NewBuilder(nil, dns.Header{ID: 4711}, &dns.Question{Name: n, Type: dns.TypeAMTRELAY})
	b.EDNS(dns.EDNS{UDPSize: 1232}, option)
	return b.Message()
}

func TestNearestRelays(t *testing.T) {
	a := world(t)
	for _, c := range []struct {
		resolver, client, name string
		want                   []string
		scope                  int // -1: no option
	}{
		{"198.51.1.1", "", "1.1.2.69", []string{"1"}, -1},
		{"198.51.100.1", "", "1.1.2.69", []string{"2"}, -1},
		{"203.0.113.99", "", "1.1.2.69", []string{"3"}, -1},
		{"203.0.113.99", "", "1.1.1.69", []string{"3", "4"}, -1},
		{"2001:db8::1", "", "1.1.2.69", []string{"1"}, -1},
		{"203.0.113.99", "198.51.1.0/24", "1.1.2.69", []string{"1"}, 18}, // 198.51.0.0/18 has nothing of 198.51.100.0/24
		{"203.0.113.99", "198.51.100.0/24", "1.1.2.69", []string{"2"}, 24},
		{"203.0.113.99", "198.51.0.0/16", "1.1.2.69", []string{"1"}, 18}, // not narrow enough
		{"203.0.113.99", "10.0.0.0/8", "1.1.2.69", []string{"3"}, 1},
		{"203.0.113.99", "2001:db8:1::/48", "1.1.2.69", []string{"1"}, 32},
		{"203.0.113.99", "2001:db9:1::/48", "1.1.2.69", []string{"3"}, 32},
		{"198.51.1.1", "0.0.0.0/0", "1.1.2.69", []string{"1"}, 0}, // it does not want to be known
		{"198.51.1.1", "10.0.0.0/8", "1.1.2.70", nil, -1},         // of no zone
	} {
		t.Run(fmt.Sprintf("%s for %s", c.resolver, c.client), func(t *testing.T) {
			var option []byte
			if c.client != "" {
				s := dns.ClientSubnet{Prefix: netip.MustParsePrefix(c.client)}
				option = s.AppendTo(nil)
			}
			b := a.Respond(epoch, netip.MustParseAddr(c.resolver), true, subnetQuery(c.name+".in-addr.arpa", option), nil)
			answer, err := dns.ParseAnswer(b, dns.Question{Name: dns.MustParseName(c.name + ".in-addr.arpa"), Type: dns.TypeAMTRELAY})
			require.NoError(t, err)
			var got []string
			for _, r := range answer.Records {
				got = append(got, fmt.Sprint(r.Data[5]))
			}
			require.ElementsMatch(t, c.want, got)
			s, ok := subnetOf(t, b)
			require.Equal(t, c.scope >= 0 || c.want == nil, ok)
			if c.scope >= 0 {
				require.Equal(t, dns.ClientSubnet{Prefix: netip.MustParsePrefix(c.client), Scope: uint8(c.scope)}, s)
			}
		})
	}
	// Without relays that are near to somebody, the option is not spoken.
	s := dns.ClientSubnet{Prefix: netip.MustParsePrefix("198.51.1.0/24")}
	_, ok := subnetOf(t, standard(t).Respond(epoch, client, true, subnetQuery("10.95.25.69.in-addr.arpa", s.AppendTo(nil)), nil))
	require.False(t, ok)
	// Malformed.
	for _, option := range [][]byte{{0, 8, 0, 4, 0, 1, 24, 0}, {0, 8, 0, 5, 0, 1, 7, 0, 0xff}, {0, 8, 0, 9}, {0, 8, 0, 4, 0, 3, 0, 0}, {0, 8, 0}} {
		b := a.Respond(epoch, client, true, subnetQuery("1.1.2.69.in-addr.arpa", option), nil)
		require.EqualValues(t, dns.RCodeFormatError, b[3]&0xf, "%x", option)
	}
	bad := relay("1 0 1 192.0.2.1", "69.0.0.0/8")
	bad.Clients = make([]netip.Prefix, 1)
	require.ErrorIs(t, a.SetRelays([]authority.Relay{bad}), authority.ErrRelays)
	// A zone file has them all.
	require.Equal(t, 3, strings.Count(string(a.AppendZone(nil, dns.MustParseName("69.in-addr.arpa"), false)), "*.69.in-addr.arpa. 300 IN AMTRELAY"))
}

func subnetOf(t testing.TB, msg []byte) (dns.ClientSubnet, bool) {
	t.Helper()
	var p dns.Parser
	require.NoError(t, p.Start(msg))
	var r dns.Resource
	for {
		ok, err := p.Next(&r)
		require.NoError(t, err)
		require.True(t, ok, "no OPT record")
		if r.Type == dns.TypeOPT {
			s, ok, err := dns.ParseClientSubnet(r.Data)
			require.NoError(t, err)
			return s, ok
		}
	}
}

// dig and kdig ask for others, and Unbound keeps an answer for those whom it is for.
func TestClientSubnetInterop(t *testing.T) {
	a := world(t)
	at := serve(t, a)
	const name = "1.1.2.69.in-addr.arpa"
	out := dnstest.Run(t, "dig", "@127.0.0.1", "-p", fmt.Sprint(at.Port()), name, "AMTRELAY", "+subnet=198.51.100.0/24")
	require.Contains(t, out, "CLIENT-SUBNET: 198.51.100.0/24/24")
	require.Contains(t, out, "10 0 1 203.0.113.2")
	out = dnstest.Run(t, "kdig", "@127.0.0.1", "-p", fmt.Sprint(at.Port()), name, "TYPE260", "+subnet=2001:db8:1::/48")
	require.Contains(t, out, "CLIENT-SUBNET: 2001:db8:1::/48/32")
	require.Contains(t, out, "CB007101")

	unbound := dnstest.StartUnbound(t, map[string]netip.AddrPort{"69.in-addr.arpa": at}, `module-config: "subnetcache iterator"`,
		"send-client-subnet: 127.0.0.1", "client-subnet-always-forward: yes", "max-client-subnet-ipv4: 24")
	// 198.51.1.0 and 198.51.2.0 share an answer, 198.51.100.0 has its own.
	for _, c := range [][3]string{{"198.51.1.0/24", "203.0.113.1", "1"}, {"198.51.2.0/24", "203.0.113.1", "1"}, {"198.51.100.0/24", "203.0.113.2", "2"}, {"10.0.0.0/24", "203.0.113.3", "3"}, {"198.51.100.0/24", "203.0.113.2", "3"}} {
		out := dnstest.Run(t, "dig", "@127.0.0.1", "-p", fmt.Sprint(unbound.Port()), name, "AMTRELAY", "+subnet="+c[0])
		require.Contains(t, out, "10 0 1 "+c[1], c[0])
		require.EqualValues(t, c[2], fmt.Sprint(a.Stats().Answers-2), "asked by Unbound, until %s", c[0])
	}
}
