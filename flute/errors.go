package flute

import (
	"errors"

	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/lct"
)

// Reason tells why a packet was rejected, or what was wrong with a session.
type Reason uint8

// Reasons, in the order of the checks.
const (
	RejectSource      Reason = iota // not from the session's source, or not of a TSI to receive
	RejectHeader                    // no ALC packet
	RejectScheme                    // FEC scheme that is not supported, or another one than described
	RejectSession                   // too many sessions
	RejectTOI                       // symbols without TOI, or TOI beyond 64 bits
	RejectFDT                       // TOI 0 without EXT_FDT, or unknown version of FLUTE
	RejectFTI                       // FEC Object Transmission Information is missing, malformed or contradicts
	RejectTooLarge                  // object beyond MaxObject or MaxInstance
	RejectMemory                    // beyond MaxMemory
	RejectRanges                    // too many holes
	RejectSymbol                    // block or symbol that does not exist, or of the wrong length
	RejectConflict                  // octets that differ from those held
	RejectUndescribed               // of an object that was never described
	RejectInstance                  // FDT Instance that cannot be read, contradicts, or reuses an ID
	RejectDigest                    // file with another digest than announced
	reasons
)

var reasonNames = [reasons]string{
	"source", "header", "scheme", "session", "toi", "fdt", "fti", "too_large", "memory", "ranges", "symbol", "conflict",
	"undescribed", "instance", "digest",
}

// String returns the name of the reason, for metrics.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// A RejectError is what Push returns for a packet that was dropped, and what a Fault reports.
type RejectError struct {
	Reason Reason
	text   string
	cause  error
}

func (e *RejectError) Error() string {
	if e.cause != nil {
		return "flute: " + e.text + ": " + e.cause.Error()
	}
	return "flute: " + e.text
}

// Unwrap returns the error of package lct, alc, fdt or fec behind it, if there is one.
func (e *RejectError) Unwrap() error { return e.cause }

// These errors are values made once: a flood of bad packets costs no memory.
var (
	errSource      = &RejectError{Reason: RejectSource, text: "packet from another source or of another TSI"}
	errScheme      = &RejectError{Reason: RejectScheme, text: "another FEC scheme than described"}
	errSessions    = &RejectError{Reason: RejectSession, text: "too many sessions"}
	errTOI         = &RejectError{Reason: RejectTOI, text: "packet with symbols and without a TOI of at most 64 bits"}
	errFDT         = &RejectError{Reason: RejectFDT, text: "TOI 0 without EXT_FDT"}
	errVersion     = &RejectError{Reason: RejectFDT, text: "EXT_FDT of an unknown version of FLUTE"}
	errNoFTI       = &RejectError{Reason: RejectFTI, text: "FDT Instance without EXT_FTI"}
	errFTIs        = &RejectError{Reason: RejectFTI, text: "EXT_FTI contradicts what was known of the object"}
	errTooLarge    = &RejectError{Reason: RejectTooLarge, text: "object is too large"}
	errMemory      = &RejectError{Reason: RejectMemory, text: "octets of all objects exceed the limit"}
	errRanges      = &RejectError{Reason: RejectRanges, text: "object has too many holes"}
	errSymbol      = &RejectError{Reason: RejectSymbol, text: "source block or symbol that the object does not have"}
	errSize        = &RejectError{Reason: RejectSymbol, text: "symbols of the wrong length"}
	errConflict    = &RejectError{Reason: RejectConflict, text: "octets differ from those received before"}
	errStore       = &RejectError{Reason: RejectMemory, text: "store of the object failed", cause: ErrStore}
	errUndescribed = &RejectError{Reason: RejectUndescribed, text: "object is not described"}
)

// headerErrors are those of Unmarshal.
var headerErrors = func() (list []*RejectError) {
	for _, err := range []error{
		lct.ErrShort, lct.ErrVersion, lct.ErrTruncated, lct.ErrHeaderLen, lct.ErrNoTSI, lct.ErrPayload, lct.ErrExtension,
		alc.ErrPayloadID,
	} {
		list = append(list, &RejectError{Reason: RejectHeader, text: "not a packet of FLUTE", cause: err})
	}
	return append(list, &RejectError{Reason: RejectScheme, text: "packet cannot be read", cause: alc.ErrScheme})
}()

func headerError(err error) *RejectError {
	for _, e := range headerErrors {
		if e.cause == err {
			return e
		}
	}
	return &RejectError{Reason: RejectHeader, text: "not a packet of FLUTE", cause: err}
}

// Errors about objects.
var (
	// ErrNotHeld is returned by reads of octets that have not arrived.
	ErrNotHeld = errors.New("flute: octets have not arrived")
	// ErrReleased is returned for an object that was released, or lost.
	ErrReleased = errors.New("flute: object was released")
	// ErrDeadline, ErrDigest, ErrReplaced, ErrEvicted: why an object was lost.
	ErrDeadline = errors.New("flute: object did not become complete in time")
	ErrDigest   = errors.New("flute: file has another digest than announced")
	ErrReplaced = errors.New("flute: another object has taken the TOI, or none has it any more")
	ErrEvicted  = errors.New("flute: others needed the memory")
	// ErrEncoding: there is no decoder for the content encoding.
	ErrEncoding = errors.New("flute: unknown content encoding")
	// ErrExpansion: a decoded file is larger than the limit.
	ErrExpansion = errors.New("flute: decoded content exceeds the limit")
)
