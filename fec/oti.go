package fec

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Sizes of RaptorQ's FEC Object Transmission Information.
const (
	OTILen = 12 // OTI alone (RFC 6330 section 3.3)

	// raptorQFTILen is the content of its EXT_FTI: a header extension is a
	// multiple of four octets including HET and HEL, so two are padding.
	raptorQFTILen = 14
)

const (
	// maxTransferLength is 65535*56403*255 (RFC 6330 erratum 5548); the
	// 946270874880 of the text stands for 256 blocks, which Z cannot count.
	maxTransferLength = 942574504275

	maxBlockSymbols = 56403 // K'_max
)

// OTI is the FEC Object Transmission Information of RaptorQ (RFC 6330 section
// 3.3).
type OTI struct {
	TransferLength uint64 // F, object size in octets; zero is an empty object
	SymbolSize     uint16 // T, in octets, a multiple of Alignment
	SourceBlocks   uint8  // Z
	SubBlocks      uint16 // N, in each source block
	Alignment      uint8  // Al, in octets
}

// Validate reports what RFC 6330 rules out, as an error that is [ErrInvalid].
func (o OTI) Validate() error {
	i := o.Info()
	return i.Validate()
}

// Block returns the number of source symbols in source block sbn and where the
// block lies in the object; only the last block may be shorter than k symbols.
// k is zero when there is no such block. The OTI must be valid.
func (o OTI) Block(sbn uint8) (k int, offset, length uint64) {
	i := o.Info()
	return i.Block(uint32(sbn))
}

// AppendOTI appends the 12 octets of RFC 6330 section 3.3, common part and
// scheme-specific part. This is also the fecOTI of A/331.
func AppendOTI(b []byte, o OTI) []byte {
	b = append(b, byte(o.TransferLength>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(o.TransferLength))
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
	return o.AppendSchemeSpecific(b)
}

// ParseOTI parses and validates the 12 octets that [AppendOTI] writes.
func ParseOTI(b []byte) (OTI, error) {
	if len(b) < OTILen {
		return OTI{}, fmt.Errorf("fec: RaptorQ OTI: %w", io.ErrUnexpectedEOF)
	}
	if len(b) > OTILen {
		return OTI{}, fmt.Errorf("%w: RaptorQ OTI of %d octets", ErrInvalid, len(b))
	}
	o := OTI{
		TransferLength: uint64(b[0])<<32 | uint64(binary.BigEndian.Uint32(b[1:])),
		SymbolSize:     binary.BigEndian.Uint16(b[6:]),
	}
	o.setSchemeSpecific(b[8:])
	if err := o.Validate(); err != nil {
		return OTI{}, err
	}
	return o, nil
}

// AppendFTI appends the content of an EXT_FTI header extension, which is what
// follows HET = 64 and HEL = 4: the OTI and two octets of padding.
func (o OTI) AppendFTI(b []byte) []byte {
	return append(AppendOTI(b, o), 0, 0)
}

// ParseFTI parses and validates the content of an EXT_FTI header extension.
func ParseFTI(b []byte) (OTI, error) {
	if len(b) < raptorQFTILen {
		return OTI{}, fmt.Errorf("fec: RaptorQ EXT_FTI: %w", io.ErrUnexpectedEOF)
	}
	if len(b) > raptorQFTILen {
		return OTI{}, fmt.Errorf("%w: RaptorQ EXT_FTI of %d octets", ErrInvalid, len(b))
	}
	return ParseOTI(b[:OTILen])
}

// schemeSpecificLen is Z, N and Al, the scheme-specific part of the OTI.
const schemeSpecificLen = 4

// AppendSchemeSpecific appends the scheme-specific OTI (RFC 6330 section 3.3.3),
// which an FDT carries in base64 as FEC-OTI-Scheme-Specific-Info.
func (o OTI) AppendSchemeSpecific(b []byte) []byte {
	b = append(b, o.SourceBlocks)
	b = binary.BigEndian.AppendUint16(b, o.SubBlocks)
	return append(b, o.Alignment)
}

// ParseSchemeSpecific completes and validates an OTI whose transfer length and
// symbol size came in attributes of their own.
func ParseSchemeSpecific(transferLength uint64, symbolSize uint16, b []byte) (OTI, error) {
	if len(b) < schemeSpecificLen {
		return OTI{}, fmt.Errorf("fec: RaptorQ scheme-specific OTI: %w", io.ErrUnexpectedEOF)
	}
	if len(b) > schemeSpecificLen {
		return OTI{}, fmt.Errorf("%w: RaptorQ scheme-specific OTI of %d octets", ErrInvalid, len(b))
	}
	o := OTI{TransferLength: transferLength, SymbolSize: symbolSize}
	o.setSchemeSpecific(b)
	if err := o.Validate(); err != nil {
		return OTI{}, err
	}
	return o, nil
}

func (o *OTI) setSchemeSpecific(b []byte) {
	o.SourceBlocks = b[0]
	o.SubBlocks = binary.BigEndian.Uint16(b[1:])
	o.Alignment = b[3]
}
