package fec

import (
	"encoding/binary"
	"fmt"
	"io"
)

// BlockOTI is the FEC Object Transmission Information of the schemes that cut an
// object by the partitioning algorithm of RFC 5052 section 9.1: [CompactNoCode],
// [ReedSolomonGF256] and [SmallBlockSystematic].
type BlockOTI struct {
	ID             EncodingID
	TransferLength uint64 // L, object size in octets, 48 bits
	SymbolSize     uint16 // E, in octets
	MaxBlock       uint32 // B, maximum source block length in symbols
	MaxSymbols     uint16 // max_n, encoding symbols per block; not in CompactNoCode
	Instance       uint16 // FEC Instance ID, in SmallBlockSystematic alone
	SchemeSpecific []byte // of the instance, in SmallBlockSystematic alone
}

// maxBlocks is what a source block number can count.
func (o *BlockOTI) maxBlocks() uint64 {
	switch o.ID {
	case ReedSolomonGF256:
		return 1 << 24
	case SmallBlockSystematic:
		return 1 << 32
	}
	return 1 << 16
}

// Validate reports what the scheme rules out, as an error that is [ErrInvalid]
// or [ErrUnsupported].
func (o *BlockOTI) Validate() error {
	invalid := func(what string) error {
		return fmt.Errorf("%w: %v OTI: %s", ErrInvalid, o.ID, what)
	}
	switch o.ID {
	case CompactNoCode:
		if o.MaxSymbols != 0 {
			return invalid("max_n given")
		}
	case ReedSolomonGF256:
		if o.MaxSymbols > 255 {
			return invalid("max_n above 255")
		}
	case SmallBlockSystematic:
		if o.MaxBlock > 0xffff {
			return invalid("B above 65535")
		}
		if len(o.SchemeSpecific)%4 != 3 && len(o.SchemeSpecific) != 0 || len(o.SchemeSpecific) > 4*255-1 {
			return invalid("scheme-specific part does not fill words after its length octet")
		}
	default:
		return fmt.Errorf("%w: %v", ErrUnsupported, o.ID)
	}
	if o.ID != SmallBlockSystematic && (o.Instance != 0 || len(o.SchemeSpecific) != 0) {
		return invalid("FEC Instance ID or scheme-specific part given")
	}
	if o.TransferLength>>48 != 0 {
		return invalid("L above 48 bits")
	}
	if o.SymbolSize == 0 || o.MaxBlock == 0 {
		return invalid("E or B is zero")
	}
	if o.ID != CompactNoCode && o.MaxBlock > uint32(o.MaxSymbols) {
		return invalid("B above max_n")
	}
	if o.Blocks() > o.maxBlocks() {
		return invalid("more blocks than the source block number counts")
	}
	if n := o.Blocks(); n > 0 && ceilDiv(o.symbols(), n) > 1<<16 {
		return invalid("more symbols in a block than the ESI counts")
	}
	return nil
}

// Blocks returns N, the number of source blocks; an empty object has none.
func (o *BlockOTI) Blocks() uint64 {
	if o.SymbolSize == 0 || o.MaxBlock == 0 {
		return 0
	}
	return ceilDiv(o.symbols(), uint64(o.MaxBlock))
}

func (o *BlockOTI) symbols() uint64 {
	return ceilDiv(o.TransferLength, uint64(o.SymbolSize))
}

// Block returns the number of source symbols in source block sbn and where the
// block lies in the object; only the last block may be shorter than k symbols.
// k is zero when there is no such block.
func (o *BlockOTI) Block(sbn uint32) (k int, offset, length uint64) {
	n := o.Blocks()
	if uint64(sbn) >= n {
		return 0, 0, 0
	}
	first, count := part(o.symbols(), n, uint64(sbn))
	return block(o.TransferLength, uint64(o.SymbolSize), first, count)
}

