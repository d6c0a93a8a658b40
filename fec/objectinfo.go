package fec

import "fmt"

// ObjectInfo is the FEC Object Transmission Information (RFC 5052 section 6.2) of
// one object under any scheme of the registry. Fields that a scheme does not have
// are zero; [OTI] is RaptorQ's alone.
type ObjectInfo struct {
	ID             EncodingID
	TransferLength uint64 // L or F: object size in octets; zero is an empty object
	SymbolSize     uint16 // E or T, in octets

	// Schemes that cut the object by RFC 5052 section 9.1: CompactNoCode,
	// ReedSolomonGF2M, LDPCStaircase, ReedSolomonGF256, SmallBlockSystematic.
	MaxBlock   uint32 // B, maximum source block length in symbols
	MaxSymbols uint32 // max_n, encoding symbols per block; not in CompactNoCode

	// Raptor and RaptorQ.
	SourceBlocks uint16 // Z
	SubBlocks    uint16 // N, in each source block
	Alignment    uint8  // Al, in octets

	// LDPCStaircase, and of these Group in ReedSolomonGF2M.
	Group uint8  // G, symbols in a packet; zero means 1
	N1m3  uint8  // equations for each source symbol, less 3
	Seed  uint32 // of the generator that draws the matrix

	// SmallBlockSystematic. Instance 0 is Reed-Solomon over GF(2^8).
	Instance     uint16 // FEC Instance ID
	InstanceInfo []byte // instance-specific OTI, without its length octet
}

// field names a parameter that not every scheme has.
type field uint16

const (
	fieldMaxBlock field = 1 << iota
	fieldMaxSymbols
	fieldSourceBlocks
	fieldSubBlocks
	fieldAlignment
	fieldGroup
	fieldN1m3
	fieldSeed
	fieldInstance
	fieldInstanceInfo

	byMaxBlock     = fieldMaxBlock | fieldMaxSymbols
	bySourceBlocks = fieldSourceBlocks | fieldSubBlocks | fieldAlignment
)

// given returns the parameters that are not zero.
func (o *ObjectInfo) given() (f field) {
	for i, given := range [...]bool{
		o.MaxBlock != 0, o.MaxSymbols != 0, o.SourceBlocks != 0, o.SubBlocks != 0, o.Alignment != 0,
		o.Group != 0, o.N1m3 != 0, o.Seed != 0, o.Instance != 0, len(o.InstanceInfo) != 0,
	} {
		if given {
			f |= 1 << i
		}
	}
	return f
}

func (o *ObjectInfo) invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %v OTI: %s", ErrInvalid, o.ID, fmt.Sprintf(format, args...))
}

// Validate reports what the scheme rules out, as an error that is [ErrInvalid] or,
// for a scheme that is not in the registry, [ErrUnsupported].
func (o *ObjectInfo) Validate() error {
	s := schemeOf(o.ID)
	if s == nil {
		return fmt.Errorf("%w: %v", ErrUnsupported, o.ID)
	}
	switch {
	case o.given()&^s.fields != 0:
		return o.invalid("a parameter of another scheme is given")
	case o.SymbolSize == 0:
		return o.invalid("the symbol size is zero")
	case o.TransferLength > s.maxLength:
		return o.invalid("transfer length %d", o.TransferLength)
	}
	if err := s.validate(*o); err != nil {
		return err
	}
	if s.fields&fieldMaxBlock != 0 {
		return o.validateMaxBlock(s)
	}
	return o.validateSourceBlocks(s)
}

func (o *ObjectInfo) validateMaxBlock(s *scheme) error {
	blocks := o.Blocks()
	switch {
	case o.MaxBlock == 0:
		return o.invalid("B is zero")
	case s.fields&fieldMaxSymbols != 0 && o.MaxBlock > o.MaxSymbols:
		return o.invalid("B = %d above max_n = %d", o.MaxBlock, o.MaxSymbols)
	case blocks > 1<<s.sbnBits:
		return o.invalid("%d blocks, more than the source block number counts", blocks)
	case blocks > 0 && ceilDiv(o.symbols(), blocks) > 1<<s.esiBits:
		return o.invalid("%d symbols in a block, more than the ESI counts", ceilDiv(o.symbols(), blocks))
	}
	return nil
}

