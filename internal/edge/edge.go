// Package edge serves the objects of a node's services over HTTP, to players and to child nodes alike.
package edge

import (
	"context"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

// Config configures a handler.
type Config struct {
	Store *cache.Store
	// Services finds a service by name; nil if the node does not carry it.
	Services func(name string) *service.Service
	// Node is this node's name in Cache-Status.
	Node string
	// Via stands for this node in Via fields, as no other node's does. A request that has passed this node before is
	// refused, since parents that point at each other would otherwise ask in circles.
	Via string
}

// segmentAge is the longest that a player, or a cache in front, may keep a media object without asking again. An encoder that
// restarts uses names again, so this stays at one segment.
const segmentAge = 2 * time.Second

// New returns a handler for GET and HEAD below /<service>/<object name>. There is no listing but that of the manifests,
// for children.
func New(c Config) http.Handler {
	objects := &cache.Handler{
		Store: c.Store,
		Key: func(r *http.Request) (cache.Key, bool) {
			key, ok := keyOf(r.URL.Path)
			return key, ok && c.Services(key.Service) != nil
		},
		Resolve: func(ctx context.Context, key cache.Key) (*cache.Object, error) {
			if s := c.Services(key.Service); s != nil {
				return s.Open(ctx, key.Name)
			}
			return nil, cache.ErrNotFound
		},
		Options: cache.ServeOptions{Node: c.Node, MaxAge: segmentAge},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if via := strings.Join(r.Header.Values("Via"), ", "); via != "" {
			if looped(via, c.Via) {
				cache.ServeError(w, r, loop{})
				return
			}
			ctx := service.WithVia(r.Context(), via)
			if ms, err := strconv.ParseUint(r.Header.Get(parent.WaitHeader), 10, 24); err == nil {
				ctx = service.WithPatience(ctx, time.Duration(ms)*time.Millisecond)
				p := newPatient(w)
				defer p.end()
				w = p
			}
			r = r.WithContext(ctx)
		}
		if strings.HasPrefix(r.URL.Path, repair.PathPrefix) {
			cache.ServeError(w, r, noRepair{})
			return
		}
		if name, ok := strings.CutPrefix(r.URL.Path, parent.NamesPath); ok {
			list(w, r, c.Services(name))
			return
		}
		if key, ok := keyOf(r.URL.Path); ok && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			if s := c.Services(key.Service); s != nil {
				if manifest.IsManifest(key.Name) {
					s.Refresh(r.Context(), key.Name)
					awaitNewer(r, s, key.Name)
					if r.URL.RawQuery != "" {
						if err := reload(r.Context(), s, key.Name, r.URL.Query()); err != nil {
							cache.ServeError(w, r, err)
							return
						}
					}
				} else {
					s.Settle(r.Context(), key.Name)
				}
			}
		}
		objects.ServeHTTP(w, r)
	})
}

// list answers with the names of a service's manifests.
func list(w http.ResponseWriter, r *http.Request, s *service.Service) {
	if s == nil || r.Method != http.MethodGet {
		cache.ServeError(w, r, cache.ErrNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, strings.Join(append(s.Manifests(), ""), "\n"))
}

// loop is the error of a request that came back to this node.
type loop struct{}

func (loop) Error() string   { return "request loop" }
func (loop) StatusCode() int { return http.StatusLoopDetected }

// noRepair is the error of a repair request where there is no repair server.
type noRepair struct{}

func (noRepair) Error() string   { return "no repair server" }
func (noRepair) StatusCode() int { return http.StatusMethodNotAllowed }

const maxName = 512

func keyOf(p string) (cache.Key, bool) {
	svc, name, ok := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return cache.Key{Service: svc, Name: name}, ok && name != "" && len(name) <= maxName && path.Clean("/"+name) == "/"+name
}

// maxHops bounds the nodes that a request may have passed.
const maxHops = 16

// looped reports whether node stands in a Via field (RFC 9110 section 7.6.3), or too many nodes do.
func looped(via, node string) bool {
	hops := 0
	for hop := range strings.SplitSeq(via, ",") {
		f := strings.Fields(hop)
		if len(f) >= 2 && f[1] == node {
			return true
		}
		hops++
	}
	return hops > maxHops
}
