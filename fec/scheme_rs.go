package fec

import (
	"encoding/binary"
	"fmt"
)

// fieldBits is m, the size of the finite field's elements. RFC 5510 section 8.1
// allows 2 to 16; everybody uses 8, and only that is supported.
const fieldBits = 8

func validateRS(o ObjectInfo) error {
	if o.MaxSymbols > 255 {
		return o.invalid("max_n = %d", o.MaxSymbols)
	}
	return nil
}

// reedSolomonGF2M is RFC 5510 section 4 with m = 8.
var reedSolomonGF2M = scheme{
	sbnBits: 32 - fieldBits, esiBits: fieldBits,
	fields:    byMaxBlock | fieldGroup,
	maxLength: max48,
	ftiLen:    14,
	validate:  validateRS,
	appendFTI: func(b []byte, o *ObjectInfo) []byte {
		b = append(b, fieldBits, max(o.Group, 1))
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		b = binary.BigEndian.AppendUint16(b, uint16(o.MaxBlock))
		return binary.BigEndian.AppendUint16(b, uint16(o.MaxSymbols))
	},
	parseFTI: func(o *ObjectInfo, b []byte) error {
		o.SymbolSize = binary.BigEndian.Uint16(b[2:])
		o.MaxBlock = uint32(binary.BigEndian.Uint16(b[4:]))
		o.MaxSymbols = uint32(binary.BigEndian.Uint16(b[6:]))
		return parseFieldAndGroup(o, b[:2])
	},
	appendSpecific: func(b []byte, o *ObjectInfo) []byte { return append(b, fieldBits, max(o.Group, 1)) },
	parseSpecific: func(o *ObjectInfo, b []byte) error {
		switch len(b) {
		case 0: // neither is given
			o.Group = 1
			return nil
		case 2:
			return parseFieldAndGroup(o, b)
		}
		return o.invalid("%d octets of scheme-specific information", len(b))
	},
}

// parseFieldAndGroup takes m and G, of which zero means that it is not given
// (RFC 5510 section 4.2.4.2).
func parseFieldAndGroup(o *ObjectInfo, b []byte) error {
	if b[0] != 0 && b[0] != fieldBits {
		return fmt.Errorf("%w: %v with m = %d", ErrUnsupported, o.ID, b[0])
	}
	o.Group = max(b[1], 1)
	return nil
}

// reedSolomonGF256 is RFC 5510 section 5.
var reedSolomonGF256 = scheme{
	sbnBits: 24, esiBits: 8,
	fields:    byMaxBlock,
	maxLength: max48,
	ftiLen:    10,
	validate:  validateRS,
	appendFTI: func(b []byte, o *ObjectInfo) []byte {
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		return append(b, byte(o.MaxBlock), byte(o.MaxSymbols))
	},
	parseFTI: func(o *ObjectInfo, b []byte) error {
		o.SymbolSize = binary.BigEndian.Uint16(b)
		o.MaxBlock = uint32(b[2])
		o.MaxSymbols = uint32(b[3])
		return nil
	},
	appendSpecific: nothingSpecific,
	parseSpecific:  refuseSpecific,
}
