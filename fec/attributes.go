package fec

import "fmt"

// Attributes are the FEC OTI in the form that an FDT gives them, as attributes of
// File or FDT-Instance (RFC 6726 section 3.4.2). Zero means that there is none.
type Attributes struct {
	EncodingID     uint8  // FEC-OTI-FEC-Encoding-ID
	InstanceID     uint16 // FEC-OTI-FEC-Instance-ID
	TransferLength uint64 // Transfer-Length, or FEC-OTI-Transfer-Length in RFCs 5170 and 5510

	MaxSourceBlockLength uint32 // FEC-OTI-Maximum-Source-Block-Length, in symbols
	EncodingSymbolLength uint32 // FEC-OTI-Encoding-Symbol-Length, in octets
	MaxEncodingSymbols   uint32 // FEC-OTI-Max-Number-of-Encoding-Symbols

	// SchemeSpecific is FEC-OTI-Scheme-Specific-Info, decoded from base64.
	SchemeSpecific []byte
}

// Attributes returns the FDT's form, after validating it.
func (o *ObjectInfo) Attributes() (Attributes, error) {
	if err := o.Validate(); err != nil {
		return Attributes{}, err
	}
	return Attributes{
		EncodingID:           uint8(o.ID),
		InstanceID:           o.Instance,
		TransferLength:       o.TransferLength,
		MaxSourceBlockLength: o.MaxBlock,
		EncodingSymbolLength: uint32(o.SymbolSize),
		MaxEncodingSymbols:   o.MaxSymbols,
		SchemeSpecific:       schemeOf(o.ID).appendSpecific(nil, o),
	}, nil
}

// Info parses and validates the FDT's form. Attributes that a scheme has no use for
// are ignored, because senders give them all the same. InstanceInfo aliases
// SchemeSpecific.
func (a *Attributes) Info() (ObjectInfo, error) {
	id := EncodingID(a.EncodingID)
	s := schemeOf(id)
	if s == nil {
		return ObjectInfo{}, fmt.Errorf("%w: %v", ErrUnsupported, id)
	}
	o := ObjectInfo{ID: id, TransferLength: a.TransferLength, SymbolSize: uint16(a.EncodingSymbolLength)}
	if a.EncodingSymbolLength > 0xffff {
		return ObjectInfo{}, o.invalid("symbol size %d", a.EncodingSymbolLength)
	}
	if s.fields&fieldMaxBlock != 0 {
		o.MaxBlock = a.MaxSourceBlockLength
	}
	if s.fields&fieldMaxSymbols != 0 {
		o.MaxSymbols = a.MaxEncodingSymbols
	}
	if s.fields&fieldInstance != 0 {
		o.Instance = a.InstanceID
	}
	if err := s.parseSpecific(&o, a.SchemeSpecific); err != nil {
		return ObjectInfo{}, err
	}
	if err := o.Validate(); err != nil {
		return ObjectInfo{}, err
	}
	return o, nil
}
