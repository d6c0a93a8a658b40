package seal

import (
	"errors"
	"fmt"
	"io"
)

// Errors of Datagram.Unmarshal. All are plain values, so that a flood of bad
// datagrams costs no memory.
var (
	// ErrShort: the datagram ends before its fields do. It matches
	// io.ErrUnexpectedEOF.
	ErrShort = fmt.Errorf("seal: datagram is cut off: %w", io.ErrUnexpectedEOF)
	// ErrLabel: not a seal, or one of another version.
	ErrLabel = errors.New("seal: not a seal of version 1")
	// ErrRecord: a record breaks the rules of its layout.
	ErrRecord = errors.New("seal: malformed record")
	// ErrLong: more than MaxDatagram octets, or octets behind the last record.
	ErrLong = errors.New("seal: datagram is too long")
)

// ErrEncode matches every error that comes from a value which its field cannot
// hold.
var ErrEncode = errors.New("seal: value does not fit the datagram")

var (
	errCount   = fmt.Errorf("%w: number of records", ErrEncode)
	errName    = fmt.Errorf("%w: name of 0 or more than %d octets", ErrEncode, MaxName)
	errEnd     = fmt.Errorf("%w: end offset exceeds 62 bits", ErrEncode)
	errFlags   = fmt.Errorf("%w: flags", ErrEncode)
	errSize    = fmt.Errorf("%w: more than %d octets", ErrEncode, MaxDatagram)
	errService = fmt.Errorf("%w: name of the service", ErrEncode)
)

// Errors of a Signer.
var (
	// ErrCollision: a living object of another name has the same ObjectID.
	ErrCollision = errors.New("seal: names collide")
	// ErrGeneration: a living object of the name has this or a newer generation.
	ErrGeneration = errors.New("seal: generation is not newer")
	// ErrLimit: too many objects.
	ErrLimit = errors.New("seal: too many objects")
	// ErrEnded: the object has ended, or a newer one has taken its name.
	ErrEnded = errors.New("seal: object has ended")
	// ErrDeposed: another signer of the service is active.
	ErrDeposed = errors.New("seal: another signer is active")
)

// Errors of Verifier.Open. ErrLimit is another.
var (
	// ErrStale: a newer generation of the name is sealed.
	ErrStale = errors.New("seal: a newer generation is sealed")
	// ErrOpen: the object is open already.
	ErrOpen = errors.New("seal: object is open")
)

// Reason tells why a datagram was rejected.
type Reason uint8

// Reasons, in the order of the checks.
const (
	RejectFormat    Reason = iota // see the errors of Datagram.Unmarshal
	RejectService                 // of another service
	RejectKey                     // unknown or retired key, or one that may not seal these names
	RejectValidity                // outside the validity of its key
	RejectClock                   // more than a day off the host's clock
	RejectOld                     // too far behind the newest
	RejectRepeat                  // nothing new in it
	RejectLimit                   // more than MaxChecks
	RejectSignature               // forged
	reasons
)

var reasonNames = [reasons]string{
	"format", "service", "key", "validity", "clock", "old", "repeat", "limit", "signature",
}

// String returns the name of the reason, for metrics.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// A RejectError is what Verifier.Push returns for a datagram that was dropped.
type RejectError struct {
	Reason Reason
	err    error
}

func (e *RejectError) Error() string { return e.err.Error() }
func (e *RejectError) Unwrap() error { return e.err }

// Reasons for a rejection, matched by the RejectErrors that Push returns.
var (
	ErrService   = errors.New("seal: of another service")
	ErrKey       = errors.New("seal: key is unknown or retired")
	ErrNameKind  = errors.New("seal: key may not seal such a name")
	ErrValidity  = errors.New("seal: outside the validity of its key")
	ErrClock     = errors.New("seal: more than a day off the clock")
	ErrOld       = errors.New("seal: too old")
	ErrRepeat    = errors.New("seal: nothing new")
	ErrChecks    = errors.New("seal: too many signatures to check")
	ErrSignature = errors.New("seal: signature does not verify")
)

var (
	rejectShort     = &RejectError{RejectFormat, ErrShort}
	rejectLabel     = &RejectError{RejectFormat, ErrLabel}
	rejectRecord    = &RejectError{RejectFormat, ErrRecord}
	rejectLong      = &RejectError{RejectFormat, ErrLong}
	rejectService   = &RejectError{RejectService, ErrService}
	rejectKey       = &RejectError{RejectKey, ErrKey}
	rejectNameKind  = &RejectError{RejectKey, ErrNameKind}
	rejectValidity  = &RejectError{RejectValidity, ErrValidity}
	rejectClock     = &RejectError{RejectClock, ErrClock}
	rejectOld       = &RejectError{RejectOld, ErrOld}
	rejectRepeat    = &RejectError{RejectRepeat, ErrRepeat}
	rejectChecks    = &RejectError{RejectLimit, ErrChecks}
	rejectSignature = &RejectError{RejectSignature, ErrSignature}
)

// rejectFormat wraps an error of Datagram.Unmarshal.
func rejectFormat(err error) *RejectError {
	switch err {
	case ErrShort:
		return rejectShort
	case ErrLabel:
		return rejectLabel
	case ErrLong:
		return rejectLong
	}
	return rejectRecord
}
