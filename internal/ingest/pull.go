package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// PullConfig says where a channel is fetched from.
type PullConfig struct {
	// URL of an HLS playlist (multivariant or media) or a DASH MPD; http or
	// https. Required. What it refers to must lie below its directory: objects
	// keep their names, and players resolve them again.
	URL string
	// Header is sent with every request, such as Authorization. It is not
	// logged, and not sent to another host after a redirect.
	Header http.Header
	// Window is how far behind the live edge to begin. Default 30 s.
	Window time.Duration
	// RequestTimeout bounds the wait for an answer, and the silence within one.
	// Default 10 s.
	RequestTimeout time.Duration
	// AllowPrivate lets redirects lead to private and loopback addresses of
	// hosts other than that of URL. Default: they may not.
	AllowPrivate bool
}

const (
	backoffFirst = 500 * time.Millisecond
	backoffLast  = 10 * time.Second
	maxRedirects = 5
	// maxReload is the longest time between two loads of a manifest; FFmpeg asks
	// for 500 s, within which the end of a presentation would go unnoticed.
	maxReload = 10 * time.Second
	minReload = 250 * time.Millisecond
)

var (
	// ErrPull: the configuration of a pull cannot work.
	ErrPull = errors.New("ingest: pull")
	// ErrUpstream: the origin answered with something else than the object.
	ErrUpstream = errors.New("ingest: upstream")

	errNotFound  = fmt.Errorf("%w: not found", ErrUpstream)
	errForbidden = fmt.Errorf("%w: redirect refused", ErrUpstream)
)

// Pull fetches a live presentation from an origin and takes it in as if the
// origin pushed it: under its own names, low-latency chunks as they come. It
// retries until ctx ends, the channel is removed, the server is closed (an error
// says which) or the presentation has ended (nil).
func (s *Server) Pull(ctx context.Context, channel string, cfg PullConfig) error {
	c := s.channel(channel)
	if c == nil {
		return ErrUnknownChannel
	}
	p, err := newPuller(c, cfg)
	if err != nil {
		return err
	}
	defer p.client.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })()

	wait := backoff{}
	for {
		began := time.Now()
		err := p.run(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			return nil
		}
		p.trouble(err)
		if time.Since(began) > time.Minute {
			wait = backoff{}
		}
		if err := await(ctx, wait.next(), nil); err != nil {
			return err
		}
	}
}

type puller struct {
	c      *channel
	cfg    PullConfig
	url    *url.URL
	client *http.Client
	who    publisher

	mu    sync.Mutex // guards inits
	inits map[string]bool
}

func newPuller(c *channel, cfg PullConfig) (*puller, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: the URL must be an absolute one with http or https", ErrPull)
	}
	cfg.Window = positive(cfg.Window, 30*time.Second)
	cfg.RequestTimeout = positive(cfg.RequestTimeout, 10*time.Second)
	p := &puller{c: c, cfg: cfg, url: u, inits: make(map[string]bool)}
	// Only what is fit for logs: user names and queries may hold secrets.
	p.who = publisher{agent: "pull from " + (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()}
	dialer := &net.Dialer{Timeout: cfg.RequestTimeout}
	guarded := &net.Dialer{Timeout: cfg.RequestTimeout, Control: refusePrivate}
	p.client = &http.Client{
		CheckRedirect: p.checkRedirect,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if host, _, _ := net.SplitHostPort(addr); cfg.AllowPrivate || strings.EqualFold(host, u.Hostname()) {
					return dialer.DialContext(ctx, network, addr)
				}
				return guarded.DialContext(ctx, network, addr)
			},
			ResponseHeaderTimeout:  cfg.RequestTimeout,
			TLSHandshakeTimeout:    cfg.RequestTimeout,
			IdleConnTimeout:        time.Minute,
			MaxIdleConnsPerHost:    16,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
	}
	return p, nil
}

// run fetches the presentation until it ends or something beyond one object
// fails.
func (p *puller) run(ctx context.Context) error {
	doc, err := p.load(ctx, p.url, p.topName())
	if err != nil {
		return err
	}
	switch summary, err := manifest.Inspect(doc.body, p.c.index.Limits); {
	case err != nil:
		return err
	case summary.Master:
		return p.master(ctx, doc)
	case isMPD(doc.body):
		return p.dash(ctx, doc)
	}
	return p.playlist(ctx, doc)
}

func isMPD(body []byte) bool {
	_, err := manifest.ParsePlaylist(body, manifest.Limits{})
	return err != nil
}

// topName is the name of the manifest that the URL of the pull points to.
func (p *puller) topName() string {
	if name := path.Base(p.url.Path); manifest.ValidName(name) && name != "/" {
		return name
	}
	return "manifest"
}

// trouble tells of a failure in the channel's state and in the log.
func (p *puller) trouble(err error) {
	p.c.trouble(p.who.agent + ": " + err.Error())
	p.c.config.Logger.Warn("pull is in trouble", "channel", p.c.name, "from", p.who.agent, "error", err)
}

// A backoff doubles from first to backoffLast, with a quarter of jitter.
type backoff struct {
	first, current time.Duration
}

func (b *backoff) next() time.Duration {
	if b.first == 0 {
		b.first = backoffFirst
	}
	b.current = min(max(2*b.current, b.first), backoffLast)
	return b.current - time.Duration(rand.Int64N(int64(b.current)/4+1))
}
