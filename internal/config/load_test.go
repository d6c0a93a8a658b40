package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const minimalCast = `
channels:
  - name: live
    multicast: {source: 127.0.0.1, group: 232.1.1.1, port: 6000}
`

const minimalBeacon = `
services:
  - name: live
    upstream: {source: 127.0.0.1, group: 232.1.1.1, port: 6000, anchors: [` + rootPublic + `]}
`

const fullRelay = `
node: {name: r1, state_dir: state, clock_offset: -1h}
http: {listen: ":8080", cors: {origins: ["https://tv.example"]}}
repair: {listen: "[::1]:8081"}
admin: {listen: "off", pprof: true}
log: {level: debug, format: json}
cache: {memory: 64MB, disk: {dir: /var/cache, size: 1.5GiB}}
services:
  - name: live
    upstream:
      source: 2001:db8::1
      group: ff3e::8000:1
      port: 6000
      interface: eth0
      anchors: [` + otherPublic + ` until=2027-01-31T00:00:00Z, ` + rootPublic + ` from=2027-01-01T00:00:00+01:00]
      hop_anchors: [` + hopPublic + `]
      seal_port: 7000
      parents: ["http://10.0.0.1:8081", "https://parent.example/tree"]
    downstream: {source: 10.0.0.2, group: 232.1.1.1, port: 6001, interface: eth1, ttl: 4, rate: 20Mbit/s, fec: {loss: 0.2, target: 1e-4}, seal_port: 7001}
    seal_key: ` + rootPrivate + `
    cache_key: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
    retention: 90s
`

func TestParseFillsEveryKey(t *testing.T) {
	c, err := Parse[Relay]("dir/relay.yaml", []byte(fullRelay))
	require.NoError(t, err)
	require.Equal(t, "r1", c.Node.Name)
	require.Equal(t, Path("dir/state"), c.Node.StateDir)
	require.Equal(t, -time.Hour, c.Node.ClockOffset)
	require.Equal(t, ":8080", c.HTTP.Listen.String())
	require.False(t, c.HTTP.Listen.Loopback())
	require.Equal(t, "[::1]:8081", c.Repair.Listen.String())
	require.True(t, c.Repair.Listen.Loopback())
	require.False(t, c.Admin.Listen.Enabled())
	require.Equal(t, Size(64_000_000), c.Cache.Memory)
	require.Equal(t, Size(3<<29), c.Cache.Disk.Size)
	require.Equal(t, Path("/var/cache"), c.Cache.Disk.Dir)
	s := c.Services[0]
	require.Equal(t, "(2001:db8::1,ff3e::8000:1):6000", s.Upstream.Session.String())
	require.Equal(t, "https://parent.example/tree", s.Upstream.Parents[1].String())
	require.Equal(t, Rate(20_000_000), s.Downstream.Rate)
	require.Equal(t, fecOf(0.2, 1e-4), s.Downstream.FEC)
	require.Equal(t, 90*time.Second, s.Retention)
	key, ok := s.CacheKey.Key()
	require.True(t, ok)
	require.Equal(t, byte(0x1f), key[31])
	require.Equal(t, []Anchor{anchor(t, otherPublic+" until=2027-01-31T00:00:00Z"), anchor(t, rootPublic+" from=2026-12-31T23:00:00Z")}, s.Upstream.Anchors)
	require.Equal(t, []Anchor{anchor(t, hopPublic)}, s.Upstream.HopAnchors)
	require.Equal(t, uint16(7000), s.Upstream.SealPort)
	require.Equal(t, uint16(7001), s.Downstream.SealPort)
	require.Equal(t, anchor(t, rootPublic), AnchorOf(s.SealKey))
}

