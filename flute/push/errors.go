package push

import (
	"errors"
	"fmt"

	"github.com/treedn/treedn/flute/internal/via"
)

// What a [Handler] answers, a [Sink] may return, and a [Pusher] reports.
var (
	// ErrRequest: a path or a header field is malformed (400).
	ErrRequest = errors.New("malformed request")
	// ErrUnknown: there is no such session (404).
	ErrUnknown = errors.New("unknown session")
	// ErrForbidden: the object is not wanted (403).
	ErrForbidden = errors.New("forbidden")
	// ErrLimit: the object is too large, or takes too long (413).
	ErrLimit = errors.New("limit exceeded")
	// ErrMismatch: what came contradicts what is there: other octets, another length, another description (422).
	ErrMismatch = errors.New("contradiction")
	// ErrDigest: the octets are not those of Repr-Digest (422).
	ErrDigest = errors.New("digest differs")
	// ErrOverload: not now (503).
	ErrOverload = errors.New("overload")
	// ErrLoop: the request came back to a node that it had passed (508).
	ErrLoop = via.ErrLoop
)

// Why an [Upload] is aborted, other than the above.
var (
	// ErrIncomplete: the sender went away and did not come back in time.
	ErrIncomplete = errors.New("incomplete object")
	// ErrReplaced: another object came under the same ID.
	ErrReplaced = errors.New("replaced object")
)

// Why a [Pusher] gives up, other than the above.
var (
	// ErrBody: the octets to be sent could not be read.
	ErrBody = errors.New("body of the object")
	// ErrStalled: the receiver took no octets for too long.
	ErrStalled = errors.New("the receiver has stalled")
)

// StatusError is an answer with an HTTP status that says no more than itself.
type StatusError struct {
	Status int
}

// Error returns the status.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d", e.Status) }
