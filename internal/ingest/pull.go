package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"syscall"
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

// checkRedirect keeps redirects within HTTP and the headers with their host.
func (p *puller) checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: too many", errForbidden)
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return fmt.Errorf("%w: scheme %q", errForbidden, r.URL.Scheme)
	case via[0].URL.Scheme == "https" && r.URL.Scheme == "http":
		return fmt.Errorf("%w: from https to http", errForbidden)
	}
	if !strings.EqualFold(r.URL.Host, p.url.Host) {
		for k := range p.cfg.Header {
			r.Header.Del(k)
		}
	}
	return nil
}

// refusePrivate keeps an origin from pointing this host at its neighbours.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := a.Addr().Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return fmt.Errorf("%w: to the address %s", errForbidden, ip)
	}
	return nil
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

// document is a manifest as loaded.
type document struct {
	name   string
	asked  *url.URL
	url    *url.URL // where it was, after redirects
	body   []byte
	loaded time.Time     // when it was asked for
	clock  time.Duration // how far the origin's clock is ahead
}

// load fetches a manifest.
func (p *puller) load(ctx context.Context, u *url.URL, name string) (*document, error) {
	d := &document{name: name, asked: u, loaded: time.Now()}
	err := p.get(ctx, u, func(res *http.Response) error {
		body, err := io.ReadAll(io.LimitReader(res.Body, p.c.config.MaxManifest+1))
		if err != nil {
			return err
		}
		if int64(len(body)) > p.c.config.MaxManifest {
			return limitError("manifest size")
		}
		d.body, d.url = body, res.Request.URL
		// Segments of a template exist by the origin's clock.
		if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
			d.clock = skew(at, d.loaded, time.Now())
		}
		return nil
	})
	return d, err
}

// skew is how far the origin's clock is ahead, given its Date header. That has
// whole seconds: what is within its error counts as none.
func skew(date, asked, answered time.Time) time.Duration {
	switch {
	case date.After(answered.Add(time.Second)):
		return date.Sub(answered)
	case date.Add(time.Second).Before(asked.Add(-time.Second)):
		return date.Add(time.Second).Sub(asked)
	}
	return 0
}

// get makes one request and hands the successful answer to use.
func (p *puller) get(ctx context.Context, u *url.URL, use func(*http.Response) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return ErrPull
	}
	if strings.EqualFold(u.Host, p.url.Host) {
		for k, v := range p.cfg.Header {
			req.Header[http.CanonicalHeaderKey(k)] = v
		}
	}
	req.Header.Set("User-Agent", "treedn")
	res, err := p.client.Do(req)
	if err != nil {
		// The text of the client's error has the URL in it, with its secrets.
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return fmt.Errorf("%w: %w", ErrUpstream, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusOK:
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone:
		return errNotFound
	default:
		return fmt.Errorf("%w: status %d", ErrUpstream, res.StatusCode)
	}
	idle := max(p.cfg.RequestTimeout, 2*p.c.index.TargetDuration())
	timer := time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w: silent for %v", ErrUpstream, idle)) })
	defer timer.Stop()
	res.Body = struct {
		io.Reader
		io.Closer
	}{&resettingReader{res.Body, timer, idle}, res.Body}
	if err := use(res); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return nil
}

// resettingReader puts a timer off with every octet.
type resettingReader struct {
	r     io.Reader
	timer *time.Timer
	idle  time.Duration
}

func (r *resettingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.timer.Reset(r.idle)
	}
	return n, err
}

// object fetches one object into the channel as it arrives.
func (p *puller) object(ctx context.Context, d *document, ref string) error {
	name, u, err := d.resolve(ref)
	if err != nil {
		return err
	}
	return p.get(ctx, u, func(res *http.Response) error {
		t := &transfer{name: name, contentType: res.Header.Get("Content-Type"), who: p.who}
		if err := p.c.open(ctx, t); err != nil {
			return err
		}
		buf := buffers.Get().(*[bufferSize]byte)
		defer buffers.Put(buf)
		for {
			n, err := res.Body.Read(buf[:])
			if n > 0 {
				if err := t.write(buf[:n]); err != nil {
					return t.finish(err)
				}
			}
			if errors.Is(err, io.EOF) {
				return t.finish(nil)
			}
			if err != nil {
				return t.finish(err)
			}
		}
	})
}

// errOutside: a manifest refers to something that would not keep its name.
var errOutside = fmt.Errorf("%w: a manifest refers to what does not lie below its directory", ErrPull)

// resolve returns the name and the address of a reference in the manifest.
func (d *document) resolve(ref string) (string, *url.URL, error) {
	name, ok := manifest.Resolve(d.name, ref)
	if !ok {
		return "", nil, errOutside
	}
	u, err := d.url.Parse(strings.TrimSpace(ref))
	if err != nil {
		return "", nil, errOutside
	}
	return name, u, nil
}

// retry fetches an object with back-off until it comes, ctx ends or the deadline
// passes. An origin may announce an object a moment before it has it.
func (p *puller) retry(ctx context.Context, d *document, ref string, deadline time.Time) error {
	wait := backoff{first: min(backoffFirst, max(p.c.index.TargetDuration()/8, 50*time.Millisecond))}
	for {
		err := p.object(ctx, d, ref)
		switch {
		case err == nil, ctx.Err() != nil, fatal(err), errors.Is(err, ErrPull):
			return err
		}
		pause := wait.next()
		if time.Now().Add(pause).After(deadline) {
			return err
		}
		if err := await(ctx, pause, nil); err != nil {
			return err
		}
	}
}

// fatal is whether an error concerns the channel, not one object.
func fatal(err error) bool {
	return errors.Is(err, ErrRevoked) || errors.Is(err, net.ErrClosed) || errors.Is(err, ErrBusy)
}

// header fetches an init segment unless the channel has it from this pull.
func (p *puller) header(ctx context.Context, d *document, ref string) error {
	name, _, err := d.resolve(ref)
	if err != nil {
		return err
	}
	p.mu.Lock()
	has := p.inits[name]
	p.mu.Unlock()
	if has {
		return nil
	}
	if err := p.retry(ctx, d, ref, time.Now().Add(2*p.target())); err != nil {
		return fmt.Errorf("init segment %s: %w", name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.inits) >= maxInits {
		clear(p.inits)
	}
	p.inits[name] = true
	return nil
}

// publish takes in a manifest.
func (p *puller) publish(ctx context.Context, d *document) error {
	t := &transfer{name: d.name, who: p.who}
	if err := p.c.open(ctx, t); err != nil {
		return err
	}
	// A name without extension may be that of a manifest all the same.
	t.state = whole
	return t.finish(t.write(d.body))
}

// target is the target duration of the channel, or a guess.
func (p *puller) target() time.Duration {
	if d := p.c.index.TargetDuration(); d > 0 {
		return d
	}
	return unknownTarget
}

// trouble tells of a failure in the channel's state and in the log.
func (p *puller) trouble(err error) {
	p.c.trouble(p.who.agent + ": " + err.Error())
	p.c.config.Logger.Warn("pull is in trouble", "channel", p.c.name, "from", p.who.agent, "err", err)
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
