package flute

import (
	"cmp"
	"log/slog"
	"net/netip"
	"time"

	"github.com/treedn/treedn/fec/rs"
	"github.com/treedn/treedn/flute/fdt"
)

// ReceiverConfig configures a Receiver. The zero value of every field is usable.
type ReceiverConfig struct {
	// Source is the address that packets must come from. Not set, every source is accepted, and the sessions of two
	// sources are two sessions.
	Source netip.Addr
	// Destination, if it is valid, is what PushRun takes packets to, and leaves others alone.
	Destination netip.AddrPort
	// TSIs are those to receive. Empty for all.
	TSIs []uint64
	// RFC3451 reads the flags T and R of the first LCT, which some senders of FLUTE version 1 set; see
	// [lct.Header.UnmarshalRFC3451].
	RFC3451 bool
	// Wanted chooses among the files that are described: false leaves one out. Nil for all.
	Wanted func(*fdt.Entry) bool
	// IgnoreDigests delivers files without regard to Content-MD5 and the digests of DVB. Otherwise one that has
	// another digest than announced is lost. They find accidents; against forgery only signatures help.
	IgnoreDigests bool
	// Store, if it is not nil, is asked for where to keep a file as soon as its length is known; for nil that is in memory.
	// Stores do not count towards MaxMemory, so that MaxObject is what bounds them. The caller closes a Store when its
	// object is released or lost.
	Store func(*Object) Store
	// Matrix is the generator matrix of Reed-Solomon codes, on which senders differ; see [rs.Matrix].
	Matrix rs.Matrix

	// MaxObject bounds one object, in octets. Default 64 MiB, at most 64 GiB.
	MaxObject int64
	// MaxMemory bounds the octets of all objects, including those complete and not released, and of repair symbols.
	// Default 64 MiB.
	MaxMemory int64
	// MaxDecoding bounds the octets that computations take which PollWork has handed out. One that needs more is not
	// done: its block is recovered by source symbols alone. Default 256 MiB.
	MaxDecoding int64
	// MaxObjects bounds the incomplete files of one session. Default 256.
	MaxObjects int
	// MaxRanges bounds the pieces of one object. Default 16384.
	MaxRanges int
	// MaxUndescribed bounds the octets of objects that no FDT Instance describes yet, default 4 MiB; UndescribedAge
	// how long they are kept, default 2 s.
	MaxUndescribed int64
	UndescribedAge time.Duration
	// MaxInstance bounds one FDT Instance, in octets, before and after decoding. Default 1 MiB.
	MaxInstance int
	// MaxInstances bounds the FDT Instances of one session that are incomplete. Default 8.
	MaxInstances int
	// MaxFiles bounds the files that FDT Instances describe, of all sessions together, except that each may describe 256.
	// Default 65536.
	MaxFiles int
	// MaxSessions bounds the sessions: pairs of source and TSI. Default 64.
	MaxSessions int
	// Remember is the number of delivered objects whose repeats are recognized. Default 8192.
	Remember int

	// GapDelay is how long after the end of an object missing packets may still come. Default 50 ms.
	GapDelay time.Duration
	// Inactivity is how long after its last packet an object counts as ended. Default 1 s.
	Inactivity time.Duration
	// RepairBackoff is the time between the first two NeedRepair of an object, default 200 ms. It doubles each time, up
	// to RepairBackoffMax, default 5 s.
	RepairBackoff, RepairBackoffMax time.Duration
	// Deadline is how long after the last new octets an incomplete object is lost. Default 30 s: more than the period
	// of a carousel.
	Deadline time.Duration
	// CloseDelay is how long after the flag A, without packets that lack it, a session counts as closed. Default 2 s.
	CloseDelay time.Duration

	// Logger gets warnings. Nil is silent.
	Logger *slog.Logger
}

// maxTransfer is the longest object that FLUTE can describe, in octets.
const maxTransfer = 1<<48 - 1

func (c ReceiverConfig) withDefaults() ReceiverConfig {
	c.MaxObject = min(64<<30, cmp.Or(c.MaxObject, 64<<20))
	c.MaxMemory = cmp.Or(c.MaxMemory, 64<<20)
	c.MaxDecoding = cmp.Or(c.MaxDecoding, 256<<20)
	c.MaxObjects = cmp.Or(c.MaxObjects, 256)
	c.MaxRanges = cmp.Or(c.MaxRanges, 16384)
	c.MaxUndescribed = cmp.Or(c.MaxUndescribed, 4<<20)
	c.UndescribedAge = cmp.Or(c.UndescribedAge, 2*time.Second)
	c.MaxInstance = cmp.Or(c.MaxInstance, 1<<20)
	c.MaxInstances = cmp.Or(c.MaxInstances, 8)
	c.MaxFiles = cmp.Or(c.MaxFiles, 65536)
	c.MaxSessions = cmp.Or(c.MaxSessions, 64)
	c.Remember = cmp.Or(c.Remember, 8192)
	c.GapDelay = cmp.Or(c.GapDelay, 50*time.Millisecond)
	c.Inactivity = cmp.Or(c.Inactivity, time.Second)
	c.RepairBackoff = cmp.Or(c.RepairBackoff, 200*time.Millisecond)
	c.RepairBackoffMax = max(c.RepairBackoff, cmp.Or(c.RepairBackoffMax, 5*time.Second))
	c.Deadline = cmp.Or(c.Deadline, 30*time.Second)
	c.CloseDelay = cmp.Or(c.CloseDelay, 2*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// ReceiverStats counts what a Receiver saw. Octets are those of symbols, unless stated otherwise.
type ReceiverStats struct {
	Packets, Octets             uint64 // accepted or not, UDP payload
	SourcePackets, SourceOctets uint64 // that brought something new
	RepairPackets, RepairOctets uint64 // kept for decoding
	Repeats                     uint64 // packets that brought nothing new
	Ignored                     uint64 // packets of objects not wanted, or given up
	Recovered                   uint64 // octets by FEC
	Supplied                    uint64 // octets by Supply
	Rejected                    [reasons]uint64
	Instances                   uint64 // FDT Instances, complete
	Objects                     uint64 // files, complete
	ObjectsLost                 uint64 // incomplete at their deadline, or with another digest than announced
	Evicted                     uint64 // objects given up because others needed the room
	Decodes                     uint64 // FEC blocks decoded
	DecodeErrors                uint64 // FEC blocks that contradicted themselves
	Memory                      int64  // octets held
	Incomplete                  int    // objects
	Sessions                    int
}

// RejectedPackets returns the number of packets rejected for a reason.
func (s *ReceiverStats) RejectedPackets(r Reason) uint64 { return s.Rejected[r] }
