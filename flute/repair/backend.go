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
	// ContentMD5 is the MD5 of the whole object in base64 (RFC 2616 section 14.15), by which clients of MBMS name a version.
	// Optional.
	ContentMD5 string
	// Prefix is the number of octets that can be read from the beginning.
	Prefix int64
	// Length is the length of the whole object, negative if not known yet.
	Length int64
}

// Scheme says how an object is cut into encoding symbols.
type Scheme struct {
	// EncodingID is the FEC Encoding ID: [CompactNoCode], [Raptor] or [RaptorQ].
	EncodingID uint8
	// SymbolSize is the size of a symbol in octets.
	SymbolSize int
}

// The FEC Encoding IDs whose symbols can be asked for (IANA "Reliable Multicast Transport FEC Encoding IDs").
const (
	CompactNoCode uint8 = 0 // RFC 5445 section 3
	Raptor        uint8 = 1 // RFC 5053
	RaptorQ       uint8 = 6 // RFC 6330
)

// esiBits returns the size of the encoding symbol ID in the 4 octets of the FEC Payload ID, whose rest is the source block
// number, or 0 for a scheme of another form.
func (s Scheme) esiBits() int {
	switch s.EncodingID {
	case CompactNoCode, Raptor:
		return 16
	case RaptorQ:
		return 24
	}
	return 0
}

// SymbolSource is an [Object] that can be repaired by symbols too. A block that does not exist gives ErrUnknown, one that is
// not closed yet ErrNotReady.
type SymbolSource interface {
	Scheme() Scheme
	// SourceSymbols returns the number of source symbols of a block.
	SourceSymbols(sbn uint16) (int, error)
	// AppendSymbol appends a symbol: Scheme.SymbolSize octets.
	AppendSymbol(dst []byte, sbn uint16, esi uint32) ([]byte, error)
}

// RatelessSource is a [SymbolSource] with repair symbols of RaptorQ in any number.
type RatelessSource interface {
	SymbolSource
	OTI() OTI
	// FreshESI returns the first of n consecutive repair symbols that have been sent to nobody yet; once there are none left,
	// of those for which that is the longest ago.
	FreshESI(sbn uint16, n int) (first uint32, err error)
}
