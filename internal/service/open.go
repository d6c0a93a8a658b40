package service

import (
	"context"
	"io"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/manifest"
)

// defaultWait bounds how long a request for an announced object waits when no manifest tells the target duration.
const defaultWait = 4 * time.Second

// Open returns an object for a reader. An object that the current manifests announce, or that comes next by their
// template, is waited for, at most one target duration; then the parents are asked; then it is ErrNotFound.
func (s *Service) Open(ctx context.Context, name string) (*cache.Object, error) {
	if o := s.lookup(name); o != nil {
		return o, nil
	}
	if s.index.Expects(name) {
		wait := s.index.TargetDuration()
		if wait <= 0 {
			wait = defaultWait
		}
		if o, err := s.wait(ctx, name, wait); err != nil {
			return nil, err
		} else if o != nil {
			return o, nil
		}
	}
	o, err := s.fetch(ctx, name)
	if err == nil && manifest.IsManifest(name) {
		s.learn(ctx, name, o)
	}
	return o, err
}

// learn notes what a manifest announces that came from a parent, before its reader asks for that.
func (s *Service) learn(ctx context.Context, name string, o *cache.Object) {
	r, err := o.NewReader(ctx, 0)
	if err != nil {
		return
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(body) <= maxManifest {
		s.announce(name, body)
	}
}

// maxManifest bounds a manifest that is read for what it announces, in octets.
const maxManifest = 1 << 20

func (s *Service) lookup(name string) *cache.Object {
	o, ok := s.cfg.Store.Lookup(s.key(name))
	if !ok {
		return nil
	}
	if _, _, err := o.Size(); err != nil {
		return nil // broken off: as good as not here
	}
	return o
}

func (s *Service) wait(ctx context.Context, name string, d time.Duration) (*cache.Object, error) {
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
	via := Via(ctx)
	return s.cfg.Store.Fetch(ctx, s.key(name), func(ctx context.Context, begin func(cache.Meta) (*cache.Writer, error)) error {
		return s.cfg.Parents.Fetch(WithVia(ctx, via), s.cfg.Name, name, func(m Meta) (*cache.Writer, error) {
			return begin(s.cacheMeta(m))
		})
	})
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
