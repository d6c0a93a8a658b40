package repair

import (
	"errors"
	"fmt"
	"time"

	"github.com/treedn/treedn/flute/internal/via"
)

// What a [Backend] returns and a [Client] reports about an object.
var (
	// ErrUnknown: no such object (404).
	ErrUnknown = errors.New("unknown object")
	// ErrExpired: the object was here and is gone (410).
	ErrExpired = errors.New("expired object")
	// ErrNotReady: the octets or the block asked for are still to come (425).
	ErrNotReady = errors.New("not ready yet")
	// ErrNoSymbols: the object is served by octets only (422).
	ErrNoSymbols = errors.New("no symbols of this object")
)

var (
	// ErrRequest is matched by all errors about the syntax of a request.
	ErrRequest = errors.New("malformed request")
	// ErrLimit: the request or the answer exceeds a limit.
	ErrLimit = errors.New("limit exceeded")
	// ErrLoop: a request came back to a node that it had passed (508).
	ErrLoop = via.ErrLoop
	// ErrChanged: the parent has another version of the object than the one
	// asked for.
	ErrChanged = errors.New("another version of the object")
	// ErrAnswer is matched by all errors about the content of an answer.
	ErrAnswer = errors.New("malformed answer")
	// ErrNoParent: the client has nobody to ask.
	ErrNoParent = errors.New("repair: no parent")
)

// StatusError is an answer with an HTTP status that says no more than itself.
type StatusError struct {
	Status int
}

// Error returns the status.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d", e.Status) }

// ParentError says which parent failed and why. Unwrap gives the cause.
type ParentError struct {
	Parent     string        // base URL without user information
	RetryAfter time.Duration // what the parent asked for, or 0
	Err        error
}

// Error names the parent and the cause.
func (e *ParentError) Error() string { return "repair: " + e.Parent + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ParentError) Unwrap() error { return e.Err }
