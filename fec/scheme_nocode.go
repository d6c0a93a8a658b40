package fec

import "encoding/binary"

// compactNoCode is RFC 5445 section 3, in its unique SBN mode.
var compactNoCode = scheme{
	sbnBits: 16, esiBits: 16,
	fields:    fieldMaxBlock,
	maxLength: max48,
	ftiLen:    14,
	validate:  noneToValidate,
	appendFTI: func(b []byte, o *ObjectInfo) []byte {
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		return binary.BigEndian.AppendUint32(b, o.MaxBlock)
	},
	parseFTI: func(o *ObjectInfo, b []byte) error { // octets 0 and 1 are reserved
		o.SymbolSize = binary.BigEndian.Uint16(b[2:])
		o.MaxBlock = binary.BigEndian.Uint32(b[4:])
		return nil
	},
	appendSpecific: nothingSpecific,
	parseSpecific:  refuseSpecific,
}

// smallBlockSystematic is RFC 5445 section 5.
var smallBlockSystematic = scheme{
	sbnBits: 32, esiBits: 16, lengthInID: true,
	fields:    byMaxBlock | fieldInstance | fieldInstanceInfo,
	maxLength: max48,
	ftiLen:    14,
	validate: func(o ObjectInfo) error {
		switch n := len(o.InstanceInfo); {
		case o.MaxSymbols > 0xffff:
			return o.invalid("max_n = %d", o.MaxSymbols)
		case n > 0 && n%4 != 3, n > 4*255-1:
			return o.invalid("%d octets of instance data do not fill words after their length octet", n)
		case o.Instance == 0 && o.MaxSymbols > 255:
			return o.invalid("max_n = %d for Reed-Solomon over GF(2^8)", o.MaxSymbols) // RFC 5510 section 8.2.1
		}
		return nil
	},
	appendFTI: func(b []byte, o *ObjectInfo) []byte {
		b = binary.BigEndian.AppendUint16(b, o.Instance)
		b = binary.BigEndian.AppendUint16(b, o.SymbolSize)
		b = binary.BigEndian.AppendUint16(b, uint16(o.MaxBlock))
		b = binary.BigEndian.AppendUint16(b, uint16(o.MaxSymbols))
		return appendInstanceInfo(b, o)
	},
	parseFTI: func(o *ObjectInfo, b []byte) error {
		o.Instance = binary.BigEndian.Uint16(b)
		o.SymbolSize = binary.BigEndian.Uint16(b[2:])
		o.MaxBlock = uint32(binary.BigEndian.Uint16(b[4:]))
		o.MaxSymbols = uint32(binary.BigEndian.Uint16(b[6:]))
		return parseInstanceInfo(o, b[8:])
	},
	appendSpecific: appendInstanceInfo,
	parseSpecific:  parseInstanceInfo,
}

// appendInstanceInfo appends the scheme-specific OTI of RFC 5445 section 4.2.2.3.
// An EXT_FTI and an attribute tell their length, so it may be left out.
func appendInstanceInfo(b []byte, o *ObjectInfo) []byte {
	if n := len(o.InstanceInfo); n > 0 {
		b = append(b, byte((n+1)/4))
		b = append(b, o.InstanceInfo...)
	}
	return b
}

// parseInstanceInfo takes it: the first octet is the length in words, itself
// included; zero stands for a word of nothing.
func parseInstanceInfo(o *ObjectInfo, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n := 4 * int(b[0])
	if len(b) < max(n, 4) {
		return errShort(o.ID, "scheme-specific OTI")
	}
	if len(b) > max(n, 4) {
		return o.invalid("%d octets after the scheme-specific part", len(b)-max(n, 4))
	}
	if n > 0 {
		o.InstanceInfo = b[1:n:n]
	}
	return nil
}
