package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/flute/internal/overload"
	"github.com/treedn/treedn/flute/internal/via"
)

// Handler receives objects: PUT and HEAD below PathPrefix. Who may push is the affair of the http.Handler around it. Its
// fields must not be changed once it serves. It has to be closed.
type Handler struct {
	Sink Sink
	// NodeID names this node in the header field Via. Empty: requests that come back are not noticed.
	NodeID string
	// MaxHops bounds the nodes that a request has passed. Default: 16.
	MaxHops int
	// MaxObject bounds an object, in octets. Default: 64 MiB.
	MaxObject int64
	// MaxUploads bounds the objects that are under way or wait for their sender to come back, and how many complete ones are
	// remembered. Default: 1024.
	MaxUploads int
	// MaxConcurrent bounds the requests under way, MaxPerPeer those of one IPv4 address or one /64 of IPv6; further ones get
	// 503 and Retry-After. Defaults: MaxUploads, and a quarter of it; negative: no bound.
	MaxConcurrent, MaxPerPeer int
	// IdleTimeout is how long a sender may send nothing. Default: 10 s.
	IdleTimeout time.Duration
	// HoldTime is how long an interrupted object waits for its sender to come back. Default: 30 s.
	HoldTime time.Duration
	// MaxDuration is how long an object may take in all. Default: 10 minutes.
	MaxDuration time.Duration
	// RetryAfter is what senders are asked to wait if another one sends the object, and up to twice that, at random, after an
	// overload. Default: 1 s.
	RetryAfter time.Duration
	// Logger is told about failures of the sink. Default: silent.
	Logger *slog.Logger

	limiter  overload.Limiter
	buffers  sync.Pool      // of *buffer
	expiring sync.WaitGroup // expire, after it has left the table; none begins once it is closed

	mu      sync.Mutex // guards below
	closed  bool
	uploads map[ObjectID]*upload
	open    int       // of uploads, those that are not complete
	past    []*upload // complete ones, oldest first

	requests, refused, resumed, octets, complete, aborted atomic.Uint64
}

// Stats counts what a handler has done. All counters rise only.
type Stats struct {
	Requests uint64
	Refused  uint64 // of the requests, for overload
	Resumed  uint64 // requests that went on with an object
	Octets   uint64 // new ones
	Complete uint64 // objects
	Aborted  uint64 // objects
}

// Stats returns the counters.
func (h *Handler) Stats() Stats {
	return Stats{h.requests.Load(), h.refused.Load(), h.resumed.Load(), h.octets.Load(), h.complete.Load(), h.aborted.Load()}
}

// chunk is how much is read at a time.
const chunk = 64 << 10

type buffer struct{ data, scratch [chunk]byte }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	switch r.Method {
	case http.MethodPut, http.MethodHead:
	default:
		w.Header().Set("Allow", "HEAD, PUT")
		http.Error(w, "only HEAD and PUT", http.StatusMethodNotAllowed)
		return
	}
	peer, most := overload.Peer(r.RemoteAddr), cmp.Or(h.MaxConcurrent, h.maxUploads())
	if !h.limiter.Enter(peer, most, cmp.Or(h.MaxPerPeer, (most+3)/4)) {
		h.fail(w, r, fmt.Errorf("push: %w: too many requests", ErrOverload))
		return
	}
	defer h.limiter.Leave(peer)
	id, err := ParsePath(r.URL.EscapedPath())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if r.Method == http.MethodHead {
		h.head(w, r, id)
		return
	}
	passed, err := via.Check(r.Header.Values("Via"), h.NodeID, cmp.Or(h.MaxHops, 16))
	if err != nil {
		h.fail(w, r, fmt.Errorf("push: %w", err))
		return
	}
	r = r.WithContext(via.With(r.Context(), passed))
	if err := h.put(w, r, id); err != nil {
		answerEarly(w, r)
		h.fail(w, r, err)
		drain(w, r)
	}
}

// grace is the time that a sender has to notice an answer before its body has ended.
const grace = 500 * time.Millisecond

// answerEarly lets an answer out before the body has ended. Without it a server of HTTP/1.1 would read on first, and of an
// object that is still made nobody knows how long. The connection ends with it.
func answerEarly(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 {
		return
	}
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	_ = control.SetReadDeadline(time.Now().Add(grace))
	w.Header().Set("Connection", "close")
}

// drain goes on with an answer of HTTP/2 until the sender has noticed. If the stream ended at once, trailers on their way
// would come to a stream that is closed, which the server of the standard library takes as an error of the connection: all
// other objects on it would break off.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor <= 1 {
		return
	}
	control := http.NewResponseController(w)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(grace))
	_, _ = io.CopyN(io.Discard, r.Body, 4*chunk)
}

