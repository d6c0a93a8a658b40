package fecframe

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/treedn/treedn/fec/raptor"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/rs"
)

// SchemeID is a FEC Encoding ID of the FECFRAME registry (RFC 6363 section 12).
// FEC Encoding IDs of object delivery are another registry.
type SchemeID uint8

// Schemes; see the package's documentation.
const (
	RaptorArbitrary  SchemeID = 1
	RaptorQArbitrary SchemeID = 2
	RaptorOptimized  SchemeID = 3
	RaptorQOptimized SchemeID = 4
	RaptorSequenced  SchemeID = 5
	RaptorQSequenced SchemeID = 6
	LDPCStaircase    SchemeID = 7
	ReedSolomon      SchemeID = 8
)

func (id SchemeID) String() string {
	switch id {
	case RaptorArbitrary:
		return "Raptor, arbitrary flows"
	case RaptorQArbitrary:
		return "RaptorQ, arbitrary flows"
	case RaptorOptimized:
		return "Raptor, optimized for arbitrary flows"
	case RaptorQOptimized:
		return "RaptorQ, optimized for arbitrary flows"
	case RaptorSequenced:
		return "Raptor, single sequenced flow"
	case RaptorQSequenced:
		return "RaptorQ, single sequenced flow"
	case LDPCStaircase:
		return "LDPC-Staircase"
	case ReedSolomon:
		return "Reed-Solomon GF(2^m)"
	}
	return "FECFRAME scheme " + strconv.Itoa(int(id))
}

// sequenced reports whether source packets are told apart by sequence numbers.
func (id SchemeID) sequenced() bool { return id == RaptorSequenced || id == RaptorQSequenced }

// padded reports whether every block is coded as one of MaxBlock symbols.
func (id SchemeID) padded() bool { return id >= RaptorOptimized && id <= RaptorQSequenced }

// raptorFamily reports whether the scheme is one of RFC 6681.
func (id SchemeID) raptorFamily() bool { return id >= RaptorArbitrary && id <= RaptorQSequenced }

// raptorQ reports whether the code is RaptorQ.
func (id SchemeID) raptorQ() bool { return id.raptorFamily() && id%2 == 0 }

// Config is the FEC Framework Configuration Information that a scheme has, and what
// both sides have to know besides.
type Config struct {
	Scheme SchemeID

	// SymbolSize is T, or E with schemes 7 and 8, in octets: there it is the size
	// of a block's symbols if Strict, else the largest.
	SymbolSize int

	// MaxBlock is MSBL, the maximum source block length in symbols. It is not
	// signalled with schemes 7 and 8, where it is the number of ADUs in a block at
	// most: default 1024, and 255 less what repair needs.
	MaxBlock int

	// FormatB selects the payload IDs with 24 bits of ESI; RaptorQ alone.
	FormatB bool

	Strict bool   // S, schemes 7 and 8
	Seed   uint32 // of the matrix, scheme 7
	N1m3   uint8  // scheme 7

	// What follows is not signalled.

	// MaxSymbols is n at most, scheme 7. Default four times MaxBlock.
	MaxSymbols int

	// Matrix of scheme 8; see [rs.Matrix].
	Matrix rs.Matrix

	// RTP makes the length in front of an ADU 12 octets less than the ADU has, as
	// RFC 6681 section 8.2.4 prescribes for flows of RTP packets; schemes 5 and 6.
	RTP bool
}

// rtpHeader is what the length of an RTP packet does not count.
const rtpHeader = 12

func (c Config) populate() Config {
	if c.MaxBlock == 0 {
		switch c.Scheme {
		case LDPCStaircase:
			c.MaxBlock = 1024
		case ReedSolomon:
			c.MaxBlock = rs.MaxSymbols
		}
	}
	if c.MaxSymbols == 0 && c.Scheme == LDPCStaircase {
		c.MaxSymbols = min(4*c.MaxBlock, 0xffff)
	}
	return c
}

// raptorBlocks are the values of MSBL of RFC 6681 section 7.4 for Raptor. For RaptorQ
// it wants one of the K' of RFC 6330, but section 10 has an example of another one,
// and the code does with any.
var raptorBlocks = []int{101, 120, 148, 164, 212, 237, 297, 371, 450, 560, 680, 842, 1031, 1139, 1281}

// Validate reports what the scheme rules out, as an error that is [ErrConfig].
func (c Config) Validate() error {
	c = c.populate()
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %v: %s", ErrConfig, c.Scheme, fmt.Sprintf(format, args...))
	}
	longest := 0
	switch c.Scheme {
	case RaptorArbitrary, RaptorOptimized, RaptorSequenced:
		longest = raptor.MaxK
	case RaptorQArbitrary, RaptorQOptimized, RaptorQSequenced:
		longest = raptorq.MaxK
	case LDPCStaircase:
		longest = 0xffff
	case ReedSolomon:
		longest = rs.MaxSymbols
	default:
		return invalid("unknown scheme")
	}
	switch {
	case c.SymbolSize < 1, c.SymbolSize > 0xffff, !c.Scheme.raptorFamily() && c.SymbolSize <= aduiHeader:
		return invalid("symbols of %d octets", c.SymbolSize)
	case c.MaxBlock < 1, c.MaxBlock > longest:
		return invalid("blocks of %d symbols", c.MaxBlock)
	case c.Scheme.padded() && !c.Scheme.raptorQ() && !slices.Contains(raptorBlocks, c.MaxBlock):
		return invalid("blocks of %d symbols; see RFC 6681 section 7.4", c.MaxBlock)
	case c.FormatB && !c.Scheme.raptorQ():
		return invalid("payload ID format B")
	case c.RTP && !c.Scheme.sequenced():
		return invalid("RTP without sequence numbers")
	case c.Strict && c.Scheme.raptorFamily():
		return invalid("strict symbol size")
	case c.Scheme == LDPCStaircase && (c.Seed < 1 || c.Seed > 1<<31-2 || c.N1m3 > 7):
		return invalid("seed %d, N1m3 %d", c.Seed, c.N1m3)
	case c.Scheme == LDPCStaircase && (c.MaxSymbols < c.MaxBlock || c.MaxSymbols > 0xffff):
		return invalid("%d encoding symbols", c.MaxSymbols)
	case c.Scheme != LDPCStaircase && (c.Seed != 0 || c.N1m3 != 0):
		return invalid("parameters of LDPC-Staircase")
	}
	return nil
}

// codeLength returns K of the code for a block of k symbols.
func (c *Config) codeLength(k int) int {
	if c.Scheme.padded() {
		return c.MaxBlock
	}
	return k
}

// endESI returns the number of ESIs that the payload ID of the scheme can name.
func (c *Config) endESI() int {
	switch {
	case c.Scheme == ReedSolomon:
		return rs.MaxSymbols
	case c.FormatB:
		return 1 << 24
	}
	return 1 << 16
}
