package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

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
			return limitError(limitManifest)
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
