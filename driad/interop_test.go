package driad_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/internal/dnstest"
	"github.com/treedn/treedn/driad/resolver"
)

var update = flag.Bool("update", false, "write testdata/captures.jsonl")

// The zones of other servers: the example of RFC 8777 section 4.3.2, delegations with
// CNAME (RFC 2317) and DNAME, a service, mailboxes and instances with dots.
const (
	zoneReverse = `$TTL 300
@ IN SOA ns.example.com. host\.master.example.com. 1 7200 900 1209600 60
@ IN NS ns.example.com.
12 IN AMTRELAY 10 0 1 203.0.113.15
12 IN AMTRELAY 10 0 2 2001:db8::15
12 IN AMTRELAY 128 1 3 amtrelays.example.com.
13 IN CNAME 13.sub.example.com.
14 IN AMTRELAY 1 0 0 .
15 IN TYPE260 \# 4 0104beef
15 IN AMTRELAY 255 1 2 2001:db8::ff
17 IN PTR source.example.com.
`
	zoneDNAME = `$TTL 300
@ IN SOA ns.example.com. host\.master.example.com. 1 7200 900 1209600 60
@ IN NS ns.example.com.
@ IN DNAME d.example.com.
`
	zoneForward = `$TTL 200
@ IN SOA ns.example.com. host\.master.example.com. 1 7200 900 1209600 60
@ IN NS ns.example.com.
ns IN A 127.0.0.1
amtrelays IN A 203.0.113.99
amtrelays IN AAAA 2001:db8::99
13.sub IN AMTRELAY 1 1 1 203.0.113.13
7.d IN AMTRELAY 2 1 3 alias
alias IN CNAME amtrelays
b._dns-sd._udp IN PTR example.com.
_amt._udp IN PTR Relay\032No\.\0327._amt._udp
Relay\032No\.\0327._amt._udp IN SRV 0 5 2269 amtrelays
Relay\032No\.\0327._amt._udp IN TXT ""
`
)

var bindZones = map[string]string{
	"100.51.198.in-addr.arpa": zoneReverse, "101.51.198.in-addr.arpa": zoneDNAME, "example.com": zoneForward,
}

// The same for NSD, which does not know the type.
func nsdZones(t testing.TB) map[string]string {
	out := make(map[string]string)
	for name, z := range bindZones {
		var b strings.Builder
		for l := range strings.Lines(z) {
			if before, after, ok := strings.Cut(l, "AMTRELAY "); ok {
				r, err := amtrelay.Parse(after, dns.MustParseName(name))
				require.NoError(t, err)
				text, err := r.AppendGeneric(nil)
				require.NoError(t, err)
				l = before + "TYPE260 " + string(text) + "\n"
			}
			b.WriteString(l)
		}
		out[name] = b.String()
	}
	return out
}

// publisher runs our own authority, for 69.25/16.
func publisher(t testing.TB) netip.AddrPort {
	a, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{
		{Name: dns.MustParseName("25.69.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example.com")}},
		{Name: dns.MustParseName("25.69.amt.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example.com")}},
	}})
	require.NoError(t, err)
	r, err := amtrelay.Parse("10 1 1 203.0.113.25", dns.Name{})
	require.NoError(t, err)
	require.NoError(t, a.SetRelays([]authority.Relay{{Record: r, Coverage: []netip.Prefix{netip.MustParsePrefix("69.25.0.0/16")}}}))
	s, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addrs()[0]
}

// found returns the candidates for a source, as text.
func found(t testing.TB, source string, config driad.ClientConfig) (list []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	config.NoAnycast = true
	config.Local = func(a netip.Addr) netip.Addr { return a } // whatever routes there are
	// Questions that are under way change the list: it is complete when nothing is
	// left to ask.
	complete := make(chan struct{}, 1)
	config.AttemptTimeout = time.Millisecond
	config.OnEvent = func(_ netip.Addr, e driad.Event) {
		if e.Type == driad.EventExhausted {
			select {
			case complete <- struct{}{}:
			default:
			}
		}
	}
	d, err := driad.Discover(ctx, netip.MustParseAddr(source), config)
	require.NoError(t, err)
	select {
	case <-complete:
	case <-ctx.Done():
		t.Fatal("discovery does not end")
	}
	for l := range d.Lists() {
		for _, c := range l {
			list = append(list, fmt.Sprint(c.Method, " ", c.Precedence, " ", c.Direct, " ", c.Address))
		}
		break
	}
	return list
}

