package repair

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Handler is the repair server. It answers paths below PathPrefix by the
// address of the object and all others by name, GET and HEAD only. Its fields
// must not be changed once it serves.
type Handler struct {
	Backend Backend
	// NodeID names this node in the header field Via, as in [Config]. Empty:
	// requests that come back are not noticed.
	NodeID string
	// MaxHops bounds the nodes that a request has passed. Default: 16.
	MaxHops int
	// MaxRanges bounds the ranges of one request. Default: 256.
	MaxRanges int
	// MaxSymbols bounds the symbols of one request. Default: 4096.
	MaxSymbols int
	// RetryAfter is what clients are asked to wait for octets to come, in whole
	// seconds, rounded up. Default: 1 s.
	RetryAfter time.Duration
	// Logger is told about failures of the backend. Default: silent.
	Logger *slog.Logger

	requests, octets, symbols atomic.Uint64
}

// HandlerStats counts what a handler has done. All counters rise only.
type HandlerStats struct {
	Requests uint64
	Octets   uint64 // of the objects, by range or whole
	Symbols  uint64
}

// Stats returns the counters.
func (h *Handler) Stats() HandlerStats {
	return HandlerStats{h.requests.Load(), h.octets.Load(), h.symbols.Load()}
}

// ServeHTTP answers a repair request. If the object fails under way it panics
// with [http.ErrAbortHandler], which breaks the connection: a short answer must
// not look complete.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	via, err := checkVia(r.Header, h.NodeID, orDefault(h.MaxHops, 16))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	r = r.WithContext(withVia(r.Context(), via))
	object, blocks, err := h.find(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if closer, ok := object.(io.Closer); ok {
		defer closer.Close()
	}
	if blocks != nil {
		err = h.serveSymbols(w, r, object, blocks)
	} else {
		err = h.serveOctets(w, r, object)
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

// find parses the request and looks its object up. Blocks are nil in a request
// for octets.
func (h *Handler) find(r *http.Request) (Object, []BlockSymbols, error) {
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, PathPrefix) {
		// An escaped slash would make two names one.
		if strings.Contains(strings.ToLower(path), "%2f") {
			return nil, nil, checkName("")
		}
		name := strings.TrimPrefix(r.URL.Path, "/")
		if err := checkName(name); err != nil {
			return nil, nil, err
		}
		object, err := h.Backend.LookupName(r.Context(), name)
		return object, nil, err
	}
	id, err := ParsePath(path)
	if err != nil {
		return nil, nil, err
	}
	var blocks []BlockSymbols
	if r.URL.RawQuery != "" {
		if blocks, err = ParseQuery(r.URL.RawQuery, orDefault(h.MaxSymbols, 4096)); err != nil {
			return nil, nil, err
		}
	}
	object, err := h.Backend.Lookup(r.Context(), id)
	return object, blocks, err
}

// errPrecondition: the client has pieces of another version (If-Match).
var errPrecondition = errors.New("another version is here")

// errUnsatisfiable: no octet of the ranges exists.
type errUnsatisfiable struct{ length int64 }

func (errUnsatisfiable) Error() string { return "range not satisfiable" }

// fail answers with the status for err. Nothing must have been written.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var unsatisfiable errUnsatisfiable
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrRequest):
		status = http.StatusBadRequest
	case errors.Is(err, ErrLimit):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, ErrExpired):
		status = http.StatusGone
	case errors.Is(err, ErrNoSymbols):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, ErrLoop):
		status = http.StatusLoopDetected
	case errors.Is(err, errPrecondition):
		status = http.StatusPreconditionFailed
	case errors.Is(err, ErrNotReady):
		status = http.StatusTooEarly
		wait := h.RetryAfter
		if wait <= 0 {
			wait = time.Second
		}
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	case errors.As(err, &unsatisfiable):
		status = http.StatusRequestedRangeNotSatisfiable
		w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(unsatisfiable.length, 10))
	case r.Context().Err() != nil:
		return // the client has gone
	default:
		if h.Logger != nil {
			h.Logger.Error("repair request failed", "path", r.URL.Path, "error", err)
		}
	}
	text := err.Error()
	if status == http.StatusInternalServerError {
		text = http.StatusText(status) // what failed is nobody else's business
	}
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "..." // it quotes the request, which may be long
	}
	header := w.Header()
	for _, name := range []string{"ETag", "Content-Location", OTIHeader} {
		header.Del(name)
	}
	header.Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// maxErrorText bounds what an error answer says, in octets.
const maxErrorText = 512

// matches evaluates If-Match: a comma-separated list of entity tags or "*".
func matches(header, etag string) bool {
	if header == "" || header == "*" {
		return true
	}
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == etag && !strings.HasPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

func orDefault[T int | int64 | time.Duration](n, byDefault T) T {
	if n <= 0 {
		return byDefault
	}
	return n
}
