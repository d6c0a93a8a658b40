package config

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

const (
	maxName        = 63
	minRetention   = time.Second
	maxRetention   = 24 * time.Hour
	maxConnections = 1_000_000
	maxOffset      = 10 * 365 * 24 * time.Hour
	minRate        = Rate(10_000)
	maxRate        = Rate(400_000_000_000)
)

// Of a document with values that could not be read the rest is validated as
// well. A check reports the path that it is about, and [problems.addf] drops it
// if that is not known; a check that draws on another value asks for that.

func (c *Cast) validate(p *problems) {
	c.Node.validate(p)
	c.Ingest.TLS.validate(p, "ingest.tls")
	c.Ingest.Limits.validate(p, "ingest.limits")
	c.Repair.Limits.validate(p, "repair.limits")
	c.Admin.validate(p)
	c.Log.validate(p)
	distinct(p, server{"ingest.listen", c.Ingest.Listen}, server{"repair.listen", c.Repair.Listen}, server{"admin.listen", c.Admin.Listen})
	names, sessions := map[string]string{}, sessions{}
	for i := range c.Channels {
		ch, path := &c.Channels[i], fmt.Sprintf("channels[%d]", i)
		checkName(p, path, ch.Name, names)
		ch.Multicast.validate(p, path+".multicast", !ch.Unsigned)
		sessions.claim(p, path+".multicast", ch.Multicast.Session, ch.Multicast.SealPort)
		if ch.Unsigned && !ch.SealKey.IsZero() {
			p.addf(path+".seal_key", "is set, and so is unsigned")
		}
		checkRetention(p, path, ch.Retention)
		switch {
		case !ch.Pull.IsZero() && len(ch.Keys) > 0:
			p.addf(path+".keys", "a channel that is pulled takes no pushes and has no keys")
		case !p.known(path + ".pull"):
		case ch.Pull.IsZero() && !c.Ingest.Listen.Enabled():
			p.addf(path+".pull", "is missing and the ingest is off: nothing could come in")
		case ch.Pull.IsZero() && len(ch.Keys) == 0 && !c.Ingest.Listen.Loopback():
			p.addf(path+".keys", "the ingest listens on %s, beyond loopback: anyone could publish; give the channel a key", c.Ingest.Listen)
		}
	}
}

func (r *Relay) validate(p *problems) {
	r.Node.validate(p)
	r.HTTP.validate(p)
	r.Repair.Limits.validate(p, "repair.limits")
	r.Admin.validate(p)
	r.Log.validate(p)
	r.Cache.validate(p)
	r.AMT.validate(p)
	r.validateGateways(p)
	distinct(p, server{"http.listen", r.HTTP.Listen}, server{"repair.listen", r.Repair.Listen}, server{"admin.listen", r.Admin.Listen})
	names, up, down := map[string]string{}, sessions{}, sessions{}
	for i := range r.Services {
		s, path := &r.Services[i], fmt.Sprintf("services[%d]", i)
		s.validate(p, path, names, up)
		for j, parent := range s.Upstream.Parents {
			if r.Repair.Listen.Enabled() && !parent.IsZero() && parent.URL().Host == r.Repair.Listen.String() {
				p.addf(fmt.Sprintf("%s.upstream.parents[%d]", path, j), "is this node's own repair server")
			}
		}
		switch {
		case s.SealKey.IsZero():
		case s.Upstream.Unsigned:
			p.addf(path+".seal_key", "is set, and the upstream is unsigned")
		case s.Downstream.IsZero() && p.known(path+".downstream"):
			p.addf(path+".seal_key", "is set, and there is no downstream to seal")
		}
		if s.Downstream.IsZero() {
			continue
		}
		s.Downstream.validate(p, path+".downstream", !s.Upstream.Unsigned)
		down.claim(p, path+".downstream", s.Downstream.Session, s.Downstream.SealPort)
	}
	// What a node sends it would receive as its own upstream: packets for ever.
	for i := range r.Services {
		d, path := &r.Services[i].Downstream, fmt.Sprintf("services[%d].downstream", i)
		if from, loop := up[key(d.Session)]; loop {
			p.addf(path, "sends to %s, which %s receives: a loop", d.Session, from.path)
			continue
		}
		seals := onPort(d.Session, d.SealPort)
		if from, loop := up[key(seals)]; loop {
			p.addf(path+".seal_port", "sends to %s, which %s receives: a loop", seals, from.path)
		}
	}
}

