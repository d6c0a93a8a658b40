package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/internal/overload"
	"github.com/treedn/treedn/flute/internal/via"
	"github.com/treedn/treedn/flute/repair"
)

// Config configures a [Pusher]. All but URL has a useful zero value.
type Config struct {
	// URL is the base of the paths at the receiver: "https://192.0.2.7:8443".
	URL string
	// NodeID names this node in the header field Via. Empty: no Via of our own.
	NodeID string
	// Authorize may add to each request what lets it in: a token, a signature. Default: nothing.
	Authorize func(*http.Request) error

	// Attempts is how often in a row an object is tried without progress. Default: 8.
	Attempts int
	// Retry spreads the attempts. Default: 100 ms, doubled up to 5 s.
	Retry repair.Retry
	// StallTimeout is how long the receiver may take nothing, and how long it may take to answer. Default: 10 s.
	StallTimeout time.Duration

	// Transport makes the HTTP requests. Default: one of the pusher's own, without proxies, closed with the pusher.
	Transport http.RoundTripper
	// Rand returns a number in [0, 1) for the waits. Default: math/rand/v2.
	Rand func() float64
}

// Pusher sends objects to one receiver. It is safe for concurrent use, and each object takes a request of its own.
type Pusher struct {
	config Config
	base   string
	client *http.Client
	own    *http.Transport
}

// NewPusher returns a pusher to config.URL.
func NewPusher(config Config) (*Pusher, error) {
	u, err := url.Parse(config.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("push: receiver %q is no base URL", config.URL)
	}
	config.Attempts = orDefault(config.Attempts, 8)
	config.Retry.Wait = orDefault(config.Retry.Wait, 100*time.Millisecond)
	config.Retry.Max = orDefault(config.Retry.Max, 5*time.Second)
	config.StallTimeout = orDefault(config.StallTimeout, 10*time.Second)
	if config.Rand == nil {
		config.Rand = rand.Float64
	}
	p := &Pusher{config: config, base: strings.TrimSuffix(u.String(), "/")}
	transport := config.Transport
	if transport == nil {
		p.own = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: config.StallTimeout}).DialContext,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}
		transport = p.own
	}
	p.client = &http.Client{
		Transport: transport,
		// The receiver is configured; it must not send us elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// Close closes the idle connections of the pusher's own transport.
func (p *Pusher) Close() error {
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
	return nil
}

// Body opens the octets of an object from an offset on. Reading waits for those that are still to be made and ends with
// io.EOF where the object does; Close ends a Read that waits, as the end of ctx may, too. It is called again if the object has to be resumed; the memory behind it is the caller's.
type Body func(ctx context.Context, offset int64) (io.ReadCloser, error)

// ReaderAt returns the body of an object that is whole.
func ReaderAt(r io.ReaderAt, length int64) Body {
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(r, offset, length-offset)), nil
	}
}

