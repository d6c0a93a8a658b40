package repair

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/flute/internal/overload"
	"github.com/treedn/treedn/flute/internal/via"
)

// Handler is the repair server. It answers paths below PathPrefix by the
// address of the object, file repair of MBMS by the fileURI in its query,
// whatever the path, and all others by name; GET and HEAD only. Its fields must
// not be changed once it serves.
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
	// MaxConcurrent bounds the requests under way; further ones get 503 and
	// Retry-After. Default: 4096; negative: no bound.
	MaxConcurrent int
	// MaxPerPeer bounds those of one IPv4 address or one /64 of IPv6. Default: a
	// quarter of MaxConcurrent; negative: no bound.
	MaxPerPeer int
	// RetryAfter is what clients are asked to wait for octets to come: in whole
	// seconds, rounded up, and in milliseconds for our own. After an overload
	// it is up to twice that, at random, so that they do not come back
	// together. Default: 1 s.
	RetryAfter time.Duration
	// Logger is told about failures of the backend. Default: silent.
	Logger *slog.Logger

	limiter                            overload.Limiter
	requests, refused, octets, symbols atomic.Uint64
}

// HandlerStats counts what a handler has done. All counters rise only.
type HandlerStats struct {
	Requests uint64
	Refused  uint64 // of the requests, for overload
	Octets   uint64 // of the objects, by range or whole
	Symbols  uint64
}

// Stats returns the counters.
func (h *Handler) Stats() HandlerStats {
	return HandlerStats{h.requests.Load(), h.refused.Load(), h.octets.Load(), h.symbols.Load()}
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
	peer, most := overload.Peer(r.RemoteAddr), orDefault(h.MaxConcurrent, 4096)
	if h.MaxConcurrent < 0 {
		most = 0
	}
	if !h.limiter.Enter(peer, most, cmp.Or(h.MaxPerPeer, (most+3)/4)) {
		h.refused.Add(1)
		h.fail(w, r, errOverload)
		return
	}
	defer h.limiter.Leave(peer)
	passed, err := via.Check(r.Header.Values("Via"), h.NodeID, orDefault(h.MaxHops, 16))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	r = r.WithContext(via.With(r.Context(), passed))
	object, q, err := h.find(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if closer, ok := object.(io.Closer); ok {
		defer closer.Close()
	}
	if q.blocks != nil {
		err = h.serveSymbols(w, r, object, q)
	} else {
		err = h.serveOctets(w, r, object, q)
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

// query is what a request asks for, other than the object.
type query struct {
	blocks []BlockSymbols // nil in a request for octets
	form   form
	md5    string // of the version wanted, or empty
}

// sameVersion reports whether an object can be the version wanted.
func (q *query) sameVersion(info *Info) bool {
	return q.md5 == "" || info.ContentMD5 == "" || q.md5 == info.ContentMD5
}

// find parses the request and looks its object up.
func (h *Handler) find(r *http.Request) (object Object, q query, err error) {
	maxSymbols := orDefault(h.MaxSymbols, 4096)
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, PathPrefix) {
		id, err := ParsePath(path)
		if err != nil {
			return nil, q, err
		}
		if r.URL.RawQuery != "" {
			if q.blocks, err = ParseQuery(r.URL.RawQuery, maxSymbols); err != nil {
				return nil, q, err
			}
		}
		object, err = h.Backend.Lookup(r.Context(), id)
		return object, q, err
	}
	var name string
	if isFileRepair(r.URL.RawQuery) {
		f, err := ParseFileRepair(r.URL.RawQuery, maxSymbols)
		if err != nil {
			return nil, q, err
		}
		q = query{blocks: f.Blocks, form: containerForm, md5: f.ContentMD5}
		if name, err = f.nameOf(); err != nil {
			return nil, q, err
		}
	} else {
		// An escaped slash would make two names one.
		if strings.Contains(strings.ToLower(path), "%2f") {
			return nil, q, checkName("")
		}
		name = strings.TrimPrefix(r.URL.Path, "/")
		if err := checkName(name); err != nil {
			return nil, q, err
		}
	}
	object, err = h.Backend.LookupName(r.Context(), name)
	return object, q, err
}

// errPrecondition: the client has pieces of another version (If-Match).
var errPrecondition = errors.New("another version is here")

// errOverload: more requests are under way than the limits allow.
var errOverload = errors.New("too many requests")

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
		h.retryAfter(w, 0)
	case errors.Is(err, errOverload):
		status = http.StatusServiceUnavailable
		h.retryAfter(w, rand.Float64())
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
	header := w.Header()
	for _, name := range []string{"ETag", "Content-Location", OTIHeader} {
		header.Del(name)
	}
	overload.Fail(w, status, err)
}

// retryAfter asks the client to wait for RetryAfter and a part of it.
func (h *Handler) retryAfter(w http.ResponseWriter, part float64) {
	overload.Ask(w.Header(), orDefault(h.RetryAfter, time.Second), part)
}

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

// notModified evaluates If-None-Match, which compares weakly (RFC 9110 section
// 13.1.2).
func notModified(header, etag string) bool {
	if header == "" {
		return false
	}
	if header == "*" {
		return true
	}
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag != "" && tag == strings.TrimPrefix(etag, "W/") {
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
