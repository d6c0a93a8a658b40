package repair

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/internal/overload"
)

// Parent is a repair server.
type Parent struct {
	// URL is the base of the paths of objects addressed by their session:
	// "http://192.0.2.7:8081".
	URL string
	// Names is the base of plain names. Default: URL.
	Names string
}

// Config configures a [Client]. All but Parents has a useful zero value.
type Config struct {
	// Parents are asked in order until one has what is missing.
	Parents []Parent
	// NodeID names this node in the header field Via; what cannot stand there
	// is replaced by "_". Empty: no Via of our own.
	NodeID string

	// BackOff and BackOffWindow spread the requests of the many receivers that
	// lose the same packets: the first request waits BackOff and a random part
	// of BackOffWindow. Default: 0, none. Urgent requests do not wait.
	BackOff       time.Duration
	BackOffWindow time.Duration
	// Rounds is how often all parents are asked if they are not ready or fail
	// in passing. Default: 3.
	Rounds int
	// RoundWait is the least time between two rounds; it doubles with each. The
	// Retry-After of a parent lengthens it up to RoundWaitMax. A random part of
	// the same is added (see [Retry]). Defaults: 100 ms and 2 s.
	RoundWait    time.Duration
	RoundWaitMax time.Duration
	// Timeout bounds one HTTP request, body included. Default: 10 s.
	Timeout time.Duration

	// MergeGap: ranges less than so many octets apart are asked for as one,
	// which costs less than another header. Default: 10,000; negative: 0.
	MergeGap int64
	// MaxRanges bounds the ranges in one HTTP request; more are asked for in
	// several. Default: 64.
	MaxRanges int
	// MaxConcurrent bounds the HTTP requests under way. Default: 8.
	MaxConcurrent int
	// MaxOctets bounds the memory of one call. Default: 64 MiB.
	MaxOctets int64

	// Usable tells whether a parent, by its URL, may be asked now. Those that may not are asked only when no other one
	// could help. Default: all may.
	Usable func(url string) bool
	// Failed is told of a parent, by its URL, that could not be reached or did not answer.
	Failed func(url string, err error)

	// Transport makes the HTTP requests. Default: one of the client's own,
	// without proxies, closed with the client.
	Transport http.RoundTripper
	// Rand returns a number in [0, 1) for the back-off. Default: math/rand/v2.
	Rand func() float64
	// Sleep waits for d or until ctx ends, and returns the cause then. It is
	// the client's clock. Default: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// populate returns a copy with all defaults filled in, and the base URLs.
func (c Config) populate() (Config, []parent, error) {
	if len(c.Parents) == 0 {
		return c, nil, ErrNoParent
	}
	parents := make([]parent, len(c.Parents))
	for i, p := range c.Parents {
		var err error
		if parents[i], err = newParent(p); err != nil {
			return c, nil, err
		}
	}
	c.Rounds = orDefault(c.Rounds, 3)
	c.RoundWait = orDefault(c.RoundWait, 100*time.Millisecond)
	c.RoundWaitMax = orDefault(c.RoundWaitMax, 2*time.Second)
	c.Timeout = orDefault(c.Timeout, 10*time.Second)
	if c.MergeGap == 0 {
		c.MergeGap = 10_000
	}
	c.MergeGap = max(c.MergeGap, 0)
	c.MaxRanges = orDefault(c.MaxRanges, 64)
	c.MaxConcurrent = orDefault(c.MaxConcurrent, 8)
	c.MaxOctets = orDefault(c.MaxOctets, 64<<20)
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Sleep == nil {
		c.Sleep = overload.Sleep
	}
	return c, parents, nil
}

// parent is a checked Parent; its bases end with a slash.
type parent struct {
	url        string // as configured
	name       string // for errors
	ids, names string
}

func newParent(p Parent) (parent, error) {
	ids, name, err := baseURL(p.URL)
	if err != nil {
		return parent{}, err
	}
	names := ids
	if p.Names != "" {
		if names, _, err = baseURL(p.Names); err != nil {
			return parent{}, err
		}
	}
	return parent{url: p.URL, name: name, ids: ids, names: names}, nil
}

func baseURL(s string) (base, name string, err error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("repair: parent %q is no base URL", s)
	}
	return strings.TrimSuffix(u.String(), "/") + "/", u.Redacted(), nil
}
