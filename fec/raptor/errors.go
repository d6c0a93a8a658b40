package raptor

import "errors"

var (
	// ErrSize reports a block or symbol size outside the code's limits:
	// MinK <= K <= MaxK and 1 <= T <= MaxSymbolSize.
	ErrSize = errors.New("raptor: block or symbol size out of range")

	// ErrSymbol reports an encoding symbol of the wrong length or with an ESI
	// above MaxESI. The symbol was not taken.
	ErrSymbol = errors.New("raptor: symbol of wrong length or encoding symbol ID")

	// ErrConflict reports a symbol that differs from the one that the decoder
	// holds for the same ESI, so that one of the two is corrupt. The first is
	// kept.
	ErrConflict = errors.New("raptor: two different symbols with one encoding symbol ID")
)
