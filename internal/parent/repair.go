package parent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/service"
)

// backOff spreads the requests of the many nodes that lose the same packets. A parent has the octets itself only once
// its own repair is done, so that asking at once gains nothing.
const (
	backOff       = 5 * time.Millisecond
	backOffWindow = 30 * time.Millisecond
)

// mergeGap joins ranges that lie closer than what the header of another part costs.
const mergeGap = 512

// repairs asks the parents of one time for repair.
type repairs struct {
	client *repair.Client
	idle   func() // closes the connections that the client does not use
}

// newRepairs returns nil if there are no parents.
func newRepairs(c *Client, parents []*url.URL) (*repairs, error) {
	if len(parents) == 0 {
		return nil, nil
	}
	transport := &http.Transport{
		DialContext: c.dial, ResponseHeaderTimeout: time.Second, TLSHandshakeTimeout: 3 * time.Second,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	cfg := repair.Config{
		NodeID: c.node, BackOff: backOff, BackOffWindow: backOffWindow, MergeGap: mergeGap,
		Timeout: 5 * time.Second,
		Usable: func(url string) bool {
			u := c.find(url)
			return u != nil && u.health.usable(time.Now())
		},
		Transport: watched{transport, c},
	}
	for _, p := range parents {
		cfg.Parents = append(cfg.Parents, repair.Parent{URL: p.String()})
	}
	client, err := repair.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &repairs{client, transport.CloseIdleConnections}, nil
}

// mender holds the client of the present parents.
type mender struct {
	mu      sync.Mutex // guards below
	present *repairs   // nil while there are no parents
}

func (m *mender) set(c *Client, next *repairs) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.present
	m.present = next
	if old == nil {
		return
	}
	c.group.Go(func() {
		old.client.Close() // waits for what is under way
		old.idle()
	})
}

// watched is the transport of the repair requests, which tells what they show of the parents.
type watched struct {
	http.RoundTripper
	client *Client
}

// RoundTrip implements http.RoundTripper. A parent that cannot be reached, or breaks the connection, is dead. One that is
// merely slow may be busy with what others lost, too: it is dead when it has been so again and again, and gave nothing else
// meanwhile.
func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := w.RoundTripper.RoundTrip(r)
	u := w.client.at(r.URL)
	switch {
	case u == nil:
	case err == nil:
		u.health.answered()
	case errors.Is(r.Context().Err(), context.Canceled):
	case slow(err):
		if u.health.slow(time.Now(), asked) {
			w.client.fault(u, asked, dead, err)
		}
	default:
		w.client.fault(u, asked, dead, err)
	}
	return resp, err
}

// slow tells whether a request was taken, and then took too long.
func slow(err error) bool {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return false
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Repair implements ingress.Repairer. The sender of the packets is asked by the object's address on the wire, all others
// by its name.
func (c *Client) Repair(ctx context.Context, want ingress.Wanted, supply func(off int64, p []byte, total int64) error) error {
	c.mender.mu.Lock()
	present := c.mender.present
	c.mender.mu.Unlock()
	if present == nil {
		return repair.ErrNoParent
	}
	client := present.client
	r := repair.Request{
		ID: repair.ObjectID{
			Session: repair.Session{Source: want.Session.Source, Group: want.Session.Group, Port: want.Session.Port},
			TSI:     uint64(want.TSI), TOI: uint64(want.TOI),
		},
	}
	if want.Generation != 0 {
		r.ETag = ETag(want.Generation)
	}
	for _, m := range want.Missing {
		if m.End < 0 {
			m.End = repair.ToEnd
		}
		r.Ranges = append(r.Ranges, repair.Range{Start: m.Start, End: m.End})
	}
	a, err := client.Fetch(ctx, r)
	if errors.Is(err, repair.ErrUnknown) || errors.Is(err, repair.ErrExpired) {
		// A parent that is not the sender of this session, or has restarted, knows the name alone.
		r.ID, r.Name = repair.ObjectID{}, want.Service+"/"+want.Name
		a, err = client.Fetch(ctx, r)
	}
	if a == nil {
		return err
	}
	if len(a.Parts) == 0 && a.Length >= 0 {
		// Nothing was missing but where the object ends.
		return errors.Join(err, supply(a.Length, nil, a.Length))
	}
	for _, p := range a.Parts {
		if err := supply(p.Offset, p.Data, a.Length); err != nil {
			var wrong *service.MismatchError
			if u := c.find(p.Parent); u != nil && errors.As(err, &wrong) {
				c.fault(u, time.Now(), lying, wrong)
			}
			return err
		}
	}
	return err
}

// at returns the parent that a URL leads to, nil if it is none any more.
func (c *Client) at(u *url.URL) *upstream {
	for _, p := range c.list() {
		if p.base.Host == u.Host && p.base.Scheme == u.Scheme && strings.HasPrefix(u.Path, strings.TrimSuffix(p.base.Path, "/")) {
			return p
		}
	}
	return nil
}

// find returns the parent with a URL, nil if it is none any more.
func (c *Client) find(url string) *upstream {
	for _, u := range c.list() {
		if u.base.String() == url {
			return u
		}
	}
	return nil
}
