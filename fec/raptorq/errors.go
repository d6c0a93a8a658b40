package raptorq

import "errors"

var (
	// ErrSize reports a block or symbol size outside the code's limits:
	// 1 <= K <= MaxK and 1 <= T <= MaxSymbolSize.
	ErrSize = errors.New("raptorq: block or symbol size out of range")

	// ErrMemory reports a block that would take a decoder more memory than the
	// codec's MemoryLimit.
	ErrMemory = errors.New("raptorq: block exceeds the memory limit of decoders")

	// ErrSymbol reports an encoding symbol of the wrong length or with an ESI
	// above MaxESI. The symbol was not taken.
	ErrSymbol = errors.New("raptorq: symbol of wrong length or encoding symbol ID")

	// ErrConflict reports a symbol that differs from the one that the decoder
	// holds for the same ESI, so that one of the two is corrupt. The first is
	// kept.
	ErrConflict = errors.New("raptorq: two different symbols with one encoding symbol ID")
)
