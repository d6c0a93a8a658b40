package fec

import "encoding/binary"

// ldpcStaircase is RFC 5170 section 4.
var ldpcStaircase = scheme{
	sbnBits: 12, esiBits: 20,
	fields:    byMaxBlock | fieldGroup | fieldN1m3 | fieldSeed,
	maxLength: max48,
	ftiLen:    18,
	validate: func(o ObjectInfo) error {
		switch {
		case o.MaxSymbols >= 1<<20:
			// The text allows 2^20, for which the field of 20 bits has no room.
			return o.invalid("max_n = %d", o.MaxSymbols)
		case o.N1m3 > 7, o.Group > 31:
			return o.invalid("N1m3 = %d, G = %d", o.N1m3, o.Group)
		case o.Seed == 0, o.Seed >= 1<<31-1:
			return o.invalid("seed %d", o.Seed)
		}
		return nil
	},
	appendFTI: func(b []byte, o *ObjectInfo) []byte {
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		b = binary.BigEndian.AppendUint16(b, uint16(n1m3AndGroup(o))<<8|uint16(o.MaxBlock>>12))
		b = binary.BigEndian.AppendUint32(b, o.MaxBlock<<20|o.MaxSymbols)
		return binary.BigEndian.AppendUint32(b, o.Seed)
	},
	parseFTI: func(o *ObjectInfo, b []byte) error {
		o.SymbolSize = binary.BigEndian.Uint16(b)
		low := binary.BigEndian.Uint32(b[4:])
		o.MaxBlock = uint32(b[3])<<12 | low>>20
		o.MaxSymbols = low & (1<<20 - 1)
		o.Seed = binary.BigEndian.Uint32(b[8:])
		return parseN1m3AndGroup(o, b[2])
	},
	appendSpecific: func(b []byte, o *ObjectInfo) []byte {
		return append(binary.BigEndian.AppendUint32(b, o.Seed), n1m3AndGroup(o))
	},
	parseSpecific: func(o *ObjectInfo, b []byte) error {
		if len(b) != 5 {
			return o.invalid("%d octets of scheme-specific information", len(b))
		}
		o.Seed = binary.BigEndian.Uint32(b)
		return parseN1m3AndGroup(o, b[4])
	},
}

func n1m3AndGroup(o *ObjectInfo) byte { return o.N1m3<<5 | max(o.Group, 1) }

func parseN1m3AndGroup(o *ObjectInfo, b byte) error {
	o.N1m3, o.Group = b>>5, b&31
	if o.Group == 0 {
		return o.invalid("G is zero")
	}
	return nil
}
