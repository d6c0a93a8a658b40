package telemetry

import (
	"net/netip"
	"runtime/debug"
	"time"
)

// Status is what a node does at one moment. Parts that a role does not have are
// nil. Fields without another unit count things since the node started.
type Status struct {
	Node      Node      `json:"node"`
	Readiness Readiness `json:"readiness"`
	Services  []Service `json:"services"`
	Cache     *Cache    `json:"cache,omitempty"`
	// HTTP serves players, Repair children, Ingest publishers.
	HTTP    *Server  `json:"http,omitempty"`
	Repair  *Server  `json:"repair,omitempty"`
	Ingest  *Server  `json:"ingest,omitempty"`
	Sockets []Socket `json:"sockets,omitempty"`
	AMT     *AMT     `json:"amt,omitempty"`
}

// Node says which node this is.
type Node struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"` // "cast", "relay", "beacon" or "amt-relay"
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Uptime in seconds.
	Uptime float64 `json:"uptime_seconds"`
}

// NewNode fills in version and uptime.
func NewNode(name, role string, started, now time.Time) Node {
	return Node{Name: name, Role: role, Version: Version(), Started: started, Uptime: now.Sub(started).Seconds()}
}

// Version is the module's version, or the commit it was built from, or "devel".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}

// Readiness says whether the node should get work, and if not, why.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"`
}

// NotReadyFor is ready if there are no reasons against it.
func NotReadyFor(reasons []string) Readiness {
	return Readiness{Ready: len(reasons) == 0, Reasons: reasons}
}

// Drain makes it the status of a node that is being ended: it takes nobody new,
// and its services are those of requests under way.
func (s *Status) Drain() {
	s.Readiness = NotReadyFor([]string{"the node is being ended"})
	for i := range s.Services {
		s.Services[i].State = StateDraining
	}
}

// State is how a service fares.
type State string

// States of a service.
const (
	StateWaiting  State = "waiting"  // nothing has come yet
	StateRunning  State = "running"  // objects come
	StateSilent   State = "silent"   // objects came, and none comes now
	StateDraining State = "draining" // it is being ended
)

var states = [...]State{StateWaiting, StateRunning, StateSilent, StateDraining}

// SourceKind is the way on which a service's octets come now.
type SourceKind string

// Kinds of sources.
const (
	SourceNone      SourceKind = "none"
	SourcePush      SourceKind = "push"      // a publisher pushes
	SourcePull      SourceKind = "pull"      // fetched from an origin
	SourceMulticast SourceKind = "multicast" // received, with FEC and repair
	SourceParent    SourceKind = "parent"    // fetched from a parent, the fallback
)

var sourceKinds = [...]SourceKind{SourceNone, SourcePush, SourcePull, SourceMulticast, SourceParent}

// Source is where a service comes from now.
type Source struct {
	Kind SourceKind `json:"kind"`
	// Address of the source: a session, a URL, a publisher.
	Address string `json:"address,omitempty"`
	// Since when, and why, in words for people.
	Since time.Time `json:"since,omitzero"`
	Why   string    `json:"why,omitempty"`
}

// WayKind is how multicast packets come to a node.
type WayKind string

// Kinds of ways.
const (
	WayNone   WayKind = "none" // no packet has come yet
	WayNative WayKind = "native"
	WayTunnel WayKind = "tunnel" // through an AMT relay
)

var wayKinds = [...]WayKind{WayNone, WayNative, WayTunnel}

// Way is how the multicast packets of a service come to this node, be it that they still do or not.
type Way struct {
	Kind WayKind `json:"kind"`
	// Relay is the AMT relay, if it is a tunnel.
	Relay string `json:"relay,omitempty"`
	// Since when, if AMT relays may be used, and why, in words for people: why no relay works, or why packets come by
	// one.
	Since time.Time `json:"since,omitzero"`
	Why   string    `json:"why,omitempty"`
	// Switches count changes of the way, RelaysLost the relays that were left since they failed.
	Switches   uint64 `json:"switches"`
	RelaysLost uint64 `json:"relays_lost"`
	// TunnelPackets came through relays.
	TunnelPackets uint64 `json:"tunnel_packets"`
	// Dropped are packets that were lost in this node before they were read, for lack of buffer mostly. Other than those
	// of Sockets they still count when a session was left.
	Dropped uint64 `json:"dropped"`
	// Rejected are packets to the group from another source, or to another group, that the system gave to the socket all the
	// same. Truncated are those, or runs of them, whose end was cut since they were longer than what they are read into.
	// Both are of native reception.
	Rejected  uint64 `json:"rejected"`
	Truncated uint64 `json:"truncated"`
}

