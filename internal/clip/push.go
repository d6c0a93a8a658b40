package clip

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// PushConfig describes a push. The zero value has the defaults.
type PushConfig struct {
	// Source describes the channel.
	Source Config
	// Client makes the requests. It should keep connections alive and have no
	// overall time-out, since the request of a segment takes as long as the
	// segment. Default: one of its own.
	Client *http.Client
	// Header is added to every request, for a stream key perhaps.
	Header http.Header
	// Witness, if set, is called with every object that the ingest has accepted
	// in whole. It must not keep body or change it. Calls may be concurrent.
	Witness func(name string, body []byte)
	// Logger gets the loss and the return of the ingest. Default: silent.
	Logger *slog.Logger
}

// Push plays the clip to an HTTP ingest until ctx ends, and returns its cause.
// target is the URL of the manifest, or of the folder for all objects with a
// slash at its end.
//
// Requests are those of FFmpeg's dash muxer with persistent connections: PUT
// with chunked transfer coding, one connection per stream and one for the
// manifests, a segment's request open while its chunks come into being. When a
// request fails, the object is lost, as with FFmpeg; the next one opens a new
// connection. Other than FFmpeg, Push then sends the initialization segments
// again.
func Push(ctx context.Context, target string, cfg PushConfig) error {
	base, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("clip: push: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return fmt.Errorf("clip: push: %q is not an HTTP URL", target)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &pusher{cfg: cfg, base: base, source: NewSource(cfg.Source), results: make(chan *object)}
	if p.cfg.Logger == nil {
		p.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if p.cfg.Client == nil {
		transport := &http.Transport{
			MaxIdleConnsPerHost:   streams + 1,
			ResponseHeaderTimeout: responseTimeout,
		}
		defer transport.CloseIdleConnections()
		p.cfg.Client = &http.Client{Transport: transport}
	}
	return p.run(ctx)
}

// responseTimeout is how long the answer may take once an object has been sent.
const responseTimeout = 5 * time.Second

// pusher is owned by one goroutine; its lanes tell it results by channel.
type pusher struct {
	cfg     PushConfig
	base    *url.URL
	source  *Source
	lanes   [streams + 1]lane // of the streams, and of the manifests
	results chan *object

	down   bool // an object has failed, and the ingest has not recovered yet
	round  int  // of announcements
	inits  int  // initialization segments accepted in this round
	opened [streams]*object
}

func (p *pusher) run(ctx context.Context) error {
	for i := range p.lanes {
		l := &p.lanes[i]
		l.start(ctx, p.put, p.results)
	}
	defer func() {
		for _, o := range p.opened {
			if o != nil {
				o.body.close(context.Cause(ctx))
			}
		}
		for i := range p.lanes {
			p.lanes[i].stop()
		}
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		part, ok := p.source.Poll(now)
		if ok {
			p.send(&part, now)
			continue
		}
		timer.Reset(p.source.NextTimeout().Sub(now))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case o := <-p.results:
			p.done(o)
		}
	}
}

func (p *pusher) send(part *Part, now time.Time) {
	if part.First && part.Last {
		o := p.object(part)
		o.body.append(part.Body)
		o.body.close(nil)
		p.enqueue(o, len(p.lanes)-1)
		return
	}
	if part.First {
		p.opened[part.Stream] = p.object(part)
		p.enqueue(p.opened[part.Stream], part.Stream)
		if p.down && part.Stream == 0 {
			p.announce(now)
		}
	}
	o := p.opened[part.Stream]
	switch {
	case o == nil:
	case part.Abort:
		o.body.close(errAborted)
		p.opened[part.Stream] = nil
	default:
		o.body.append(part.Body)
		if part.Last {
			o.body.close(nil)
			p.opened[part.Stream] = nil
		}
	}
}

func (p *pusher) announce(now time.Time) {
	p.round++
	p.inits = 0
	p.source.Announce(now)
}

func (p *pusher) object(part *Part) *object {
	return &object{name: part.Name, stream: part.Stream, number: part.Number, round: p.round, body: newBody()}
}

func (p *pusher) enqueue(o *object, lane int) {
	if !p.lanes[lane].enqueue(o) {
		o.err = errStalled
		p.done(o)
	}
}

// done takes note of an object's fate.
func (p *pusher) done(o *object) {
	if o.err == nil {
		if o.stream >= 0 && o.number == 0 && o.round == p.round {
			if p.inits++; p.inits == streams && p.down {
				p.down = false
				p.cfg.Logger.Info("clip: push goes on", "url", p.base.Redacted())
			}
		}
		return
	}
	if o.number > 0 {
		p.source.Lost(o.stream, o.number)
	}
	if !p.down {
		p.down = true
		p.round++ // initialization segments accepted so far do not count
		p.cfg.Logger.Warn("clip: push interrupted", "object", o.name, "error", o.err)
	}
}

// put sends one object. It is called by the lanes' goroutines.
func (p *pusher) put(ctx context.Context, o *object) error {
	u := p.base.ResolveReference(&url.URL{Path: o.name})
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), o.body.reader())
	if err != nil {
		return err
	}
	// A server may close an idle connection just when it is used again. These
	// two let the client repeat the request from its start; a key without a
	// value is not sent.
	req.GetBody = func() (io.ReadCloser, error) { return o.body.reader(), nil }
	req.Header["Idempotency-Key"] = nil
	for k, v := range p.cfg.Header {
		req.Header[k] = v
	}
	resp, err := p.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Reading the answer to its end frees the connection for the next object.
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("clip: PUT %s: %s", u.Redacted(), resp.Status)
	}
	if p.cfg.Witness != nil {
		if b, ok := o.body.whole(); ok {
			p.cfg.Witness(o.name, b)
		}
	}
	return nil
}