// Our client and resolvers with BIND as authority and as resolver, by all ways.
func TestBIND(t *testing.T) {
	b := dnstest.StartBIND(t, bindZones, map[string]netip.AddrPort{"25.69.in-addr.arpa": publisher(t)})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.Pool}, ForceAttemptHTTP2: true}}
	t.Cleanup(client.CloseIdleConnections)
	url := "https://" + b.HTTPS.String() + "/dns-query"
	for name, r := range map[string]interface {
		driad.Resolver
		Close() error
	}{
		"UDP":       &resolver.Plain{Servers: []netip.AddrPort{b.Plain}},
		"TCP":       &resolver.Plain{Servers: []netip.AddrPort{b.Plain}, TCPOnly: true},
		"TLS":       &resolver.TLS{Servers: []netip.AddrPort{b.TLS}, Name: "dns.test", Config: &tls.Config{RootCAs: b.Pool}},
		"HTTPS":     &resolver.HTTPS{URL: url, Client: client},
		"HTTPS GET": &resolver.HTTPS{URL: url + "{?dns}", GET: true, Client: client},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, r)
			require.NoError(t, r.Close())
		})
	}
}

func check(t *testing.T, r driad.Resolver) {
	config := driad.ClientConfig{Resolver: r}
	list := found(t, "198.51.100.12", config)
	require.Len(t, list, 4)
	require.ElementsMatch(t, []string{"DRIAD 10 false 203.0.113.15:2268", "DRIAD 10 false [2001:db8::15]:2268"}, list[:2])
	require.ElementsMatch(t, []string{"DRIAD 128 true 203.0.113.99:2268", "DRIAD 128 true [2001:db8::99]:2268"}, list[2:])
	require.Equal(t, []string{"DRIAD 1 true 203.0.113.13:2268"}, found(t, "198.51.100.13", config), "CNAME")
	require.ElementsMatch(t, []string{"DRIAD 2 true 203.0.113.99:2268", "DRIAD 2 true [2001:db8::99]:2268"}, found(t, "198.51.101.7", config), "DNAME")
	require.Empty(t, found(t, "198.51.100.14", config), "no relay")
	require.Equal(t, []string{"DRIAD 255 true [2001:db8::ff]:2268"}, found(t, "198.51.100.15", config), "a type that is not known is ignored")
	require.Empty(t, found(t, "198.51.100.16", config), "NXDOMAIN")
	require.Empty(t, found(t, "198.51.100.17", config), "no data, and a mailbox with a dot")
	require.Equal(t, []string{"DRIAD 10 true 203.0.113.25:2268"}, found(t, "69.25.95.10", config), "by way of our own authority")
	config.Domains = []dns.Name{dns.MustParseName("example.com")}
	require.ElementsMatch(t, []string{"DNS-SD 0 false 203.0.113.99:2269", "DNS-SD 0 false [2001:db8::99]:2269"}, found(t, "198.51.100.16", config))
}

// The same with Unbound as resolver, and NSD as authority for most.
func TestUnboundAndNSD(t *testing.T) {
	nsd := dnstest.StartNSD(t, nsdZones(t))
	stubs := map[string]netip.AddrPort{"25.69.in-addr.arpa": publisher(t)}
	for name := range bindZones {
		stubs[name] = nsd
	}
	r := &resolver.Plain{Servers: []netip.AddrPort{dnstest.StartUnbound(t, stubs)}}
	check(t, r)
	require.NoError(t, r.Close())
}