func (b *Beacon) validate(p *problems) {
	b.Node.validate(p)
	b.HTTP.validate(p)
	b.Admin.validate(p)
	b.Log.validate(p)
	b.Cache.validate(p)
	distinct(p, server{"http.listen", b.HTTP.Listen}, server{"admin.listen", b.Admin.Listen})
	names, up := map[string]string{}, sessions{}
	for i := range b.Services {
		b.Services[i].validate(p, fmt.Sprintf("services[%d]", i), names, up)
	}
}

func (n *Node) validate(p *problems) {
	if strings.ContainsFunc(n.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(n.Name) > 255 {
		p.addf("node.name", "has control characters or more than 255 octets")
	}
	if n.ClockOffset.Abs() > maxOffset {
		p.addf("node.clock_offset", "is more than ten years")
	}
}

func (h *HTTP) validate(p *problems) {
	h.TLS.validate(p, "http.tls")
	h.Limits.validate(p, "http.limits")
	for i, o := range h.CORS.Origins {
		if o == "*" {
			continue
		}
		u, err := ParseURL(o)
		// RFC 6454 section 6.2: scheme, host and port, nothing behind them.
		if err != nil || u.u.Path != "" || u.u.RawQuery != "" || u.u.ForceQuery {
			p.addf(fmt.Sprintf("http.cors.origins[%d]", i), "%q is not an origin (write it like https://tv.example or *)", o)
		}
	}
}

func (t *TLS) validate(p *problems, path string) {
	switch {
	case t.Cert != "" && t.Key == "":
		p.addf(path, "has a cert and no key")
	case t.Cert == "" && t.Key != "":
		p.addf(path, "has a key and no cert")
	}
}

func (l *Limits) validate(p *problems, path string) {
	if between(p, path+".connections", l.Connections, 1, maxConnections); l.Connections >= 1 {
		between(p, path+".connections_per_peer", l.ConnectionsPerPeer, 1, l.Connections)
	}
}

func (a *Admin) validate(p *problems) {
	if a.Pprof && !a.Listen.Loopback() {
		p.addf("admin.pprof", "is only for a server on loopback: profiles show memory")
	}
}

func (l *Log) validate(p *problems) {
	if l.Format != "text" && l.Format != "json" {
		p.addf("log.format", "%q is neither text nor json", l.Format)
	}
}

func (c *Cache) validate(p *problems) {
	if c.Memory < 1<<20 {
		p.addf("cache.memory", "is less than 1MiB")
	}
	if c.Disk.Dir == "" && c.Disk.Size != 0 {
		p.addf("cache.disk", "has a size and no dir")
	}
}

func (s *Service) validate(p *problems, path string, names map[string]string, up sessions) {
	checkName(p, path, s.Name, names)
	s.Upstream.validate(p, path+".upstream")
	up.claim(p, path+".upstream", s.Upstream.Session, s.Upstream.SealPort)
	checkRetention(p, path, s.Retention)
}

func (u *Upstream) validate(p *problems, path string) {
	if u.AnySource {
		if u.Source.IsValid() {
			p.addf(path+".source", "any_source and a source exclude each other")
		}
		u.Session.validate(p, path, false)
	} else {
		u.Session.validate(p, path, p.known(path+".any_source"))
	}
	u.AMT.validate(p, path+".amt", u.AnySource)
	checkSealPort(p, path, u.Port, u.SealPort, !u.Unsigned)
	switch {
	case u.Unsigned && len(u.Anchors)+len(u.HopAnchors) > 0:
		p.addf(path+".unsigned", "is set, and so are anchors: is the service sealed or not?")
	case !p.known(path + ".unsigned"):
	case !u.Unsigned && len(u.Anchors) == 0:
		p.addf(path+".anchors", "are missing: the public key of the service's root, as its log shows it; or, for a third party's service without seals, unsigned: true")
	case !u.Unsigned:
		u.checkKeyIDs(p, path)
	}
	for i, parent := range u.Parents {
		if parent.IsZero() {
			p.addf(fmt.Sprintf("%s.parents[%d]", path, i), "is empty")
			continue
		}
		if parent.u.RawQuery != "" || parent.u.ForceQuery {
			p.addf(fmt.Sprintf("%s.parents[%d]", path, i), "has a query; a parent is a base URL like http://10.0.0.1:8081")
		}
	}
}

func (d *Downstream) validate(p *problems, path string, sealed bool) {
	d.Session.validate(p, path, true)
	checkSealPort(p, path, d.Port, d.SealPort, sealed)
	if d.TTL < 1 || d.TTL > 255 {
		p.addf(path+".ttl", "is not from 1 to 255")
	}
	if d.Rate != 0 && (d.Rate < minRate || d.Rate > maxRate) {
		p.addf(path+".rate", "is not from %s to %s", minRate, maxRate)
	}
	f := d.FEC
	if f.Off {
		if f.Loss != 0 || f.Target != 0 || f.Growing != (GrowingFEC{}) {
			p.addf(path+".fec", "is off and has a loss or a target")
		}
		return
	}
	if !(f.Loss > 0 && f.Loss <= 0.5) {
		p.addf(path+".fec.loss", "is not above 0 and at most 0.5 (for no repair packets write off: true)")
	}
	target := func(v float64) bool { return v >= 1e-12 && v <= 0.5 }
	if !target(f.Target) {
		p.addf(path+".fec.target", "is not from 1e-12 to 0.5")
	}
	g := f.Growing
	if g.Off {
		if g.Delay != 0 || g.Target != 0 {
			p.addf(path+".fec.growing", "is off and has a delay or a target")
		}
		return
	}
	// Receivers believe in a second at most, and audio has twelve times as much.
	if g.Delay < 5*time.Millisecond || g.Delay > 80*time.Millisecond {
		p.addf(path+".fec.growing.delay", "is not from 5ms to 80ms")
	}
	if !target(g.Target) && target(f.Target) { // its default follows from the other
		p.addf(path+".fec.growing.target", "is not from 1e-12 to 0.5")
	}
}

// validate checks a session; specific demands a source and a group that only
// sources may send to (RFC 4607).
func (s *Session) validate(p *problems, path string, specific bool) {
	group, source := s.Group, s.Source
	switch {
	case !group.IsValid():
		p.addf(path+".group", "is missing")
	case group.Is4In6():
		p.addf(path+".group", "%s is an IPv4 address written as IPv6", group)
	case group.Zone() != "":
		p.addf(path+".group", "%s has a zone; write the interface apart", group)
	case !group.IsMulticast():
		p.addf(path+".group", "%s is not a multicast address", group)
	case specific && !isSSM(group):
		p.addf(path+".group", "%s is outside the source-specific range (232.0.0.0/8 or ff3x::/32)", group)
	case reservedGroup(group):
		p.addf(path+".group", "%s is in 232.0.0.0/24, which is reserved (RFC 4607 section 1)", group)
	}
	switch {
	case !source.IsValid():
		if specific {
			p.addf(path+".source", "is missing")
		}
	case source.Is4In6():
		p.addf(path+".source", "%s is an IPv4 address written as IPv6", source)
	case source.Zone() != "":
		p.addf(path+".source", "%s has a zone; write the interface apart", source)
	case source.IsUnspecified(), source.IsMulticast(), source == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		p.addf(path+".source", "%s is not a unicast address", source)
	case group.IsValid() && source.Is4() != group.Is4():
		p.addf(path+".source", "%s and the group %s are not of the same family", source, group)
	}
	if s.Port == 0 {
		p.addf(path+".port", "is missing")
	}
}

// isSSM says whether only joins that name a source reach a group. RFC 4607
// section 1: 232/8, and FF3x::/32 for every scope x.
func isSSM(a netip.Addr) bool {
	if a.Is4() {
		return a.As4()[0] == 232
	}
	b := a.As16()
	return b[0] == 0xff && b[1]>>4 == 3 && b[2] == 0 && b[3] == 0
}

func reservedGroup(a netip.Addr) bool {
	b := a.As16()
	return a.Is4() && b[12] == 232 && b[13] == 0 && b[14] == 0
}

func checkRetention(p *problems, path string, d time.Duration) {
	if d < minRetention || d > maxRetention {
		p.addf(path+".retention", "is not from %s to %s", minRetention, maxRetention)
	}
}

// checkName refuses what is not one plain path segment of a URL.
func checkName(p *problems, path, name string, seen map[string]string) {
	if name == "" {
		p.addf(path+".name", "is missing")
		return
	}
	for i, r := range name {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", r)) || len(name) > maxName {
			p.addf(path+".name", "%q is not 1 to %d letters, digits, '.', '_', '-', beginning with a letter or a digit", shorten(name), maxName)
			return
		}
	}
	if first, dup := seen[name]; dup {
		p.addf(path+".name", "%s is the name of %s already", name, first)
		return
	}
	seen[name] = path
}

