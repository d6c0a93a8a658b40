package config

import (
	"net/netip"
	"os"
	"slices"
	"time"
)

// Defaults. The role's comments and docs/configuration.md state them too.
const (
	defaultTTL    = 16
	defaultLoss   = 0.1
	defaultTarget = 1e-6

	defaultGrowingDelay = 30 * time.Millisecond

	defaultRetention = time.Minute
	defaultMemory    = Size(256 << 20)
	defaultDisk      = Size(4 << 30)

	defaultConnections        = 16384
	defaultConnectionsPerPeer = 4096
)

func loopback(port uint16) Listen {
	return ListenOn(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
}

func orDefault[T comparable](v *T, def T) {
	if *v == *new(T) {
		*v = def
	}
}

// populate fills in what was left out. Slices are cloned first, so that the
// caller's value stays as it is.

func (c *Cast) populate() {
	c.Node.populate()
	orDefault(&c.Ingest.Listen, loopback(8090))
	orDefault(&c.Repair.Listen, loopback(8081))
	c.Ingest.Limits = c.Ingest.Limits.WithDefaults()
	c.Repair.Limits = c.Repair.Limits.WithDefaults()
	orDefault(&c.Admin.Listen, loopback(9101))
	orDefault(&c.Log.Format, "text")
	c.Channels = slices.Clone(c.Channels)
	for i := range c.Channels {
		ch := &c.Channels[i]
		ch.Keys = slices.Clone(ch.Keys)
		ch.Multicast.populate(!ch.Unsigned)
		orDefault(&ch.Retention, defaultRetention)
	}
}

func (r *Relay) populate() {
	r.Node.populate()
	r.HTTP.populate(8080)
	orDefault(&r.Repair.Listen, loopback(8081))
	r.Repair.Limits = r.Repair.Limits.WithDefaults()
	orDefault(&r.Admin.Listen, loopback(9102))
	orDefault(&r.Log.Format, "text")
	r.Cache.populate()
	r.AMT.populate()
	r.Services = slices.Clone(r.Services)
	for i := range r.Services {
		s := &r.Services[i]
		s.populate()
		if !s.Downstream.IsZero() {
			s.Downstream.populate(!s.Upstream.Unsigned)
		}
	}
}

func (b *Beacon) populate() {
	b.Node.populate()
	b.HTTP.populate(8088)
	orDefault(&b.Admin.Listen, loopback(9103))
	orDefault(&b.Log.Format, "text")
	b.Cache.populate()
	b.Services = slices.Clone(b.Services)
	for i := range b.Services {
		b.Services[i].populate()
	}
}

func (n *Node) populate() {
	if n.Name == "" {
		// A name is for people; a host without one is no reason to fail.
		n.Name, _ = os.Hostname()
		orDefault(&n.Name, "localhost")
	}
}

func (h *HTTP) populate(port uint16) {
	orDefault(&h.Listen, loopback(port))
	h.Limits = h.Limits.WithDefaults()
	h.CORS.Origins = slices.Clone(h.CORS.Origins)
	if len(h.CORS.Origins) == 0 {
		h.CORS.Origins = []string{"*"}
	}
}

// WithDefaults fills in what was left out.
func (l Limits) WithDefaults() Limits {
	orDefault(&l.Connections, defaultConnections)
	orDefault(&l.ConnectionsPerPeer, min(defaultConnectionsPerPeer, l.Connections))
	return l
}

func (c *Cache) populate() {
	orDefault(&c.Memory, defaultMemory)
	if c.Disk.Dir != "" {
		orDefault(&c.Disk.Size, defaultDisk)
	}
}

func (s *Service) populate() {
	u := &s.Upstream
	u.Parents, u.Anchors, u.HopAnchors = slices.Clone(u.Parents), slices.Clone(u.Anchors), slices.Clone(u.HopAnchors)
	u.AMT.populate()
	if !u.Unsigned {
		orDefault(&u.SealPort, u.Port+1)
	}
	orDefault(&s.Retention, defaultRetention)
}

func (d *Downstream) populate(sealed bool) {
	orDefault(&d.TTL, defaultTTL)
	if sealed {
		orDefault(&d.SealPort, d.Port+1)
	}
	if !d.FEC.Off {
		orDefault(&d.FEC.Loss, defaultLoss)
		orDefault(&d.FEC.Target, defaultTarget)
		if g := &d.FEC.Growing; !g.Off {
			orDefault(&g.Delay, defaultGrowingDelay)
			orDefault(&g.Target, min(0.01, 10*d.FEC.Target))
		}
	}
}
