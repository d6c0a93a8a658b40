package push

import (
	"context"
	"io"
	"net/http"
)

// Object describes one object.
type Object struct {
	ID ObjectID
	// ContentLocation and ContentType are those of the FDT, or empty. A location comes from the sender: never use it as a
	// path of a file without care.
	ContentLocation string
	ContentType     string
	// Length in octets, or -1 if it is not known yet.
	Length int64
	// SHA256 of the whole object, or nil if it is not known yet. A [Pusher] computes it then; a [Sink] may look at it to see
	// what it has already.
	SHA256 []byte
	// Header has further fields of the request: at the [Sink] all that came, at the [Pusher] those to add, such as seals.
	Header http.Header
}

// Sink takes the objects that a [Handler] receives, as if they had come by multicast. It is called from many goroutines.
//
// Its errors match those of this package, which decide the answer, or are answered with 500.
type Sink interface {
	// Begin is told of an object that begins. ctx has the way that the request took; it does not end with the request.
	Begin(ctx context.Context, o Object) (Upload, error)
}

// Upload takes one object. Calls come one at a time, but from several goroutines if the sender is interrupted and goes on.
type Upload interface {
	// Write takes the octets that follow those before. They have come, and nobody has verified them yet. It may block, which
	// slows the sender down. It must not keep p.
	io.Writer
	// ReadAt reads what was written: octets that come again are compared with it.
	io.ReaderAt
	// Commit is told that the object has so many octets, that these are all, and that they have the digests that the sender
	// gave, if it gave any.
	Commit(length int64) error
	// Abort is told that the object will not be whole, and why. It or Commit is called once, as the last.
	Abort(cause error)
}
