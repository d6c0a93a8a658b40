package config

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// explanation writes what a node would do and gathers warnings for the end.
type explanation struct {
	b        strings.Builder
	warnings []string
}

func (e *explanation) line(format string, args ...any) {
	fmt.Fprintf(&e.b, format+"\n", args...)
}

func (e *explanation) warn(format string, args ...any) {
	e.warnings = append(e.warnings, fmt.Sprintf(format, args...))
}

func (e *explanation) writeTo(w io.Writer) error {
	for _, warning := range e.warnings {
		e.line("warning: %s", warning)
	}
	_, err := io.WriteString(w, e.b.String())
	return err
}

// Explain writes in words what the node would do: where it listens, what it
// joins, sends and keeps; and warns of what is allowed but may surprise. It
// wants a configuration that [Source.Load] or [Complete] returned.
func (c *Cast) Explain(w io.Writer) error {
	var e explanation
	e.node("CAST", &c.Node)
	e.server("takes pushes", c.Ingest.Listen, c.Ingest.TLS, "/<channel>/...")
	if c.Ingest.Listen.Enabled() && !c.Ingest.Listen.Loopback() && !c.Ingest.TLS.Enabled() {
		e.warn("the ingest listens beyond loopback without TLS: stream keys can be read on the way")
	}
	e.repair(c.Repair)
	e.admin(c.Admin)
	if c.Node.StateDir == "" {
		e.warn("node.state_dir is not set: after a restart publishers must send their init segments again")
	}
	if len(c.Channels) == 0 {
		e.warn("there are no channels")
	}
	for i := range c.Channels {
		ch := &c.Channels[i]
		e.line("channel %s", ch.Name)
		switch {
		case !ch.Pull.IsZero():
			e.line("  is pulled from %s", ch.Pull)
		case len(ch.Keys) == 0:
			e.line("  is pushed without a key, from this machine only")
		default:
			e.line("  is pushed with one of %d stream keys", len(ch.Keys))
		}
		e.sends(ch.Name, ch.Multicast)
		if ch.Unsigned {
			e.line("  sends NO SEALS: receivers cannot tell its packets from forged ones")
			e.warn("channel %s is UNSIGNED: its receivers have to believe whoever can send to the group", ch.Name)
		} else {
			e.line("  seals what it takes in and its signalling; seals go to UDP port %d", ch.Multicast.SealPort)
			e.sealsWith("channel "+ch.Name, ch.SealKey, &c.Node, "anchors")
		}
		e.line("  keeps objects for %s, in memory", ch.Retention)
	}
	return e.writeTo(w)
}

// Explain is as that of [Cast].
func (r *Relay) Explain(w io.Writer) error {
	var e explanation
	e.node("RELAY", &r.Node)
	e.players(r.HTTP)
	e.repair(r.Repair)
	e.admin(r.Admin)
	e.cache(r.Cache)
	e.amt(&r.AMT)
	if len(r.Services) == 0 && !r.AMT.Enabled() {
		e.warn("there are no services")
	}
	for i := range r.Services {
		s := &r.Services[i]
		e.service(&s.Service, r.Cache, &r.Node)
		if s.Downstream.IsZero() {
			e.line("  is not sent on by multicast")
			continue
		}
		e.sends(s.Name, s.Downstream)
		if s.Upstream.Unsigned {
			e.line("  sends NO SEALS, since there are none")
		} else {
			e.line("  sends the root's seals on and seals its own signalling; seals go to UDP port %d", s.Downstream.SealPort)
			e.sealsWith("service "+s.Name, s.SealKey, &r.Node, "hop_anchors")
		}
	}
	return e.writeTo(w)
}

// Explain is as that of [Cast].
func (b *Beacon) Explain(w io.Writer) error {
	var e explanation
	e.node("BEACON", &b.Node)
	e.players(b.HTTP)
	e.admin(b.Admin)
	e.cache(b.Cache)
	if len(b.Services) == 0 {
		e.warn("there are no services")
	}
	for i := range b.Services {
		e.service(&b.Services[i], b.Cache, &b.Node)
	}
	return e.writeTo(w)
}

func (e *explanation) node(role string, n *Node) {
	e.line("%s %s", role, n.Name)
	if n.ClockOffset != 0 {
		e.line("  adds %s to its clock", n.ClockOffset)
		e.warn("the clock is moved by %s", n.ClockOffset)
	}
	if n.StateDir != "" {
		e.line("  keeps its state in %s", n.StateDir)
	}
}

func (e *explanation) server(does string, l Listen, t TLS, path string) {
	if !l.Enabled() {
		e.line("  %s: off", does)
		return
	}
	scheme := "http"
	if t.Enabled() {
		scheme = "https"
	}
	e.line("  %s at %s://%s%s", does, scheme, l, path)
}

func (e *explanation) players(h HTTP) {
	e.server("serves players", h.Listen, h.TLS, "/<service>/...")
	if h.Listen.Enabled() && (len(h.CORS.Origins) != 1 || h.CORS.Origins[0] != "*") {
		e.line("    to pages of %s only", strings.Join(h.CORS.Origins, ", "))
	}
	if !h.Listen.Enabled() {
		e.warn("http.listen is off: no player can be served")
	}
}

func (e *explanation) repair(r Repair) {
	e.server("serves children (objects, ranges, repair symbols)", r.Listen, TLS{}, "/")
	if !r.Listen.Enabled() {
		e.warn("repair.listen is off: children cannot repair themselves")
	}
}