// head tells how much of an object is here.
func (h *Handler) head(w http.ResponseWriter, r *http.Request, id ObjectID) {
	h.mu.Lock()
	u := h.uploads[id]
	var reached int64
	var whole bool
	if u != nil {
		reached, whole = u.reached, u.whole
	}
	h.mu.Unlock()
	if u == nil {
		h.fail(w, r, fmt.Errorf("push: %w", errNoUpload))
		return
	}
	setOffset(w.Header(), reached, whole)
	w.WriteHeader(http.StatusNoContent)
}

func setOffset(header http.Header, offset int64, whole bool) {
	header.Set(UploadOffset, strconv.FormatInt(offset, 10))
	header.Set(UploadComplete, map[bool]string{false: "?0", true: "?1"}[whole])
	header.Set("Cache-Control", "no-store")
}

// errNoUpload: nothing is known of the object.
var errNoUpload = errors.New("no such object")

// offsetError: the request does not begin where it could.
type offsetError struct {
	offset   int64
	whole    bool
	busy     bool // another request is sending
	unwanted bool // the request was for the case that there is none
}

func (e *offsetError) Error() string {
	switch {
	case e.busy:
		return "push: another request is sending the object"
	case e.whole:
		return "push: the object is complete"
	}
	return fmt.Sprintf("push: only %d octets are here", e.offset)
}

// parse reads the header of a PUT.
func (h *Handler) parse(r *http.Request, id ObjectID) (o Object, c contentRange, resume bool, err error) {
	o = Object{ID: id, ContentLocation: r.Header.Get("Content-Location"), ContentType: r.Header.Get("Content-Type"), Length: -1}
	c = contentRange{end: -1, length: -1}
	if err = checkText("Content-Location", o.ContentLocation); err != nil {
		return
	}
	if err = checkText("Content-Type", o.ContentType); err != nil {
		return
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return o, c, false, errCoding // the octets of the object are meant, not others
	}
	if lines := r.Header.Values("Content-Range"); len(lines) > 0 {
		resume = true
		if c, err = parseContentRange(strings.Join(lines, ",")); err != nil {
			return
		}
		if r.ContentLength >= 0 && c.end >= 0 && c.end-c.first != r.ContentLength {
			return o, c, false, fmt.Errorf("push: %w: Content-Range and Content-Length differ", ErrRequest)
		}
		o.Length = c.length
	} else if r.ContentLength >= 0 {
		o.Length = r.ContentLength
	}
	if text := r.Header.Get(UploadLength); text != "" {
		n, ok := parseOffset(text)
		if !ok || o.Length >= 0 && o.Length != n || max(c.first, c.end) > n {
			return o, c, false, fmt.Errorf("push: %w: %s %.40q", ErrRequest, UploadLength, text)
		}
		o.Length, c.length = n, n
	}
	digests, err := parseDigests(r.Header.Values(ReprDigest))
	if err != nil {
		return o, c, false, err
	}
	for _, d := range digests {
		if d.algorithm == "sha-256" {
			o.SHA256 = d.sum
		}
	}
	if o.Length > h.maxObject() || c.end > h.maxObject() {
		return o, c, false, fmt.Errorf("push: %w: more than %d octets", ErrLimit, h.maxObject())
	}
	o.Header = r.Header.Clone()
	return o, c, resume, nil
}

var errCoding = errors.New("push: content coding")

