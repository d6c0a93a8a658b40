package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Node is what a node is and where it keeps its own things.
type Node struct {
	// Name in status, metrics and logs. Default: the host's name.
	Name string `yaml:"name"`
	// StateDir is a directory for what must survive a restart: init segments,
	// keys of seals that no file gives, and how far their times have come.
	// Default: none, nothing survives.
	StateDir Path `yaml:"state_dir"`
	// ClockOffset is added to the node's clock. For tests and for machines
	// whose clock cannot be set. Default 0.
	ClockOffset time.Duration `yaml:"clock_offset"`
}

// Ingest is CAST's HTTP server for publishers.
type Ingest struct {
	// Listen default: 127.0.0.1:8090.
	Listen Listen `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	Limits Limits `yaml:"limits"`
}

// HTTP is a server for players.
type HTTP struct {
	// Listen default: see the role.
	Listen Listen `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	CORS   CORS   `yaml:"cors"`
	Limits Limits `yaml:"limits"`
}

// Limits bound the connections to a server. What comes beyond is closed at once.
type Limits struct {
	// Connections are those of all clients at a time. Default 16384.
	Connections int `yaml:"connections"`
	// ConnectionsPerPeer are those of one address, which with IPv6 is a network of
	// 64 bits. A player has six over HTTP/1.1, and many of them may share one
	// address. Default 4096, or Connections if that is less.
	ConnectionsPerPeer int `yaml:"connections_per_peer"`
}

// TLS is a certificate chain and its key, both PEM files. Both are read again
// at each reload. Left out: plain HTTP.
type TLS struct {
	Cert Path `yaml:"cert"`
	Key  Path `yaml:"key"`
}

// Enabled says whether a certificate is configured.
func (t TLS) Enabled() bool { return t.Cert != "" }

// CORS says which pages may read a server's answers.
type CORS struct {
	// Origins, e.g. "https://tv.example". Default: "*", every page.
	Origins []string `yaml:"origins"`
}

// Repair is the server for children.
type Repair struct {
	// Listen default: 127.0.0.1:8081.
	Listen Listen `yaml:"listen"`
	Limits Limits `yaml:"limits"`
}

// Admin is the server for operators: /metrics, /status, /healthz, /readyz.
type Admin struct {
	// Listen default: see the role.
	Listen Listen `yaml:"listen"`
	// Pprof adds /debug/pprof/; only on loopback. Default false.
	Pprof bool `yaml:"pprof"`
}

// Log is where log lines go to: always standard error.
type Log struct {
	// Level: debug, info, warn or error. Default info.
	Level slog.Level `yaml:"level"`
	// Format: text or json. Default text.
	Format string `yaml:"format"`
}

// Cache bounds what a node keeps.
type Cache struct {
	// Memory bounds the objects in memory. Default 256MiB.
	Memory Size `yaml:"memory"`
	Disk   Disk `yaml:"disk"`
}

// Disk is the second tier of a cache.
type Disk struct {
	// Dir is the directory; left out: memory only.
	Dir Path `yaml:"dir"`
	// Size bounds the files. Default 4GiB if there is a directory.
	Size Size `yaml:"size"`
}

// Session is a multicast session: a source, a group, a port.
type Session struct {
	// Source is the sender's unicast address. A sender binds to it.
	Source netip.Addr `yaml:"source"`
	// Group is the group's address: in 232.0.0.0/8 or ff3x::/32.
	Group netip.Addr `yaml:"group"`
	// Port is the UDP port, 1 to 65535.
	Port uint16 `yaml:"port"`
	// Interface is the name of the network interface. Default for a sender and
	// for a receiver of a loopback source: the interface that has the source
	// address; else the system's choice.
	Interface string `yaml:"interface"`
}

// IsZero says whether nothing of the session was given.
func (s Session) IsZero() bool { return s == Session{} }

