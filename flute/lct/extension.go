package lct

import (
	"encoding/binary"
	"iter"
	"math"
)

// HET is a Header Extension Type, as registered by IANA.
type HET uint8

// The types known here. Those below 128 have a length octet, the others are
// one word (section 5.2.1 with erratum 3843).
const (
	ExtNOP              HET = 0
	ExtAuth             HET = 1
	ExtTime             HET = 2
	ExtFTI              HET = 64  // RFC 5775
	ExtPresentationTime HET = 66  // EXT_ROUTE_PRESENTATION_TIME, A/331 A.3.7.1
	ExtTOL48            HET = 67  // A/331 A.3.8.1
	ExtFDT              HET = 192 // RFC 6726
	ExtCENC             HET = 193 // RFC 6726
	ExtTOL24            HET = 194 // A/331 A.3.8.1
)

// fixed tells whether an extension of this type is one word without a length.
func (t HET) fixed() bool { return t >= 128 }

// An Extension is one header extension.
type Extension struct {
	Type HET
	// Content is what follows the type, and the length if there is one: 3
	// octets for types from 128 on, else 2 more than a multiple of 4.
	Content []byte
}

// Extensions is an encoded sequence of header extensions. The accessors take
// the first extension of a type and skip those that they do not know, as
// section 5.2.1 asks for. None of them allocates; the slices they return alias
// the receiver.
type Extensions []byte

// split cuts off the first extension, ok is false if there is none or if it
// is malformed.
func (x Extensions) split() (het HET, content []byte, rest Extensions, ok bool) {
	if len(x) < 4 {
		return 0, nil, nil, false
	}
	het = HET(x[0])
	if het.fixed() {
		return het, x[1:4:4], x[4:], true
	}
	n := int(x[1]) * 4
	if n == 0 || n > len(x) {
		return 0, nil, nil, false
	}
	return het, x[2:n:n], x[n:], true
}

func (x Extensions) valid() bool {
	for len(x) > 0 {
		var ok bool
		if _, _, x, ok = x.split(); !ok {
			return false
		}
	}
	return true
}

// All iterates over the extensions. It ends at the first malformed one, which
// cannot happen after Unmarshal.
func (x Extensions) All() iter.Seq[Extension] {
	return func(yield func(Extension) bool) {
		for {
			het, content, rest, ok := x.split()
			if !ok || !yield(Extension{het, content}) {
				return
			}
			x = rest
		}
	}
}

// Find returns the content of the first extension of type t.
func (x Extensions) Find(t HET) (content []byte, ok bool) {
	for {
		het, content, rest, ok := x.split()
		if !ok || het == t {
			return content, ok
		}
		x = rest
	}
}

// Append appends any extension. The content must have the length that
// Extension describes.
func (x Extensions) Append(t HET, content []byte) (Extensions, error) {
	if t.fixed() {
		if len(content) != 3 {
			return x, errContent
		}
		return append(append(x, byte(t)), content...), nil
	}
	if len(content)%4 != 2 || len(content) > MaxHeaderLen-2 {
		return x, errContent
	}
	x = append(x, byte(t), byte((len(content)+2)/4))
	return append(x, content...), nil
}

// TOL returns the transfer length of the object in octets, in its 24-bit or
// its 48-bit form.
func (x Extensions) TOL() (length uint64, ok bool) {
	for {
		het, c, rest, ok := x.split()
		switch {
		case !ok:
			return 0, false
		case het == ExtTOL24:
			return uint64(c[0])<<16 | uint64(c[1])<<8 | uint64(c[2]), true
		case het == ExtTOL48 && len(c) == 6:
			return uint64(binary.BigEndian.Uint16(c))<<32 | uint64(binary.BigEndian.Uint32(c[2:])), true
		}
		x = rest
	}
}

