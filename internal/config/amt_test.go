package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

const fullAMT = `
amt:
  listen: [192.0.2.1, "[2001:db8::1]:2269", 0.0.0.0:2270]
  advertise: [192.0.2.1]
  key: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
  upstream:
    relays: [198.51.100.1, 192.52.193.1]
  allow:
    gateways: [198.51.100.0/24]
    sources: [203.0.113.0/24]
    groups: [232.0.0.0/8]
  max_tunnels: 10
  max_tunnels_per_address: 5
  max_groups_per_tunnel: 6
  max_sources_per_group: 7
  max_channels_per_tunnel: 8
  query_interval: 60s
  path_mtu: 1400
  follow_path_mtu: true
  endpoint: never
  drain: 5s
  bridge:
    interface: eth9
    relays: [198.51.100.2, relay.example]
    driad: true
    resolver: 192.0.2.53
    channels: ["203.0.113.1,232.1.1.1", "2001:db8::9,ff3e::8000:1"]
`

func TestAMT(t *testing.T) {
	c, err := parseRole("amt-relay", "f", []byte(fullAMT))
	require.NoError(t, err)
	a := c.(*AMTRelay).AMT
	require.Equal(t, "192.0.2.1:2268", a.Listen[0].String())
	require.Equal(t, "[2001:db8::1]:2269", a.Listen[1].String())
	require.Equal(t, uint16(amt.Port), a.Upstream.Relays[1].Port())
	require.Equal(t, netip.MustParseAddr("ff3e::8000:1"), a.Bridge.Channels[1].Group)
	require.Equal(t, 5*time.Second, a.Drain)
	require.Equal(t, amt.EndpointNever, a.Endpoint.Mode())
	require.Zero(t, a.Upstream.MaxSources)
	key, ok := a.Key.Key()
	require.True(t, ok)
	require.Equal(t, byte(31), key[31])
	var b strings.Builder
	require.NoError(t, c.(document).Explain(&b))
	for _, text := range []string{
		"AMT relay at UDP 192.0.2.1:2268, [2001:db8::1]:2269", "from another relay\n      relay 1: 198.51.100.1:2268", "that they have: never", "amt.drain is shorter", "up to 6 groups, 7 sources of each, and 8 sources together", "only for sources in 203.0.113.0/24",
		"bridges 203.0.113.1,232.1.1.1, 2001:db8::9,ff3e::8000:1", "no interface eth9", "relay 2: relay.example:2268", "AMTRELAY records of the source", "asks the DNS server 192.0.2.53",
	} {
		require.Contains(t, b.String(), text)
	}
	require.NotContains(t, b.String(), "000102", "the key")

	c, err = parseRole("amt-relay", "f", []byte("amt: {listen: [127.0.0.1], upstream: {interface: e0}, xdp: {egress: e1}}"))
	require.NoError(t, err)
	require.Equal(t, AMTXDP{Upstream: "e0", Egress: "e1", MaxCopies: 192}, c.(*AMTRelay).AMT.XDP)
	b.Reset()
	require.NoError(t, c.(document).Explain(&b))
	require.Contains(t, b.String(), "in the kernel, from e0 to e1, to up to 192")
	c, err = parseRole("amt-relay", "f", []byte("amt: {listen: [127.0.0.1], upstream: {ports: [5000, 5001]}}"))
	require.NoError(t, err)
	b.Reset()
	require.NoError(t, c.(document).Explain(&b))
	require.Contains(t, b.String(), "UDP port 5000, 5001 only")
	require.Contains(t, b.String(), "is open")
	_, err = parseRole("relay", "f", []byte("amt: {listen: [127.0.0.1]}"))
	require.NoError(t, err)
	c, err = parseRole("amt-relay", "f", []byte("amt: {listen: [127.0.0.1], upstream: {driad: true}}"))
	require.NoError(t, err)
	require.Equal(t, 150*time.Second, c.(*AMTRelay).AMT.Drain, "the longest time until a gateway asks, and some to go")
	require.Equal(t, 256, c.(*AMTRelay).AMT.Upstream.MaxSources)
	require.Equal(t, [3]int{64, 64, 512}, [3]int{c.(*AMTRelay).AMT.MaxGroupsPerTunnel, c.(*AMTRelay).AMT.MaxSourcesPerGroup, c.(*AMTRelay).AMT.MaxChannelsPerTunnel})
	require.Equal(t, amt.EndpointAuto, c.(*AMTRelay).AMT.Endpoint.Mode())
	b.Reset()
	require.NoError(t, c.(document).Explain(&b))
	require.Contains(t, b.String(), "of up to 256 sources, by a tunnel for each")
	require.NotContains(t, b.String(), "amt.drain")
	for interval, drain := range map[string]time.Duration{"60s": 85 * time.Second, "2h": time.Hour} {
		c, err = parseRole("amt-relay", "f", []byte("amt: {listen: [127.0.0.1], query_interval: "+interval+"}"))
		require.NoError(t, err)
		require.Equal(t, drain, c.(*AMTRelay).AMT.Drain)
	}
}

func TestAMTAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:2268", "192.0.2.1:9": "192.0.2.1:9", "2001:db8::1": "[2001:db8::1]:2268",
		"[2001:db8::1]": "[2001:db8::1]:2268", "[2001:db8::1]:9": "[2001:db8::1]:9",
		"[192.0.2.1]": "", "[2001:db8::1": "", "[]": "", "": "", "relay.example": "",
	} {
		var a AMTAddress
		if err := a.UnmarshalText([]byte(text)); want == "" {
			require.ErrorContains(t, err, "is not an address", text)
		} else {
			require.NoError(t, err)
			require.Equal(t, want, a.String())
		}
	}
}

func TestAMTRefused(t *testing.T) {
	for text, want := range map[string]string{
		"node: {name: x}":                                                                 "amt.listen: is missing",
		"amt: {listen: [x]}":                                                              "is not an address",
		"amt: {listen: [0.0.0.0]}":                                                        "amt.advertise: has no IPv4 address",
		"amt: {listen: [1.2.3.4, 1.2.3.4]}":                                               "stands twice",
		"amt: {listen: [232.1.1.1]}":                                                      "multicast",
		"amt: {listen: [1.2.3.4], advertise: [0.0.0.0]}":                                  "is not a unicast address",
		"amt: {listen: [1.2.3.4], advertise: [1.1.1.1, 1.1.1.2]}":                         "second address",
		"amt: {listen: [1.2.3.4], upstream: {relays: [1.2.3.4]}}":                         "a loop",
		"amt: {listen: ['0.0.0.0'], advertise: [1.2.3.4], upstream: {relays: [1.2.3.4]}}": "a loop",
		"amt: {listen: [1.2.3.4], upstream: {relays: [1.2.3.5], ports: [5]}}":             "and keys for joining",
		"amt: {listen: [1.2.3.4], upstream: {sockets: true}}":                             "amt.upstream.ports: is missing",
		"amt: {listen: [1.2.3.4], upstream: {ports: [0]}}":                                "is 0",
		"amt: {bridge: {interface: eth0}}":                                                "amt.bridge.relays: is missing",
		"amt: {bridge: {interface: eth0, relays: [1.2.3.4]}}":                             "amt.bridge.channels: is missing",
		"amt: {bridge: {channels: ['1.2.3.4,232.1.1.1']}}":                                "amt.bridge.interface: is missing",
		"amt: {bridge: {channels: ['1.2.3.4']}}":                                          "is not a source and a group",
		"amt: {bridge: {channels: ['1.2.3.4,ff3e::1']}}":                                  "is not a source and a group",
		"amt: {listen: [1.2.3.4], upstream: {interface: e}, bridge: {interface: e, relays: [1.1.1.1], channels: ['1.2.3.4,232.1.1.1']}}": "in a circle",
		"amt: {listen: [1.2.3.4], xdp: {upstream: e}}":                              "amt.xdp.egress: is missing",
		"amt: {listen: [1.2.3.4], xdp: {egress: e}}":                                "amt.xdp.upstream: is missing",
		"amt: {listen: [1.2.3.4], upstream: {relays: [1.1.1.1]}, xdp: {egress: e}}": "on this machine's networks",
		"amt: {listen: [1.2.3.4], xdp: {egress: e, upstream: f, max_copies: -1}}":   "is not from 1",
		"amt: {listen: [1.2.3.4], upstream: {driad: true, ports: [5]}}":             "and keys for joining",
		"amt: {listen: [1.2.3.4], upstream: {driad: true, max_sources: -1}}":        "is not from 1",
		"amt: {listen: [1.2.3.4], upstream: {max_sources: 1}}":                      "and driad is not",
		"amt: {listen: [1.2.3.4], upstream: {resolver: 1.1.1.1}}":                   "nothing is looked up",
		"amt: {listen: [1.2.3.4], upstream: {driad: true}, xdp: {egress: e}}":       "on this machine's networks",
		"amt: {listen: [1.2.3.4], upstream: {relays: [0.0.0.0]}}":                   "is not a unicast address",
		"amt: {listen: [1.2.3.4], endpoint: sometimes}":                             "is none of auto, always and never",
		"amt: {listen: [1.2.3.4], max_tunnels: -1}":                                 "is not from 1",
		"amt: {listen: [1.2.3.4], max_groups_per_tunnel: 4097}":                     "is not from 1 to 4096",
		"amt: {listen: [1.2.3.4], max_sources_per_group: -1}":                       "is not from 1 to 4096",
		"amt: {listen: [1.2.3.4], max_channels_per_tunnel: 65537}":                  "is not from 1 to 65536",
		"amt: {listen: [1.2.3.4], path_mtu: 100}":                                   "is not from 576",
		"amt: {listen: [1.2.3.4], query_interval: 1ms}":                             "is not from 1s",
		"amt: {listen: [1.2.3.4], drain: 2h}":                                       "is not from 0s",
		"amt: {listen: [1.2.3.4], key: file:/does/not/exist}":                       "no such file",
	} {
		_, err := parseRole("amt-relay", "f", []byte(text))
		require.ErrorContains(t, err, want, text)
	}
}
