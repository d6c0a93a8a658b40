package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/amt"
)

// AMTRelay configures a relay of Automatic Multicast Tunneling (RFC 7450) that runs alone.
type AMTRelay struct {
	Node Node `yaml:"node"`
	// Admin default address: 127.0.0.1:9104.
	Admin Admin `yaml:"admin"`
	Log   Log   `yaml:"log"`
	AMT   AMT   `yaml:"amt"`
}

// AMT is an AMT relay, a bridge out of AMT, or both.
type AMT struct {
	// Listen are the addresses to take messages on, with port 2268 unless it is given. None: there is no relay.
	Listen []AMTAddress `yaml:"listen"`
	// Advertise are the relay's unicast addresses, at most one of each family, that discoveries are answered with.
	// Default: those in Listen. Needed if Listen has a wildcard or an anycast address.
	Advertise []netip.Addr `yaml:"advertise"`
	// Key is what relays behind one anycast address share. Default: drawn at each start.
	Key AMTKey `yaml:"key"`
	// Upstream is where the relay gets packets from.
	Upstream AMTUpstream `yaml:"upstream"`
	Allow    AMTAllow    `yaml:"allow"`
	// MaxTunnels bounds the gateways. Default 100000.
	MaxTunnels int `yaml:"max_tunnels"`
	// MaxTunnelsPerAddress bounds those with one IPv4 address or in one IPv6 /64. Default 4096.
	MaxTunnelsPerAddress int `yaml:"max_tunnels_per_address"`
	// MaxGroupsPerTunnel, MaxSourcesPerGroup and MaxChannelsPerTunnel bound what a gateway may have: groups, sources of
	// each, and sources of all groups together. Another relay is one gateway. Default 64, 64 and 512.
	MaxGroupsPerTunnel   int `yaml:"max_groups_per_tunnel"`
	MaxSourcesPerGroup   int `yaml:"max_sources_per_group"`
	MaxChannelsPerTunnel int `yaml:"max_channels_per_tunnel"`
	// QueryInterval is how often gateways are to ask. Default 125s.
	QueryInterval time.Duration `yaml:"query_interval"`
	// PathMTU is that of the paths to the gateways, with the outer headers. Default: that of the interface with the
	// address that is advertised, and 1500 at most.
	PathMTU int `yaml:"path_mtu"`
	// Endpoint says when gateways are told the address and port that they have here: auto, always or never. Default auto.
	Endpoint AMTEndpoint `yaml:"endpoint"`
	// FollowPathMTU lowers it for a gateway when a router says so. Default false.
	FollowPathMTU bool `yaml:"follow_path_mtu"`
	// Drain is how long, at most, a relay that ends waits for its gateways to go elsewhere, of which it can tell them only
	// when they ask. Default: QueryInterval and 25s to go, and 1h at most.
	Drain  time.Duration `yaml:"drain"`
	XDP    AMTXDP        `yaml:"xdp"`
	Bridge AMTBridge     `yaml:"bridge"`
}

// AMTUpstream is where an AMT relay gets packets from.
type AMTUpstream struct {
	// AMTRelays are other relays. None: the networks of this machine.
	AMTRelays `yaml:",inline"`
	// MaxSources bounds those that have a tunnel at a time, each its own, where DRIAD finds the relays. Default 256.
	MaxSources int `yaml:"max_sources"`
	// Interface is where channels are joined. Default: the one on the route to the source.
	Interface string `yaml:"interface"`
	// Ports are the UDP ports of channels that are taken without CAP_NET_RAW.
	Ports []uint16 `yaml:"ports"`
	// Sockets takes these ports only, also with CAP_NET_RAW. Default false.
	Sockets bool `yaml:"sockets"`
}

// AMTAllow says who may have what. An empty list allows all.
type AMTAllow struct {
	Gateways []netip.Prefix `yaml:"gateways"`
	Sources  []netip.Prefix `yaml:"sources"`
	Groups   []netip.Prefix `yaml:"groups"`
}

// AMTXDP copies packets to gateways in the kernel of Linux, where that is possible.
type AMTXDP struct {
	// Upstream is the interface that channels come in by. Default: that of the upstream.
	Upstream string `yaml:"upstream"`
	// Egress is the interface that leads to the gateways. None: sockets copy.
	Egress string `yaml:"egress"`
	// MaxCopies is the most gateways of a channel that is copied so. Default 192.
	MaxCopies int `yaml:"max_copies"`
}