// AppendTOL appends the transfer length of the object in octets, in the
// shorter form that holds it.
func (x Extensions) AppendTOL(length uint64) (Extensions, error) {
	switch {
	case length < 1<<24:
		return append(x, byte(ExtTOL24), byte(length>>16), byte(length>>8), byte(length)), nil
	case length < 1<<48:
		x = append(x, byte(ExtTOL48), 2, byte(length>>40), byte(length>>32))
		return binary.BigEndian.AppendUint32(x, uint32(length)), nil
	}
	return x, errTOL
}

// FTI returns the body of EXT_FTI: the FEC Object Transmission Information in
// the layout of the FEC scheme in use, with any padding to a whole word.
func (x Extensions) FTI() (body []byte, ok bool) {
	return x.Find(ExtFTI)
}

// AppendFTI appends EXT_FTI, padding the body with zeros to a whole word.
func (x Extensions) AppendFTI(body []byte) (Extensions, error) {
	hel := (len(body) + 5) / 4
	if hel > math.MaxUint8 {
		return x, errContent
	}
	x = append(x, byte(ExtFTI), byte(hel))
	x = append(x, body...)
	for range hel*4 - 2 - len(body) {
		x = append(x, 0)
	}
	return x, nil
}

// Auth returns the EXT_AUTH: the Authentication Scheme ID, which has four bits (RFC 5776 and RFC 6584 give it that
// place), and the whole content, which begins with it. Who knows the scheme checks the packet before anything acts on it
// (RFC 5775, section 4.4).
func (x Extensions) Auth() (asid uint8, content []byte, ok bool) {
	c, ok := x.Find(ExtAuth)
	if !ok {
		return 0, nil, false
	}
	return c[0] >> 4, c, true
}

// AppendNOP appends an EXT_NOP of so many 32-bit words, 1 to 255: room to be filled in later, or alignment.
func (x Extensions) AppendNOP(words int) (Extensions, error) {
	if words < 1 || words > 255 {
		return x, errContent
	}
	x = append(x, byte(ExtNOP), byte(words))
	return append(x, make([]byte, 4*words-2)...), nil
}

// FDT is EXT_FDT: it marks an object with TOI 0 as an FDT Instance of FLUTE
// (RFC 6726, section 3.4.1).
type FDT struct {
	// Version is that of FLUTE, 1 or 2. Senders in the field say 1.
	Version uint8
	// InstanceID has 20 bits. It wraps, so a smaller one is not older.
	InstanceID uint32
}

// FDT returns the EXT_FDT.
func (x Extensions) FDT() (FDT, bool) {
	c, ok := x.Find(ExtFDT)
	if !ok {
		return FDT{}, false
	}
	return FDT{
		Version:    c[0] >> 4,
		InstanceID: uint32(c[0]&0xf)<<16 | uint32(c[1])<<8 | uint32(c[2]),
	}, true
}

// AppendFDT appends an EXT_FDT.
func (x Extensions) AppendFDT(f FDT) (Extensions, error) {
	if f.Version > 15 || f.InstanceID >= 1<<20 {
		return x, errFDT
	}
	return append(x, byte(ExtFDT), f.Version<<4|byte(f.InstanceID>>16), byte(f.InstanceID>>8), byte(f.InstanceID)), nil
}

// CENC is the content encoding of an FDT Instance (RFC 6726, section 3.4.3).
type CENC uint8

// The registered encodings.
const (
	CENCNull    CENC = 0
	CENCZLIB    CENC = 1 // RFC 1950
	CENCDeflate CENC = 2 // RFC 1951
	CENCGzip    CENC = 3 // RFC 1952
)

// CENC returns the content encoding that EXT_CENC states.
func (x Extensions) CENC() (CENC, bool) {
	c, ok := x.Find(ExtCENC)
	if !ok {
		return 0, false
	}
	return CENC(c[0]), true
}

// AppendCENC appends an EXT_CENC.
func (x Extensions) AppendCENC(c CENC) Extensions {
	return append(x, byte(ExtCENC), byte(c), 0, 0)
}
