package cache

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

const (
	allowMethods  = "GET, HEAD, OPTIONS"
	allowHeaders  = "Range, If-Range, If-Match, If-None-Match, If-Modified-Since, Cache-Control, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status"
	exposeHeaders = "Content-Length, Content-Range, Content-Type, Accept-Ranges, Date, ETag, Age, Cache-Status, Retry-After, Server-Timing"
)

// setCommon sets what every answer carries, errors included: without it a
// player in a browser cannot even tell a 404 from a dead server.
func setCommon(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", exposeHeaders)
	h.Set("Timing-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("X-Content-Type-Options", "nosniff")
}

// allowed answers everything but GET and HEAD.
func allowed(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodOptions:
		h.Set("Allow", allowMethods)
		h.Set("Access-Control-Allow-Methods", allowMethods)
		h.Set("Access-Control-Allow-Headers", allowHeaders)
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Allow", allowMethods)
		writeStatus(w, r, http.StatusMethodNotAllowed)
	}
	return false
}

// ServeError answers with the status that fits err, and with the fields that
// ServeObject sets on every answer. An error with a method StatusCode() int
// chooses its own status. If the client has gone, the connection is dropped.
func ServeError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	setCommon(w.Header())
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeStatus(w, r, status)
}

func statusOf(err error) int {
	var coder interface{ StatusCode() int }
	switch {
	case errors.As(err, &coder) && coder.StatusCode() >= 400 && coder.StatusCode() < 600:
		return coder.StatusCode()
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, ErrEvicted), errors.Is(err, ErrAborted), errors.Is(err, ErrNoSpace),
		errors.Is(err, ErrClosed), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

func writeStatus(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h.Del("Etag")
	h.Del("Age")
	h.Del("Content-Length")
	h.Del("Content-Range")
	h.Del("Accept-Ranges")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(http.StatusText(status) + "\n"))
	}
}

// cacheStatus makes the field of RFC 9211.
func cacheStatus(opts *ServeOptions) string {
	status := opts.Status
	if status == "" {
		status = "hit"
	}
	return sfName(opts.Node) + "; " + status
}

// sfName returns s as a structured-field token if it is one, else as a string
// (RFC 9651, sections 3.3.3 and 3.3.4).
func sfName(s string) string {
	token := true
	for i := range len(s) {
		c := s[i]
		alpha := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		token = token && (alpha || c == '*' || (i > 0 && (digit || strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0)))
	}
	if token {
		return s
	}
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20 && c < 0x7f:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
