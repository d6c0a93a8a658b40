package flute

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/rs"
)

// Profile is the dialect of FLUTE that a Sender speaks.
type Profile uint8

// The profiles.
const (
	// Version2 is FLUTE of RFC 6726: TSI and TOI of 32 bits or more.
	Version2 Profile = iota
	// Version1 is FLUTE of RFC 3926, as DVB-MABR (TS 103 769 annex F) and most receivers have it: TSI and TOI of 16 bits.
	Version1
	// MBMS is Version1 as 3GPP restricts it (TS 26.346 clause 7.2 and annex L): EXT_FTI with FDT Instances only, of
	// which each is the full FDT.
	MBMS
)

// SenderConfig configures a Sender. The zero value of every field is usable.
type SenderConfig struct {
	Profile Profile
	// TSI identifies the session together with the sender's address: 16 bits, with Version2 48.
	TSI uint64
	// FirstTOI and FirstInstance are where the TOIs and the FDT Instance IDs begin, default 1 and 0. A sender that
	// starts again should go on where it stopped: receivers remember both.
	FirstTOI      uint64
	FirstInstance uint32
	// MaxPayload is the largest UDP payload in octets. Default 1400, at least 256.
	MaxPayload int
	// FEC is for files that have none of their own.
	FEC FEC
	// ObjectFTI adds an EXT_FTI to the packets of files, too. Not with MBMS.
	ObjectFTI bool
	// NoDigests leaves Content-MD5 out; SHA256 adds a Content-Digest, which DVB knows.
	NoDigests bool
	SHA256    bool
	// Matrix is the generator matrix of Reed-Solomon codes; see [rs.Matrix].
	Matrix rs.Matrix

	// Rate limits what is sent, in bit/s, headers of IPv4 and UDP included. Default 10 Mbit/s.
	Rate int64
	// Burst is how much may leave at once, in octets. Default 32 KiB.
	Burst int
	// Parallel is how many files of the same rank are sent at the same time, in turns. Default 1: then receivers need
	// the least memory.
	Parallel int

	// FDTInterval is the repetition of FDT Instances, default 1 s.
	FDTInterval time.Duration
	// FDTLifetime is for how long an FDT Instance is valid, default 1 min. A new one is made when half of that is over.
	FDTLifetime time.Duration
	// FDTFiles bounds the files of one FDT Instance, beyond which there are several. Default 200.
	FDTFiles int
	// FDTFEC protects FDT Instances. Default Compact No-Code, which every receiver knows; a session description must name
	// another scheme (RFC 6726 section 6). Against high loss it takes one, or instances of few files: an object whose
	// description does not come is of no use.
	FDTFEC FEC
	// FDTGzip encodes FDT Instances.
	FDTGzip bool
	// SenderTime adds an EXT_TIME to the packets of FDT Instances.
	SenderTime bool
	// Linger is for how long after its last packet a file stays described, so that receivers can repair it. Default
	// 10 s.
	Linger time.Duration
	// BaseURL1 and BaseURL2 are what alternate locations are relative to (3GPP).
	BaseURL1, BaseURL2 string

	// Logger gets warnings. Nil is silent.
	Logger *slog.Logger
}

func (c SenderConfig) withDefaults() SenderConfig {
	c.FirstTOI = max(1, c.FirstTOI)
	c.MaxPayload = max(256, cmp.Or(c.MaxPayload, 1400))
	c.Rate = cmp.Or(c.Rate, 10_000_000)
	c.Burst = cmp.Or(c.Burst, 32<<10)
	c.Parallel = max(1, c.Parallel)
	c.FDTInterval = cmp.Or(c.FDTInterval, time.Second)
	c.FDTLifetime = max(2*time.Second, cmp.Or(c.FDTLifetime, time.Minute))
	c.FDTFiles = cmp.Or(c.FDTFiles, 200)
	c.Linger = cmp.Or(c.Linger, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// ErrConfig matches the errors of NewSender and Add about what cannot be sent so.
var ErrConfig = errors.New("flute: cannot be sent like this")

// FEC is how a file is protected against loss.
type FEC struct {
	// Scheme is the code. The zero value is Compact No-Code, which has none. Files of a few octets, which are too short
	// for Raptor or LDPC, are sent without.
	Scheme fec.EncodingID
	// Loss is what repair must make up for; see [fec.Loss].
	Loss fec.Loss
	// Overhead, if it is not zero, is the number of repair symbols for each source symbol instead.
	Overhead float64
	// MaxBlock bounds the source symbols of a block. Default 1024, and 65535 without a code; Reed-Solomon codes have at
	// most 255 symbols in a block, those of repair included.
	MaxBlock int
}

// SenderStats counts what a Sender did.
type SenderStats struct {
	Packets, Octets             uint64 // all of them, UDP payload
	SourcePackets, SourceOctets uint64
	RepairPackets, RepairOctets uint64
	FDTPackets, FDTInstances    uint64
	Files                       uint64 // sent once at least
	Rounds                      uint64 // of all files
	Waiting                     int    // files that are to be sent again, or at all
}
