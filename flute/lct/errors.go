package lct

import (
	"errors"
	"fmt"
	"io"
)

// Errors of Unmarshal, one for each check, in the order of the checks. A
// packet that fails any of them must be dropped (RFC 5775, section 4.4). All
// are plain values, so that a flood of bad packets costs no memory.
var (
	// ErrShort: fewer than four octets. It matches io.ErrUnexpectedEOF.
	ErrShort = fmt.Errorf("lct: packet of fewer than 4 octets: %w", io.ErrUnexpectedEOF)
	// ErrVersion: V is not 1. Most likely the packet is not LCT at all.
	ErrVersion = errors.New("lct: version is not 1")
	// ErrTruncated: HDR_LEN reaches beyond the packet. It matches
	// io.ErrUnexpectedEOF.
	ErrTruncated = fmt.Errorf("lct: HDR_LEN reaches beyond the packet: %w", io.ErrUnexpectedEOF)
	// ErrHeaderLen: HDR_LEN is too small for the fields that the flags announce.
	ErrHeaderLen = errors.New("lct: HDR_LEN is shorter than the announced fields")
	// ErrNoTSI: S and H are both 0, which ALC forbids (RFC 5775, section 4.1).
	ErrNoTSI = errors.New("lct: no TSI")
	// ErrPayload: one to three octets follow the header, too few for a FEC
	// Payload ID. It matches io.ErrUnexpectedEOF.
	ErrPayload = fmt.Errorf("lct: FEC Payload ID is cut off: %w", io.ErrUnexpectedEOF)
	// ErrExtension: an extension is longer than the header, or has a length
	// of zero.
	ErrExtension = errors.New("lct: malformed header extension")
)

// ErrEncode matches every error that comes from a value which its field cannot
// hold.
var ErrEncode = errors.New("lct: value does not fit the header")

var (
	errPSI     = fmt.Errorf("%w: PSI exceeds 2 bits", ErrEncode)
	errCCI     = fmt.Errorf("%w: CCI is not 4, 8, 12 or 16 octets", ErrEncode)
	errWidths  = fmt.Errorf("%w: widths of TSI and TOI", ErrEncode)
	errTooLong = fmt.Errorf("%w: header exceeds 1020 octets", ErrEncode)
	errContent = fmt.Errorf("%w: content of an extension", ErrEncode)
	errTOL     = fmt.Errorf("%w: transfer length exceeds 48 bits", ErrEncode)
	errFDT     = fmt.Errorf("%w: FDT version or Instance ID", ErrEncode)
)
