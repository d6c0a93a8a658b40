package cache

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// Handler serves the objects of a store over HTTP.
type Handler struct {
	// Store is required.
	Store *Store
	// Service is the one service that is served: the URL path is the object's
	// name. Empty: the first segment of the path is the service.
	Service string
	// Key finds the key of a request instead. It returns false for a request
	// that can have no object.
	Key func(*http.Request) (Key, bool)
	// Resolve is asked for what the store lacks: it waits for the object, or
	// fetches it, or returns an error, which ServeError maps to a status. Nil:
	// what the store lacks is 404.
	Resolve func(ctx context.Context, key Key) (*Object, error)
	// Options applies to every object; its Status is set by the handler.
	Options ServeOptions
}

// attempts is how often a request looks for an object that leaves the store
// under its hands.
const attempts = 3

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setCommon(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		allowed(w, r)
		return
	}
	key, ok := h.key(r)
	if !ok {
		ServeError(w, r, ErrNotFound)
		return
	}
	var err error
	for range attempts {
		opts := h.Options
		opts.Status = "hit"
		o, found := h.Store.Lookup(key)
		if !found {
			opts.Status = "fwd=uri-miss"
			if h.Resolve == nil {
				err = ErrNotFound
				break
			}
			if o, err = h.Resolve(r.Context(), key); err != nil {
				break
			}
			if o == nil {
				err = ErrNotFound
				break
			}
		}
		err = serveObject(w, r, o, &opts)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrEvicted) {
			break
		}
	}
	if h.Options.Node != "" {
		miss := h.Options
		miss.Status = "fwd=uri-miss"
		w.Header().Set("Cache-Status", cacheStatus(&miss))
	}
	ServeError(w, r, err)
}

func (h *Handler) key(r *http.Request) (Key, bool) {
	if h.Key != nil {
		key, ok := h.Key(r)
		return key, ok && key.validate() == nil
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	service := h.Service
	if service == "" {
		service, name, _ = strings.Cut(name, "/")
	}
	key := Key{service, name}
	return key, key.validate() == nil
}
