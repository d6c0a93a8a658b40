package authority_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/internal/dnstest"
)

// serve runs a server on the loopback interface.
func serve(t testing.TB, a *authority.Authority) netip.AddrPort {
	s, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
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

func lines(s string) (out []string) {
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" && l[0] != ';' {
			out = append(out, l)
		}
	}
	return out
}

// What dig and kdig, which knows no AMTRELAY, read of our answers.
func TestDigReadsAnswers(t *testing.T) {
	at := serve(t, standard(t))
	args := func(name string, more ...string) []string {
		return append([]string{"@127.0.0.1", "-p", fmt.Sprint(at.Port()), name}, more...)
	}
	const name = "10.95.25.69.in-addr.arpa"
	want := []string{"10 0 1 203.0.113.15", "10 1 2 2001:db8::15", "20 1 3 relays.example.com."}
	for _, how := range []string{"+notcp", "+tcp", "+noedns", "+dnssec", "+nocookie"} {
		require.ElementsMatch(t, want, lines(dnstest.Run(t, "dig", args(name, "AMTRELAY", "+short", how)...)), how)
	}
	generic := []string{`\# 6 0A01CB00710F`, `\# 18 0A8220010DB8000000000000000000000015`, `\# 22 14830672656C617973076578616D706C6503636F6D00`}
	require.ElementsMatch(t, generic, lines(dnstest.Run(t, "dig", args(name, "TYPE260", "+short", "+unknownformat")...)))
	// delv asks as a resolver would that validates; there is nothing to.
	for _, how := range []string{"+notcp", "+tcp"} {
		require.Subset(t, lines(dnstest.Run(t, "delv", append([]string{"-i", "+short", how}, args(name, "AMTRELAY")...)...)), want)
	}
	out := dnstest.Run(t, "dig", args("10.95.26.69.in-addr.arpa", "AMTRELAY")...)
	require.Contains(t, out, "status: NXDOMAIN")
	require.Contains(t, out, "SOA\tns1.example.com. hostmaster.example.com. 2 7200 900 1209600 60")
	require.NotContains(t, out, "WARNING: Message")
	out = dnstest.Run(t, "dig", args(name, "AMTRELAY", "+edns=3", "+noednsnegotiation")...)
	require.Contains(t, out, "status: BADVERS")
	require.ElementsMatch(t, generic, lines(dnstest.Run(t, "kdig", args(name, "TYPE260", "+short")...)))
}

// nested has prefixes of all kinds, between labels, too.
func nested(t testing.TB) *authority.Authority {
	return nestedIn(t, authority.Config{Rate: -1, MaxRecords: 64})
}

func nestedIn(t testing.TB, config authority.Config) *authority.Authority {
	sick := relay("0 0 1 203.0.113.66", "69.25.0.0/16")
	sick.Unhealthy = true
	return newAuthority(t, config,
		relay("10 0 1 203.0.113.1", "69.0.0.0/9", "2001:db8::/35"),
		relay("10 1 2 2001:db8::15", "69.25.95.0/24", "69.25.95.7/32"),
		relay("20 1 3 relays.example.com.", "69.25.94.0/23", "2001:db8:0:8000::/49"),
		relay("0 0 0 .", "69.25.95.66/32"),
		relay("5 0 1 203.0.113.2", "69.25.95.64/27", "69.200.0.0/30"),
		relay("7 0 1 203.0.113.3", "2001:db8::a/128", "2001:db8:ffff::/48"),
		sick,
	)
}