func TestDefaultsAreFilled(t *testing.T) {
	c, err := Parse[Cast]("c", []byte(minimalCast))
	require.NoError(t, err)
	ch := c.Channels[0]
	require.Equal(t, "127.0.0.1:8090", c.Ingest.Listen.String())
	require.Equal(t, time.Minute, ch.Retention)
	require.Equal(t, 16, ch.Multicast.TTL)
	require.Equal(t, fecOf(0.1, 1e-6), ch.Multicast.FEC)
	require.Equal(t, uint16(6001), ch.Multicast.SealPort)
	require.True(t, ch.SealKey.IsZero())
	require.False(t, ch.Unsigned)
	b, err := Parse[Beacon]("b", []byte(minimalBeacon))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8088", b.HTTP.Listen.String())
	require.Equal(t, []string{"*"}, b.HTTP.CORS.Origins)
	require.Equal(t, Size(256<<20), b.Cache.Memory)
	require.Zero(t, b.Cache.Disk.Size)
	u := b.Services[0].Upstream
	require.Equal(t, uint16(6001), u.SealPort)
	require.Equal(t, []Anchor{anchor(t, rootPublic)}, u.HopAnchors, "whom the root's session is believed from")
}

func TestCompleteLeavesTheCallersValue(t *testing.T) {
	in := Cast{Channels: []Channel{{Name: "x", Multicast: Downstream{Session: session("127.0.0.1", "232.1.1.1", 1)}}}}
	out, err := Complete(in)
	require.NoError(t, err)
	require.Zero(t, in.Channels[0].Multicast.TTL)
	require.Equal(t, 16, out.Channels[0].Multicast.TTL)
}