// put receives an object, or a part of one.
func (h *Handler) put(w http.ResponseWriter, r *http.Request, id ObjectID) error {
	o, c, resume, err := h.parse(r, id)
	if err != nil {
		return err
	}
	u, claim, err := h.acquire(w, r, &o, c, resume)
	if err != nil {
		return err
	}
	if u == nil { // the same object is complete here
		answerEarly(w, r)
		setOffset(w.Header(), o.Length, true)
		w.WriteHeader(http.StatusOK)
		drain(w, r)
		return nil
	}
	if resume {
		h.resumed.Add(1)
	}
	ended := false
	defer func() {
		if !ended { // the sink panicked
			h.release(u, claim, errors.New("push: panic"), false)
		}
	}()
	part, err := h.receive(r, u, claim, c)
	offset := u.prefix
	if err != nil || part {
		ended = true
		h.release(u, claim, err, part || resumable(err))
		if err == nil {
			setOffset(w.Header(), offset, false)
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}
	err = u.sink.Commit(offset)
	ended = true
	if h.finish(u, claim, err); err != nil {
		return err
	}
	setOffset(w.Header(), offset, true)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// interruption is the end of a request before that of its body.
type interruption struct{ err error }

func (i *interruption) Error() string { return "push: interrupted: " + i.err.Error() }
func (i *interruption) Unwrap() error { return i.err }

// resumable reports whether an object can go on after an error.
func resumable(err error) bool {
	var i *interruption
	return errors.As(err, &i) || errors.Is(err, ErrMismatch) || errors.Is(err, ErrRequest) || errors.Is(err, errTakenOver)
}

// receive hands the body on. part tells that the object goes on after it.
func (h *Handler) receive(r *http.Request, u *upload, claim *claim, c contentRange) (part bool, err error) {
	b, _ := h.buffers.Get().(*buffer)
	if b == nil {
		b = new(buffer)
	}
	defer h.buffers.Put(b)
	idle := orDefault(h.IdleTimeout, 10*time.Second)
	length := c.length
	if length < 0 {
		length = u.object.Length
	}
	off := c.first
	for {
		if err := claim.extend(idle); err != nil {
			return false, err
		}
		if time.Since(u.begun) > orDefault(h.MaxDuration, 10*time.Minute) {
			return false, fmt.Errorf("push: %w: the object takes too long", ErrLimit)
		}
		n, err := r.Body.Read(b.data[:])
		switch {
		case c.end >= 0 && off+int64(n) > c.end:
			return false, fmt.Errorf("push: %w: more octets than Content-Range says", ErrRequest)
		case length >= 0 && off+int64(n) > length:
			return false, fmt.Errorf("push: %w: more octets than the %d of the object", ErrMismatch, length)
		}
		if n > 0 {
			before := u.prefix
			err := u.take(b.data[:n], off, h.maxObject(), b.scratch[:])
			h.octets.Add(uint64(u.prefix - before))
			h.reach(u)
			if err != nil {
				return false, err
			}
			off += int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			if claim.ctx.Err() != nil {
				return false, context.Cause(claim.ctx)
			}
			return false, &interruption{err}
		}
	}
	_ = claim.arm(time.Time{}) // the sink may take its time now
	switch {
	case c.end >= 0 && off < c.end:
		return false, fmt.Errorf("push: %w: fewer octets than Content-Range says", ErrRequest)
	case c.end >= 0 && c.end != length:
		return true, nil
	case length >= 0 && off < length:
		return false, fmt.Errorf("push: %w: %d octets instead of %d", ErrMismatch, off, length)
	case off < u.prefix:
		return false, fmt.Errorf("push: %w: it ends after %d octets, of which %d are here", ErrMismatch, off, u.prefix)
	}
	for _, lines := range [][]string{r.Header.Values(ReprDigest), r.Trailer.Values(ReprDigest)} {
		digests, err := parseDigests(lines)
		if err != nil {
			return false, err
		}
		if err := u.verify(digests); err != nil {
			return false, err
		}
	}
	return false, nil
}

// fail answers with the status for err.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	header := w.Header()
	status := http.StatusInternalServerError
	var at *offsetError
	var broken *interruption
	switch {
	case errors.As(err, &broken):
		status = http.StatusRequestTimeout // the same may succeed later
	case errors.As(err, &at):
		status = http.StatusConflict
		setOffset(header, at.offset, at.whole)
		switch {
		case at.busy:
			h.retryAfter(header, 0)
		case at.unwanted:
			status = http.StatusPreconditionFailed
		}
	case errors.Is(err, errTakenOver):
		status = http.StatusConflict
		h.retryAfter(header, 0)
	case errors.Is(err, errCoding):
		status = http.StatusUnsupportedMediaType
	case errors.Is(err, errNoUpload), errors.Is(err, ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, ErrRequest):
		status = http.StatusBadRequest
	case errors.Is(err, ErrForbidden):
		status = http.StatusForbidden
	case errors.Is(err, ErrLimit):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrMismatch), errors.Is(err, ErrDigest):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, ErrLoop):
		status = http.StatusLoopDetected
	case errors.Is(err, ErrOverload):
		h.refused.Add(1)
		status = http.StatusServiceUnavailable
		h.retryAfter(header, rand.Float64())
	default:
		if h.Logger != nil {
			h.Logger.Error("push failed", "path", r.URL.Path, "error", err)
		}
	}
	overload.Fail(w, status, err)
}

// retryAfter asks the sender to wait for RetryAfter and a part of it.
func (h *Handler) retryAfter(header http.Header, part float64) {
	overload.Ask(header, orDefault(h.RetryAfter, time.Second), part)
}

func (h *Handler) maxObject() int64 { return orDefault(h.MaxObject, 64<<20) }
func (h *Handler) maxUploads() int  { return orDefault(h.MaxUploads, 1024) }

func orDefault[T int | int64 | time.Duration](n, byDefault T) T {
	if n <= 0 {
		return byDefault
	}
	return n
}
