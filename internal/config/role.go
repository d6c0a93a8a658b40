package config

import "time"

// Role is a configuration document: one of the three roles, or an AMT relay
// alone.
type Role interface {
	Cast | Relay | Beacon | AMTRelay
}

// Cast configures the root of a tree: it takes live streams over HTTP and
// sends them by multicast.
type Cast struct {
	Node   Node   `yaml:"node"`
	Ingest Ingest `yaml:"ingest"`
	// Repair is the server from which children fetch objects, byte ranges and
	// repair symbols. Default address 127.0.0.1:8081.
	Repair Repair `yaml:"repair"`
	// Admin default address: 127.0.0.1:9101.
	Admin    Admin     `yaml:"admin"`
	Log      Log       `yaml:"log"`
	Channels []Channel `yaml:"channels"`
}

// Relay configures an inner node: it receives services, repairs and caches
// them, serves players and children, and may send services on by multicast.
type Relay struct {
	Node Node `yaml:"node"`
	// HTTP serves players. Default address 127.0.0.1:8080.
	HTTP HTTP `yaml:"http"`
	// Repair is the server from which children fetch objects, byte ranges and
	// repair symbols. Default address 127.0.0.1:8081.
	Repair Repair `yaml:"repair"`
	// Admin default address: 127.0.0.1:9102.
	Admin    Admin          `yaml:"admin"`
	Log      Log            `yaml:"log"`
	Cache    Cache          `yaml:"cache"`
	Services []RelayService `yaml:"services"`
	// AMT gives multicast to networks that have none. Left out: it does not.
	AMT AMT `yaml:"amt"`
}

// Beacon configures a leaf: it receives services and serves players. It has no
// repair server and no downstream: a leaf never transits.
type Beacon struct {
	Node Node `yaml:"node"`
	// HTTP serves players. Default address 127.0.0.1:8088.
	HTTP HTTP `yaml:"http"`
	// Admin default address: 127.0.0.1:9103.
	Admin    Admin     `yaml:"admin"`
	Log      Log       `yaml:"log"`
	Cache    Cache     `yaml:"cache"`
	Services []Service `yaml:"services"`
}

// Channel is a live stream that a CAST takes in and sends.
type Channel struct {
	// Name is the service's name in URLs, status and metrics: letters, digits,
	// '.', '_' and '-', at most 63, beginning with a letter or a digit.
	Name string `yaml:"name"`
	// Keys are the stream keys of which a publisher must show one. Several are
	// accepted at the same time so that a key can be rotated under a running
	// publisher. None: anyone who reaches the ingest may publish, which is
	// refused unless the ingest listens on loopback.
	Keys []StreamKey `yaml:"keys"`
	// Pull is the URL of a live HLS or DASH manifest to fetch. A channel with
	// Pull takes no pushes.
	Pull URL `yaml:"pull"`
	// Multicast says where the channel is sent.
	Multicast Downstream `yaml:"multicast"`
	// Retention is how long objects stay available to children. Default 60s.
	Retention time.Duration `yaml:"retention"`
	// SealKey seals what the channel takes in and the signalling of its session.
	// Default: a key of its own, made at the first start and kept below
	// node.state_dir; without that drawn at each start. The log says the public
	// half, which receivers have among their anchors.
	SealKey SealKey `yaml:"seal_key"`
	// Unsigned sends no seals: receivers have to mark the service as unsigned,
	// and believe whoever sends to the group. Default false.
	Unsigned bool `yaml:"unsigned"`
}

// Service is a stream that a node receives.
type Service struct {
	// Name as in [Channel]; it is also the name asked of the parents.
	Name     string   `yaml:"name"`
	Upstream Upstream `yaml:"upstream"`
	// CacheKey encrypts the service's objects at rest. Default: a key drawn at
	// random at the start, so that what is on disk dies with the process.
	CacheKey CacheKey `yaml:"cache_key"`
	// Retention is how long objects stay available. Default 60s.
	Retention time.Duration `yaml:"retention"`
}

// RelayService is a service that a RELAY receives and may send on.
type RelayService struct {
	Service `yaml:",inline"`
	// Downstream is where the service is sent again, with repair packets of
	// its own. Left out: it is not sent.
	Downstream Downstream `yaml:"downstream"`
	// SealKey seals the signalling of the downstream's session; what is sent
	// keeps the seals of its root. Default: as in [Channel].
	SealKey SealKey `yaml:"seal_key"`
}