func (o *ObjectInfo) validateSourceBlocks(s *scheme) error {
	switch {
	case o.SourceBlocks == 0, o.SubBlocks == 0, o.Alignment == 0:
		return o.invalid("Z, N or Al is zero")
	case o.SymbolSize%uint16(o.Alignment) != 0:
		return o.invalid("T = %d is no multiple of Al = %d", o.SymbolSize, o.Alignment)
	case o.SubBlocks > o.SymbolSize/uint16(o.Alignment):
		return o.invalid("N = %d exceeds T/Al", o.SubBlocks)
	case o.TransferLength == 0:
		// The RFCs do not define it; ROUTE signals objects of any length so.
		return nil
	}
	kt, z := o.symbols(), uint64(o.SourceBlocks)
	if kt/z < s.minK || ceilDiv(kt, z) > s.maxK {
		return o.invalid("%d symbols in %d source blocks, of which each has %d to %d", kt, z, s.minK, s.maxK)
	}
	return nil
}

// symbols returns the number of source symbols of the object.
func (o *ObjectInfo) symbols() uint64 {
	return ceilDiv(o.TransferLength, uint64(o.SymbolSize))
}

// Blocks returns the number of source blocks; an empty object has none.
func (o *ObjectInfo) Blocks() uint64 {
	switch {
	case o.TransferLength == 0, o.SymbolSize == 0:
		return 0
	case o.MaxBlock != 0:
		return ceilDiv(o.symbols(), uint64(o.MaxBlock))
	}
	return uint64(o.SourceBlocks)
}

// Block returns the number of source symbols in source block sbn and where the
// block lies in the object; only the last block may be shorter than k symbols.
// k is zero when there is no such block. The ObjectInfo must be valid.
func (o *ObjectInfo) Block(sbn uint32) (k int, offset, length uint64) {
	n := o.Blocks()
	if uint64(sbn) >= n {
		return 0, 0, 0
	}
	first, count := part(o.symbols(), n, uint64(sbn))
	return block(o.TransferLength, uint64(o.SymbolSize), first, count)
}

// EncodingSymbols returns how many encoding symbols a block of k source symbols
// has at most: by the n-algorithm of RFC 5510 section 6.2 and RFC 5170 section 5.5
// where there is a max_n, which it never exceeds, else as many as the ESI counts.
func (o *ObjectInfo) EncodingSymbols(k int) int {
	s := schemeOf(o.ID)
	switch {
	case s == nil || k < 0 || o.ID == CompactNoCode:
		return k
	case s.fields&fieldMaxSymbols == 0:
		return 1 << s.esiBits
	case o.MaxBlock == 0 || uint64(k) > uint64(o.MaxBlock):
		return k
	}
	return int(uint64(k) * uint64(o.MaxSymbols) / uint64(o.MaxBlock))
}

// GroupSize returns how many symbols a packet has at most: G, where the scheme has
// one, which is what all but the last packets have; with Raptor and RaptorQ any
// number; else 1.
func (o *ObjectInfo) GroupSize() int {
	s := schemeOf(o.ID)
	switch {
	case s == nil || s.fields&(fieldGroup|fieldSourceBlocks) == 0:
		return 1
	case s.fields&fieldGroup != 0:
		return int(max(o.Group, 1))
	}
	return 1 << s.esiBits
}

// OTI returns RaptorQ's OTI; the scheme must be that.
func (o *ObjectInfo) OTI() OTI {
	return OTI{
		TransferLength: o.TransferLength,
		SymbolSize:     o.SymbolSize,
		SourceBlocks:   uint8(o.SourceBlocks),
		SubBlocks:      o.SubBlocks,
		Alignment:      o.Alignment,
	}
}

// Info returns o as the information of an object of any scheme.
func (o OTI) Info() ObjectInfo {
	return ObjectInfo{
		ID:             RaptorQ,
		TransferLength: o.TransferLength,
		SymbolSize:     o.SymbolSize,
		SourceBlocks:   uint16(o.SourceBlocks),
		SubBlocks:      o.SubBlocks,
		Alignment:      o.Alignment,
	}
}
