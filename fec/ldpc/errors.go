package ldpc

import "errors"

var (
	// ErrSize reports parameters outside the code's limits; see [Params].
	ErrSize = errors.New("ldpc: code parameters out of range")

	// ErrSymbol reports an encoding symbol of the wrong length or with an ESI
	// that is not below n. The symbol was not taken.
	ErrSymbol = errors.New("ldpc: symbol of wrong length or encoding symbol ID")

	// ErrConflict reports a symbol that differs from the one that the decoder
	// holds for the same ESI, so that one of the two is corrupt. The first is
	// kept.
	ErrConflict = errors.New("ldpc: two different symbols with one encoding symbol ID")
)