// String is (source,group):port, as PIM and IGMP tools write it.
func (s Session) String() string {
	src := "*"
	if s.Source.IsValid() {
		src = s.Source.String()
	}
	return "(" + src + "," + s.Group.String() + "):" + uitoa(uint64(s.Port))
}

// Upstream is where a service comes from.
type Upstream struct {
	Session `yaml:",inline"`
	// AnySource joins the group whoever sends to it (ASM). Then there is no
	// source, and the group may lie outside the SSM range. Default false.
	AnySource bool `yaml:"any_source"`
	// AMT says whether packets come through AMT relays. Left out: natively only.
	AMT Gateway `yaml:"amt"`
	// Parents are the base URLs of the parents' repair servers, asked in this
	// order. None: no unicast repair and no fallback.
	Parents []URL `yaml:"parents"`
	// Anchors are the public keys of the root, of which one must have sealed
	// what is read. A later one replaces the earlier ones from its first seal on:
	// to change the root's key, append the new one here first.
	Anchors []Anchor `yaml:"anchors"`
	// HopAnchors are those of whoever sends this session, for its signalling.
	// Default: Anchors, which is right where the root itself sends it.
	HopAnchors []Anchor `yaml:"hop_anchors"`
	// SealPort is the UDP port of the seals. Default: the one behind Port; 0 if
	// the service is unsigned.
	SealPort uint16 `yaml:"seal_port"`
	// TrustFirst believes the first seals that come to be of the present. Without
	// it a node asks its parents for the newest ones, or collects for 5 s where
	// there are none: somebody might send again what was sent, and sealed, before.
	// Default false.
	TrustFirst bool `yaml:"trust_first"`
	// Unsigned marks a third party's service, which carries no seals: whatever
	// comes from the group is believed. Excludes anchors. Default false.
	Unsigned bool `yaml:"unsigned"`
}

// Downstream is where a service is sent to.
type Downstream struct {
	Session `yaml:",inline"`
	// TTL of the packets, 1 to 255. Default 16.
	TTL int `yaml:"ttl"`
	// Rate is the pace of the packets. It should be at least four times the
	// service's peak. Whoever pushes to a CAST is held to it, with bursts of a
	// second. Default 0: four times the measured peak, 20Mbit/s at least, and
	// nobody is held to anything.
	Rate Rate `yaml:"rate"`
	FEC  FEC  `yaml:"fec"`
	// SealPort is the UDP port of the seals. Default: the one behind Port; 0 if
	// the channel or service is unsigned.
	SealPort uint16 `yaml:"seal_port"`
}

// IsZero says whether nothing of the downstream was given.
func (d Downstream) IsZero() bool { return d == Downstream{} }

// FEC says how much repair data goes with the source packets.
type FEC struct {
	// Off sends no repair packets. Default false.
	Off bool `yaml:"off"`
	// Loss is the share of packets, lost at random, that receivers are to
	// bear. Above 0 and at most 0.5. Default 0.1.
	Loss float64 `yaml:"loss"`
	// Target is the share of objects that may still be incomplete then. From
	// 1e-12 to 0.5. Default 1e-6.
	Target float64 `yaml:"target"`
	// Growing is about objects that are sent while they grow.
	Growing GrowingFEC `yaml:"growing"`
}

// GrowingFEC says how repair packets go with objects that grow, for readers who
// do not wait for their ends. Only receivers of this project understand them.
type GrowingFEC struct {
	// Off sends repair packets for whole objects only. Default false.
	Off bool `yaml:"off"`
	// Delay is how long a repair packet waits for more source packets that it can
	// protect; up to six times as long where these are few, twelve times in tracks
	// of audio and text. From 5ms to 80ms. Default 30ms.
	Delay time.Duration `yaml:"delay"`
	// Target is the share of what is protected together that may still be
	// incomplete, until the object has ended. From 1e-12 to 0.5. Default: ten times
	// that of whole objects, at most 0.01.
	Target float64 `yaml:"target"`
}