// AMTBridge brings channels from a relay onto a network.
type AMTBridge struct {
	// Interface is where the channels are sent. None: there is no bridge.
	Interface string `yaml:"interface"`
	// AMTRelays are where the channels come from.
	AMTRelays `yaml:",inline"`
	// Channels are what is bridged.
	Channels []AMTChannel `yaml:"channels"`
}

const maxDrain = time.Hour

// AMTKey is the secret of an anycast cluster.
type AMTKey struct{ secret }

// AMTAddress is an address of AMT: "192.0.2.1", "192.0.2.1:2268", "2001:db8::1" or "[2001:db8::1]:2268".
type AMTAddress struct{ netip.AddrPort }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *AMTAddress) UnmarshalText(b []byte) error {
	s := string(b)
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") { // as before a port
		bare = s[1 : len(s)-1]
	}
	if ip, err := netip.ParseAddr(bare); err == nil && (bare == s || ip.Is6()) {
		a.AddrPort = netip.AddrPortFrom(ip.Unmap(), amt.Port)
		return nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return fmt.Errorf("%q is not an address, with or without a port (write it like 192.0.2.1 or [2001:db8::1]:2268)", s)
	}
	a.AddrPort = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (a AMTAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// AMTChannel is a source and a group: "198.51.100.10,232.1.1.10".
type AMTChannel struct{ Source, Group netip.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *AMTChannel) UnmarshalText(b []byte) error {
	s, g, ok := strings.Cut(string(b), ",")
	source, err1 := netip.ParseAddr(strings.TrimSpace(s))
	group, err2 := netip.ParseAddr(strings.TrimSpace(g))
	if !ok || err1 != nil || err2 != nil || !group.IsMulticast() || source.IsMulticast() || source.Is4() != group.Is4() {
		return fmt.Errorf("%q is not a source and a group (write it like 198.51.100.10,232.1.1.10)", string(b))
	}
	*c = AMTChannel{source, group}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (c AMTChannel) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String is "source,group".
func (c AMTChannel) String() string { return c.Source.String() + "," + c.Group.String() }

// AMTEndpoint says when Queries carry the G flag and the gateway's endpoint (RFC 7450 section 5.1.4).
type AMTEndpoint string

// When they do.
const (
	AMTEndpointAuto   AMTEndpoint = "auto" // once the gateway has a tunnel and is not Linux
	AMTEndpointAlways AMTEndpoint = "always"
	AMTEndpointNever  AMTEndpoint = "never"
)

var amtEndpoints = map[AMTEndpoint]amt.EndpointMode{AMTEndpointAuto: amt.EndpointAuto, AMTEndpointAlways: amt.EndpointAlways, AMTEndpointNever: amt.EndpointNever}

// Mode is that of package amt.
func (e AMTEndpoint) Mode() amt.EndpointMode { return amtEndpoints[e] }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *AMTEndpoint) UnmarshalText(b []byte) error {
	if _, ok := amtEndpoints[AMTEndpoint(b)]; !ok {
		return fmt.Errorf("%q is none of auto, always and never", b)
	}
	*e = AMTEndpoint(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (e AMTEndpoint) MarshalText() ([]byte, error) { return []byte(e), nil }

// Open says whether anybody may have anything.
func (a *AMTAllow) Open() bool {
	return len(a.Gateways) == 0 && len(a.Sources) == 0 && len(a.Groups) == 0
}

// Enabled says whether there is anything to run.
func (a *AMT) Enabled() bool { return len(a.Listen) > 0 || a.Bridge.Interface != "" }

func (r *AMTRelay) populate() {
	r.Node.populate()
	orDefault(&r.Admin.Listen, loopback(9104))
	orDefault(&r.Log.Format, "text")
	r.AMT.populate()
}

func (a *AMT) populate() {
	a.Listen, a.Advertise = slices.Clone(a.Listen), slices.Clone(a.Advertise)
	a.Upstream.Relays, a.Bridge.Relays = slices.Clone(a.Upstream.Relays), slices.Clone(a.Bridge.Relays)
	a.Upstream.Ports, a.Bridge.Channels = slices.Clone(a.Upstream.Ports), slices.Clone(a.Bridge.Channels)
	orDefault(&a.MaxTunnels, 100_000)
	orDefault(&a.MaxTunnelsPerAddress, 4096)
	orDefault(&a.MaxGroupsPerTunnel, 64)
	orDefault(&a.MaxSourcesPerGroup, 64)
	orDefault(&a.MaxChannelsPerTunnel, 512)
	orDefault(&a.QueryInterval, 125*time.Second)
	orDefault(&a.Endpoint, AMTEndpointAuto)
	orDefault(&a.Drain, min(a.QueryInterval+25*time.Second, maxDrain))
	if a.Upstream.DRIAD {
		orDefault(&a.Upstream.MaxSources, 256)
	}
	if a.XDP.Egress != "" {
		orDefault(&a.XDP.Upstream, a.Upstream.Interface)
		orDefault(&a.XDP.MaxCopies, 192)
	}
}

func (r *AMTRelay) validate(p *problems) {
	r.Node.validate(p)
	r.Admin.validate(p)
	r.Log.validate(p)
	if !r.AMT.Enabled() {
		p.addf("amt.listen", "is missing, and there is no bridge: there is nothing to do")
	}
	r.AMT.validate(p)
}

func (a *AMT) validate(p *problems) {
	for i, l := range a.Listen {
		path := fmt.Sprintf("amt.listen[%d]", i)
		if l.Addr().IsMulticast() {
			p.addf(path, "%s is a multicast address", l.Addr())
		}
		if slices.Contains(a.Listen[:i], l) {
			p.addf(path, "%s stands twice", l)
		}
	}
	if len(a.Listen) > 0 {
		a.validateAdvertise(p)
	}
	for i, b := range a.Advertise {
		path := fmt.Sprintf("amt.advertise[%d]", i)
		if !b.IsValid() || b.IsUnspecified() || b.IsMulticast() || b.Is4In6() || b.Zone() != "" {
			p.addf(path, "%s is not a unicast address that gateways can use", b)
		}
		if slices.ContainsFunc(a.Advertise[:i], func(c netip.Addr) bool { return c.Is4() == b.Is4() }) {
			p.addf(path, "is the second address of its family")
		}
	}
	a.validateRelays(p, "amt.upstream", &a.Upstream.AMTRelays)
	a.validateRelays(p, "amt.bridge", &a.Bridge.AMTRelays)
	if a.Upstream.DRIAD {
		between(p, "amt.upstream.max_sources", a.Upstream.MaxSources, 1, 65536)
	} else if a.Upstream.MaxSources != 0 {
		p.addf("amt.upstream.max_sources", "is set, and driad is not")
	}
	if a.Upstream.Tunnels() && (a.Upstream.Interface != "" || len(a.Upstream.Ports) > 0 || a.Upstream.Sockets) {
		p.addf("amt.upstream", "has relays or driad, and keys for joining on this machine's networks")
	}
	if a.Upstream.Sockets && len(a.Upstream.Ports) == 0 && p.known("amt.upstream.ports") {
		p.addf("amt.upstream.ports", "is missing: a socket gets the packets of one port")
	}
	for i, port := range a.Upstream.Ports {
		if port == 0 {
			p.addf(fmt.Sprintf("amt.upstream.ports[%d]", i), "is 0")
		}
	}
	b := &a.Bridge
	switch {
	case b.Interface == "" && (b.Tunnels() || len(b.Channels) > 0):
		p.addf("amt.bridge.interface", "is missing")
	case b.Interface != "" && !b.Tunnels() && p.known("amt.bridge.relays"):
		p.addf("amt.bridge.relays", "is missing, and driad is not set")
	case b.Interface != "" && len(b.Channels) == 0 && p.known("amt.bridge.channels"):
		p.addf("amt.bridge.channels", "is missing")
	case b.Interface != "" && b.Interface == a.Upstream.Interface:
		p.addf("amt.bridge.interface", "is where the relay joins channels, too: packets would go in a circle")
	}
	a.validateXDP(p)
	between(p, "amt.max_tunnels", a.MaxTunnels, 1, 10_000_000)
	between(p, "amt.max_tunnels_per_address", a.MaxTunnelsPerAddress, 1, 10_000_000)
	// Each record of a report is looked up in a list of that length.
	between(p, "amt.max_groups_per_tunnel", a.MaxGroupsPerTunnel, 1, 4096)
	between(p, "amt.max_sources_per_group", a.MaxSourcesPerGroup, 1, 4096)
	between(p, "amt.max_channels_per_tunnel", a.MaxChannelsPerTunnel, 1, 65536)
	if a.PathMTU != 0 {
		between(p, "amt.path_mtu", a.PathMTU, 576, 65535)
	}
	if a.QueryInterval < time.Second || a.QueryInterval > 31744*time.Second {
		p.addf("amt.query_interval", "is not from 1s to 31744s")
	}
	if a.Drain < 0 || a.Drain > maxDrain {
		p.addf("amt.drain", "is not from 0s to 1h")
	}
}

func (a *AMT) validateXDP(p *problems) {
	x := &a.XDP
	switch {
	case x.Egress == "" && (x.Upstream != "" || x.MaxCopies != 0):
		p.addf("amt.xdp.egress", "is missing")
	case x.Egress == "":
	case len(a.Listen) == 0 || a.Upstream.Tunnels():
		p.addf("amt.xdp", "is for a relay that joins channels on this machine's networks")
	case x.Upstream == "" && p.known("amt.upstream.interface"):
		p.addf("amt.xdp.upstream", "is missing, and so is amt.upstream.interface")
	default:
		between(p, "amt.xdp.max_copies", x.MaxCopies, 1, 4096)
	}
}

func between(p *problems, path string, v, least, most int) {
	if v < least || v > most {
		p.addf(path, "is not from %d to %d", least, most)
	}
}

// validateAdvertise checks that each family that the relay listens on has an address to advertise.
func (a *AMT) validateAdvertise(p *problems) {
	for _, v4 := range []bool{true, false} {
		family := func(b netip.Addr) bool { return b.Is4() == v4 }
		wildcard := false
		plain := false
		for _, l := range a.Listen {
			wildcard = wildcard || family(l.Addr()) && l.Addr().IsUnspecified()
			plain = plain || family(l.Addr()) && !l.Addr().IsUnspecified()
		}
		if wildcard && !plain && !slices.ContainsFunc(a.Advertise, family) {
			name := map[bool]string{true: "IPv4", false: "IPv6"}[v4]
			p.addf("amt.advertise", "has no %s address, and amt.listen has but the wildcard: what is to be told to gateways?", name)
		}
	}
}

// validateRelays refuses a relay that is this one.
func (a *AMT) validateRelays(p *problems, path string, relays *AMTRelays) {
	relays.validate(p, path)
	for i, r := range relays.Relays {
		for _, l := range a.Listen {
			if r.Name == "" && (l.AddrPort == r.AddrPort || l.Port() == r.Port() && slices.Contains(a.Advertise, r.Addr())) {
				p.addf(fmt.Sprintf("%s.relays[%d]", path, i), "%s is this relay itself: a loop", r)
			}
		}
	}
}

func (r *AMTRelay) resolve(p *problems, env lookupEnv) { r.AMT.resolve(p, env) }

func (a *AMT) resolve(p *problems, env lookupEnv) {
	if err := a.Key.resolve(env); err != nil {
		p.addf("amt.key", "%v", err)
	}
}

// Files lists the files that the configuration names, beside itself.
func (r *AMTRelay) Files() []string { return appendRef(nil, r.AMT.Key.ref) }

func bindAMTRelay(b binder[AMTRelay]) {
	bindNode(b, func(c *AMTRelay) (*Node, *Admin, *Log) { return &c.Node, &c.Admin, &c.Log })
	appended(b, "listen", "`address` where gateways ask; may be repeated", fixed("amt.listen", func(c *AMTRelay) *[]AMTAddress { return &c.AMT.Listen }))
	appended(b, "advertise", "unicast `address` that gateways are told; may be repeated (default: those of -listen)", fixed("amt.advertise", func(c *AMTRelay) *[]netip.Addr { return &c.AMT.Advertise }))
	appended(b, "relay", "`address` or name of another relay from which packets come; may be repeated, in order (default: this machine's networks)", fixed("amt.upstream.relays", func(c *AMTRelay) *[]AMTHost { return &c.AMT.Upstream.Relays }))
	appended(b, "port", "UDP `port` of channels, needed without CAP_NET_RAW; may be repeated", fixed("amt.upstream.ports", func(c *AMTRelay) *[]uint16 { return &c.AMT.Upstream.Ports }))
	setting(b, "interface", "`name` of the interface where channels are joined", fixed("amt.upstream.interface", func(c *AMTRelay) *string { return &c.AMT.Upstream.Interface }))
}
