package sealing

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/manifest"
)

// PathPrefix is where a node's server for children gives out seals:
//
//	GET <base>/seal/v1/<service>                       the newest ones of the service
//	GET <base>/seal/v1/<service>?follow=1              and those that come, as they come
//	GET <base>/seal/v1/<service>/<name>?generation=N   those of an object, for as long as it grows
//
// The answer is a sequence of datagrams, each with its length in front (seal.AppendFrame).
const PathPrefix = "/seal/v1/"

// MediaType is that of the answer.
const MediaType = "application/vnd.treedn.seals"

// ErrNoSeal is returned when no parent has a seal of the object.
var ErrNoSeal = errors.New("sealing: no parent has a seal")

// Client asks the parents of a node for seals. It is safe for concurrent use.
type Client struct {
	HTTP *http.Client
	// Parents returns the base URLs, in the order in which they are asked.
	Parents func() []*url.URL
}

// Push takes in a datagram and returns what Gate.Push does: nil if it told something new.
type Push func(datagram []byte) error

const (
	// newsTime is how long a parent may take to tell something new, and moreTime how long to tell more. Then it is left for
	// the next one, for it may be one that hangs, or that gives what is genuine and old.
	newsTime = time.Second
	moreTime = 3 * time.Second
	// maxStale bounds the datagrams in a row that tell nothing new.
	maxStale = 256
)

var (
	errLie   = errors.New("sealing: parent gave what is no seal")
	errStale = errors.New("sealing: parent tells nothing new")
)

// Seals hands to push the seals of a generation of an object, until it has ended, or the newest ones of the service if name
// is empty. The parents are asked in turn until one tells something new. From the first one that lies nothing more is
// taken.
func (c *Client) Seals(ctx context.Context, service, name string, generation uint64, push Push) error {
	last := ErrNoSeal
	for _, base := range c.Parents() {
		query := ""
		if name != "" {
			query = generationQuery(generation)
		}
		news, err := c.from(ctx, base, service, name, query, push)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case news > 0 && err == nil:
			return nil
		case err != nil && !errors.Is(err, ErrNoSeal):
			last = err
		}
	}
	return last
}

// Follow hands to push all seals of the service as they come, from the first parent that gives any, until that one ends or
// has nothing new for some seconds.
func (c *Client) Follow(ctx context.Context, service string, push Push) error {
	last := ErrNoSeal
	for _, base := range c.Parents() {
		news, err := c.from(ctx, base, service, "", "follow=1", push)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if news > 0 {
			return err
		}
		if err != nil && !errors.Is(err, ErrNoSeal) {
			last = err
		}
	}
	return last
}

func generationQuery(generation uint64) string {
	return "generation=" + strconv.FormatUint(generation, 10)
}

// from asks one parent, and returns how many of its datagrams told something new.
func (c *Client) from(ctx context.Context, base *url.URL, service, name, query string, push Push) (news int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(newsTime, func() { cancel(errStale) })
	defer patience.Stop()
	u := manifest.JoinURL(base, PathPrefix, service, name)
	u.RawQuery = query
	resp, err := c.get(ctx, u)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != MediaType {
		return 0, fmt.Errorf("sealing: %s gave %q for seals", base.Host, kind)
	}
	r := bufio.NewReaderSize(resp.Body, 2+seal.MaxDatagram)
	stale := 0
	for {
		b, err := readFrame(r)
		switch {
		case err == io.EOF:
			return news, nil
		case err != nil:
			return news, err
		}
		switch err := push(b); {
		case err == nil:
			news++
			stale = 0
			patience.Reset(moreTime)
		case lie(err):
			return news, fmt.Errorf("%w: %s: %w", errLie, base.Host, err)
		default:
			if stale++; stale > maxStale {
				return news, errStale
			}
		}
	}
}

// get asks for one resource. The caller closes the body.
func (c *Client) get(ctx context.Context, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, ErrNoSeal
	}
	return nil, fmt.Errorf("sealing: %s answered %s", u.Host, resp.Status)
}

// lie tells whether no honest parent gives a datagram that is rejected for this. All others may come from one that is
// merely behind or ahead.
func lie(err error) bool {
	var e *seal.RejectError
	return errors.As(err, &e) && (e.Reason == seal.RejectFormat || e.Reason == seal.RejectService || e.Reason == seal.RejectSignature)
}

// readFrame reads the next datagram, which is valid until the next call. At the end it returns io.EOF.
func readFrame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(2)
	if err != nil {
		if len(head) == 1 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	size := 2 + int(binary.BigEndian.Uint16(head))
	if size > r.Size() {
		return nil, seal.ErrLong
	}
	frame, err := r.Peek(size)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	_, _ = r.Discard(size)
	b, _, err := seal.Frame(frame)
	return b, err
}