func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// key is what two sessions must differ in: the interface does not tell packets
// of one (S,G) and port apart.
func key(s Session) Session {
	s.Interface = ""
	return s
}

func onPort(s Session, port uint16) Session {
	s.Port = port
	return s
}

// sessions notes what each source, group and port is for.
type sessions map[Session]use

type use struct {
	path  string // of the session
	seals bool   // the port is that of its seals
}

func (u use) String() string {
	if u.seals {
		return "where the seals of " + u.path + " go"
	}
	return "the session of " + u.path
}

// claim refuses a session that another one would hear: on the port of the media
// or on that of the seals, which is 0 if there are none.
func (u sessions) claim(p *problems, path string, s Session, sealPort uint16) {
	if !s.Group.IsValid() || s.Port == 0 {
		return
	}
	if first, dup := u[key(s)]; dup {
		p.addf(path, "%s is %s already", s, first)
		return
	}
	u[key(s)] = use{path: path}
	if sealPort == 0 || sealPort == s.Port {
		return
	}
	seals := onPort(s, sealPort)
	if first, dup := u[key(seals)]; dup {
		p.addf(path+".seal_port", "%s is %s already", seals, first)
		return
	}
	u[key(seals)] = use{path: path, seals: true}
}

func checkSealPort(p *problems, path string, port, sealPort uint16, sealed bool) {
	switch {
	case !sealed && sealPort != 0:
		p.addf(path+".seal_port", "is set, and unsigned is: there are no seals")
	case sealed && sealPort == 0:
		p.addf(path+".seal_port", "is missing: there is no port behind %d", port)
	case sealed && sealPort == port:
		p.addf(path+".seal_port", "is the port of the media")
	}
}

type server struct {
	path   string
	listen Listen
}

// distinct refuses two servers on one address. Port 0 is a free port for each.
func distinct(p *problems, servers ...server) {
	for i, a := range servers {
		for _, b := range servers[:i] {
			if p.known(b.path) && a.listen.Enabled() && a.listen.AddrPort().Port() != 0 && overlap(a.listen.AddrPort(), b.listen.AddrPort()) {
				p.addf(a.path, "%s is taken by %s", a.listen, b.path)
			}
		}
	}
}

func overlap(a, b netip.AddrPort) bool {
	if !b.IsValid() || a.Port() != b.Port() {
		return false
	}
	return a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified()
}

// isLoopback says whether packets of the session stay on the machine.
func (s Session) isLoopback() bool { return s.Source.IsLoopback() }

// percent writes 0.1 as 10%.
func percent(f float64) string {
	return fmt.Sprintf("%g%%", math.Round(f*1e6)/1e4)
}
