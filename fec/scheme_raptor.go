package fec

import "encoding/binary"

// raptor is RFC 5053 section 3. Sections 3.2.3 and 5.7 bound the blocks.
var raptor = scheme{
	sbnBits: 16, esiBits: 16,
	fields:    bySourceBlocks,
	maxLength: 1<<45 - 1,
	minK:      4, maxK: 8192,
	ftiLen: 14,
	validate: func(o ObjectInfo) error {
		if o.SubBlocks > 255 {
			return o.invalid("N = %d", o.SubBlocks)
		}
		return nil
	},
	appendFTI: func(b []byte, o *ObjectInfo) []byte {
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		return appendRaptorSpecific(b, o)
	},
	parseFTI: func(o *ObjectInfo, b []byte) error { // octets 0 and 1 are reserved
		o.SymbolSize = binary.BigEndian.Uint16(b[2:])
		return parseRaptorSpecific(o, b[4:])
	},
	appendSpecific: appendRaptorSpecific,
	parseSpecific:  parseRaptorSpecific,
}

func appendRaptorSpecific(b []byte, o *ObjectInfo) []byte {
	b = binary.BigEndian.AppendUint16(b, o.SourceBlocks)
	return append(b, byte(o.SubBlocks), o.Alignment)
}

func parseRaptorSpecific(o *ObjectInfo, b []byte) error {
	if len(b) != 4 {
		return o.invalid("%d octets of scheme-specific information", len(b))
	}
	o.SourceBlocks = binary.BigEndian.Uint16(b)
	o.SubBlocks, o.Alignment = uint16(b[2]), b[3]
	return nil
}

// raptorQ is RFC 6330 section 3. Its transfer length has 40 bits, which makes its
// EXT_FTI the only one that does not begin with 48 of them.
var raptorQ = scheme{
	sbnBits: 8, esiBits: 24,
	fields:    bySourceBlocks,
	maxLength: maxTransferLength,
	minK:      1, maxK: maxBlockSymbols,
	ftiLen: raptorQFTILen,
	validate: func(o ObjectInfo) error {
		if o.SourceBlocks > 255 {
			return o.invalid("Z = %d", o.SourceBlocks)
		}
		return nil
	},
	appendSpecific: func(b []byte, o *ObjectInfo) []byte { return o.OTI().AppendSchemeSpecific(b) },
	parseSpecific: func(o *ObjectInfo, b []byte) error {
		if len(b) != schemeSpecificLen {
			return o.invalid("%d octets of scheme-specific information", len(b))
		}
		oti := OTI{TransferLength: o.TransferLength, SymbolSize: o.SymbolSize}
		oti.setSchemeSpecific(b)
		*o = oti.Info()
		return nil
	},
}
