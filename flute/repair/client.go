package repair

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/flute/internal/via"
)

// Client fetches what a receiver misses from its parents. It is safe for
// concurrent use.
type Client struct {
	config  Config
	parents []parent
	http    *http.Client
	idle    func() // closes idle connections of our own transport
	slots   chan struct{}

	base   context.Context // ends with the client
	cancel context.CancelCauseFunc
	wait   sync.WaitGroup

	mu      sync.Mutex // guards below
	closed  bool
	flights map[string][]*flight

	requests, failures, octets, symbols, coalesced atomic.Uint64
}

// Stats counts what a client has done. All counters rise only.
type Stats struct {
	Requests  uint64 // HTTP requests
	Failures  uint64 // HTTP requests without a usable answer
	Octets    uint64 // octets of objects received
	Symbols   uint64 // symbols received
	Coalesced uint64 // calls that found all they wanted under way already
}

// NewClient returns a client of the parents in config.
func NewClient(config Config) (*Client, error) {
	config, parents, err := config.populate()
	if err != nil {
		return nil, err
	}
	c := &Client{
		config:  config,
		parents: parents,
		idle:    func() {},
		slots:   make(chan struct{}, config.MaxConcurrent),
		flights: make(map[string][]*flight),
	}
	transport := config.Transport
	if transport == nil {
		own := &http.Transport{
			DialContext:            (&net.Dialer{Timeout: config.Timeout}).DialContext,
			MaxIdleConnsPerHost:    config.MaxConcurrent,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}
		transport, c.idle = own, own.CloseIdleConnections
	}
	c.http = &http.Client{
		Transport: transport,
		// A parent is configured; it must not send us elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.base, c.cancel = context.WithCancelCause(context.Background())
	return c, nil
}

// Request asks for octets of one object.
type Request struct {
	// ID addresses the object, unless Name is set: the Content-Location of the
	// object, a relative path below the base of the parent.
	ID   ObjectID
	Name string
	// Ranges are the octets wanted; none means the whole object. A range to
	// ToEnd also finds out the length: it may begin where the object ends.
	Ranges []Range
	// ETag is the version wanted; empty means any.
	ETag string
	// Urgent requests do not wait for the back-off: somebody waits for them.
	Urgent bool
}

// Part is a run of octets of an object.
type Part struct {
	Offset int64
	Data   []byte
	Parent string // URL of the one that gave it, as in Config
}

// Answer holds what the parents gave. It is shared with other calls for the
// same object and must not be changed.
type Answer struct {
	// Parts are in order and disjoint. They may hold more than was wanted, and
	// less if the call also returns an error: what has come by then.
	Parts []Part
	// ETag, if strong, ContentType and Name (Content-Location without its
	// leading slash) are as the parent gave them, or empty.
	ETag, ContentType, Name string
	// Length is the length of the whole object, or -1 if not known.
	Length int64
}

// SymbolRequest asks for symbols of one object.
type SymbolRequest struct {
	ID     ObjectID
	Blocks []BlockSymbols
	ETag   string // as in Request
	Urgent bool   // as in Request
}

// SymbolAnswer holds symbols of an object. It is shared with other calls and
// must not be changed.
type SymbolAnswer struct {
	OTI     OTI
	ETag    string
	Symbols []Symbol
}

// Fetch gets octets of an object from the parents. Calls for octets that
// another call is getting wait for that one.
//
// An error matches ErrUnknown, ErrExpired, ErrNotReady, ErrChanged, ErrLoop,
// ErrLimit, ErrAnswer or a [*StatusError] if that is what the last parent said,
// the cause of ctx, or [net.ErrClosed]. The Answer next to an error is nil or
// holds the octets that could be got.
func (c *Client) Fetch(ctx context.Context, r Request) (*Answer, error) {
	for _, wanted := range r.Ranges {
		if wanted.Start < 0 || wanted.End <= wanted.Start {
			return nil, fmt.Errorf("repair: %w: range %d to %d", ErrRequest, wanted.Start, wanted.End)
		}
	}
	if r.Name != "" {
		if err := checkName(r.Name); err != nil {
			return nil, err
		}
	}
	want := MergeRanges(slices.Clone(r.Ranges), c.config.MergeGap)
	if octets(bounded(want, 0)) > c.config.MaxOctets {
		return nil, fmt.Errorf("repair: %w: more than %d octets", ErrLimit, c.config.MaxOctets)
	}
	target := target{id: r.ID, name: r.Name, etag: r.ETag, via: via.Of(ctx)}
	flights, err := c.board(target, want, r.Urgent)
	if err != nil {
		return nil, err
	}
	err = c.await(ctx, flights)
	return joinAnswers(flights), err
}

// FetchSymbols gets encoding symbols of an object from the first parent that
// has them. Errors are those of Fetch, and ErrNoSymbols.
func (c *Client) FetchSymbols(ctx context.Context, r SymbolRequest) (*SymbolAnswer, error) {
	if len(r.Blocks) == 0 {
		return nil, fmt.Errorf("repair: %w: no blocks", ErrRequest)
	}
	query := string(AppendQuery(nil, r.Blocks))
	if _, err := ParseQuery(query, int(c.config.MaxOctets/symbolHeader)); err != nil {
		return nil, err // what no server would understand
	}
	target := target{id: r.ID, query: query, blocks: r.Blocks, etag: r.ETag, via: via.Of(ctx)}
	flights, err := c.board(target, nil, r.Urgent)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, flights); err != nil {
		return nil, err
	}
	return flights[0].symbols, nil
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	return Stats{
		Requests:  c.requests.Load(),
		Failures:  c.failures.Load(),
		Octets:    c.octets.Load(),
		Symbols:   c.symbols.Load(),
		Coalesced: c.coalesced.Load(),
	}
}

// Close ends all calls with [net.ErrClosed] and waits for what they started. It
// may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel(net.ErrClosed)
	c.wait.Wait()
	c.idle()
	return nil
}
