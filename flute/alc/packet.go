package alc

import (
	"errors"
	"fmt"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/lct"
)

// Errors of Unmarshal, besides those of package lct. They are plain values, so that a flood of bad packets costs no
// memory.
var (
	// ErrScheme: there is no format for the FEC scheme, so that the packet cannot be read beyond its header, which is
	// valid. It matches [fec.ErrUnsupported].
	ErrScheme = fmt.Errorf("alc: %w", fec.ErrUnsupported)
	// ErrPayloadID: the FEC Payload ID is cut off.
	ErrPayloadID = errors.New("alc: FEC Payload ID is cut off")
)

// Packet is one ALC packet. It may be reused for any number of packets, and is not safe for concurrent use.
type Packet struct {
	lct.Header

	// Scheme is the FEC scheme that ID is in the format of. Unmarshal takes it from the codepoint.
	Scheme fec.EncodingID
	// ID is the FEC Payload ID, if HasID is set. A packet without one has no symbols either: it tells of the session,
	// such as its end, or serves congestion control (RFC 5775 section 4.1).
	ID    fec.PayloadID
	HasID bool
	// Symbols is one encoding symbol or several that follow each other, the last of which may be short; empty in a
	// packet that only tells of an object. After Unmarshal it aliases the packet.
	Symbols []byte
}

// Unmarshal decodes the UDP payload b as FLUTE has it: the codepoint is the FEC Encoding ID. Every field of p is
// overwritten; slices alias b. After an error p holds nothing of use, except that the header is valid after
// [ErrScheme] and [ErrPayloadID].
func (p *Packet) Unmarshal(b []byte) error {
	n, err := p.Header.Unmarshal(b)
	if err != nil {
		return err
	}
	return p.payload(b[n:], fec.EncodingID(p.Codepoint))
}

// UnmarshalRFC3451 is Unmarshal for sessions of FLUTE version 1 whose senders may use the flags T and R; see
// [lct.Header.UnmarshalRFC3451].
func (p *Packet) UnmarshalRFC3451(b []byte) error {
	n, err := p.Header.UnmarshalRFC3451(b)
	if err != nil {
		return err
	}
	return p.payload(b[n:], fec.EncodingID(p.Codepoint))
}

// UnmarshalScheme is Unmarshal for protocols that do not say the FEC scheme by the codepoint.
func (p *Packet) UnmarshalScheme(b []byte, scheme fec.EncodingID) error {
	n, err := p.Header.Unmarshal(b)
	if err != nil {
		return err
	}
	return p.payload(b[n:], scheme)
}

func (p *Packet) payload(b []byte, scheme fec.EncodingID) error {
	p.Scheme, p.ID, p.HasID, p.Symbols = scheme, fec.PayloadID{}, false, nil
	if len(b) == 0 {
		return nil
	}
	n := scheme.PayloadIDLen()
	if n == 0 {
		return ErrScheme
	}
	if len(b) < n {
		return ErrPayloadID
	}
	id, err := fec.ParsePayloadID(scheme, b)
	if err != nil {
		return err
	}
	p.ID, p.HasID, p.Symbols = id, true, b[n:len(b):len(b)]
	return nil
}

// Len is the number of octets that AppendTo appends, provided that it does not return an error.
func (p *Packet) Len() int {
	n := p.Header.Len() + len(p.Symbols)
	if p.HasID {
		n += p.Scheme.PayloadIDLen()
	}
	return n
}

// AppendTo appends the encoded packet to b. It returns b unchanged and an error that matches [lct.ErrEncode],
// [fec.ErrInvalid] or [ErrScheme] if a field does not fit, or if there are symbols without HasID. The codepoint is
// written as it is, whatever Scheme says.
func (p *Packet) AppendTo(b []byte) ([]byte, error) {
	out, err := p.Header.AppendTo(b)
	if err != nil {
		return b, err
	}
	if !p.HasID {
		if len(p.Symbols) > 0 {
			return b, fmt.Errorf("alc: symbols without FEC Payload ID: %w", fec.ErrInvalid)
		}
		return out, nil
	}
	if !p.Scheme.Supported() {
		return b, ErrScheme
	}
	if out, err = fec.AppendPayloadID(out, p.Scheme, p.ID); err != nil {
		return b, err
	}
	return append(out, p.Symbols...), nil
}

// ObjectInfo returns the FEC Object Transmission Information of the packet's EXT_FTI, and false if it has none.
// The error tells what is wrong with it; see [fec.ParseObjectFTI].
func (p *Packet) ObjectInfo() (info fec.ObjectInfo, ok bool, err error) {
	body, ok := p.Extensions.FTI()
	if !ok {
		return fec.ObjectInfo{}, false, nil
	}
	info, err = fec.ParseObjectFTI(p.Scheme, body)
	return info, true, err
}

// AppendFTI appends an EXT_FTI with the FEC Object Transmission Information to x.
func AppendFTI(x lct.Extensions, info *fec.ObjectInfo) (lct.Extensions, error) {
	var buf [64]byte
	body, err := info.AppendFTI(buf[:0])
	if err != nil {
		return x, err
	}
	return x.AppendFTI(body)
}
