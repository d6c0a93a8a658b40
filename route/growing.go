package route

import "encoding/binary"

// The repair flow for growing objects. growing.md is its specification.

const (
	// growingIDLen is the length of the FEC Payload ID, in octets.
	growingIDLen = 16
	// maxGrowingSymbols and maxGrowingBlock bound a block, in source symbols and
	// in octets with all padding: a forged packet must not cost much time or
	// memory.
	maxGrowingSymbols = 512
	maxGrowingBlock   = 1 << 20

	maxESI = 1<<24 - 1
)

// growingBlock names the octets of an object that one RaptorQ block of the flow
// covers: lead zeros, the octets [start, start+length), and zeros up to a whole
// number of symbols.
type growingBlock struct {
	start  int64
	length int
	size   int // of a symbol
	lead   int
}

func (b growingBlock) end() int64 { return b.start + int64(b.length) }

// origin is where the first symbol would begin in the object. It may be
// negative.
func (b growingBlock) origin() int64 { return b.start - int64(b.lead) }

// symbols is K of RFC 6330.
func (b growingBlock) symbols() int { return (b.lead + b.length + b.size - 1) / b.size }

// valid tells whether the block is one that may be sent.
func (b growingBlock) valid() bool {
	return b.length > 0 && b.length < 1<<24 && b.start >= 0 && b.end() <= maxObject &&
		b.size > 0 && b.size < 1<<16 && b.size%symbolAlignment == 0 && b.lead >= 0 && b.lead < b.size &&
		b.symbols() <= maxGrowingSymbols && b.symbols()*b.size <= maxGrowingBlock
}

// appendGrowingID appends the FEC Payload ID of a repair packet whose first
// symbol is esi.
func appendGrowingID(dst []byte, b growingBlock, esi uint32, seq uint16) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.start))
	dst = binary.BigEndian.AppendUint16(dst, uint16(b.size))
	dst = binary.BigEndian.AppendUint16(dst, uint16(b.lead))
	dst = append(dst, byte(b.length>>16), byte(b.length>>8), byte(b.length))
	dst = append(dst, byte(esi>>16), byte(esi>>8), byte(esi))
	return binary.BigEndian.AppendUint16(dst, seq)
}

// growingPacket is a repair packet for a growing object, behind its LCT header.
type growingPacket struct {
	growingBlock
	esi     uint32 // of the first symbol
	seq     uint16 // counts the repair packets of the object
	symbols []byte
}

// parseGrowing takes apart what follows the LCT header. The symbols alias b.
func parseGrowing(b []byte) (p growingPacket, ok bool) {
	if len(b) <= growingIDLen {
		return p, false
	}
	p.start = int64(binary.BigEndian.Uint32(b))
	p.size = int(binary.BigEndian.Uint16(b[4:]))
	p.lead = int(binary.BigEndian.Uint16(b[6:]))
	p.length = int(b[8])<<16 | int(b[9])<<8 | int(b[10])
	p.esi = uint32(b[11])<<16 | uint32(b[12])<<8 | uint32(b[13])
	p.seq = binary.BigEndian.Uint16(b[14:])
	p.symbols = b[growingIDLen:]
	if !p.valid() || len(p.symbols)%p.size != 0 {
		return p, false
	}
	n := uint32(len(p.symbols) / p.size)
	return p, p.esi >= uint32(p.growingBlock.symbols()) && p.esi+n-1 <= maxESI
}
