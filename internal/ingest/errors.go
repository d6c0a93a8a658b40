package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
)

// The reasons for which a request is refused. No text of an error holds a key or
// anything of a request's URL that might.
var (
	// ErrUnauthorized: no such channel, or no valid stream key. Which of the two
	// is not told.
	ErrUnauthorized = errors.New("ingest: stream key required")
	// ErrUnknownChannel is ErrUnauthorized where no keys are in use.
	ErrUnknownChannel = errors.New("ingest: unknown channel")
	// ErrBusy: another publisher is live on the channel.
	ErrBusy = errors.New("ingest: another publisher is live on this channel")
	// ErrName: the name cannot be that of an object.
	ErrName = errors.New("ingest: bad object name")
	// ErrLimit: an object or a channel is beyond one of its limits.
	ErrLimit = errors.New("ingest: limit exceeded")
	// ErrBrowser: a web page tried to publish without a key.
	ErrBrowser = errors.New("ingest: web pages may not publish without a key")
	// ErrSuperseded: another run or publisher has taken the object's place.
	ErrSuperseded = errors.New("ingest: superseded by a newer publisher")
	// ErrRevoked: the stream key or the channel was withdrawn.
	ErrRevoked = errors.New("ingest: stream key or channel withdrawn")
	// ErrClosed: the server is closed.
	ErrClosed = fmt.Errorf("ingest: %w", net.ErrClosed)
)

// status is the HTTP status of a refusal.
func status(err error) int {
	switch {
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrRevoked):
		return http.StatusUnauthorized
	case errors.Is(err, ErrUnknownChannel):
		return http.StatusNotFound
	case errors.Is(err, ErrBrowser):
		return http.StatusForbidden
	case errors.Is(err, ErrBusy), errors.Is(err, ErrSuperseded):
		return http.StatusConflict
	case errors.Is(err, ErrName):
		return http.StatusBadRequest
	case errors.Is(err, ErrLimit):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
