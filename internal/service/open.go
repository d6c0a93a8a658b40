package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/route"
)

// defaultWait bounds how long a request for an announced object waits when no manifest tells the target duration.
const defaultWait = 4 * time.Second

// grace is how long a request waits for an object that should be here by now: it may be a few packets behind the
// manifest that announced it. A player that begins at a node that has just joined asks for several of those in a row.
const grace = 100 * time.Millisecond

// Open returns an object for a reader. An object that the current manifests announce, or that comes next by their
// template, is waited for, at most one target duration, and then the parents are asked; what this node must have missed
// they are asked for soon, and they may use the rest of the wait. Then it is ErrNotFound. However many nodes a request
// passes, it waits no longer than at the first one.
func (s *Service) Open(ctx context.Context, name string) (*cache.Object, error) {
	if o, err := s.current(ctx, name); o != nil || err != nil {
		return o, err
	}
	var first time.Duration
	if s.index.Expects(name) {
		if first = s.index.TargetDuration(); first <= 0 {
			first = defaultWait
		}
		if left, ok := Patience(ctx); ok {
			first = min(first, left)
		}
		ctx = WithPatience(ctx, first)
		if s.index.Past(name) {
			first = min(first, grace)
		}
	}
	if o, err := s.wait(ctx, name, first); o != nil || err != nil {
		return o, err
	}
	o, err := s.fetch(ctx, name)
	for err != nil && ctx.Err() == nil && first > 0 {
		left, _ := Patience(ctx)
		pause := left
		if !errors.Is(err, ErrNotFound) {
			pause = min(left, fetchAgain)
		}
		if late, _ := s.wait(ctx, name, pause); late != nil {
			return late, nil
		}
		if pause == left {
			break
		}
		o, err = s.fetch(ctx, name) // a parent may be back
	}
	return o, err
}

// fetchAgain is how long after parents have failed a request they are asked again, while it may wait for what is announced.
const fetchAgain = 250 * time.Millisecond

// takeManifest takes in a manifest that came from a parent.
func (s *Service) takeManifest(m Meta, body *manifestBody) error {
	m.Kind = Manifest
	err := s.PutSealed(m, body.Bytes(), body.seal)
	if errors.Is(err, ErrOlder) {
		return nil
	}
	if err != nil {
		s.log.Warn("manifest is not kept", "service", s.cfg.Name, "name", m.Name, "error", err)
	}
	return err
}

// manifestBody is a manifest on its way, with its seal. It refuses octets beyond its bound.
type manifestBody struct {
	bytes.Buffer
	seal []byte
}

func (b *manifestBody) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxManifest {
		return 0, errors.New("service: manifest is too large")
	}
	return b.Buffer.Write(p)
}

// ReadFrom hides that of the buffer, which has no bound.
func (b *manifestBody) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{b}, r)
}

func (b *manifestBody) SetSeal(datagram []byte) { b.seal = datagram }

// Refresh asks the parents for a manifest that has been the same for longer than a live one is: multicast may be silent.
// It returns when the answer is there, or soon; whatever happens the manifest that is here stays readable.
func (s *Service) Refresh(ctx context.Context, name string) {
	if s.cfg.Parents == nil || !manifest.IsManifest(name) || !s.overdue(name) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	if err := s.Renew(ctx, name, 0); err != nil && !errors.Is(err, ErrUnchanged) {
		s.log.Debug("manifest is overdue", "service", s.cfg.Name, "name", name, "error", err)
	}
}

// Renew asks the parents for a newer manifest than the one that is here, if one is, and takes it. expect is how long
// that may take as a rule; how long the parents may wait for one the context says, by WithPatience.
func (s *Service) Renew(ctx context.Context, name string, expect time.Duration) error {
	if s.cfg.Parents == nil {
		return ErrNotFound
	}
	s.mu.Lock()
	after := s.manifests[name].meta.Generation
	s.mu.Unlock()
	var m Meta
	var body manifestBody
	r := Request{Service: s.cfg.Name, Name: name, After: after, Expect: expect}
	err := s.cfg.Parents.Fetch(ctx, r, func(got Meta) (io.Writer, error) {
		m = got
		return &body, nil
	})
	if err != nil {
		return err
	}
	_ = s.takeManifest(m, &body)
	return nil
}

// Summary tells what the manifest of this name that is here says, and its generation; false if none is here.
func (s *Service) Summary(name string) (sum manifest.Summary, generation uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.manifests[name]
	if ok {
		sum, ok = s.index.Summary(name)
	}
	return sum, c.meta.Generation, ok
}

// AwaitNewer waits until an object of a generation above the given one is here, at most d.
func (s *Service) AwaitNewer(ctx context.Context, name string, generation uint64, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, min(d, maxPatience))
	defer cancel()
	_, _ = s.cfg.Store.Await(ctx, s.key(name), generation)
}

// maxPatience bounds how long a child may hold a request.
const maxPatience = time.Minute

// refreshTime is how long a reader waits for a newer manifest than the one that is here.
const refreshTime = time.Second

// overdue tells whether a manifest is due for a look at the parents, and notes that somebody looks.
func (s *Service) overdue(name string) bool {
	target := max(s.index.TargetDuration(), time.Second)
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	have, ok := s.manifests[name]
	// Encoders write each manifest once in a segment; half of one is for the way.
	if !ok || now.Sub(have.at) < target+target/2 || now.Sub(s.asked[name]) < target/2 {
		return false
	}
	s.asked[name] = now
	return true
}

