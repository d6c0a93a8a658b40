package fecframe

import (
	"encoding/binary"
	"fmt"
)

// aduiHeader is the flow ID and the length in front of an ADU, which are coded but
// never sent (RFC 6681 section 5, RFC 6865 section 4.3, RFC 6816 section 4.3).
const aduiHeader = 3

// AppendADUI appends the ADU information of an ADU: flow ID, length, the ADU, and
// zeros up to size octets. The length is given because not every scheme counts all
// octets; size must have room.
func AppendADUI(dst []byte, flow uint8, length uint16, adu []byte, size int) []byte {
	dst = append(dst, flow)
	dst = binary.BigEndian.AppendUint16(dst, length)
	dst = append(dst, adu...)
	for range size - aduiHeader - len(adu) {
		dst = append(dst, 0)
	}
	return dst
}

// ParseADUI parses the ADU information of which the length is less than the ADU's by
// uncounted octets. It refuses what no sender makes, with [ErrPoisoned].
func ParseADUI(b []byte, uncounted int) (flow uint8, adu []byte, err error) {
	if len(b) < aduiHeader {
		return 0, nil, fmt.Errorf("%w: ADU information of %d octets", ErrPoisoned, len(b))
	}
	n := int(binary.BigEndian.Uint16(b[1:])) + uncounted
	if n > len(b)-aduiHeader {
		return 0, nil, fmt.Errorf("%w: ADU of %d octets", ErrPoisoned, n)
	}
	for _, x := range b[aduiHeader+n:] {
		if x != 0 {
			return 0, nil, fmt.Errorf("%w: padding is not zero", ErrPoisoned)
		}
	}
	return b[0], b[aduiHeader : aduiHeader+n], nil
}