// EncodingSymbols returns n for a block of k source symbols by the n-algorithm
// of RFC 5510 section 6.2, which never exceeds MaxSymbols.
func (o *BlockOTI) EncodingSymbols(k int) int {
	if o.MaxSymbols == 0 || o.MaxBlock == 0 || k < 0 || uint64(k) > uint64(o.MaxBlock) {
		return k
	}
	return int(uint64(k) * uint64(o.MaxSymbols) / uint64(o.MaxBlock))
}

// AppendFTI appends the content of an EXT_FTI header extension, which is what
// follows HET and HEL, after validating it.
func (o *BlockOTI) AppendFTI(b []byte) ([]byte, error) {
	if err := o.Validate(); err != nil {
		return b, err
	}
	b = binary.BigEndian.AppendUint16(b, uint16(o.TransferLength>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(o.TransferLength))
	switch o.ID {
	case CompactNoCode:
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		b = binary.BigEndian.AppendUint32(b, o.MaxBlock)
	case ReedSolomonGF256:
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		b = append(b, byte(o.MaxBlock), byte(o.MaxSymbols))
	case SmallBlockSystematic:
		b = binary.BigEndian.AppendUint16(b, o.Instance)
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		b = binary.BigEndian.AppendUint16(b, uint16(o.MaxBlock))
		b = binary.BigEndian.AppendUint16(b, o.MaxSymbols)
		if n := len(o.SchemeSpecific); n > 0 {
			b = append(b, byte((n+1)/4))
			b = append(b, o.SchemeSpecific...)
		}
	}
	return b, nil
}

// ParseBlockFTI parses and validates the content of an EXT_FTI header extension
// of one of the schemes of [BlockOTI]. SchemeSpecific aliases b.
func ParseBlockFTI(id EncodingID, b []byte) (BlockOTI, error) {
	want := 14
	switch id {
	case CompactNoCode, SmallBlockSystematic:
	case ReedSolomonGF256:
		want = 10
	default:
		return BlockOTI{}, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	if len(b) < want {
		return BlockOTI{}, fmt.Errorf("fec: %v EXT_FTI: %w", id, io.ErrUnexpectedEOF)
	}
	if len(b) > want && id != SmallBlockSystematic {
		return BlockOTI{}, fmt.Errorf("%w: %v EXT_FTI of %d octets", ErrInvalid, id, len(b))
	}
	o := BlockOTI{
		ID:             id,
		TransferLength: uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:])),
	}
	switch id {
	case CompactNoCode: // RFC 5445 section 3.2.2; octets 6 and 7 are reserved
		o.SymbolSize = binary.BigEndian.Uint16(b[8:])
		o.MaxBlock = binary.BigEndian.Uint32(b[10:])
	case ReedSolomonGF256: // RFC 5510 section 5.2
		o.SymbolSize = binary.BigEndian.Uint16(b[6:])
		o.MaxBlock = uint32(b[8])
		o.MaxSymbols = uint16(b[9])
	case SmallBlockSystematic: // RFC 5445 section 5.2
		o.Instance = binary.BigEndian.Uint16(b[6:])
		o.SymbolSize = binary.BigEndian.Uint16(b[8:])
		o.MaxBlock = uint32(binary.BigEndian.Uint16(b[10:]))
		o.MaxSymbols = binary.BigEndian.Uint16(b[12:])
		if err := o.setSchemeSpecific(b[14:]); err != nil {
			return BlockOTI{}, err
		}
	}
	if err := o.Validate(); err != nil {
		return BlockOTI{}, err
	}
	return o, nil
}

// setSchemeSpecific takes the optional field of RFC 5445 section 4.2.2.3: its
// first octet is its length in words, itself included; zero stands for a word
// of nothing.
func (o *BlockOTI) setSchemeSpecific(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n := 4 * int(b[0])
	if len(b) < max(n, 4) {
		return fmt.Errorf("fec: %v EXT_FTI: %w", o.ID, io.ErrUnexpectedEOF)
	}
	if len(b) > max(n, 4) {
		return fmt.Errorf("%w: %v EXT_FTI: %d octets after the scheme-specific part", ErrInvalid, o.ID, len(b)-max(n, 4))
	}
	if n > 0 {
		o.SchemeSpecific = b[1:n:n]
	}
	return nil
}