func (e *explanation) admin(a Admin) {
	e.server("shows /metrics, /status, /healthz, /readyz", a.Listen, TLS{}, "/")
	if a.Pprof {
		e.line("    and /debug/pprof/")
	}
	if !a.Listen.Loopback() {
		e.warn("admin.listen is beyond loopback: anyone who reaches it reads names, addresses and rates")
	}
}

func (e *explanation) cache(c Cache) {
	e.line("  keeps up to %s of objects in memory", c.Memory)
	if c.Disk.Dir != "" {
		e.line("  keeps up to %s of encrypted objects in %s", c.Disk.Size, c.Disk.Dir)
	}
}

func (e *explanation) service(s *Service, c Cache, n *Node) {
	e.line("service %s", s.Name)
	u := s.Upstream
	from := "from " + u.Source.String()
	if u.AnySource {
		from = "from any source"
		e.warn("service %s: any_source takes packets from whoever sends to the group", s.Name)
	}
	e.line("  joins %s %s, UDP port %d, on %s", u.Group, from, u.Port, interfaceName(u.Session))
	e.interfaceWarning(s.Name, u.Session)
	e.gateway(&u.AMT)
	if len(u.Parents) == 0 {
		e.line("  repairs nothing by unicast")
		e.warn("service %s has no parents: what multicast and FEC do not bring stays missing", s.Name)
	}
	for i, p := range u.Parents {
		e.line("  asks parent %d for what is missing: %s", i+1, p)
	}
	if u.Unsigned {
		e.line("  believes WHATEVER COMES from the group: a third party's service without seals")
		e.warn("service %s is UNSIGNED: whoever can send to the group can put octets in", s.Name)
	} else {
		e.believes(s.Name, &u, time.Now().Add(n.ClockOffset))
	}
	if s.CacheKey.IsZero() {
		if c.Disk.Dir != "" {
			e.warn("service %s has no cache_key: what is on disk cannot be read after a restart", s.Name)
		}
	} else {
		e.line("  encrypts what it keeps on disk with the service's key")
	}
	e.line("  keeps objects for %s", s.Retention)
}

func (e *explanation) believes(name string, u *Upstream, now time.Time) {
	e.line("  lets nobody read what the root has not sealed; seals come to UDP port %d", u.SealPort)
	e.anchors(name, "the root", u.Anchors, now)
	if slices.Equal(u.HopAnchors, u.Anchors) {
		e.line("    believes the same keys for the signalling: the root sends this session itself")
	} else {
		e.anchors(name, "the sender of this session, for its signalling", u.HopAnchors, now)
	}
}

func (e *explanation) anchors(name, whose string, list []Anchor, now time.Time) {
	for i, a := range list {
		later := ""
		if i > 0 {
			later = ", from whose first seal on the ones above are not believed any more"
		}
		e.line("    believes the key %s of %s%s", a, whose, later)
	}
	if !slices.ContainsFunc(list, func(a Anchor) bool { return a.valid(now) }) {
		e.warn("service %s: no key of %s is valid now: nothing of it can be read", name, whose)
	}
}

// sealsWith says which key seals, and under which key of the configuration
// receivers need its public half.
func (e *explanation) sealsWith(name string, k SealKey, n *Node, needed string) {
	switch {
	case !k.IsZero():
		e.line("    with the key whose public half is %s: receivers need that among their %s", AnchorOf(k), needed)
	case n.StateDir != "":
		e.line("    with a key of its own, made at the first start and kept in %s; the log says its public half, which receivers need among their %s", n.StateDir, needed)
	default:
		e.line("    with a key that is drawn at each start; the log says its public half, which receivers need among their %s", needed)
		e.warn("%s has no seal_key, and node.state_dir is not set: after a restart it seals with another key, and receivers refuse everything until they have it among their %s", name, needed)
	}
}

func (e *explanation) sends(name string, d Downstream) {
	e.line("  sends to %s from %s, UDP port %d, on %s, TTL %d", d.Group, d.Source, d.Port, interfaceName(d.Session), d.TTL)
	e.interfaceWarning(name, d.Session)
	if d.Rate == 0 {
		e.line("    at four times the measured peak, 20Mbit/s at least")
	} else {
		e.line("    at up to %s", d.Rate)
	}
	if d.FEC.Off {
		e.line("    without repair packets")
	} else {
		e.line("    with repair packets for %s random loss, after which one object in %.0f is incomplete", percent(d.FEC.Loss), 1/d.FEC.Target)
		if g := d.FEC.Growing; g.Off {
			e.line("    for whole objects only: who reads them while they grow waits for their ends after a loss")
		} else {
			e.line("    and while objects grow %s behind what they protect, after which one part in %.0f waits for the object's end", g.Delay, 1/g.Target)
		}
	}
}

func interfaceName(s Session) string {
	switch {
	case s.Interface != "":
		return "interface " + s.Interface
	case s.isLoopback():
		return "the loopback interface"
	}
	return "the interface that the system chooses"
}

func (e *explanation) interfaceWarning(name string, s Session) {
	if s.Interface == "" {
		return
	}
	if _, err := net.InterfaceByName(s.Interface); err != nil {
		e.warn("%s: there is no interface %s on this machine now", name, s.Interface)
	}
}
