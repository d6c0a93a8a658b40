package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/internal/overload"
	"github.com/treedn/treedn/flute/internal/via"
)

// ask asks one parent for what is missing.
func (f *flight) ask(p *parent) error {
	err := f.askSymbolsOrOctets(p)
	if err == nil || f.ctx.Err() != nil {
		return err
	}
	var status *statusAnswer
	if errors.As(err, &status) {
		return &ParentError{Parent: p.name, RetryAfter: status.retryAfter, Err: status.err}
	}
	return &ParentError{Parent: p.name, Err: err}
}

// statusAnswer is an answer without content.
type statusAnswer struct {
	err        error
	retryAfter time.Duration
}

func (s *statusAnswer) Error() string { return s.err.Error() }

func (f *flight) askSymbolsOrOctets(p *parent) error {
	if f.target.query != "" {
		return f.exchange(p, nil, f.takeSymbols)
	}
	if len(f.ranges) == 0 {
		f.answer = nil
		return f.exchange(p, nil, f.takeOctets)
	}
	if f.answer != nil && f.answer.ETag == "" {
		// Nothing says that two parents, or two answers, have one version.
		f.answer = nil
	}
	for some := range slices.Chunk(f.missing(), f.client.config.MaxRanges) {
		if err := f.exchange(p, some, f.takeOctets); err != nil {
			return err
		}
	}
	return f.complete()
}

// missing returns what is wanted and has not come yet.
func (f *flight) missing() []Range {
	if f.answer == nil {
		return f.ranges
	}
	return subtract(bounded(f.ranges, f.answer.Length), f.answer.covered())
}

// complete explains an answer that is right and holds too little.
func (f *flight) complete() error {
	missing := f.missing()
	if f.answer != nil && f.answer.Length >= 0 {
		last := f.ranges[len(f.ranges)-1]
		if n := f.answer.Length; last.Start > n || (last.End > n && last.End != ToEnd) {
			return fmt.Errorf("%w: the object has only %d octets", ErrChanged, n)
		}
	}
	if len(missing) > 0 {
		return ErrNotReady
	}
	return nil
}

// wantedETag returns the version that answers must have, or "" for any.
func (f *flight) wantedETag() string {
	if f.target.etag == "" && f.answer != nil {
		return f.answer.ETag
	}
	return f.target.etag
}

// exchange makes one HTTP request and hands the answer to take.
func (f *flight) exchange(p *parent, ranges []Range, take func(*http.Response, []Range) error) error {
	c := f.client
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	ctx, cancel := context.WithTimeout(f.ctx, c.config.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.target.url(p.ids, p.names), nil)
	if err != nil {
		return err
	}
	// A content coding would change the octets.
	req.Header.Set("Accept-Encoding", "identity")
	if etag := f.wantedETag(); etag != "" {
		req.Header.Set("If-Match", etag)
	}
	if len(ranges) > 0 {
		req.Header.Set("Range", string(appendRange(nil, ranges)))
	}
	if v := via.Append(f.target.via, c.config.NodeID); v != "" {
		req.Header.Set("Via", v)
	}
	c.requests.Add(1)
	if err := f.roundTrip(req, p, ranges, take); err != nil {
		c.failures.Add(1)
		return err
	}
	return nil
}

func (f *flight) roundTrip(req *http.Request, p *parent, ranges []Range, take func(*http.Response, []Range) error) error {
	resp, err := f.client.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL may hold a password; ParentError names the parent
		}
		if failed := f.client.config.Failed; failed != nil && f.ctx.Err() == nil {
			failed(p.url, err)
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && len(ranges) > 0 {
		return f.takeEnd(resp, ranges)
	}
	if err := checkStatus(resp, len(ranges) > 0); err != nil {
		// A short body lets the connection be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		return err
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return fmt.Errorf("%w: content coding %.40q", ErrAnswer, coding)
	}
	if want := f.wantedETag(); want != "" && resp.Header.Get("ETag") != want {
		return fmt.Errorf("%w: %.80q instead of %s", ErrChanged, resp.Header.Get("ETag"), want)
	}
	f.from = p.url
	return take(resp, ranges)
}

// checkStatus returns what a status other than 200, and 206 if ranges were asked for, says.
func checkStatus(resp *http.Response, ranges bool) error {
	var err error
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusPartialContent:
		if ranges {
			return nil
		}
		err = fmt.Errorf("%w: 206 without Range", ErrAnswer)
	case http.StatusNotFound:
		err = ErrUnknown
	case http.StatusGone:
		err = ErrExpired
	case http.StatusTooEarly:
		err = ErrNotReady
	case http.StatusPreconditionFailed:
		err = ErrChanged
	case http.StatusUnprocessableEntity:
		err = ErrNoSymbols
	case http.StatusLoopDetected:
		err = ErrLoop
	case http.StatusRequestEntityTooLarge:
		err = ErrLimit
	default:
		err = &StatusError{resp.StatusCode}
	}
	return &statusAnswer{err, overload.Asked(resp.Header)}
}

// takeOctets takes an answer with octets.
func (f *flight) takeOctets(resp *http.Response, ranges []Range) error {
	parts, err := f.gathering.takeOctets(resp, ranges)
	for _, p := range parts {
		f.client.octets.Add(uint64(len(p.Data)))
	}
	return err
}

// takeSymbols takes an answer with symbols.
func (f *flight) takeSymbols(resp *http.Response, _ []Range) error {
	if t := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.EqualFold(t, SymbolsType) {
		return fmt.Errorf("%w: media type %.80q", ErrAnswer, t)
	}
	oti, err := ParseOTI(resp.Header.Get(OTIHeader))
	if err != nil {
		return err
	}
	limit := f.client.config.MaxOctets
	if n := askedSymbols(f.target.blocks); n > 0 {
		limit = min(limit, int64(n)*int64(symbolHeader+oti.SymbolSize()))
	}
	body, err := readBody(resp.Body, resp.ContentLength, limit)
	if err != nil {
		return err
	}
	symbols, err := parseSymbols(body, oti.SymbolSize(), f.target.blocks)
	if err != nil {
		return err
	}
	f.client.symbols.Add(uint64(len(symbols)))
	f.symbols = &SymbolAnswer{OTI: oti, ETag: resp.Header.Get("ETag"), Symbols: symbols}
	return nil
}
