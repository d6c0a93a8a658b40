package route

import "errors"

// Reason tells why a packet was rejected.
type Reason uint8

// Reasons, in the order of the checks.
const (
	RejectSource      Reason = iota // not from the session's source
	RejectHeader                    // no LCT header, or TSI or TOI beyond 32 bits
	RejectCodepoint                 // declared with a payload ID other than start_offset
	RejectTooLarge                  // beyond MaxObject or MaxSignalling
	RejectMemory                    // beyond MaxMemory
	RejectRanges                    // too many holes
	RejectBeyond                    // octets behind the end of the object
	RejectConflict                  // octets that differ from those held
	RejectLength                    // contradicts the length known before
	RejectRepair                    // malformed repair packet or OTI, or one that contradicts
	RejectUndescribed               // of an object that was never described
	RejectSignalling                // S-TSID, EFDT or SLS package that cannot be read
	reasons
)

var reasonNames = [reasons]string{
	"source", "header", "codepoint", "too_large", "memory", "ranges", "beyond",
	"conflict", "length", "repair", "undescribed", "signalling",
}

// String returns the name of the reason, for metrics.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// A RejectError is what Push returns for a packet that was dropped.
type RejectError struct {
	Reason Reason
	text   string
}

func (e *RejectError) Error() string { return "route: " + e.text }

// The errors are values made once: a flood of bad packets costs no memory.
var (
	errSource      = &RejectError{RejectSource, "packet from another source"}
	errHeader      = &RejectError{RejectHeader, "no LCT header of ROUTE"}
	errCodepoint   = &RejectError{RejectCodepoint, "codepoint with an unknown payload ID"}
	errTooLarge    = &RejectError{RejectTooLarge, "object is too large"}
	errMemory      = &RejectError{RejectMemory, "octets of all objects exceed the limit"}
	errRanges      = &RejectError{RejectRanges, "object has too many holes"}
	errBeyond      = &RejectError{RejectBeyond, "octets behind the end of the object"}
	errConflict    = &RejectError{RejectConflict, "octets differ from those received before"}
	errLengths     = &RejectError{RejectLength, "contradictory lengths"}
	errRepair      = &RejectError{RejectRepair, "malformed or contradictory repair packet"}
	errUndescribed = &RejectError{RejectUndescribed, "object is not described"}
)

var errEFDT = errors.New("route: EFDT in a channel whose EFDT is in the S-TSID")

// ErrReleased is returned for an object that was released, or lost.
var ErrReleased = errors.New("route: object was released")
