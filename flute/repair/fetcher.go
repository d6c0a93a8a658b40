package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/internal/overload"
)

// Fetcher carries out a [Plan] over HTTP: repair as MBMS, ATSC and DVB have it, from servers that the signalling names. The
// zero value is ready; it is safe for concurrent use. Its fields must not be changed once it is used.
type Fetcher struct {
	// Transport makes the HTTP requests. Default: one of the fetcher's own, with 8 connections to a server at most and
	// without proxies.
	Transport http.RoundTripper
	// Timeout bounds one HTTP request, body included. Default: 10 s.
	Timeout time.Duration
	// MaxOctets bounds the memory of one call. Default: 64 MiB.
	MaxOctets int64
	// Allow tells whether a URL may be asked. Signalling that nobody signed could name any host, as could a redirect.
	// Default: all may.
	Allow func(*url.URL) bool

	once   sync.Once
	client *http.Client
	own    *http.Transport
}

// Repaired is what a [Fetcher] got.
type Repaired struct {
	// Answer has the octets; offsets count from the beginning of the object of the plan.
	Answer
	// Symbols has what a source of symbols gave.
	Symbols []Symbol
}

// Fetch does what the plan says until it is done or ctx ends. If it returns an error, which is that of the plan or the cause
// of ctx, the other result is what could be got until then. received is told of each run of octets as soon as it has come,
// unless it is nil.
func (f *Fetcher) Fetch(ctx context.Context, plan *Plan, received func(Part)) (*Repaired, error) {
	f.once.Do(f.open)
	got := &Repaired{Answer: Answer{Length: -1}}
	g := &gathering{limit: orDefault(f.MaxOctets, 64<<20)}
	for !plan.Done() {
		now := time.Now()
		ask, ok := plan.Poll(now)
		if !ok {
			if at, ok := plan.Timeout(); ok {
				if err := overload.Sleep(ctx, at.Sub(now)); err != nil {
					return got, err
				}
			}
			continue
		}
		outcome := f.ask(ctx, ask, plan, g, got, received)
		if ctx.Err() != nil {
			return got, context.Cause(ctx)
		}
		plan.Answered(time.Now(), outcome)
	}
	return got, plan.Err()
}

// Close closes the idle connections of the fetcher's own transport.
func (f *Fetcher) Close() error {
	if f.once.Do(f.open); f.own != nil {
		f.own.CloseIdleConnections()
	}
	return nil
}

// maxRedirects bounds the redirects of one request.
const maxRedirects = 3

var errForbidden = fmt.Errorf("%w: URL that may not be asked", ErrRequest)

func (f *Fetcher) open() {
	transport := f.Transport
	if transport == nil {
		f.own = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: orDefault(f.Timeout, 10*time.Second)}).DialContext,
			MaxConnsPerHost:        8,
			MaxIdleConnsPerHost:    8,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}
		transport = f.own
	}
	f.client = &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return http.ErrUseLastResponse
			}
			return f.allowed(r.URL)
		},
	}
}

func (f *Fetcher) allowed(u *url.URL) error {
	if f.Allow != nil && !f.Allow(u) {
		return errForbidden
	}
	return nil
}

