package route

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/treedn/treedn/route/entity"
)

// ReceiverConfig configures a Receiver. The zero value of every field is
// usable.
type ReceiverConfig struct {
	// Session is what was joined. Packets from another address than its
	// Source are rejected, unless Source is not set or AnySource is. Of an
	// S-TSID with several sessions the channels of this one are used.
	Session Session
	// AnySource accepts packets of every source: for replayed captures and
	// re-streamed services, which announce an address that is not theirs.
	AnySource bool

	// MaxObject bounds one object, in octets. Default 64 MiB.
	MaxObject int64
	// MaxMemory bounds the octets of all objects, including those complete
	// and not released, and of repair symbols. Default 64 MiB.
	MaxMemory int64
	// MaxObjects bounds the incomplete objects of one TSI. Default 64.
	MaxObjects int
	// MaxRanges bounds the pieces of one object. Default 4096.
	MaxRanges int
	// MaxBlocks bounds the parts of growing objects that wait for repair
	// symbols. Default 256; one object has at most 16 of them.
	MaxBlocks int
	// MaxUndescribed bounds the octets of objects that no signalling
	// describes yet, default 4 MiB; UndescribedAge how long they are kept,
	// default 2 s.
	MaxUndescribed int64
	UndescribedAge time.Duration
	// MaxSignalling bounds an SLS package or EFDT, in octets. Default 1 MiB.
	MaxSignalling int64
	// MaxChannels bounds the TSIs of the session. Default 256.
	MaxChannels int
	// Remember is the number of delivered objects whose repeats are
	// recognized. Default 8192.
	Remember int

	// GapDelay is how long after the end of an object, or after the first
	// packet of a later one of the same TSI, missing packets may still come.
	// Default 50 ms.
	GapDelay time.Duration
	// HoleDelay is how long a hole in a growing object may stand behind newer
	// octets before NeedRepair reports it. Default 25 ms. Where there are repair
	// packets for growing objects it begins when no more of them can help: it is
	// on top of the delay that the sender announces, unless they tell earlier.
	HoleDelay time.Duration
	// RepairGap is how long after the end of an object with a repair flow, or
	// after the last repair packet of it, further ones may still come. Every
	// sender on the way computes them first, and a busy one is slow at that.
	// Default 150 ms.
	RepairGap time.Duration
	// FECDelay bounds the time after the end of an object that is waited for
	// its first repair packet while those of others arrive. Default 300 ms.
	FECDelay time.Duration
	// RepairBackoff is the time between the first two NeedRepair of an object,
	// default 200 ms. It doubles each time, up to RepairBackoffMax, default
	// 1 s.
	RepairBackoff, RepairBackoffMax time.Duration
	// Inactivity is how long after its last packet an object counts as ended.
	// Default 1 s.
	Inactivity time.Duration
	// Deadline is how long after the last new octets an incomplete object is
	// lost. Default 5 s.
	Deadline time.Duration
	// MaxSkip bounds the number of TOIs between those of two objects of a
	// track that are taken for objects lost altogether. Default 8; -1 turns
	// it off.
	MaxSkip int

	// HoldSignalling makes the receiver act on an S-TSID or EFDT only when it
	// comes back by Accept: for sealed services. FEC, too, is only for objects
	// that Prefer marks, since a forged packet is made in a hundredth of the time
	// that it takes to decode one.
	HoldSignalling bool

	// Unpack makes the receiver look into objects of Entity Mode and packages
	// outside TSI 0 (RFC 9223, sections 4.2 to 4.4): Object.Header and
	// Object.Body are those of an entity, and an event tells each part of a
	// package. Objects that no EFDT names, since they have their metadata with
	// them, are reported: an entity once its header has come, under its
	// Content-Location, a package without a name. Otherwise these are left alone,
	// and the others delivered as they came.
	Unpack bool
	// MaxPackage bounds the packages that are unpacked, in octets, as they come
	// and inflated. Default 16 MiB.
	MaxPackage int64
	// VerifyPackage decides whether the parts of a signed package, of TSI 0 or
	// not, are used: nil is an error that tells why not. Without it signatures
	// are not looked at.
	VerifyPackage func(entity.Signed) error

	// Logger gets warnings. Nil is silent.
	Logger *slog.Logger
}

func (c ReceiverConfig) withDefaults() ReceiverConfig {
	c.MaxObject = min(maxObject, cmp.Or(c.MaxObject, 64<<20))
	c.MaxMemory = cmp.Or(c.MaxMemory, 64<<20)
	c.MaxObjects = cmp.Or(c.MaxObjects, 64)
	c.MaxRanges = cmp.Or(c.MaxRanges, 4096)
	c.MaxBlocks = cmp.Or(c.MaxBlocks, 256)
	c.MaxUndescribed = cmp.Or(c.MaxUndescribed, 4<<20)
	c.UndescribedAge = cmp.Or(c.UndescribedAge, 2*time.Second)
	c.MaxSignalling = cmp.Or(c.MaxSignalling, 1<<20)
	c.MaxChannels = cmp.Or(c.MaxChannels, 256)
	c.Remember = cmp.Or(c.Remember, 8192)
	c.GapDelay = cmp.Or(c.GapDelay, 50*time.Millisecond)
	c.HoleDelay = cmp.Or(c.HoleDelay, 25*time.Millisecond)
	c.RepairGap = cmp.Or(c.RepairGap, 150*time.Millisecond)
	c.FECDelay = cmp.Or(c.FECDelay, 300*time.Millisecond)
	c.RepairBackoff = cmp.Or(c.RepairBackoff, 200*time.Millisecond)
	c.RepairBackoffMax = max(c.RepairBackoff, cmp.Or(c.RepairBackoffMax, time.Second))
	c.Inactivity = cmp.Or(c.Inactivity, time.Second)
	c.Deadline = cmp.Or(c.Deadline, 5*time.Second)
	c.MaxSkip = cmp.Or(c.MaxSkip, 8)
	c.MaxPackage = cmp.Or(c.MaxPackage, 16<<20)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// ReceiverStats counts what a Receiver saw. Octets are those of payloads,
// unless stated otherwise.
type ReceiverStats struct {
	Packets, Octets             uint64 // accepted or not, UDP payload
	SourcePackets, SourceOctets uint64 // that brought something new
	RepairPackets, RepairOctets uint64 // of objects that lacked octets
	Repeats                     uint64 // packets that brought nothing new
	Ignored                     uint64 // packets of objects given up, or of unknown repair flows
	Recovered                   uint64 // octets by FEC
	Supplied                    uint64 // octets by Supply
	// Lost is an estimate of the packets that did not arrive: octets that had
	// to come by another way, in packets of the channel's sizes, and gaps in the
	// ESIs, if others have come that their sender sent behind them, or for half a
	// minute none. It follows the end of an object by four times GapDelay or more,
	// and never falls: packets that come still later make up for losses to be
	// counted. Packets of which no signalling tells yet are Ignored or Rejected,
	// not Lost.
	Lost          uint64
	Rejected      [reasons]uint64 // packets, by Reason
	RejectedBytes uint64          // octets of rejected packets, UDP payload
	Objects       uint64          // complete
	ObjectsLost   uint64          // incomplete at their deadline
	Evicted       uint64          // objects given up because others needed the room
	Decodes       uint64          // FEC blocks decoded
	DecodeErrors  uint64          // FEC blocks that contradicted themselves
	Memory        int64           // octets held
	Incomplete    int             // objects
}

// RejectedPackets returns the number of packets rejected for a reason.
func (s *ReceiverStats) RejectedPackets(r Reason) uint64 { return s.Rejected[r] }
