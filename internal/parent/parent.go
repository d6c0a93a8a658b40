// Package parent asks the parents of a node over HTTP for whole objects that did not come by multicast.
package parent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/internal/service"
)

// WaitHeader is the field of a request with which a child says for how many milliseconds its own reader has left to wait
// for an object that is about to come. Without it each node on the way up would wait anew.
const WaitHeader = "Treedn-Wait"

// Client fetches objects from the first parent that has them. It is safe for concurrent use.
type Client struct {
	node     string
	http     *http.Client
	parents  atomic.Pointer[[]*url.URL]
	objects  atomic.Uint64
	octets   atomic.Uint64
	requests atomic.Uint64
	mender   mender
}

// New returns a client that has no parents yet. node stands for this node in the Via field, by which a loop of parents
// is seen and refused.
func New(node string) *Client {
	return &Client{node: node, http: newHTTP()}
}

// SetParents replaces the base URLs, in the order in which they are asked. An object is at <base>/<service>/<name>.
func (c *Client) SetParents(parents []*url.URL) error {
	c.parents.Store(&parents)
	return c.mender.set(c.node, parents)
}

// Parents returns the base URLs.
func (c *Client) Parents() []*url.URL {
	if p := c.parents.Load(); p != nil {
		return *p
	}
	return nil
}

// HTTP is what the parents are asked by.
func (c *Client) HTTP() *http.Client { return c.http }

// Close ends what is under way.
func (c *Client) Close() {
	_ = c.mender.set(c.node, nil)
	c.http.CloseIdleConnections()
}

func newHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		ResponseHeaderTimeout: 8 * time.Second,
		TLSHandshakeTimeout:   3 * time.Second,
		MaxConnsPerHost:       64,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // octets must come as they are
	}}
}

// Objects counts the objects fetched whole so far.
func (c *Client) Objects() uint64 { return c.objects.Load() }

// Octets counts the object octets fetched so far.
func (c *Client) Octets() uint64 { return c.octets.Load() }

// Requests counts the requests made so far.
func (c *Client) Requests() uint64 { return c.requests.Load() }

// idle is how long a body may stand still before the next parent is asked for the rest.
const idle = 5 * time.Second

// maxObject bounds what a parent can make this node keep under one name.
const maxObject = 64 << 20

// errNext means that this parent cannot help and another one may.
type errNext struct{ error }

func (e errNext) Unwrap() error { return e.error }

// Fetch asks each parent in turn and writes the object to what begin returns. When a transfer breaks off, the next parent is
// asked for the rest of the same generation.
func (c *Client) Fetch(ctx context.Context, svc, name string, begin func(service.Meta) (io.Writer, error)) error {
	f := fetch{client: c, service: svc, name: name, begin: begin}
	var last error
	for _, base := range c.Parents() {
		err := f.from(ctx, base)
		if err == nil {
			c.objects.Add(1)
			return nil
		}
		var next errNext
		if !errors.As(err, &next) || ctx.Err() != nil {
			return err
		}
		if last == nil || !errors.Is(err, service.ErrNotFound) {
			last = next.error
		}
	}
	if last == nil {
		last = service.ErrNotFound
	}
	return last
}

type fetch struct {
	client        *Client
	service, name string
	begin         func(service.Meta) (io.Writer, error)

	w    io.Writer
	etag string
	n    int64
}

func (f *fetch) from(ctx context.Context, base *url.URL) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(f.service, f.name).String(), nil)
	if err != nil {
		return errNext{err}
	}
	req.Header.Set("Accept-Encoding", "identity")
	via := service.Via(ctx)
	if via != "" {
		via += ", "
	}
	req.Header.Set("Via", via+"1.1 "+f.client.node)
	if left, ok := service.Patience(ctx); ok {
		req.Header.Set(WaitHeader, strconv.FormatInt(left.Milliseconds(), 10))
	}
	if f.n > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.n))
		req.Header.Set("If-Range", f.etag)
	}
	f.client.requests.Add(1)
	resp, err := f.client.http.Do(req)
	if err != nil {
		return errNext{fmt.Errorf("parent: %w", err)}
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK && f.n == 0:
	case resp.StatusCode == http.StatusPartialContent && f.n > 0 && resp.Header.Get("Etag") == f.etag:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", f.n)) {
			return errNext{fmt.Errorf("parent: %s answered another range", base.Host)}
		}
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return errNext{service.ErrNotFound}
	default:
		return errNext{fmt.Errorf("parent: %s answered %s", base.Host, resp.Status)}
	}
	if f.w == nil {
		gen, ok := ParseETag(resp.Header.Get("Etag"))
		if !ok {
			return errNext{fmt.Errorf("parent: %s gave no generation", base.Host)}
		}
		f.etag = resp.Header.Get("Etag")
		w, err := f.begin(service.Meta{Name: f.name, ContentType: resp.Header.Get("Content-Type"), Generation: gen, Length: resp.ContentLength})
		if err != nil {
			return err
		}
		f.w = w
	}
	return f.copy(resp.Body, cancel)
}

func (f *fetch) copy(body io.Reader, cancel context.CancelCauseFunc) error {
	watchdog := time.AfterFunc(idle, func() { cancel(errors.New("parent: transfer stands still")) })
	defer watchdog.Stop()
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		watchdog.Reset(idle)
		if n > 0 {
			f.n += int64(n)
			if f.n > maxObject {
				return fmt.Errorf("parent: object exceeds %d octets", maxObject)
			}
			f.client.octets.Add(uint64(n))
			if _, err := f.w.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return errNext{fmt.Errorf("parent: after %d octets: %w", f.n, err)}
		}
	}
}

// ParseETag reads the generation out of an entity tag of this suite's caches.
func ParseETag(etag string) (generation uint64, ok bool) {
	s, ok := strings.CutPrefix(etag, `"`)
	if !ok || len(s) != 17 || s[16] != '"' {
		return 0, false
	}
	generation, err := strconv.ParseUint(s[:16], 16, 64)
	return generation, err == nil
}