// Every case is the text of a document and the problems that it must give, in
// their order, as line:column: path: beginning of the reason.
var refused = []struct {
	name, role, text string
	problems         []string
}{
	{"unknown keys, all of them", "cast", "nodes: 1\nchannels:\n- nam: x\n  multicast:\n    group: 232.1.1.1\n    prot: 5\n", []string{
		"1:1: nodes: unknown key, did you mean node?",
		"3:3: channels[0].nam: unknown key, did you mean name?",
		"5:5: channels[0].multicast.source: is missing",
		"6:5: channels[0].multicast.prot: unknown key, did you mean port?"}},
	{"a key of another role", "beacon", "repair: {listen: \":8081\"}\n", []string{"1:1: repair: unknown key; known here: node, http,"}},
	{"beacon has no downstream", "beacon", minimalBeacon + "    downstream: {ttl: 1}\n", []string{"5:5: services[0].downstream: unknown key"}},
	{"keys twice, all of them", "cast", "node: {name: a}\nlog: {level: warn, level: info}\nnode: {name: b}\n", []string{
		"2:20: log.level: stands twice", "3:1: node: stands twice"}},
	{"what cannot be read hides nothing but its echoes", "relay", `
node: {clock_offset: 5}
log: {format: xml}
admin: {listen: ":8081", pprof: yes}
repair: {listen: 8081}
cache: {memory: 1kB, disk: {dirr: a, size: 1GB}}
services:
  - name: a
    upstream: {sauce: 10.0.0.1, group: 232.1.1.1, port: 65536, parents: [":8081"], unsigned: true}
    downstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, ttl: 256, fec: {off: maybe, loss: 0.6}}
  - name: a
    upstream: {any_sorce: true, group: 239.1.1.1, port: 1, unsigned: true}
    upstream: {any_source: true}
    retention: 1ms
`, []string{
		"2:22: node.clock_offset: \"5\" is not a duration",
		"3:15: log.format: \"xml\" is neither",
		"4:33: admin.pprof: \"yes\" is neither",
		"5:18: repair.listen: \"8081\" is not an address",
		"6:17: cache.memory: is less than 1MiB",
		"6:29: cache.disk.dirr: unknown key, did you mean dir?",
		"9:16: services[0].upstream.sauce: unknown key, did you mean source?",
		"9:57: services[0].upstream.port: \"65536\" is not",
		"9:74: services[0].upstream.parents[0]: \":8081\" is not a URL",
		"10:68: services[0].downstream.ttl: is not from 1 to 255",
		"10:84: services[0].downstream.fec.off: \"maybe\" is neither",
		"10:97: services[0].downstream.fec.loss: is not above 0",
		"11:11: services[1].name: a is the name of services[0] already",
		"12:16: services[1].upstream.any_sorce: unknown key, did you mean any_source?",
		"13:5: services[1].upstream: stands twice",
		"14:16: services[1].retention: is not from 1s"}},
	{"a pull that cannot be read", "cast", "ingest: {listen: \":8090\"}\n" + minimalCast + "    pull: ftp://a\n", []string{"6:11: channels[0].pull: \"ftp://a\" does"}},
	{"syntax", "cast", "node: {name: a\nlog: [\n", []string{"2:"}},
	{"tab", "cast", "node:\n\tname: a\n", []string{"2:1: found character"}},
	{"empty", "cast", "# nothing\n\n", []string{"is empty"}},
	{"two documents", "cast", "node: {name: a}\n---\nnode: {name: b}\n", []string{"3:5: more than one document"}},
	{"anchor", "cast", "node: &a {name: a}\n", []string{"1:7: node: anchors, aliases"}},
	{"list for mapping", "cast", "node: [a]\n", []string{"1:7: node: is a list, not a mapping"}},
	{"mapping for list", "cast", "channels: {name: a}\n", []string{"1:12: channels: is a mapping, not a list"}},
	{"mapping for value", "cast", "node: {name: {a: b}}\n", []string{"1:15: node.name: is a mapping, not a single value"}},
	{"wrong values, all of them", "relay", `
node: {clock_offset: 5}
http: {listen: 8080}
admin: {pprof: yes}
log: {level: loud}
cache: {memory: 256, disk: {size: 1 MiBs}}
services:
  - name: a
    upstream: {source: 10.0.0.256, group: x, port: 65536, parents: [ftp://a, "http://u:secret@h"], unsigned: true}
    downstream: {ttl: many, rate: 20, fec: {loss: ten}}
    cache_key: secretsecret
    retention: 60
  -
`, []string{
		"2:22: node.clock_offset: \"5\" is not a duration",
		"3:16: http.listen: \"8080\" is not an address with a port",
		"4:16: admin.pprof: \"yes\" is neither true nor false",
		"5:14: log.level: ",
		"6:17: cache.memory: \"256\" has no known unit",
		"6:35: cache.disk.size: \"1 MiBs\" has no known unit",
		"9:24: services[0].upstream.source: ",
		"9:43: services[0].upstream.group: ",
		"9:52: services[0].upstream.port: \"65536\" is not a whole number from 0 to 65535",
		"9:69: services[0].upstream.parents[0]: \"ftp://a\" does not begin with http://",
		"9:78: services[0].upstream.parents[1]: \"http://u:xxxxx@h\" has a user or a password",
		"10:23: services[0].downstream.ttl: \"many\" is not a whole number",
		"10:35: services[0].downstream.rate: \"20\" has no known unit",
		"10:51: services[0].downstream.fec.loss: \"ten\" is not a number",
		"11:16: services[0].cache_key: neither env:NAME",
		"12:16: services[0].retention: \"60\" is not a duration",
		"13:5: services[1]: is empty",
	}},
	{"what is missing is reported where it should stand", "cast", "channels:\n  - name: a\n  - multicast: {source: 10.0.0.1}\n", []string{
		"2:5: channels[0].multicast.group: is missing",
		"2:5: channels[0].multicast.source: is missing",
		"2:5: channels[0].multicast.port: is missing",
		"3:5: channels[1].name: is missing",
		"3:17: channels[1].multicast.group: is missing",
		"3:17: channels[1].multicast.port: is missing"}},
	{"addresses", "relay", `
services:
  - {name: a, upstream: {source: 232.1.1.1, group: 239.1.1.1, port: 1, unsigned: true}}
  - {name: b, upstream: {source: 10.0.0.1, group: ff3e::1, port: 1, unsigned: true}}
  - {name: c, upstream: {source: 0.0.0.0, group: 232.0.0.5, port: 1, unsigned: true}}
  - {name: d, upstream: {source: "::ffff:10.0.0.1", group: 10.0.0.1, port: 1, unsigned: true}}
  - {name: e, upstream: {source: "fe80::1%eth0", group: "ff3e::1%eth0", port: 1, unsigned: true}}
  - {name: f, upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, any_source: true, unsigned: true}}
  - {name: g, upstream: {source: 10.0.0.1, group: "ff7e::1", port: 1, unsigned: true}}
`, []string{
		"3:34: services[0].upstream.source: 232.1.1.1 is not a unicast",
		"3:52: services[0].upstream.group: 239.1.1.1 is outside the source-specific range",
		"4:34: services[1].upstream.source: 10.0.0.1 and the group ff3e::1 are not of the same family",
		"5:34: services[2].upstream.source: 0.0.0.0 is not a unicast",
		"5:50: services[2].upstream.group: 232.0.0.5 is in 232.0.0.0/24",
		"6:34: services[3].upstream.source: ::ffff:10.0.0.1 is an IPv4 address written as IPv6",
		"6:60: services[3].upstream.group: 10.0.0.1 is not a multicast address",
		"7:34: services[4].upstream.source: fe80::1%eth0 has a zone",
		"7:57: services[4].upstream.group: ff3e::1%eth0 has a zone",
		"8:34: services[5].upstream.source: any_source and a source exclude each other",
		"9:34: services[6].upstream.source: 10.0.0.1 and the group",
		"9:51: services[6].upstream.group: ff7e::1 is outside"}},
	{"ranges", "cast", `
node: {clock_offset: 100000h}
log: {format: xml}
admin: {listen: ":9000", pprof: true}
channels:
  - name: a
    retention: 1ms
    multicast: {source: 10.0.0.1, group: 232.1.1.1, port: 1, ttl: 256, rate: 9kbit/s, fec: {loss: 0.6, target: 2}}
  - name: b
    retention: 25h
    multicast: {source: 10.0.0.1, group: 232.1.1.2, port: 1, ttl: -1, fec: {off: true, loss: 0.1}}
  - name: c
    multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 1, fec: {loss: NaN, target: -1}}
`, []string{
		"2:22: node.clock_offset: is more than ten years",
		"3:15: log.format: \"xml\" is neither text nor json",
		"4:33: admin.pprof: is only for a server on loopback",
		"7:16: channels[0].retention: is not from 1s to 24h",
		"8:67: channels[0].multicast.ttl: is not from 1 to 255",
		"8:78: channels[0].multicast.rate: is not from 10kbit/s to 400Gbit/s",
		"8:99: channels[0].multicast.fec.loss: is not above 0",
		"8:112: channels[0].multicast.fec.target: is not from",
		"10:16: channels[1].retention",
		"11:67: channels[1].multicast.ttl",
		"11:77: channels[1].multicast.fec: is off and has a loss",
		"13:74: channels[2].multicast.fec.loss",
		"13:87: channels[2].multicast.fec.target"}},
	{"names", "beacon", "services:\n" +
		"  - {name: a/b, upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, unsigned: true}}\n" +
		"  - {name: .., upstream: {source: 10.0.0.1, group: 232.1.1.2, port: 1, unsigned: true}}\n" +
		"  - {name: ok, upstream: {source: 10.0.0.1, group: 232.1.1.3, port: 1, unsigned: true}}\n" +
		"  - {name: ok, upstream: {source: 10.0.0.1, group: 232.1.1.4, port: 1, unsigned: true}}\n" +
		"  - {name: " + strings.Repeat("x", 64) + ", upstream: {source: 10.0.0.1, group: 232.1.1.5, port: 1, unsigned: true}}\n", []string{
		"2:12: services[0].name: \"a/b\" is not 1 to 63 letters",
		"3:12: services[1].name: \"..\" is not 1 to 63 letters",
		"5:12: services[3].name: ok is the name of services[2] already",
		"6:12: services[4].name: \"xxx"}},
	{"sessions twice, whatever the interface", "cast", `
channels:
  - {name: a, multicast: {source: 10.0.0.1, group: 232.1.1.1, port: 1}}
  - {name: b, multicast: {source: 10.0.0.1, group: 232.1.1.1, port: 1, interface: eth1}}
  - {name: c, multicast: {source: 10.0.0.2, group: 232.1.1.1, port: 1}}
  - {name: d, multicast: {source: 10.0.0.1, group: 232.1.1.1, port: 3}}
`, []string{"4:27: channels[1].multicast: (10.0.0.1,232.1.1.1):1 is the session of channels[0].multicast already"}},
	{"loop", "relay", `
services:
  - name: a
    upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, parents: ["http://127.0.0.1:8081/x"], unsigned: true}
    downstream: {source: 10.0.0.2, group: 232.1.1.1, port: 1}
  - name: b
    upstream: {source: 10.0.0.2, group: 232.1.1.1, port: 1, unsigned: true}
`, []string{
		"4:71: services[0].upstream.parents[0]: is this node's own repair server",
		"5:18: services[0].downstream: sends to (10.0.0.2,232.1.1.1):1, which services[1].upstream receives: a loop"}},
	{"seals, who knows", "relay", `
services:
  - {name: a, upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, unsigned: maybe}}
  - {name: b, upstream: {source: 10.0.0.1, group: 232.1.1.2, port: 1, anchors: x}, seal_key: ` + rootPrivate + `, downstream: 1}
`, []string{
		"3:81: services[0].upstream.unsigned: \"maybe\" is neither",
		"4:80: services[1].upstream.anchors: is a single value, not a list",
		"4:152: services[1].downstream: is a single value"}},
	{"seals, or none", "relay", `
services:
  - {name: a, upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1}}
  - {name: b, upstream: {source: 10.0.0.1, group: 232.1.1.2, port: 1, hop_anchors: [` + hopPublic + `]}}
  - {name: c, upstream: {source: 10.0.0.1, group: 232.1.1.3, port: 1, unsigned: true, anchors: [` + rootPublic + `]}}
  - {name: d, upstream: {source: 10.0.0.1, group: 232.1.1.4, port: 1, unsigned: true, seal_port: 2}}
  - {name: e, seal_key: ` + rootPublic + `, upstream: {source: 10.0.0.1, group: 232.1.1.5, port: 1, unsigned: true}}
  - {name: f, seal_key: ` + rootPublic + `, upstream: {source: 10.0.0.1, group: 232.1.1.6, port: 1, anchors: [` + rootPublic + `]}}
  - name: g
    upstream: {source: 10.0.0.1, group: 232.1.1.7, port: 1, unsigned: true}
    downstream: {source: 10.0.0.2, group: 232.1.1.7, port: 1, seal_port: 7}
`, []string{
		"3:26: services[0].upstream.anchors: are missing",
		"4:26: services[1].upstream.anchors: are missing",
		"5:81: services[2].upstream.unsigned: is set, and so are anchors",
		"6:98: services[3].upstream.seal_port: is set, and unsigned is",
		"7:25: services[4].seal_key: is set, and the upstream is unsigned",
		"8:25: services[5].seal_key: is set, and there is no downstream to seal",
		"11:74: services[6].downstream.seal_port: is set, and unsigned is"}},
	{"seals of a channel, or none", "cast", "ingest: {listen: \":8090\"}\n" + minimalCast + "    unsigned: true\n    seal_key: " + rootPrivate + "\n", []string{
		"4:5: channels[0].keys: the ingest listens on",
		"7:15: channels[0].seal_key: is set, and so is unsigned"}},
	{"anchors", "beacon", `
services:
  - name: a
    upstream:
      {source: 10.0.0.1, group: 232.1.1.1, port: 1, seal_port: x, anchors: [` + rootPublic + `]}
  - name: b
    upstream:
      source: 10.0.0.1
      group: 232.1.1.2
      port: 1
      anchors:
        - ` + rootPublic[1:] + `
        - ` + rootPublic + ` until=never
        - file:live.key
        -
`, []string{
		"5:64: services[0].upstream.seal_port: \"x\" is not a whole number",
		"12:11: services[1].upstream.anchors[0]: \"75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\" is neither file:PATH nor a public key",
		"13:11: services[1].upstream.anchors[1]: \"until=never\": a key is followed by",
		"14:11: services[1].upstream.anchors[2]: file:live.key is a private key",
		"15:11: services[1].upstream.anchors[3]: is empty"}},
	{"anchors twice", "beacon", `
services:
  - name: a
    upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, anchors: [` + rootPublic + `, ` + otherPublic + `, ` + rootBase64 + `], hop_anchors: [` + hopPublic + `, ` + hopPublic + `]}
`, []string{
		"4:203: services[0].upstream.anchors[2]: has the key id of anchors[0] already",
		"4:330: services[0].upstream.hop_anchors[1]: has the key id of hop_anchors[0] already"}},
	{"files of keys that are not there", "relay", `
services:
  - name: a
    upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 1, anchors: ["file:no.pub"], hop_anchors: ["file:none.pub"]}
    downstream: {source: 10.0.0.2, group: 232.1.2.1, port: 1}
    seal_key: file:no.key
`, []string{
		"4:71: services[0].upstream.anchors[0]: open ",
		"4:101: services[0].upstream.hop_anchors[0]: open ",
		"6:15: services[0].seal_key: open "}},
	{"a public key is no secret", "cast", minimalCast + "    seal_key: file:live.pub\n", []string{"5:15: channels[0].seal_key: file:live.pub is a public key"}},
	{"seal key, not echoed", "cast", minimalCast + "    seal_key: my-secret-seal-key\n", []string{"5:15: channels[0].seal_key: neither env:NAME, file:PATH nor a key"}},
	{"ports of seals", "cast", `
channels:
  - {name: a, multicast: {source: 10.0.0.1, group: 232.1.1.1, port: 65535}}
  - {name: b, multicast: {source: 10.0.0.1, group: 232.1.1.2, port: 6000, seal_port: 6000}}
  - {name: c, multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 6000}}
  - {name: d, multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 6001}}
  - {name: e, multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 6010, seal_port: 6000}}
  - {name: f, multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 6020, seal_port: 6001, interface: eth1}}
  - {name: g, unsigned: true, multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 6030}}
  - {name: h, multicast: {source: 10.0.0.1, group: 232.1.1.3, port: 6031}}
  - {name: i, multicast: {source: 10.0.0.2, group: 232.1.1.3, port: 6001}}
`, []string{
		"3:27: channels[0].multicast.seal_port: is missing: there is no port behind 65535",
		"4:86: channels[1].multicast.seal_port: is the port of the media",
		"6:27: channels[3].multicast: (10.0.0.1,232.1.1.3):6001 is where the seals of channels[2].multicast go already",
		"7:86: channels[4].multicast.seal_port: (10.0.0.1,232.1.1.3):6000 is the session of channels[2].multicast already",
		"8:86: channels[5].multicast.seal_port: (10.0.0.1,232.1.1.3):6001 is where the seals of channels[2].multicast go already"}},
	{"loops of seals", "relay", `
services:
  - name: a
    upstream: {source: 10.0.0.1, group: 232.1.1.1, port: 6000, anchors: [` + rootPublic + `]}
    downstream: {source: 10.0.0.1, group: 232.1.1.1, port: 6001}
  - name: b
    upstream: {source: 10.0.0.1, group: 232.1.1.2, port: 6000, anchors: [` + rootPublic + `]}
    downstream: {source: 10.0.0.1, group: 232.1.1.2, port: 7000, seal_port: 6000}
  - name: c
    upstream: {source: 10.0.0.1, group: 232.1.1.3, port: 6000, anchors: [` + rootPublic + `]}
    downstream: {source: 10.0.0.1, group: 232.1.1.3, port: 6000}
`, []string{
		"5:18: services[0].downstream: sends to (10.0.0.1,232.1.1.1):6001, which services[0].upstream receives: a loop",
		"8:77: services[1].downstream.seal_port: sends to (10.0.0.1,232.1.1.2):6000, which services[1].upstream receives: a loop",
		"11:18: services[2].downstream: sends to (10.0.0.1,232.1.1.3):6000, which services[2].upstream receives: a loop"}},
	{"publishing beyond loopback without a key", "cast", "ingest: {listen: \":8090\"}\n" + minimalCast, []string{"4:5: channels[0].keys: the ingest listens on :8090, beyond loopback"}},
	{"nothing can come in", "cast", "ingest: {listen: \"off\"}\n" + minimalCast, []string{"4:5: channels[0].pull: is missing and the ingest is off"}},
	{"key of a pulled channel", "cast", minimalCast + "    pull: http://a/b.mpd\n    keys: [\"sha256:" + strings.Repeat("0a", 32) + "\"]\n", []string{"6:11: channels[0].keys: a channel that is pulled"}},
	{"plain stream key, not echoed", "cast", minimalCast + "    keys: [my-secret-stream-key]\n", []string{"5:12: channels[0].keys[0]: a secret is named by env:NAME or file:PATH, or sha256:HEX"}},
	{"servers on one address", "beacon", "http: {listen: \":9103\"}\n", []string{"1:1: admin.listen: 127.0.0.1:9103 is taken by http.listen"}},
	{"half a certificate", "beacon", "http: {tls: {cert: a.pem}}\n", []string{"1:14: http.tls: has a cert and no key"}},
	{"no such certificate", "beacon", "http: {tls: {cert: a.pem, key: b.pem}}\n", []string{"1:14: http.tls: open "}},
	{"too many connections", "beacon", "http: {limits: {connections: 2000000}}\n", []string{"1:30: http.limits.connections: is not from 1 to 1000000"}},
	{"no connections", "cast", "ingest: {limits: {connections: -1}}\n", []string{"1:32: ingest.limits.connections: is not from 1"}},
	{"more connections of a peer than of all", "relay", "repair: {limits: {connections: 10, connections_per_peer: 11}}\n", []string{
		"1:58: repair.limits.connections_per_peer: is not from 1 to 10"}},
	{"origins", "beacon", "http: {cors: {origins: [tv.example, \"https://a/b\"]}}\n", []string{
		"1:25: http.cors.origins[0]: \"tv.example\" is not an origin", "1:37: http.cors.origins[1]:"}},
	{"cache", "beacon", "cache: {memory: 1kB, disk: {size: 1GB}}\n", []string{"1:17: cache.memory: is less than 1MiB", "1:29: cache.disk: has a size and no dir"}},
	{"not text", "cast", "node: \xff\n", []string{"is not UTF-8"}},
	{"nested flow", "cast", strings.Repeat("[", 100_000), []string{"1:33: is nested more than 32 deep"}},
	{"nested entries", "cast", strings.Repeat("- ", 100_000), []string{"1:65: is nested more than 32 deep"}},
	{"large", "cast", strings.Repeat("#", maxFile+1), []string{"is larger than 1MiB"}},
}