// The same with a forwarder, as home routers have it, before BIND, and with a load
// balancer for TLS and HTTPS before Unbound, which asks Knot and PowerDNS.
func TestForwarders(t *testing.T) {
	ours := publisher(t)
	t.Run("dnsmasq", func(t *testing.T) {
		bind := dnstest.StartBIND(t, bindZones, map[string]netip.AddrPort{"25.69.in-addr.arpa": ours})
		r := &resolver.Plain{Servers: []netip.AddrPort{dnstest.StartDnsmasq(t, bind.Plain)}}
		check(t, r)
		require.NoError(t, r.Close())
	})
	t.Run("dnsdist", func(t *testing.T) {
		zones := nsdZones(t)
		stubs := map[string]netip.AddrPort{"25.69.in-addr.arpa": ours}
		knot, power := dnstest.StartKnot(t, zones), dnstest.StartPowerDNS(t, zones)
		for name := range zones {
			stubs[name] = knot
		}
		stubs["100.51.198.in-addr.arpa"] = power
		d := dnstest.StartDNSDist(t, dnstest.StartUnbound(t, stubs))
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.Pool}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		for name, r := range map[string]interface {
			driad.Resolver
			Close() error
		}{
			"UDP":       &resolver.Plain{Servers: []netip.AddrPort{d.Plain}},
			"TCP":       &resolver.Plain{Servers: []netip.AddrPort{d.Plain}, TCPOnly: true},
			"TLS":       &resolver.TLS{Servers: []netip.AddrPort{d.TLS}, Config: &tls.Config{RootCAs: d.Pool}},
			"HTTPS":     &resolver.HTTPS{URL: "https://" + d.HTTPS.String() + "/dns-query", Client: client},
			"HTTPS GET": &resolver.HTTPS{URL: "https://" + d.HTTPS.String() + "/dns-query", GET: true, Client: client},
		} {
			t.Run(name, func(t *testing.T) {
				check(t, r)
				require.NoError(t, r.Close())
			})
		}
	})
}

// capture is a line of testdata/captures.jsonl.
type capture struct {
	From    string   `json:"from"`
	Name    string   `json:"name"`
	Type    dns.Type `json:"type"`
	Message string   `json:"message"`           // hexadecimal
	Query   string   `json:"query,omitempty"`   // what a client sent, instead
	RCode   string   `json:"rcode,omitempty"`   // and the rest as dig printed it
	Records []string `json:"records,omitempty"` // of the type asked for, sorted
}

const captures = "testdata/captures.jsonl"

// What other servers sent when this was recorded, and what dig made of it.
func TestCaptures(t *testing.T) {
	f, err := os.Open(captures)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	answers, queries := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c capture
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		q := dns.Question{Name: dns.MustParseName(c.Name), Type: c.Type, Class: dns.ClassINET}
		if c.Query != "" {
			msg, err := hex.DecodeString(c.Query)
			require.NoError(t, err)
			var p dns.Parser
			require.NoError(t, p.Start(msg))
			var got dns.Question
			ok, err := p.Question(&got)
			require.True(t, ok && err == nil)
			require.Equal(t, q.String(), got.String(), c.From)
			queries++
			continue
		}
		msg, err := hex.DecodeString(c.Message)
		require.NoError(t, err)
		query := dns.Query{ID: uint16(msg[0])<<8 | uint16(msg[1]), Question: q, MixedCase: true}
		require.NoError(t, query.Check(msg))
		a, err := dns.ParseAnswer(msg, q)
		require.NoError(t, err)
		require.Equal(t, c.RCode, a.RCode.String(), c.From+" "+c.Name)
		var got []string
		for _, r := range a.Records {
			got = append(got, text(t, r))
		}
		slices.Sort(got)
		require.Equal(t, c.Records, got, c.From+" "+c.Name)
		require.Greater(t, a.TTL, time.Duration(0), "%s %s", c.From, c.Name)
		answers++
	}
	require.Greater(t, answers, 30)
	require.Greater(t, queries, 2)
}

func text(t testing.TB, r dns.Record) string {
	switch r.Type {
	case dns.TypeA, dns.TypeAAAA:
		return r.Address.String()
	case dns.TypePTR:
		return r.Target.String()
	case dns.TypeSRV:
		return fmt.Sprint(r.Priority, " ", r.Weight, " ", r.Port, " ", r.Target)
	}
	var x amtrelay.Record
	require.NoError(t, x.Unmarshal(r.Data))
	return strings.ToUpper(x.String())
}

