package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// Gateway says how packets come to a node, natively or through relays of Automatic Multicast Tunneling (RFC 7450).
type Gateway struct {
	// Mode is the way: native, tunnel, auto or adaptive. Default: auto if there are relays or DRIAD, else native.
	Mode      AMTMode `yaml:"mode"`
	AMTRelays `yaml:",inline"`
}

// AMTRelays says which relays a tunnel may lead to.
type AMTRelays struct {
	// Relays are addresses or names of relays, or addresses to discover them by, in the order of preference.
	Relays []AMTHost `yaml:"relays"`
	// DRIAD looks for relays as well: by DNS-SD in the network that the node is in, by the anycast addresses, by the
	// AMTRELAY records of the source (RFC 8777). Those in Relays are preferred. Default false.
	DRIAD bool `yaml:"driad"`
	// Resolver is the DNS server that is asked for names and records. Default: those of the system.
	Resolver Resolver `yaml:"resolver"`
}

// Tunnels says whether relays are used.
func (g *AMTRelays) Tunnels() bool { return len(g.Relays) > 0 || g.DRIAD }

// Candidates are the relays that are given by address.
func (g *AMTRelays) Candidates() (list []amt.Candidate) {
	for _, r := range g.Relays {
		if r.Name == "" {
			list = append(list, amt.Candidate{Address: r.AddrPort})
		}
	}
	return list
}

// Discovery says how to look for relays; nil if all of them are given by address.
func (g *AMTRelays) Discovery() *driad.ClientConfig {
	if !g.DRIAD && !slices.ContainsFunc(g.Relays, func(r AMTHost) bool { return r.Name != "" }) {
		return nil
	}
	c := &driad.ClientConfig{Resolver: g.Resolver.resolver()}
	c.NoServiceDiscovery, c.NoAnycast, c.NoDRIAD, c.NoPlain = !g.DRIAD, !g.DRIAD, !g.DRIAD, !g.DRIAD
	for _, r := range g.Relays {
		relay := driad.Candidate{Address: r.AddrPort}
		if r.Name != "" {
			relay.Name, _ = dns.ParseName(r.Name) // was one when it was read
		}
		c.Relays = append(c.Relays, relay)
	}
	return c
}

// Key is the same for all that look for the same relays in the same way.
func (g *AMTRelays) Key() string { return fmt.Sprint(g.Relays, g.DRIAD, g.Resolver) }

// AMTMode is a way by which packets come, as package amt names them. Empty: none was given.
type AMTMode string

// Modes of reception.
const (
	AMTNative   AMTMode = "native"   // no relay is used
	AMTTunnel   AMTMode = "tunnel"   // only relays are
	AMTAuto     AMTMode = "auto"     // relays are while nothing comes natively
	AMTAdaptive AMTMode = "adaptive" // both begin, and native reception is kept if it works
)

var amtModes = map[AMTMode]amt.Mode{AMTNative: amt.ModeNative, AMTTunnel: amt.ModeTunnel, AMTAuto: amt.ModeAuto, AMTAdaptive: amt.ModeAdaptive}

// Mode is that of package amt.
func (m AMTMode) Mode() amt.Mode { return amtModes[m] }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *AMTMode) UnmarshalText(b []byte) error {
	if _, ok := amtModes[AMTMode(b)]; !ok {
		return fmt.Errorf("%q is none of native, tunnel, auto and adaptive", b)
	}
	*m = AMTMode(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m AMTMode) MarshalText() ([]byte, error) { return []byte(m), nil }

// AMTHost is a relay by its address, as in [AMTAddress], or by its name: "relay.example" or "relay.example:2268".
type AMTHost struct {
	// Name is the domain name; empty for an address.
	Name string
	// AddrPort is the address; with a name it has the port only.
	netip.AddrPort
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *AMTHost) UnmarshalText(b []byte) error {
	var a AMTAddress
	if a.UnmarshalText(b) == nil {
		*h = AMTHost{AddrPort: a.AddrPort}
		return nil
	}
	s := string(b)
	host, port := s, uint16(amt.Port)
	if name, digits, ok := strings.Cut(s, ":"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not an address or a name of a relay, with or without a port (write it like 192.0.2.1, [2001:db8::1]:2268 or relay.example)", s)
		}
		host, port = name, uint16(n)
	}
	if !isHostName(host) {
		return fmt.Errorf("%q is not an address or a name of a relay, with or without a port (write it like 192.0.2.1, [2001:db8::1]:2268 or relay.example)", s)
	}
	*h = AMTHost{Name: host, AddrPort: netip.AddrPortFrom(netip.Addr{}, port)}
	return nil
}

