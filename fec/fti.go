package fec

import (
	"encoding/binary"
	"fmt"
	"io"
)

func errShort(id EncodingID, what string) error {
	return fmt.Errorf("fec: %v %s: %w", id, what, io.ErrUnexpectedEOF)
}

// AppendFTI appends the content of an EXT_FTI header extension, which is what
// follows HET and HEL, after validating it.
func (o *ObjectInfo) AppendFTI(b []byte) ([]byte, error) {
	if err := o.Validate(); err != nil {
		return b, err
	}
	if o.ID == RaptorQ {
		return o.OTI().AppendFTI(b), nil
	}
	b = binary.BigEndian.AppendUint16(b, uint16(o.TransferLength>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(o.TransferLength))
	return schemeOf(o.ID).appendFTI(b, o), nil
}

// ParseObjectFTI parses and validates the content of an EXT_FTI header extension
// for the scheme that the packet's codepoint or the FDT names. InstanceInfo aliases
// b.
func ParseObjectFTI(id EncodingID, b []byte) (ObjectInfo, error) {
	s := schemeOf(id)
	if s == nil {
		return ObjectInfo{}, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	if id == RaptorQ {
		oti, err := ParseFTI(b)
		if err != nil {
			return ObjectInfo{}, err
		}
		return oti.Info(), nil
	}
	if len(b) < s.ftiLen {
		return ObjectInfo{}, errShort(id, "EXT_FTI")
	}
	if len(b) > s.ftiLen && s.fields&fieldInstanceInfo == 0 {
		return ObjectInfo{}, fmt.Errorf("%w: %v EXT_FTI of %d octets", ErrInvalid, id, len(b))
	}
	o := ObjectInfo{
		ID:             id,
		TransferLength: uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:])),
	}
	if err := s.parseFTI(&o, b[6:]); err != nil {
		return ObjectInfo{}, err
	}
	if err := o.Validate(); err != nil {
		return ObjectInfo{}, err
	}
	return o, nil
}
