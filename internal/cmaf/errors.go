package cmaf

import (
	"errors"
	"fmt"
)

var (
	// ErrSize marks a box whose size is below its own header, beyond its
	// parent, or too small for the fields that its flags announce.
	ErrSize = errors.New("invalid box size")
	// ErrLimit marks a box that would exceed a limit of Config.
	ErrLimit = errors.New("box exceeds limit")
	// ErrOrder marks a box that may not stand where it does, such as an mdat
	// without a moof: the stream is MP4, perhaps, but not CMAF.
	ErrOrder = errors.New("box out of order")
	// ErrRange marks a time that does not fit the field it should go to.
	ErrRange = errors.New("time does not fit the box version")
)

// Error says which box of the input is wrong. It wraps one of the sentinels of
// this package, or io.ErrUnexpectedEOF.
type Error struct {
	Offset uint64  // of the box's first octet, from the start of the input
	Box    BoxType // zero if the header is incomplete
	Err    error
}

func (e *Error) Error() string {
	if e.Box == 0 {
		return fmt.Sprintf("cmaf: offset %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("cmaf: %s box at offset %d: %v", e.Box, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