// isHostName tells names from what may be an address with a slip (RFC 1123 section 2.1).
func isHostName(s string) bool {
	if _, err := dns.ParseName(s); err != nil || s == "" || s == "." {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if l == "" || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// MarshalText implements encoding.TextMarshaler.
func (h AMTHost) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// String is the address or name, with the port.
func (h AMTHost) String() string {
	if h.Name == "" {
		return h.AddrPort.String()
	}
	return net.JoinHostPort(h.Name, uitoa(uint64(h.Port())))
}

// Resolver is a DNS server: "192.0.2.53" or "192.0.2.53:5353" by UDP and TCP; "tls://192.0.2.53" or
// "tls://192.0.2.53#dns.example", with the name that its certificate is for, by TLS (RFC 7858);
// "https://dns.example/dns-query" by HTTPS (RFC 8484). The zero value is the system's.
type Resolver struct {
	server netip.AddrPort // port 0: the usual one
	tls    bool
	name   string // in the certificate
	url    string
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Resolver) UnmarshalText(b []byte) error {
	s := string(b)
	if strings.HasPrefix(s, "https://") {
		u, err := ParseURL(s)
		if err != nil {
			return err
		}
		*r = Resolver{url: u.String()}
		return nil
	}
	server, overTLS := strings.CutPrefix(s, "tls://")
	name := ""
	if overTLS {
		server, name, _ = strings.Cut(server, "#")
	}
	to, err := netip.ParseAddrPort(server)
	if err != nil {
		var a netip.Addr
		a, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(server, "["), "]"))
		to = netip.AddrPortFrom(a, 0)
	}
	if err != nil || name != "" && !isHostName(name) {
		return fmt.Errorf("%q is not a DNS server (write it like 192.0.2.53, tls://192.0.2.53#dns.example or https://dns.example/dns-query)", s)
	}
	*r = Resolver{server: to, tls: overTLS, name: name}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (r Resolver) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// IsZero says whether none was given.
func (r Resolver) IsZero() bool { return r == Resolver{} }

// String is the form in which it is written.
func (r Resolver) String() string {
	if r.url != "" || r.IsZero() {
		return r.url
	}
	s := r.server.String()
	if r.server.Port() == 0 {
		s = r.server.Addr().String()
	}
	if r.tls {
		s = "tls://" + s
	}
	if r.name != "" {
		s += "#" + r.name
	}
	return s
}

// resolver returns what asks it; nil for the system's.
func (r Resolver) resolver() driad.Resolver {
	switch {
	case r.url != "":
		return &resolver.HTTPS{URL: r.url}
	case r.tls:
		return &resolver.TLS{Servers: []netip.AddrPort{r.server}, Name: r.name}
	case r.server.IsValid():
		return &resolver.Plain{Servers: []netip.AddrPort{r.server}}
	}
	return nil
}

func (g *Gateway) populate() {
	g.Relays = slices.Clone(g.Relays)
	if g.Mode == "" {
		g.Mode = AMTNative
		if g.Tunnels() {
			g.Mode = AMTAuto
		}
	}
}

func (g *Gateway) validate(p *problems, path string, anySource bool) {
	switch {
	case !p.known(path):
	case g.Mode == AMTNative && g.Tunnels():
		p.addf(path+".mode", "is native, which uses no relays, and there are relays or driad")
	case g.Mode != AMTNative && !g.Tunnels():
		p.addf(path+".relays", "are missing, and driad is not set: where would a tunnel lead to?")
	default:
		g.AMTRelays.validate(p, path)
	}
	if g.DRIAD && anySource {
		p.addf(path+".driad", "looks for the relays of a source, and any_source is set")
	}
}

func (g *AMTRelays) validate(p *problems, path string) {
	if !g.Resolver.IsZero() && g.Discovery() == nil {
		p.addf(path+".resolver", "is set, and nothing is looked up: there is no driad and no name of a relay")
	}
	for i, r := range g.Relays {
		if a := r.Addr(); r.Name == "" && (!a.IsValid() || a.IsUnspecified() || a.IsMulticast()) {
			p.addf(fmt.Sprintf("%s.relays[%d]", path, i), "%s is not a unicast address", a)
		}
	}
}

// validateGateways refuses tunnels of a node to itself.
func (r *Relay) validateGateways(p *problems) {
	for i := range r.Services {
		for j, relay := range r.Services[i].Upstream.AMT.Relays {
			for _, l := range r.AMT.Listen {
				own := l.AddrPort == relay.AddrPort || l.Port() == relay.Port() && slices.Contains(r.AMT.Advertise, relay.Addr())
				if relay.Name == "" && own {
					p.addf(fmt.Sprintf("services[%d].upstream.amt.relays[%d]", i, j), "%s is this node's own AMT relay", relay)
				}
			}
		}
	}
}

// gateway says in words how packets of a session come.
func (e *explanation) gateway(g *Gateway) {
	switch g.Mode {
	case AMTTunnel:
		e.line("    only through an AMT relay")
	case AMTAuto:
		e.line("    natively, and through an AMT relay while nothing comes natively for 3s")
	case AMTAdaptive:
		e.line("    natively and through an AMT relay, until the native way is known to work")
	default:
		return
	}
	e.amtRelays(&g.AMTRelays)
}

// amtRelays says in words which relays a tunnel leads to.
func (e *explanation) amtRelays(g *AMTRelays) {
	for i, r := range g.Relays {
		e.line("      relay %d: %s", i+1, r)
	}
	if g.DRIAD {
		e.line("      looks for more: by DNS-SD, by the anycast addresses, by AMTRELAY records of the source")
	}
	if g.Discovery() != nil {
		server := "the system's DNS servers"
		if !g.Resolver.IsZero() {
			server = "the DNS server " + g.Resolver.String()
		}
		e.line("      asks %s", server)
	}
}
