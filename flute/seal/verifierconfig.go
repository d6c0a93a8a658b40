package seal

import (
	"cmp"
	"time"
)

// VerifierConfig configures a Verifier. Service and Anchors are required.
type VerifierConfig struct {
	// Service is the name of the service, as its signer has it.
	Service string
	// Anchors are the keys whose seals are believed. Of those of one Kind a
	// later one replaces the earlier ones from its first seal on: then they are
	// retired for good, and times and generations begin anew.
	Anchors []Anchor

	// MulticastAge is how far a datagram from multicast may be behind the newest
	// one of the service. Default 60 s.
	MulticastAge time.Duration
	// CurrentAge is the same for records of Current objects that come from a
	// parent: such objects are sealed again and again, so that an old seal is
	// one of the past. Default 15 s.
	CurrentAge time.Duration
	// Retention is the same for all other records from a parent. Names are
	// remembered for a minute longer. Default 10 min.
	Retention time.Duration
	// FirstContact is how long datagrams from multicast are collected before
	// the newest is believed to be of the present, unless a parent says what is.
	// Default 5 s; negative: 0, which is for those who know their network.
	FirstContact time.Duration
	// RecordDelay is how long octets may stand without a record before it is
	// asked for. It doubles each time, up to 2 s. Default 200 ms.
	RecordDelay time.Duration

	// MaxChecks bounds the signatures from multicast that are checked in one
	// second. Default 300.
	MaxChecks int
	// MaxUnverified bounds the octets of open objects that no record covers
	// yet. Default 32 MiB.
	MaxUnverified int64
	// MaxPending bounds the records that wait for octets. Default 4096.
	MaxPending int
	// MaxNames bounds the names of objects. Those of open objects come on top.
	// Default 65,536.
	MaxNames int
	// MaxOpen bounds the open objects. Default 1024.
	MaxOpen int
}

func (c VerifierConfig) withDefaults() VerifierConfig {
	c.MulticastAge = cmp.Or(c.MulticastAge, 60*time.Second)
	c.CurrentAge = cmp.Or(c.CurrentAge, 15*time.Second)
	c.Retention = cmp.Or(c.Retention, 10*time.Minute)
	c.FirstContact = max(0, cmp.Or(c.FirstContact, 5*time.Second))
	c.RecordDelay = cmp.Or(c.RecordDelay, 200*time.Millisecond)
	c.MaxChecks = cmp.Or(c.MaxChecks, 300)
	c.MaxUnverified = cmp.Or(c.MaxUnverified, 32<<20)
	c.MaxPending = cmp.Or(c.MaxPending, 4096)
	c.MaxNames = cmp.Or(c.MaxNames, 65536)
	c.MaxOpen = cmp.Or(c.MaxOpen, 1024)
	return c
}

const (
	maxHeld        = 256             // datagrams collected at first contact
	maxPerObject   = 64              // records of one object that wait
	maxAhead       = 4               // generations of one name without a record
	nameAge        = time.Minute     // names live so much longer than Retention
	clockBound     = 24 * time.Hour  // between seals and the host
	refreshTime    = time.Second     // a seal is newer, if it is so by this
	recordDelayMax = 2 * time.Second // between two NeedSeal of an object
	maxEvents      = 4096            // that nobody polled
	// ForwardAge is the age, against the newest seal of the service, beyond
	// which a datagram is not multicast again.
	ForwardAge = 10 * time.Second
)

// VerifierStats counts what a Verifier saw.
type VerifierStats struct {
	Datagrams, Octets uint64          // accepted or not
	Checks            uint64          // of signatures
	Rejected          [reasons]uint64 // datagrams, by Reason
	RejectedOctets    uint64          // of those, but for repeats, which are genuine
	Records           uint64          // accepted
	Stale             uint64          // records of an older generation, or too old
	Conflicts         uint64          // records that contradict others: see the event
	Verified          uint64          // octets of objects
	Mismatches        uint64          // verdicts that octets were forged
	MismatchOctets    uint64          // taken back
	Evicted           uint64          // records and open objects given up for want of room

	Names, Open, Pending int
	Unverified           int64     // octets
	Newest               time.Time // of a content seal, by its signer's clock
}