// Push sends one object as its body comes, and returns when the receiver has all of it. What breaks in passing is resumed
// where the receiver is. The error matches one of this package, a [*StatusError], the error of the body ([ErrBody]) or the
// cause of ctx. A body that fails must not look complete: the receiver is left with what came.
func (p *Pusher) Push(ctx context.Context, o Object, body Body) error {
	if err := checkSession(o.ID.Session); err != nil {
		return err
	}
	s := &sending{pusher: p, object: o, open: body, sha256: sha256.New(), length: -1}
	if s.object.Length < 0 || o.SHA256 == nil {
		s.trailer = true // the digest is known at the end
	}
	var failures int
	var offset, best int64
	var resume bool
	for {
		wait, err := s.attempt(ctx, offset, resume)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !inPassing(err) {
			return err
		}
		// The receiver knows how far it is; asking it also shows whether it is back.
		for {
			if failures++; failures > p.config.Attempts {
				return err
			}
			if err := overload.Sleep(ctx, p.config.Retry.Draw(failures, wait, p.config.Rand())); err != nil {
				return err
			}
			var whole bool
			var headErr error
			if offset, whole, wait, headErr = s.where(ctx); headErr == nil {
				if whole {
					return s.settle(ctx, offset)
				}
				break
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !inPassing(headErr) {
				return headErr
			}
			err = headErr
		}
		// Of our own request the receiver may not know that it is broken; another sender's is not to be broken.
		// That one may have ended by now: then there is nothing to do.
		if resume = !errors.Is(err, errBusy); !resume {
			offset, s.spare = 0, true
		}
		if offset > best {
			best, failures = offset, 1
		}
	}
}

// sending is one object on its way.
type sending struct {
	pusher  *Pusher
	object  Object
	open    Body
	trailer bool

	spare bool // another sender has the object, too

	sha256 hash.Hash
	hashed int64 // octets in sha256
	length int64 // of the body, once it has been read to its end; else -1
}

// request prepares a request about the object.
func (s *sending) request(ctx context.Context, method string, body io.Reader) (*http.Request, error) {
	p := s.pusher
	req, err := http.NewRequestWithContext(ctx, method, p.base+s.object.ID.String(), body)
	if err != nil {
		return nil, fmt.Errorf("push: %w: %w", ErrRequest, err)
	}
	if method == http.MethodPut {
		for name, values := range s.object.Header {
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if v := via.Append(via.Of(ctx), p.config.NodeID); v != "" {
		req.Header.Set("Via", v)
	}
	return req, nil
}

func (s *sending) authorize(req *http.Request) error {
	if s.pusher.config.Authorize == nil {
		return nil
	}
	return s.pusher.config.Authorize(req)
}

// attempt sends the object from an offset on.
func (s *sending) attempt(ctx context.Context, offset int64, resume bool) (wait time.Duration, err error) {
	p, o := s.pusher, &s.object
	whole := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader, err := s.open(ctx, min(offset, s.hashed))
	if err != nil {
		return 0, fmt.Errorf("push: %w: %w", ErrBody, err)
	}
	body := newFeed(ctx, s, reader, offset, cancel)
	defer body.end()
	req, err := s.request(ctx, http.MethodPut, body)
	if err != nil {
		return 0, err
	}
	if o.ContentLocation != "" {
		req.Header.Set("Content-Location", o.ContentLocation)
	}
	if o.ContentType != "" {
		req.Header.Set("Content-Type", o.ContentType)
	}
	if o.Length >= 0 {
		req.Header.Set(UploadLength, strconv.FormatInt(o.Length, 10))
	}
	if o.SHA256 != nil {
		req.Header.Set(ReprDigest, digest{"sha-256", o.SHA256}.String())
	}
	if s.trailer {
		body.trailer = http.Header{ReprDigest: nil}
		req.Trailer = body.trailer
	} else if req.ContentLength = o.Length - offset; req.ContentLength == 0 {
		req.Body = http.NoBody // a length of 0 with a body means an unknown one
	}
	if s.spare && !resume {
		req.Header.Set("If-None-Match", "*")
	}
	if resume {
		req.Header.Set("Content-Range", string(contentRange{offset, -1, o.Length}.append(nil)))
	}
	if err := s.authorize(req); err != nil {
		return 0, fmt.Errorf("push: authorization: %w", err)
	}
	resp, err := p.client.Do(req)
	if failed := body.failure(); failed != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return 0, fmt.Errorf("push: %w: %w", ErrBody, failed)
	}
	if err != nil {
		if whole.Err() == nil && ctx.Err() != nil {
			err = context.Cause(ctx) // ErrStalled
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL may hold a password
		}
		return 0, fmt.Errorf("push: %w", err)
	}
	if resp.StatusCode == http.StatusCreated {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // lets the connection be used again
	}
	resp.Body.Close() // other answers can be early ones, which go on until we close them
	return s.judge(ctx, resp)
}

// judge tells what an answer to PUT means.
func (s *sending) judge(ctx context.Context, resp *http.Response) (wait time.Duration, err error) {
	wait = overload.Asked(resp.Header)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated:
		offset, ok := parseOffset(resp.Header.Get(UploadOffset))
		if !ok {
			return 0, nil // a receiver that is not ours
		}
		return 0, s.settle(ctx, offset)
	case http.StatusPreconditionFailed:
		if !s.spare {
			break
		}
		if offset, ok := parseOffset(resp.Header.Get(UploadOffset)); ok {
			return 0, s.settle(ctx, offset)
		}
		return 0, nil // a receiver that is not ours
	case http.StatusConflict:
		if offset, ok := parseOffset(resp.Header.Get(UploadOffset)); ok && resp.Header.Get(UploadComplete) == "?1" {
			return 0, s.settle(ctx, offset)
		}
		if wait > 0 {
			return wait, errBusy
		}
		return 0, errOffset
	case http.StatusNotFound:
		return 0, fmt.Errorf("push: %w", ErrUnknown)
	case http.StatusForbidden:
		return 0, fmt.Errorf("push: %w", ErrForbidden)
	case http.StatusRequestEntityTooLarge:
		return 0, fmt.Errorf("push: %w", ErrLimit)
	case http.StatusUnprocessableEntity:
		return 0, fmt.Errorf("push: %w", ErrMismatch)
	case http.StatusLoopDetected:
		return 0, fmt.Errorf("push: %w", ErrLoop)
	case http.StatusNoContent:
		return 0, errOffset // it wants more
	}
	return wait, fmt.Errorf("push: %w", &StatusError{resp.StatusCode})
}

var (
	// errOffset: the receiver is elsewhere than we thought.
	errOffset = errors.New("push: the receiver is at another offset")
	// errBusy: another sender has the object.
	errBusy = errors.New("push: the receiver gets the object from another sender")
)

// settle ends a push whose object is complete at the receiver with so many octets.
func (s *sending) settle(ctx context.Context, received int64) error {
	if s.length < 0 && s.object.Length >= 0 {
		s.length = s.object.Length
	}
	if s.length < 0 { // it was complete before we had read all
		reader, err := s.open(ctx, s.hashed)
		if err != nil {
			return fmt.Errorf("push: %w: %w", ErrBody, err)
		}
		n, err := io.Copy(io.Discard, reader)
		_ = reader.Close()
		if err != nil {
			return fmt.Errorf("push: %w: %w", ErrBody, err)
		}
		s.length = s.hashed + n
	}
	if s.length != received {
		return fmt.Errorf("push: %w: the receiver has %d octets of %d", ErrMismatch, received, s.length)
	}
	return nil
}

// where asks how much of the object is at the receiver.
func (s *sending) where(ctx context.Context) (offset int64, whole bool, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.pusher.config.StallTimeout, ErrStalled)
	defer cancel()
	req, err := s.request(ctx, http.MethodHead, nil)
	if err != nil {
		return 0, false, 0, err
	}
	if err := s.authorize(req); err != nil {
		return 0, false, 0, fmt.Errorf("push: authorization: %w", err)
	}
	resp, err := s.pusher.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, false, 0, fmt.Errorf("push: %w", err)
	}
	resp.Body.Close()
	wait = overload.Asked(resp.Header)
	if resp.StatusCode == http.StatusNotFound {
		return 0, false, 0, nil // it has nothing
	}
	offset, ok := parseOffset(resp.Header.Get(UploadOffset))
	if resp.StatusCode/100 != 2 || !ok {
		return 0, false, wait, fmt.Errorf("push: %w", &StatusError{resp.StatusCode})
	}
	return offset, resp.Header.Get(UploadComplete) == "?1", 0, nil
}

// inPassing reports whether the same request may succeed later.
func inPassing(err error) bool {
	var status *StatusError
	switch {
	case errors.As(err, &status):
		return status.Status >= 500 || status.Status == 429 || status.Status == 408 || status.Status == 425
	case errors.Is(err, ErrRequest), errors.Is(err, ErrUnknown), errors.Is(err, ErrForbidden), errors.Is(err, ErrLimit),
		errors.Is(err, ErrMismatch), errors.Is(err, ErrLoop), errors.Is(err, ErrBody):
		return false
	}
	return true // errOffset, errBusy, ErrStalled, and failures of the network
}