// Service is one channel or service. Objects are files of the service: segments,
// init segments, manifests.
type Service struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Source Source `json:"source"`
	// Way is how packets of a service come that is received; nil at a CAST.
	Way *Way `json:"way,omitempty"`

	// Objects and Octets count objects that became complete.
	Objects uint64 `json:"objects"`
	Octets  uint64 `json:"octets"`
	// ObjectsFEC, ObjectsRepair and ObjectsFallback count those among them
	// that needed repair packets, unicast repair, or came by unicast alone.
	ObjectsFEC      uint64 `json:"objects_fec"`
	ObjectsRepair   uint64 `json:"objects_repair"`
	ObjectsFallback uint64 `json:"objects_fallback"`
	// ObjectsLost counts those that were given up, ObjectsLostBy does by reason. ObjectsUnsealed are others, of which no
	// seal told in time: anybody can make up such.
	ObjectsLost     uint64            `json:"objects_lost"`
	ObjectsLostBy   map[string]uint64 `json:"objects_lost_by,omitempty"`
	ObjectsUnsealed uint64            `json:"objects_unsealed"`
	// ObjectsMissing have begun, or are known to have been sent, and are not
	// complete now.
	ObjectsMissing uint64 `json:"objects_missing"`

	// Packets received from multicast, and those known to be lost.
	Packets     uint64 `json:"packets"`
	PacketsLost uint64 `json:"packets_lost"`
	// The octets of objects by the way on which they came: source packets,
	// repair packets, unicast repair, fallback.
	SourceOctets   uint64 `json:"source_octets"`
	FECOctets      uint64 `json:"fec_octets"`
	RepairOctets   uint64 `json:"repair_octets"`
	FallbackOctets uint64 `json:"fallback_octets"`
	// RejectedOctets were received and not used, by reason.
	RejectedOctets map[string]uint64 `json:"rejected_octets,omitempty"`

	// Unsigned says that the service carries no seals: whatever comes is believed.
	Unsigned bool `json:"unsigned"`
	// SealsReceived are datagrams, SealConflicts genuine records that contradicted others: a signer is broken or its key
	// is in two hands.
	SealsReceived uint64 `json:"seals_received"`
	SealConflicts uint64 `json:"seal_conflicts"`

	// What was sent by multicast, FECOctetsSent of it in repair packets.
	PacketsSent   uint64 `json:"packets_sent"`
	OctetsSent    uint64 `json:"octets_sent"`
	FECOctetsSent uint64 `json:"fec_octets_sent"`
	// PacketsUnsent and SealsUnsent are packets, and datagrams with seals, that the system did not take, by reason. A CAST
	// or RELAY has them.
	PacketsUnsent map[string]uint64 `json:"packets_unsent,omitempty"`
	SealsUnsent   map[string]uint64 `json:"seals_unsent,omitempty"`
	// SealsSent and SealOctetsSent are those of datagrams that the node itself signed.
	SealsSent      uint64 `json:"seals_sent"`
	SealOctetsSent uint64 `json:"seal_octets_sent"`

	// Latency is what pacing (CAST) or loss (RELAY, BEACON) costs; see
	// docs/metrics.md.
	Latency Quantiles `json:"latency_ms"`
	// RateIn and RateOut are bit/s over about the last second.
	RateIn  float64 `json:"rate_in"`
	RateOut float64 `json:"rate_out"`

	Limits []Limit `json:"limits,omitempty"`
}

// Limit is a bound on what one service, or the clients of one server, may take, and how far it is used.
type Limit struct {
	Name string `json:"name"`
	Used uint64 `json:"used"`
	Max  uint64 `json:"max"`
	// Hits counts how often something was refused for it.
	Hits uint64 `json:"hits"`
}

// Cache is what a node keeps.
type Cache struct {
	Objects      uint64 `json:"objects"`
	MemoryOctets uint64 `json:"memory_octets"`
	MemoryLimit  uint64 `json:"memory_limit"`
	DiskOctets   uint64 `json:"disk_octets"`
	DiskLimit    uint64 `json:"disk_limit"`
	// DiskOK is false when the disk tier was given up (full, broken).
	DiskOK    bool   `json:"disk_ok"`
	Hits      uint64 `json:"hits"`
	Misses    uint64 `json:"misses"`
	Evictions uint64 `json:"evictions"`
}

// Server is an HTTP server of the node.
type Server struct {
	// Requests by class of the answer's code: "2xx", "4xx"; "aborted" for
	// those that ended with a broken connection.
	Requests map[string]uint64 `json:"requests"`
	// Active requests now.
	Active uint64 `json:"active"`
	// OctetsIn and OctetsOut are those of bodies.
	OctetsIn  uint64 `json:"octets_in"`
	OctetsOut uint64 `json:"octets_out"`
	// Symbols are repair symbols that a repair server gave out.
	Symbols uint64 `json:"symbols"`
	// Limits are the bounds on what the server's clients may take.
	Limits []Limit `json:"limits,omitempty"`
}

// Socket is a receiving multicast socket with one membership.
type Socket struct {
	Service string     `json:"service"`
	Source  netip.Addr `json:"source"`
	Group   netip.Addr `json:"group"`
	Port    uint16     `json:"port"`
	// Drops are packets that the system dropped for lack of buffer.
	Drops uint64 `json:"drops"`
	// Buffer is the receive buffer in octets, as the system granted it.
	Buffer uint64 `json:"buffer"`
}
