package fec

import (
	"encoding/binary"
	"fmt"
)

// PayloadID is a FEC Payload ID: it tells which encoding symbol of which source
// block a packet starts with.
type PayloadID struct {
	SBN uint32 // source block number
	ESI uint32 // encoding symbol ID
	SBL uint16 // source block length, in [SmallBlockSystematic] alone
}

// PayloadIDLen returns the length of the scheme's FEC Payload ID in octets, or
// zero when the registry has no format for it.
func (id EncodingID) PayloadIDLen() int {
	s := schemeOf(id)
	switch {
	case s == nil:
		return 0
	case s.lengthInID:
		return 8
	}
	return 4
}

// ParsePayloadID parses the FEC Payload ID at the start of b, of which the
// scheme's PayloadIDLen octets are used. Whether the block and the symbol exist
// is for the object's OTI to tell.
func ParsePayloadID(id EncodingID, b []byte) (PayloadID, error) {
	s := schemeOf(id)
	if s == nil {
		return PayloadID{}, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	if len(b) < id.PayloadIDLen() {
		return PayloadID{}, errShort(id, "FEC Payload ID")
	}
	v := binary.BigEndian.Uint32(b)
	if s.lengthInID { // RFC 5445 section 5.2.1
		return PayloadID{
			SBN: v,
			SBL: binary.BigEndian.Uint16(b[4:]),
			ESI: uint32(binary.BigEndian.Uint16(b[6:])),
		}, nil
	}
	return PayloadID{SBN: v >> s.esiBits, ESI: v & (1<<s.esiBits - 1)}, nil
}

// AppendPayloadID appends the scheme's FEC Payload ID to b. An error that is
// [ErrInvalid] means that a number does not fit its field.
func AppendPayloadID(b []byte, id EncodingID, p PayloadID) ([]byte, error) {
	s := schemeOf(id)
	if s == nil {
		return b, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	if uint64(p.SBN)>>s.sbnBits != 0 || p.ESI>>s.esiBits != 0 || p.SBL != 0 && !s.lengthInID {
		return b, fmt.Errorf("%w: %v FEC Payload ID: SBN %d, ESI %d, SBL %d", ErrInvalid, id, p.SBN, p.ESI, p.SBL)
	}
	if s.lengthInID {
		b = binary.BigEndian.AppendUint32(b, p.SBN)
		b = binary.BigEndian.AppendUint16(b, p.SBL)
		return binary.BigEndian.AppendUint16(b, uint16(p.ESI)), nil
	}
	return binary.BigEndian.AppendUint32(b, p.SBN<<s.esiBits|p.ESI), nil
}
