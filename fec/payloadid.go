package fec

import (
	"encoding/binary"
	"fmt"
	"io"
)

// PayloadID is a FEC Payload ID: it tells which encoding symbol of which source
// block a packet starts with.
type PayloadID struct {
	SBN uint32 // source block number
	ESI uint32 // encoding symbol ID
	SBL uint16 // source block length, in [SmallBlockSystematic] alone
}

// PayloadIDLen returns the length of the scheme's FEC Payload ID in octets, or
// zero when this package has no format for it.
func (id EncodingID) PayloadIDLen() int {
	switch id {
	case CompactNoCode, ReedSolomonGF256, RaptorQ:
		return 4
	case SmallBlockSystematic:
		return 8
	}
	return 0
}

// ParsePayloadID parses the FEC Payload ID at the start of b, of which the
// scheme's PayloadIDLen octets are used. Whether the block and the symbol exist
// is for the object's OTI to tell.
func ParsePayloadID(id EncodingID, b []byte) (PayloadID, error) {
	n := id.PayloadIDLen()
	if n == 0 {
		return PayloadID{}, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	if len(b) < n {
		return PayloadID{}, fmt.Errorf("fec: FEC Payload ID: %w", io.ErrUnexpectedEOF)
	}
	v := binary.BigEndian.Uint32(b)
	switch id {
	case ReedSolomonGF256: // RFC 5510 section 5.1
		return PayloadID{SBN: v >> 8, ESI: v & 0xff}, nil
	case RaptorQ: // RFC 6330 section 3.2
		return PayloadID{SBN: v >> 24, ESI: v & 0xffffff}, nil
	case SmallBlockSystematic: // RFC 5445 section 5.1
		return PayloadID{
			SBN: v,
			SBL: binary.BigEndian.Uint16(b[4:]),
			ESI: uint32(binary.BigEndian.Uint16(b[6:])),
		}, nil
	default: // Compact No-Code, RFC 5445 section 3.1
		return PayloadID{SBN: v >> 16, ESI: v & 0xffff}, nil
	}
}

// AppendPayloadID appends the scheme's FEC Payload ID to b. An error that is
// [ErrInvalid] means that a number does not fit its field.
func AppendPayloadID(b []byte, id EncodingID, p PayloadID) ([]byte, error) {
	var sbnBits, esiBits uint
	switch id {
	case CompactNoCode:
		sbnBits, esiBits = 16, 16
	case ReedSolomonGF256:
		sbnBits, esiBits = 24, 8
	case RaptorQ:
		sbnBits, esiBits = 8, 24
	case SmallBlockSystematic:
		sbnBits, esiBits = 32, 16
	default:
		return b, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	if uint64(p.SBN)>>sbnBits != 0 || p.ESI>>esiBits != 0 || p.SBL != 0 && id != SmallBlockSystematic {
		return b, fmt.Errorf("%w: %v FEC Payload ID: SBN %d, ESI %d, SBL %d", ErrInvalid, id, p.SBN, p.ESI, p.SBL)
	}
	if id == SmallBlockSystematic {
		b = binary.BigEndian.AppendUint32(b, p.SBN)
		b = binary.BigEndian.AppendUint16(b, p.SBL)
		return binary.BigEndian.AppendUint16(b, uint16(p.ESI)), nil
	}
	return binary.BigEndian.AppendUint32(b, p.SBN<<esiBits|p.ESI), nil
}