// Other servers, with our zone files, say what we say.
func TestZoneFiles(t *testing.T) {
	a := nested(t)
	names := []string{"69.in-addr.arpa", "69.amt.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "8.b.d.0.1.0.0.2.amt.ip6.arpa"}
	files := func(generic bool) map[string]string {
		out := make(map[string]string)
		for _, n := range names {
			out[n] = string(a.AppendZone(nil, dns.MustParseName(n), generic))
			if !strings.Contains(n, "ip6") { // the glue that the zone's own server needs
				out[n] += "ns2." + n + ". 300 IN A 127.0.0.1\n"
			} else {
				out[n] += "ns2." + n + ". 300 IN AAAA ::1\n"
			}
		}
		return out
	}
	for what, start := range map[string]func(*testing.T) netip.AddrPort{
		"BIND":     func(t *testing.T) netip.AddrPort { return dnstest.StartBIND(t, files(false), nil).Plain },
		"NSD":      func(t *testing.T) netip.AddrPort { return dnstest.StartNSD(t, files(true)) },
		"Knot":     func(t *testing.T) netip.AddrPort { return dnstest.StartKnot(t, files(true)) },
		"PowerDNS": func(t *testing.T) netip.AddrPort { return dnstest.StartPowerDNS(t, files(true)) },
	} {
		t.Run(what, func(t *testing.T) {
			server := start(t)
			r := rand.New(rand.NewPCG(1, 2))
			compared, with := 0, 0
			for _, q := range questions(r) {
				if !slices.ContainsFunc(names, func(s string) bool { z := dns.MustParseName(s); return q.Name.In(&z) }) {
					continue
				}
				query := dns.Query{ID: uint16(r.Uint32()), Question: q}
				msg := query.AppendTo(nil)
				theirs, err := dnstest.Exchange(server, msg, 10*time.Second)
				require.NoError(t, err)
				ours := a.Respond(epoch, client, true, msg, nil)
				x, y := summary(t, theirs, q), summary(t, ours, q)
				require.Equal(t, x, y, "%s", q)
				compared++
				if strings.Contains(x, "|") {
					with++
				}
			}
			t.Logf("%d answers are the same, %d of them with records", compared, with)
			require.Greater(t, with, compared/4)
		})
	}
}

// questions are about addresses in, at the edges of, and outside of the prefixes of
// nested, and names above them.
func questions(r *rand.Rand) (list []dns.Question) {
	var addrs []netip.Addr
	for _, s := range []string{"69.0.0.0/9", "69.25.94.0/23", "69.25.95.64/27", "69.200.0.0/30", "69.25.95.7/32", "69.25.95.66/32", "69.128.0.0/9",
		"69.25.95.0/24", "2001:db8::/35", "2001:db8:0:8000::/49", "2001:db8::a/128", "2001:db8:ffff::/48", "2001:db8:2000::/35"} {
		p := netip.MustParsePrefix(s)
		for range 12 {
			b := p.Addr().AsSlice()
			for i := p.Bits(); i < len(b)*8; i++ {
				b[i/8] |= byte(r.IntN(2)) << (7 - i%8)
			}
			a, _ := netip.AddrFromSlice(b)
			addrs = append(addrs, a)
		}
		addrs = append(addrs, p.Addr(), p.Addr().Prev())
	}
	for _, a := range addrs {
		for _, n := range []dns.Name{amtrelay.ReverseName(a), amtrelay.PlainName(a)} {
			for _, kind := range []dns.Type{dns.TypeAMTRELAY, dns.TypeA, dns.TypeAAAA} {
				list = append(list, dns.Question{Name: n, Type: kind, Class: dns.ClassINET})
			}
		}
	}
	for _, s := range []string{"69.in-addr.arpa", "69.amt.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"} {
		for _, kind := range []dns.Type{dns.TypeSOA, dns.TypeNS, dns.TypeAMTRELAY} {
			list = append(list, dns.Question{Name: dns.MustParseName(s), Type: kind, Class: dns.ClassINET})
		}
	}
	// Outside of all prefixes only: a wildcard answers for more than addresses.
	for _, s := range []string{"129.69.in-addr.arpa", "200.69.in-addr.arpa", "0.200.69.in-addr.arpa", "1.200.69.in-addr.arpa", "f.f.8.b.d.0.1.0.0.2.ip6.arpa",
		"e.f.8.b.d.0.1.0.0.2.ip6.arpa", "f.f.f.f.8.b.d.0.1.0.0.2.amt.ip6.arpa", "x.129.69.in-addr.arpa"} {
		list = append(list, dns.Question{Name: dns.MustParseName(s), Type: dns.TypeTXT, Class: dns.ClassINET})
	}
	return list
}

// summary is response code, flags and the sorted records of an answer.
func summary(t testing.TB, msg []byte, q dns.Question) string {
	t.Helper()
	var p dns.Parser
	require.NoError(t, p.Start(msg))
	a, err := dns.ParseAnswer(msg, q)
	require.NoError(t, err)
	out := []string{}
	for _, r := range a.Records {
		switch {
		case r.Address.IsValid():
			out = append(out, fmt.Sprintf("|%s %d", r.Address, r.TTL))
		case r.Type == dns.TypeAMTRELAY:
			var x amtrelay.Record
			require.NoError(t, x.Unmarshal(r.Data))
			out = append(out, fmt.Sprintf("|%s %d", x, r.TTL))
		default: // names are compressed in more ways than one
			out = append(out, fmt.Sprintf("|%s %d", r.Type, r.TTL))
		}
	}
	slices.Sort(out)
	if len(a.Records) == 0 {
		out = append(out, a.TTL.String())
	}
	return fmt.Sprint(a.RCode, p.Header.Flags&(dns.FlagAuthoritative|dns.FlagTruncated), out)
}

// Each address of the machine has a socket of its own.
func TestAnyAddress(t *testing.T) {
	s, err := authority.Listen(authority.ServerConfig{Authority: standard(t), Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(t.Context()) }()
	loopback := false
	for _, a := range s.Addrs() {
		require.False(t, a.Addr().IsUnspecified())
		loopback = loopback || a.Addr().IsLoopback()
		if a.Addr().IsLoopback() {
			_, err := dnstest.Exchange(a, query("69.in-addr.arpa", dns.TypeSOA, true), 10*time.Second)
			require.NoError(t, err)
		}
	}
	require.True(t, loopback)
	require.NoError(t, s.Close())
	<-done
	_, err = authority.Listen(authority.ServerConfig{Authority: standard(t)})
	require.Error(t, err)
}

// Many clients at once, by UDP and TCP, while the relays change; connections beyond
// the bound are closed.
func TestServer(t *testing.T) {
	a := standard(t)
	s, err := authority.Listen(authority.ServerConfig{Authority: a, MaxConns: 16, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	at := s.Addrs()[0]
	stop := make(chan struct{})
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = a.SetRelays([]authority.Relay{relay(fmt.Sprintf("%d 0 1 192.0.2.%d", i%256, i%256), "69.0.0.0/8")})
			}
		}
	}()
	finished := make(chan error, 8)
	for range cap(finished) {
		go func() {
			q := query("10.95.25.69.in-addr.arpa", dns.TypeAMTRELAY, true)
			for range 50 {
				if _, err := dnstest.Exchange(at, q, 10*time.Second); err != nil {
					finished <- err
					return
				}
			}
			finished <- nil
		}()
	}
	for range cap(finished) {
		require.NoError(t, <-finished)
	}
	close(stop)
	<-changed
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", at.String())
		require.NoError(t, err)
		conns = append(conns, c)
	}
	_, err = conns[2].Read(make([]byte, 1))
	require.Error(t, err, "closed by the server: 2 for each network are an eighth of all")
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1)}}
	other, err := d.Dial("tcp", at.String())
	require.NoError(t, err)
	q := query("69.in-addr.arpa", dns.TypeSOA, true)
	_, err = other.Write(append([]byte{0, byte(len(q))}, q...))
	require.NoError(t, err)
	_, err = other.Read(make([]byte, 1))
	require.NoError(t, err, "another network has places of its own")
	_ = other.Close()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
	for _, c := range conns {
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err)
		_ = c.Close()
	}
}