func parseRole(role, name string, text []byte) (any, error) {
	switch role {
	case "cast":
		return Parse[Cast](name, text)
	case "relay":
		return Parse[Relay](name, text)
	case "amt-relay":
		return Parse[AMTRelay](name, text)
	}
	return Parse[Beacon](name, text)
}

func TestRefused(t *testing.T) {
	for _, tc := range refused {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseRole(tc.role, "f.yaml", []byte(tc.text))
			var e *Error
			require.ErrorAs(t, err, &e)
			got := strings.Split(err.Error(), "\n")
			t.Log(err)
			if len(tc.problems) == 0 {
				return
			}
			require.Len(t, got, len(tc.problems))
			for i, want := range tc.problems {
				require.True(t, strings.HasPrefix(got[i], "f.yaml:"), got[i])
				got := strings.TrimLeft(strings.TrimPrefix(got[i], "f.yaml:"), " ")
				require.Truef(t, strings.HasPrefix(got, want), "got  %s\nwant %s", got, want)
			}
			var p Problem
			require.True(t, errors.As(err, &p))
			require.Equal(t, e.Problems[0], p)
		})
	}
}

func TestExamplesAreValid(t *testing.T) {
	t.Setenv("LIVE_KEY", "0123456789abcdef")
	dir := t.TempDir()
	for _, key := range []string{"live.key", "relay.key"} {
		// As the comments in the files say.
		_, err := CreateSealKey(filepath.Join(dir, key))
		require.NoError(t, err)
	}
	files, err := filepath.Glob("../../examples/config/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		name := filepath.Base(f)
		_, err = parseRole(strings.TrimSuffix(name, ".yaml"), filepath.Join(dir, name), text)
		require.NoError(t, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, tc := range refused {
		if len(tc.text) < 4096 {
			f.Add([]byte(tc.text))
		}
	}
	f.Add([]byte(fullRelay))
	f.Add([]byte(minimalCast))
	f.Add([]byte(minimalBeacon))
	f.Add([]byte(fullAMT))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, role := range []string{"cast", "relay", "beacon", "amt-relay"} {
			c, err := parseRole(role, "f", text)
			if err == nil {
				// What is valid stays so, and can be explained.
				require.NoError(t, c.(document).Explain(&strings.Builder{}))
				p := newProblems("")
				c.(document).populate()
				c.(document).validate(p)
				require.NoError(t, p.err())
				continue
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			require.NotEmpty(t, e.Problems)
			lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 2
			for _, p := range e.Problems {
				require.NotEmpty(t, p.Reason)
				require.LessOrEqual(t, p.Line, lines)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.SetBytes(int64(len(fullRelay)))
	for b.Loop() {
		if _, err := Parse[Relay]("f", []byte(fullRelay)); err != nil {
			b.Fatal(err)
		}
	}
}
