package fec

import "errors"

// Errors of the parsers. Input that ends early gives [io.ErrUnexpectedEOF].
var (
	// ErrInvalid reports a value that the scheme's specification rules out.
	ErrInvalid = errors.New("fec: invalid value")

	// ErrUnsupported reports a FEC Encoding ID that this package has no format
	// for.
	ErrUnsupported = errors.New("fec: unsupported FEC Encoding ID")
)