// ask makes one HTTP request and takes the answer.
func (f *Fetcher) ask(ctx context.Context, ask Ask, plan *Plan, g *gathering, got *Repaired, received func(Part)) Outcome {
	failed := func(err error) Outcome {
		var status *statusAnswer
		if errors.As(err, &status) {
			return Outcome{Err: &ParentError{Parent: ask.URL, RetryAfter: status.retryAfter, Err: status.err},
				RetryAfter: status.retryAfter, Length: -1}
		}
		return Outcome{Err: &ParentError{Parent: ask.URL, Err: err}, Length: -1}
	}
	take := func(p Part) {
		plan.Received(Range{p.Offset, p.Offset + int64(len(p.Data))})
		got.add([]Part{p})
		if received != nil {
			received(p)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, orDefault(f.Timeout, 10*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ask.URL, nil)
	if err != nil {
		return failed(fmt.Errorf("%w: %w", ErrRequest, err))
	}
	if err := f.allowed(req.URL); err != nil {
		return failed(err)
	}
	req.Header.Set("Accept-Encoding", "identity") // a content coding would change the octets
	if len(ask.Ranges) > 0 {
		req.Header.Set("Range", string(appendRange(nil, ask.Ranges)))
		if ask.ETag != "" {
			req.Header.Set("If-Range", ask.ETag)
		}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return failed(err)
	}
	defer resp.Body.Close()
	g.from = ask.URL
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && len(ask.Ranges) > 0 {
		if err := g.takeEnd(resp, ask.Ranges); err != nil {
			return failed(err)
		}
		return f.outcome(resp, g, plan, got)
	}
	if err := checkAnswer(resp, ask); err != nil {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // a short body lets the connection be used again
		return failed(err)
	}
	if ask.Form == Symbols {
		symbols, err := takeContainer(resp, ask, g.limit)
		if err != nil {
			return failed(err)
		}
		part := plan.config.Partition
		if !part.valid() {
			got.Symbols = symbols
			return Outcome{Length: -1}
		}
		for _, p := range part.parts(symbols, ask.URL) {
			take(p)
		}
		got.Length = part.Length
		return Outcome{Length: part.Length}
	}
	parts, err := g.takeOctets(resp, ask.Ranges)
	offset := plan.config.Procedure.Offset
	for _, p := range parts {
		if p.Offset -= offset; p.Offset < 0 { // the whole segment has come for one of its chunks
			p.Data = p.Data[min(-p.Offset, int64(len(p.Data))):]
			p.Offset = 0
		}
		if len(p.Data) == 0 {
			continue
		}
		take(p)
	}
	if err != nil {
		return failed(err)
	}
	return f.outcome(resp, g, plan, got)
}

func (f *Fetcher) outcome(resp *http.Response, g *gathering, plan *Plan, got *Repaired) Outcome {
	got.ETag, got.ContentType, got.Name = g.answer.ETag, g.answer.ContentType, g.answer.Name
	if g.answer.Length >= 0 {
		got.Length = max(0, g.answer.Length-plan.config.Procedure.Offset)
	}
	return Outcome{ETag: resp.Header.Get("ETag"), Length: g.answer.Length}
}

// checkAnswer refuses what is no answer to the request, or one of another version.
func checkAnswer(resp *http.Response, ask Ask) error {
	if err := checkStatus(resp, len(ask.Ranges) > 0); err != nil {
		return err
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return fmt.Errorf("%w: content coding %.40q", ErrAnswer, coding)
	}
	if ask.ETag == "" {
		return nil
	}
	// If another version is there, the server answers a request for ranges with 200 and all of it (RFC 9110 section 13.1.5). A
	// 206 may leave the tag out that it was asked with, and all of an object may have none: its octets are of one version.
	tag := resp.Header.Get("ETag")
	if tag != ask.ETag && (tag != "" || resp.StatusCode == http.StatusOK && len(ask.Ranges) > 0) {
		return fmt.Errorf("%w: %.80q instead of %s", ErrChanged, tag, ask.ETag)
	}
	return nil
}

// takeContainer takes an answer with symbols.
func takeContainer(resp *http.Response, ask Ask, limit int64) ([]Symbol, error) {
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if resp.StatusCode != http.StatusOK || !strings.EqualFold(strings.TrimSpace(mediaType), ContainerType) {
		return nil, fmt.Errorf("%w: media type %.80q", ErrAnswer, mediaType)
	}
	if n := askedSymbols(ask.Blocks); n > 0 {
		limit = min(limit, int64(n)*int64(groupHeader+ask.Scheme.SymbolSize)) // each symbol may be a group of its own
	}
	body, err := readBody(resp.Body, resp.ContentLength, limit)
	if err != nil {
		return nil, err
	}
	return parseContainer(body, ask.Scheme, ask.Blocks)
}
