package route

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/treedn/treedn/fec"
)

// SenderConfig configures a Sender. The zero value of every field is usable.
type SenderConfig struct {
	// Session is announced in the S-TSID. Receivers take it from there only
	// if it is valid.
	Session Session
	// RepairSession is where repair packets go, if not to Session: receivers that
	// want none, or whose network is short, then do not join it. It has a group or
	// a port of its own; a Source that is not set is that of Session. See
	// Sender.PollRepair. Default: repair packets go to Session.
	RepairSession Session
	// MaxPayload is the largest UDP payload in octets. Default 1400, at
	// least 256.
	MaxPayload int
	// FirstTSI is the first TSI for files and media, default 1. A sender that
	// starts again must continue behind the TSIs of the run before, see
	// NextTSI: receivers remember them. The versions of the signalling begin
	// elsewhere with it, too.
	FirstTSI uint32
	// Loss is what the repair flow must make up for. With Burst, blocks of growing
	// objects survive bursts without unicast; it costs twice as many repair packets
	// or more.
	Loss fec.Loss
	// NoRepair turns the repair flow off.
	NoRepair bool
	// BlockSymbols bounds the source symbols of one RaptorQ block, default
	// 1024. Blocks of smaller symbols may have up to four times as many.
	BlockSymbols int
	// GrowingDelay is for how long the repair packets for a growing object wait
	// for more source packets to protect; up to six times as long if these are
	// few, since the repair of few packets costs a higher share, and up to
	// twelve times in tracks of audio and text. Default 30 ms;
	// -1 turns this repair flow off, which only receivers of this package
	// understand. Objects that do not grow are not concerned.
	GrowingDelay time.Duration
	// GrowingTarget is the probability accepted that what is protected together
	// cannot be recovered from these packets, but only from those for the whole
	// object. Default 10 times that of Loss, at most 0.01. Of few source packets
	// it is up to 150 times as much.
	GrowingTarget float64
	// Rate limits what is sent, in bit/s. Default: four times the peak of
	// the octets appended within a second, but never less than 20 Mbit/s.
	Rate int64
	// Burst is how much may leave at once, in octets. Default 64 KiB, or what
	// leaves in 2 ms if that is more: timers are no finer.
	Burst int
	// After is a generation of the S-TSID that was announced before, in Unix
	// microseconds: those to come are above it, also when the clock has stepped
	// back. Default 0.
	After uint64
	// SLSInterval is the repetition of the signalling, default 500 ms.
	SLSInterval time.Duration
	// CarouselInterval is the repetition of carousel objects, default 1 s.
	CarouselInterval time.Duration
	// TrackLinger is how long the channel of a superseded run stays
	// announced, default 10 s; also for the File entry of a lone file.
	TrackLinger time.Duration
	// TrackIdle is how long a channel without objects stays announced,
	// default 60 s.
	TrackIdle time.Duration
	// Retain is how long Lookup finds an object after its end, default 60 s.
	Retain time.Duration
	// RepairAge is how long after the last source packet of an object its
	// repair packets may leave, default 5 s.
	RepairAge time.Duration
	// MaxObject bounds one object, in octets. Default 64 MiB.
	MaxObject int64
	// MaxBuffered bounds the octets that wait to be sent. Default 256 MiB.
	MaxBuffered int64
	// Logger gets warnings. Nil is silent.
	Logger *slog.Logger
}

func (c SenderConfig) withDefaults() SenderConfig {
	c.MaxPayload = max(256, cmp.Or(c.MaxPayload, 1400))
	c.FirstTSI = max(1, c.FirstTSI)
	c.BlockSymbols = cmp.Or(c.BlockSymbols, 1024)
	c.GrowingDelay = cmp.Or(c.GrowingDelay, 30*time.Millisecond)
	c.SLSInterval = cmp.Or(c.SLSInterval, 500*time.Millisecond)
	c.CarouselInterval = cmp.Or(c.CarouselInterval, time.Second)
	c.TrackLinger = cmp.Or(c.TrackLinger, 10*time.Second)
	c.TrackIdle = cmp.Or(c.TrackIdle, time.Minute)
	c.Retain = cmp.Or(c.Retain, time.Minute)
	c.RepairAge = cmp.Or(c.RepairAge, 5*time.Second)
	c.MaxObject = min(maxObject, cmp.Or(c.MaxObject, 64<<20))
	c.MaxBuffered = cmp.Or(c.MaxBuffered, 256<<20)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (c *SenderConfig) growingTarget() float64 {
	return cmp.Or(c.GrowingTarget, min(0.01, 10*target(c.Loss)))
}

const (
	minRate  = 20_000_000 // bit/s
	minBurst = 64 << 10
	// Largest headers before the payload: LCT 16, Payload ID 4, and EXT_TOL 8
	// on source or EXT_FTI 16 on repair packets.
	sourceHeader   = 16 + 4
	sourceOverhead = sourceHeader + 8
	repairOverhead = 16 + 4 + 16
	// Repair packets for growing objects have no extension.
	growingOverhead = 16 + growingIDLen
)

// SenderStats counts what a Sender did.
type SenderStats struct {
	Packets, Octets             uint64 // all of them, UDP payload
	SourcePackets, SourceOctets uint64
	RepairPackets, RepairOctets uint64 // those for growing objects included
	GrowingPackets              uint64 // repair packets for growing objects
	GrowingOctets               uint64
	SignallingPackets           uint64
	CarouselPackets             uint64
	Objects, Aborted            uint64
	RepairDropped               uint64 // objects whose repair came too late
	BlocksDropped               uint64 // parts of growing objects likewise
	Buffered                    int64  // octets that wait
	Rate                        int64  // bit/s, as it stands
}
