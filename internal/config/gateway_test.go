package config

import (
	"flag"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad/resolver"
)

func beaconWith(t *testing.T, gateway string) (*Beacon, error) {
	t.Helper()
	return Parse[Beacon]("b", []byte(strings.Replace(minimalBeacon, "group:", "amt: "+gateway+", group:", 1)))
}

func TestGateway(t *testing.T) {
	c, err := beaconWith(t, "{relays: [192.0.2.1, '[2001:db8::1]:2269', relay.example, 'relay.example:99'], driad: true, resolver: 'tls://192.0.2.53#dns.example'}")
	require.NoError(t, err)
	g := &c.Services[0].Upstream.AMT
	require.Equal(t, AMTAuto, g.Mode)
	require.Equal(t, []amt.Candidate{
		{Address: netip.MustParseAddrPort("192.0.2.1:2268")}, {Address: netip.MustParseAddrPort("[2001:db8::1]:2269")},
	}, g.Candidates())
	d := g.Discovery()
	require.Equal(t, "relay.example.", d.Relays[2].Name.String())
	require.Equal(t, uint16(99), d.Relays[3].Address.Port())
	require.False(t, d.NoDRIAD || d.NoAnycast || d.NoPlain || d.NoServiceDiscovery)
	require.Equal(t, &resolver.TLS{Servers: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.53"), 0)}, Name: "dns.example"}, d.Resolver)
	var b strings.Builder
	require.NoError(t, c.Explain(&b))
	for _, want := range []string{
		"natively, and through an AMT relay while nothing comes natively", "relay 4: relay.example:99", "AMTRELAY records",
		"asks the DNS server tls://192.0.2.53#dns.example",
	} {
		require.Contains(t, b.String(), want)
	}

	c, err = beaconWith(t, "{relays: [192.0.2.1], mode: tunnel}")
	require.NoError(t, err)
	g = &c.Services[0].Upstream.AMT
	require.Nil(t, g.Discovery(), "nothing is to be looked up")
	require.Equal(t, amt.ModeTunnel, g.Mode.Mode())
	c, err = beaconWith(t, "{relays: [relay.example], mode: adaptive}")
	require.NoError(t, err)
	d = c.Services[0].Upstream.AMT.Discovery()
	require.True(t, d.NoDRIAD && d.NoAnycast && d.NoPlain && d.NoServiceDiscovery, "only what is named is looked up")
	c, err = Parse[Beacon]("b", []byte(minimalBeacon))
	require.NoError(t, err)
	require.Equal(t, Gateway{Mode: AMTNative}, c.Services[0].Upstream.AMT)
}

func TestGatewayProblems(t *testing.T) {
	for gateway, want := range map[string]string{
		"{mode: auto}":                                 "upstream.amt.relays: are missing",
		"{mode: tunnel}":                               "upstream.amt.relays: are missing",
		"{mode: sideways}":                             "none of native, tunnel, auto and adaptive",
		"{mode: native, driad: true}":                  "upstream.amt.mode: is native",
		"{mode: native, relays: [192.0.2.1]}":          "upstream.amt.mode: is native",
		"{relays: [0.0.0.0]}":                          "amt.relays[0]: 0.0.0.0 is not a unicast address",
		"{relays: [192.0.2.1, 232.1.1.1]}":             "amt.relays[1]: 232.1.1.1 is not",
		"{relays: [192.0.2]}":                          "is not an address or a name",
		"{relays: ['-x.example']}":                     "is not an address or a name",
		"{relays: ['relay.example:0']}":                "is not an address or a name",
		"{relays: ['relay.example:x']}":                "is not an address or a name",
		"{relays: [192.0.2.1], resolver: 192.0.2.53}":  "amt.resolver: is set, and nothing is looked up",
		"{driad: true, resolver: dns.example}":         "is not a DNS server",
		"{driad: true, resolver: 'tls://dns.example'}": "is not a DNS server",
		"{driad: true, any: true}":                     "unknown key",
	} {
		_, err := beaconWith(t, gateway)
		require.ErrorContains(t, err, want, gateway)
	}
	_, err := Parse[Beacon]("b", []byte("services: [{name: a, upstream: {any_source: true, group: 239.1.1.1, port: 1, unsigned: true, amt: {driad: true}}}]"))
	require.ErrorContains(t, err, "amt.driad: looks for the relays of a source")
	_, err = Parse[Relay]("r", []byte("{amt: {listen: [192.0.2.1]}, services: [{name: a, upstream: {source: 192.0.2.9, group: 232.1.1.1, port: 1, unsigned: true, amt: {relays: [192.0.2.1]}}}]}"))
	require.ErrorContains(t, err, "is this node's own AMT relay")
}

func TestResolver(t *testing.T) {
	for text, back := range map[string]string{
		"192.0.2.53": "", "192.0.2.53:5353": "", "2001:db8::53": "", "[2001:db8::53]": "2001:db8::53", "[2001:db8::53]:53": "",
		"tls://192.0.2.53": "", "tls://[2001:db8::53]:853#dns.example": "", "https://dns.example/dns-query": "",
	} {
		if back == "" {
			back = text
		}
		var r Resolver
		require.NoError(t, r.UnmarshalText([]byte(text)), text)
		require.Equal(t, back, r.String())
		require.NotNil(t, r.resolver())
	}
	require.Nil(t, Resolver{}.resolver())
}

func TestGatewayFlags(t *testing.T) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	src := NewSource[Beacon](fs)
	require.NoError(t, fs.Parse(strings.Fields("-service live -group 232.1.1.1:6000 -source 127.0.0.1 -unsigned -amt-relay 192.0.2.1 -amt-relay relay.example -amt-mode tunnel -driad")))
	c, err := src.Load()
	require.NoError(t, err)
	g := &c.Services[0].Upstream.AMT
	require.Equal(t, AMTTunnel, g.Mode)
	require.Equal(t, "relay.example:2268", g.Relays[1].String())
	require.True(t, g.DRIAD)
}
