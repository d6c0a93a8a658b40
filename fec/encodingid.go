package fec

import "strconv"

// EncodingID is a FEC Encoding ID of the registry of RFC 5052 section 11: the
// scheme of an object delivery session, as carried in an LCT codepoint, an
// EXT_FTI or an FDT. The FEC Scheme IDs of FECFRAME are another registry whose
// numbers mean other schemes.
type EncodingID uint8

// FEC Encoding IDs. Those from 128 on name under-specified schemes, which a FEC
// Instance ID completes.
const (
	CompactNoCode        EncodingID = 0   // RFC 5445 section 3
	Raptor               EncodingID = 1   // RFC 5053
	ReedSolomonGF2M      EncodingID = 2   // RFC 5510 section 4
	LDPCStaircase        EncodingID = 3   // RFC 5170
	LDPCTriangle         EncodingID = 4   // RFC 5170
	ReedSolomonGF256     EncodingID = 5   // RFC 5510 section 5
	RaptorQ              EncodingID = 6   // RFC 6330
	SmallLargeExpandable EncodingID = 128 // RFC 5445 section 4
	SmallBlockSystematic EncodingID = 129 // RFC 5445 section 5
	Compact              EncodingID = 130 // RFC 5445 section 4
)

func (id EncodingID) String() string {
	switch id {
	case CompactNoCode:
		return "Compact No-Code"
	case Raptor:
		return "Raptor"
	case ReedSolomonGF2M:
		return "Reed-Solomon GF(2^m)"
	case LDPCStaircase:
		return "LDPC-Staircase"
	case LDPCTriangle:
		return "LDPC-Triangle"
	case ReedSolomonGF256:
		return "Reed-Solomon GF(2^8)"
	case RaptorQ:
		return "RaptorQ"
	case SmallLargeExpandable:
		return "Small Block, Large Block and Expandable"
	case SmallBlockSystematic:
		return "Small Block Systematic"
	case Compact:
		return "Compact"
	}
	return "FEC Encoding ID " + strconv.Itoa(int(id))
}
