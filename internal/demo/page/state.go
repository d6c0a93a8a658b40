package page

import "time"

// State is the document that the page asks for every second. Counters are
// totals since the start of the node; the page derives rates from two answers.
type State struct {
	// Time is when the state was taken. Default: the time of the request.
	Time time.Time `json:"time"`
	// Source is where the media comes from.
	Source SourceState `json:"source"`
	// Channels are what can be played. The page plays the first.
	Channels []Channel `json:"channels"`
	// Beacons are the nodes to play from, the preferred one first.
	Beacons []Beacon `json:"beacons"`
	// Nodes form the tree, parents before their children.
	Nodes []NodeState `json:"nodes"`
}

// SourceKind is the kind of a source.
type SourceKind string

// The kinds of sources.
const (
	NoSource     SourceKind = "none"
	ClipSource   SourceKind = "clip"   // the built-in clip
	FFmpegSource SourceKind = "ffmpeg" // an FFmpeg that the demonstration has started
	PushSource   SourceKind = "push"   // whoever pushes to the ingest address
)

// SourceState describes the source.
type SourceState struct {
	Kind SourceKind `json:"kind"`
	// Since is when this source began; with NoSource, when the last one ended,
	// or when the program started.
	Since time.Time `json:"since"`
	// Reason says why there is no source, in words for the reader.
	Reason string `json:"reason,omitempty"`
	// IngestURL is where an encoder may push, and FFmpegCommand a command line
	// that does so, to copy.
	IngestURL     string `json:"ingest_url,omitempty"`
	FFmpegCommand string `json:"ffmpeg_command,omitempty"`
}

// Channel is a service of the tree.
type Channel struct {
	Name string `json:"name"`
	// Path is that of the HLS multivariant playlist, relative to a BEACON's URL.
	Path string `json:"path"`
}

// Beacon is a node that serves players.
type Beacon struct {
	Name string `json:"name"` // as in Nodes
	// URL is the base of its HTTP service, with a slash at the end.
	URL string `json:"url"`
}

// Role is what a node does in the tree.
type Role string

// The roles.
const (
	Cast       Role = "cast"
	Relay      Role = "relay"
	BeaconRole Role = "beacon"
)

// NodeState describes one node.
type NodeState struct {
	Name   string `json:"name"`
	Role   Role   `json:"role"`
	Parent string `json:"parent,omitempty"` // name of the node above
	// Address is what the node receives, such as "127.0.0.2 → 232.1.2.3:5000".
	Address string `json:"address,omitempty"`
	// Problem is set if the node does not do its work, in words for the reader.
	Problem string `json:"problem,omitempty"`
	// InjectedLoss is the share of packets, 0 to 1, that the node drops on
	// purpose.
	InjectedLoss float64 `json:"injected_loss,omitempty"`

	Packets     uint64 `json:"packets"`      // received, or sent if nothing is received
	PacketsLost uint64 `json:"packets_lost"` // that did not arrive

	OctetsIn  uint64 `json:"octets_in"`  // from above: ingest, multicast and unicast
	OctetsOut uint64 `json:"octets_out"` // to below: multicast, unicast and players

	// How the octets of the objects came that are complete: MulticastOctets as
	// they were sent, FECOctets out of repair packets, RepairOctets by unicast
	// repair from the parent, FallbackOctets as whole objects from it.
	MulticastOctets uint64 `json:"multicast_octets"`
	FECOctets       uint64 `json:"fec_octets"`
	RepairOctets    uint64 `json:"repair_octets"`
	FallbackOctets  uint64 `json:"fallback_octets"`
	RejectedOctets  uint64 `json:"rejected_octets"`

	Objects uint64 `json:"objects"` // complete
	Missing uint64 `json:"missing"` // given up

	CacheOctets  uint64 `json:"cache_octets"`
	CacheLimit   uint64 `json:"cache_limit"` // 0: unknown
	CacheObjects uint64 `json:"cache_objects"`

	// Latency is the time from an octet's arrival at CAST to when it can be
	// read at this node. Zero: unknown.
	Latency Latency `json:"latency_ms,omitzero"`
}

// Latency is a distribution, in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}
