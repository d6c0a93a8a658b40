// Package parent asks the parents of a node over HTTP for what did not come by multicast: whole objects, the rest of
// objects that grow, and ranges that were lost.
//
// The parents are asked in their order. One that refuses connections or gives no sign of life is left at once for the
// next and tried again by probes, one that gives wrong octets is left for longer, and one that has nothing while another
// has it comes after that one for some time. While a request waits at a parent for what is about to come, the parent
// sends interim responses (102), by which its children tell waiting from death. A transfer that stands still goes on
// from its last octet at whoever brings the next one first, always of the same generation.
package parent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/service"
)

// WaitHeader is the field of a request with which a child says for how many milliseconds its own reader has left to wait
// for an object that is about to come. Without it each node on the way up would wait anew.
const WaitHeader = "Treedn-Wait"

// Client fetches objects from the parents. It is safe for concurrent use.
type Client struct {
	node     string
	dial     dialer
	other    *http.Client
	ctx      context.Context
	cancel   context.CancelFunc
	parents  atomic.Pointer[[]*upstream]
	objects  atomic.Uint64
	octets   atomic.Uint64
	requests atomic.Uint64
	mender   mender
	group    sync.WaitGroup

	mu     sync.Mutex    // guards below
	change chan struct{} // closed when a parent is up again
}

// Config configures a Client.
type Config struct {
	// Node stands for this node in the Via field, by which a loop of parents is seen and refused.
	Node string
	// Dial opens connections. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// New returns a client that has no parents yet.
func New(cfg Config) *Client {
	c := &Client{node: cfg.Node, dial: cfg.Dial, change: make(chan struct{})}
	if c.dial == nil {
		c.dial = (&net.Dialer{Timeout: 2 * time.Second}).DialContext
	}
	c.other = newHTTP(c.dial)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// SetParents replaces the base URLs, in the order in which they are asked. An object is at <base>/<service>/<name>. If they
// are unusable, those before stay.
func (c *Client) SetParents(parents []*url.URL) error {
	mend, err := newRepairs(c, parents)
	if err != nil {
		return err
	}
	var list []*upstream
	old := c.list()
	for _, base := range parents {
		i := slices.IndexFunc(old, func(u *upstream) bool { return *u.base == *base })
		if i >= 0 {
			list = append(list, old[i])
		} else {
			list = append(list, newUpstream(c.ctx, base, c.dial))
		}
	}
	c.parents.Store(&list)
	for _, u := range old {
		if !slices.Contains(list, u) {
			u.close()
		}
	}
	c.wake()
	c.mender.set(c, mend)
	return nil
}

func (c *Client) list() []*upstream {
	if p := c.parents.Load(); p != nil {
		return *p
	}
	return nil
}

// Parents returns the base URLs.
func (c *Client) Parents() []*url.URL {
	var list []*url.URL
	for _, u := range c.list() {
		list = append(list, u.base)
	}
	return list
}

// Current returns the parent that is asked first now, nil if none can be reached, and what is wrong with those before
// it, in words.
func (c *Client) Current() (parent *url.URL, why string) {
	now := time.Now()
	var wrong []string
	for _, u := range c.list() {
		if u.health.usable(now) {
			return u.base, strings.Join(wrong, "; ")
		}
		wrong = append(wrong, u.base.Host+" "+u.health.why(now))
	}
	return nil, strings.Join(wrong, "; ")
}

// Reachable returns the base URLs of the parents that can be asked now, and behind them those of the others.
func (c *Client) Reachable() []*url.URL {
	now := time.Now()
	var list, rest []*url.URL
	for _, u := range c.list() {
		if u.health.usable(now) {
			list = append(list, u.base)
		} else {
			rest = append(rest, u.base)
		}
	}
	return append(list, rest...)
}

// HTTP is what the parents are asked by for what is no object.
func (c *Client) HTTP() *http.Client { return c.other }

// Close ends what is under way.
func (c *Client) Close() {
	c.cancel()
	_ = c.SetParents(nil)
	c.other.CloseIdleConnections()
	c.group.Wait()
}

// Objects counts the objects fetched whole so far.
func (c *Client) Objects() uint64 { return c.objects.Load() }

// Octets counts the object octets fetched so far.
func (c *Client) Octets() uint64 { return c.octets.Load() }

// Requests counts the requests made so far.
func (c *Client) Requests() uint64 { return c.requests.Load() }

// changed returns a channel that is closed when more parents can be asked than now.
func (c *Client) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.change
}

func (c *Client) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.change)
	c.change = make(chan struct{})
}

// fault notes what is wrong with a parent, as a request has shown that was made at asked. One that is dead is probed from
// then on.
func (c *Client) fault(u *upstream, asked time.Time, f fault, err error) {
	if c.ctx.Err() != nil || u.ctx.Err() != nil {
		return
	}
	down := u.health.isDown()
	u.health.bad(time.Now(), asked, f, err)
	if f == dead && !down && u.health.isDown() {
		// Whatever connections there are, they lead nowhere.
		u.http.CloseIdleConnections()
		c.other.CloseIdleConnections()
		c.group.Go(func() {
			u.probe(c.dial, func() {
				u.health.up(time.Now())
				c.wake()
			})
		})
	}
}

// Fetch implements service.Fetcher.
func (c *Client) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	if !manifest.ValidName(r.Name) {
		return service.ErrNotFound // it could lead anywhere at the parent
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.ctx, func() { cancel(net.ErrClosed) })
	defer stop()
	t := &transfer{
		client: c, ctx: ctx, r: r, begin: begin, via: service.Via(ctx), events: make(chan event),
		gone: make(map[*upstream]error), n: r.Offset, total: -1, progress: time.Now().Add(r.Expect),
		lateness: late,
	}
	err := t.run()
	if err == nil {
		c.objects.Add(1)
	}
	return err
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

// ETag returns the entity tag of a generation.
func ETag(generation uint64) string { return fmt.Sprintf(`"%016x"`, generation) }
