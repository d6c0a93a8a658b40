package repair

import (
	"context"
	"io"
)

// Backend finds the objects that a [Handler] serves. It is called from many
// goroutines. Its errors match ErrUnknown, ErrExpired or ErrNotReady, or are
// answered with status 500.
//
// An Object that implements [io.Closer] is closed after the answer.
type Backend interface {
	// Lookup finds an object by its address on the wire.
	Lookup(ctx context.Context, id ObjectID) (Object, error)
	// LookupName finds an object by the path of the request without its leading
	// slash: a clean relative path without "..", escapes decoded.
	LookupName(ctx context.Context, name string) (Object, error)
}

// Object is one version of an object. ReadAt reads octets of the readable
// prefix.
type Object interface {
	Info() Info
	io.ReaderAt
}

// Info is the state of an object at one time.
type Info struct {
	// Name is the Content-Location of the object, if it has one.
	Name        string
	ContentType string
	// ETag names the version: a strong entity tag with its quotes.
	ETag string
	// Prefix is the number of octets that can be read from the beginning.
	Prefix int64
	// Length is the length of the whole object, negative if not known yet.
	Length int64
}

// SymbolSource is an [Object] that can be repaired by symbols too. A block that
// does not exist gives ErrUnknown, one that is not closed yet ErrNotReady.
type SymbolSource interface {
	OTI() OTI
	// SourceSymbols returns the number of source symbols of a block.
	SourceSymbols(sbn uint8) (int, error)
	// FreshESI returns the first of n consecutive repair symbols that have been
	// sent to nobody yet.
	FreshESI(sbn uint8, n int) (first uint32, err error)
	// AppendSymbol appends a symbol: OTI.SymbolSize octets.
	AppendSymbol(dst []byte, sbn uint8, esi uint32) ([]byte, error)
}