// Records what servers send and what dig prints, with -update.
func TestRecordCaptures(t *testing.T) {
	if !*update {
		t.Skip("writes " + captures + " with -update")
	}
	var out []capture
	version := regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`)
	bind := "BIND " + version.FindString(dnstest.Run(t, "named", "-v"))
	nsd := dnstest.StartNSD(t, nsdZones(t))
	stubs := make(map[string]netip.AddrPort)
	for name := range bindZones {
		stubs[name] = nsd
	}
	for _, s := range []struct {
		name string
		at   netip.AddrPort
	}{
		{bind + ", authoritative", dnstest.StartBIND(t, bindZones, nil).Plain},
		{"NSD 4.6.1, authoritative", nsd},
		{"Unbound 1.17.1, resolver for NSD", dnstest.StartUnbound(t, stubs)},
	} {
		for _, q := range []struct {
			name string
			kind dns.Type
		}{
			{"12.100.51.198.in-addr.arpa.", dns.TypeAMTRELAY}, {"13.100.51.198.in-addr.arpa.", dns.TypeAMTRELAY},
			{"14.100.51.198.in-addr.arpa.", dns.TypeAMTRELAY}, {"15.100.51.198.in-addr.arpa.", dns.TypeAMTRELAY},
			{"16.100.51.198.in-addr.arpa.", dns.TypeAMTRELAY}, {"17.100.51.198.in-addr.arpa.", dns.TypeAMTRELAY},
			{"7.101.51.198.in-addr.arpa.", dns.TypeAMTRELAY}, {"8.101.51.198.in-addr.arpa.", dns.TypeAMTRELAY},
			{"amtrelays.example.com.", dns.TypeA}, {"amtrelays.example.com.", dns.TypeAAAA}, {"alias.example.com.", dns.TypeAAAA},
			{"_amt._udp.example.com.", dns.TypePTR}, {`Relay\032No\.\0327._amt._udp.example.com.`, dns.TypeSRV},
			{"none.example.com.", dns.TypeA},
		} {
			query := dns.Query{ID: 4711, Question: dns.Question{Name: dns.MustParseName(q.name), Type: q.kind}}
			msg, err := dnstest.Exchange(s.at, query.AppendTo(nil), 10*time.Second)
			require.NoError(t, err)
			c := capture{From: s.name, Name: query.Question.Name.String(), Type: q.kind, Message: hex.EncodeToString(msg)}
			printed := dnstest.Run(t, "dig", "@127.0.0.1", "-p", fmt.Sprint(s.at.Port()), q.name, q.kind.String(), "+noall", "+answer", "+comments")
			c.RCode = regexp.MustCompile(`status: ([A-Z]+)`).FindStringSubmatch(printed)[1]
			for l := range strings.Lines(printed) {
				if f := strings.Fields(l); len(f) > 4 && f[3] == q.kind.String() && l[0] != ';' {
					r := strings.Join(f[4:], " ")
					if q.kind == dns.TypeAMTRELAY {
						r = strings.ToUpper(r)
					}
					c.Records = append(c.Records, r)
				}
			}
			slices.Sort(c.Records)
			out = append(out, c)
		}
	}
	for _, client := range [][]string{{"dig", "AMTRELAY", "+nocookie"}, {"dig", "AMTRELAY", "+dnssec"}, {"dig", "AMTRELAY", "+noedns"}, {"kdig", "TYPE260"}} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		require.NoError(t, err)
		got := make(chan []byte, 1)
		go func() {
			b := make([]byte, 1024)
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			got <- append([]byte{}, b[:n]...)
			b[2] |= 0x80
			_, _ = conn.WriteToUDPAddrPort(b[:n], from)
		}()
		args := append([]string{"@127.0.0.1", "-p", fmt.Sprint(conn.LocalAddr().(*net.UDPAddr).Port), "12.100.51.198.in-addr.arpa."}, client[1:]...)
		dnstest.Run(t, client[0], args...)
		out = append(out, capture{From: strings.Join(client, " "), Name: "12.100.51.198.in-addr.arpa.", Type: dns.TypeAMTRELAY, Query: hex.EncodeToString(<-got)})
		_ = conn.Close()
	}
	f, err := os.Create(captures)
	require.NoError(t, err)
	for _, c := range out {
		b, err := json.Marshal(c)
		require.NoError(t, err)
		_, err = fmt.Fprintf(f, "%s\n", b)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}