// maxManifest bounds a manifest that is read for what it announces, in octets.
const maxManifest = 1 << 20

// Has tells whether an object is here, whole or in growth.
func (s *Service) Has(name string) bool { return s.lookup(name) != nil }

// Complete returns an object that is here as a whole; nil if it is not.
func (s *Service) Complete(name string) *cache.Object {
	o := s.lookup(name)
	if o == nil {
		return nil
	}
	if _, final, err := o.Size(); err != nil || !final {
		return nil
	}
	return o
}

// Fill fetches an object that is not here from the parents, for readers alone. It returns once the object is complete.
func (s *Service) Fill(ctx context.Context, name string) error {
	o, err := s.fetch(ctx, name)
	if err != nil {
		return err
	}
	if err := o.WaitPrefix(ctx, math.MaxInt64); err != io.EOF {
		return err
	}
	return nil
}

// Describe completes what a parent says of an object by what the manifests know: its kind, and its place in its track.
func (s *Service) Describe(m Meta) Meta {
	t, ok := s.index.TrackOf(m.Name)
	switch {
	case manifest.IsManifest(m.Name):
		m.Kind = Manifest
	case s.index.IsInit(m.Name):
		m.Kind = Init
	case ok:
		m.Kind = Media
		m.Track = route.Track{Run: m.Generation, Kind: RouteKind(t.Kind)}
		if !t.Template.IsZero() {
			m.Track.Stem, m.Track.Number = t.Template.String(), t.Number
		}
	}
	return m
}

// lookup returns an object that is here, and has its name now; nil if none is.
func (s *Service) lookup(name string) *cache.Object {
	o := s.here(name)
	if o == nil {
		return nil
	}
	if _, outdated := s.outdated(name, o.Meta().Generation); outdated {
		return nil
	}
	return o
}

func (s *Service) here(name string) *cache.Object {
	o, ok := s.cfg.Store.Lookup(s.key(name))
	if !ok {
		return nil
	}
	if _, _, err := o.Size(); err != nil {
		return nil // broken off: as good as not here
	}
	return o
}

// wait returns nil if the object does not come within d.
func (s *Service) wait(ctx context.Context, name string, d time.Duration) (*cache.Object, error) {
	if d <= 0 {
		return nil, nil
	}
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	o, err := s.cfg.Store.Await(limited, s.key(name), 0)
	switch {
	case err == nil:
		return o, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case limited.Err() != nil:
		return nil, nil
	}
	return nil, err
}

func (s *Service) fetch(ctx context.Context, name string) (*cache.Object, error) {
	if s.cfg.Parents == nil {
		return nil, ErrNotFound
	}
	asking := ctx
	return s.cfg.Store.Fetch(ctx, s.key(name), func(ctx context.Context, begin func(cache.Meta) (*cache.Writer, error)) error {
		ctx = WithVia(ctx, Via(asking))
		if left, ok := Patience(asking); ok {
			ctx = WithPatience(ctx, left)
		}
		if manifest.IsManifest(name) {
			return s.fetchManifest(ctx, name, begin)
		}
		return s.cfg.Parents.Fetch(ctx, Request{Service: s.cfg.Name, Name: name}, func(m Meta) (io.Writer, error) {
			m = s.Describe(m)
			s.mu.Lock()
			past := s.past(m)
			s.mu.Unlock()
			if past {
				return nil, ErrNotFound
			}
			w, err := begin(s.cacheMeta(m))
			if err != nil {
				return nil, err
			}
			return fetched{w}, nil
		})
	})
}

// fetchManifest is fetch for a manifest: nobody reads it before the service knows what it announces. Taking it in puts it
// into the store, which ends the fetch.
func (s *Service) fetchManifest(ctx context.Context, name string, begin func(cache.Meta) (*cache.Writer, error)) error {
	var m Meta
	var body manifestBody
	err := s.cfg.Parents.Fetch(ctx, Request{Service: s.cfg.Name, Name: name}, func(got Meta) (io.Writer, error) {
		m = got
		return &body, nil
	})
	if err != nil || s.takeManifest(m, &body) == nil {
		return err
	}
	// There are too many manifests to know them all: it is for its readers alone.
	m.Kind = Manifest
	w, err := begin(s.cacheMeta(m))
	if err != nil {
		return err
	}
	if body.seal != nil {
		fetched{w}.SetSeal(body.seal)
	}
	_, err = w.Write(body.Bytes())
	return err
}

// fetched is an object that comes from a parent.
type fetched struct{ *cache.Writer }

// SetSeal is as that of Object.
func (f fetched) SetSeal(datagram []byte) {
	_ = f.Object().SetHeader(SealHeader, string(datagram))
}

type viaKey struct{}

// WithVia notes the nodes that a request has passed, as its Via fields say, so that asking a parent goes on with them.
func WithVia(ctx context.Context, via string) context.Context {
	if via == "" {
		return ctx
	}
	return context.WithValue(ctx, viaKey{}, via)
}

// Via returns what WithVia noted.
func Via(ctx context.Context) string {
	via, _ := ctx.Value(viaKey{}).(string)
	return via
}

type patienceKey struct{}

// WithPatience notes how much longer a request may wait for an object that is about to come.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patienceKey{}, time.Now().Add(d))
}

// Patience returns what is left of what WithPatience noted, ok if it noted anything.
func Patience(ctx context.Context) (left time.Duration, ok bool) {
	deadline, ok := ctx.Value(patienceKey{}).(time.Time)
	if !ok {
		return 0, false
	}
	return max(0, time.Until(deadline)), true
}
