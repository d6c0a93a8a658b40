// Package reception is what RELAY and BEACON have in common: a set of services that are received by multicast, repaired
// from the parents and kept in the node's cache.
package reception

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// Config configures a Set.
type Config struct {
	Node   string // name in Via fields
	Store  *cache.Store
	Host   *ssm.Host
	Loss   lossy.Config
	Now    func() time.Time
	Logger *slog.Logger
}

// Set is the services of one node. Its methods are safe for concurrent use.
type Set struct {
	cfg Config

	mu       sync.RWMutex // guards below
	services map[string]*Service
}

// NewSet returns an empty set.
func NewSet(cfg Config) *Set {
	return &Set{cfg: cfg, services: make(map[string]*Service)}
}

// Service is one service that is received.
type Service struct {
	*service.Service
	set     *Set
	parents *parent.Client

	mu         sync.Mutex // guards below
	cfg        config.Service
	current    *reception
	past       telemetry.Service // counters of receptions that have ended
	inRate     telemetry.Rate
	lastOctets uint64 // of the current reception, when inRate was fed last
	group      sync.WaitGroup
}

// reception is one membership and what it feeds.
type reception struct {
	in     *ingress.Ingress
	rx     *ssm.Receiver
	cancel context.CancelFunc
}

// Lookup finds a service by name; nil if it is not here.
func (s *Set) Lookup(name string) *service.Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.services[name]; x != nil {
		return x.Service
	}
	return nil
}

// Get finds a received service by name; nil if it is not here.
func (s *Set) Get(name string) *Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.services[name]
}

// All returns the services ordered by name.
func (s *Set) All() []*Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*Service, 0, len(s.services))
	for _, x := range s.services {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *Service) int {
		if a.Name() < b.Name() {
			return -1
		}
		return 1
	})
	return all
}

func urls(parents []config.URL) []*url.URL {
	list := make([]*url.URL, len(parents))
	for i, p := range parents {
		list[i] = p.URL()
	}
	return list
}

func keys(c config.Service) []cache.EpochKey {
	if k, ok := c.CacheKey.Key(); ok {
		return []cache.EpochKey{{Key: k}}
	}
	return nil
}

// Add begins to receive a service.
func (s *Set) Add(ctx context.Context, c config.Service) (*Service, error) {
	if err := s.cfg.Store.SetService(c.Name, cache.ServiceConfig{Keys: keys(c), Retention: c.Retention}); err != nil {
		return nil, err
	}
	x := &Service{set: s, cfg: c, parents: parent.New(s.cfg.Node)}
	if err := x.parents.SetParents(urls(c.Upstream.Parents)); err != nil {
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	x.Service = service.New(service.Config{
		Name: c.Name, Store: s.cfg.Store, Parents: x.parents, Now: s.cfg.Now, Logger: s.cfg.Logger,
	})
	r, err := x.receive(ctx, c)
	if err != nil {
		return nil, err
	}
	x.current = r
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[c.Name] = x
	return x, nil
}

// receive joins the group and starts to feed the service.
func (x *Service) receive(ctx context.Context, c config.Service) (*reception, error) {
	up := c.Upstream
	ch := ssm.Channel{Source: up.Source, Group: up.Group, Port: up.Port}
	rx, err := x.set.cfg.Host.Join(ctx, ch, up.Interface)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	in := ingress.Config{
		Service: x.Service,
		Receiver: route.ReceiverConfig{
			Session:   route.Session{Source: up.Source, Group: up.Group, Port: up.Port},
			AnySource: up.AnySource,
		},
		Loss: x.set.cfg.Loss, Now: x.set.cfg.Now, Logger: x.set.cfg.Logger,
	}
	if len(up.Parents) > 0 {
		in.Repair = x.parents
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reception{in: ingress.New(in), rx: rx, cancel: cancel}
	x.group.Go(func() {
		if err := r.in.Run(ctx, rx); err != nil {
			x.set.cfg.Logger.Error("reception has ended", "service", c.Name, "error", err)
		}
	})
	return r, nil
}

// overlap is how long an old reception may go on with the objects it has begun, after a change.
const overlap = 10 * time.Second

// Change applies a new configuration. Where the session changes, old and new are received at the same time until what
// was under way has ended.
func (s *Set) Change(ctx context.Context, c config.Service) error {
	s.mu.RLock()
	x := s.services[c.Name]
	s.mu.RUnlock()
	if x == nil {
		return fmt.Errorf("service %s: is not here", c.Name)
	}
	if err := s.cfg.Store.SetService(c.Name, cache.ServiceConfig{Keys: keys(c), Retention: c.Retention}); err != nil {
		return err
	}
	if err := x.parents.SetParents(urls(c.Upstream.Parents)); err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	rejoin := x.cfg.Upstream.Session != c.Upstream.Session || x.cfg.Upstream.AnySource != c.Upstream.AnySource ||
		(len(x.cfg.Upstream.Parents) == 0) != (len(c.Upstream.Parents) == 0)
	if rejoin {
		r, err := x.receive(ctx, c)
		if err != nil {
			return err
		}
		x.retire(x.current)
		x.current = r
	}
	x.cfg = c
	return nil
}

// retire ends a reception once its objects have. It is called with mu held.
func (x *Service) retire(r *reception) {
	x.group.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), overlap)
		defer cancel()
		r.in.Retire(ctx)
		r.cancel()
		st := r.in.Stats()
		x.mu.Lock()
		addReceiver(&x.past, &st.Receiver)
		x.mu.Unlock()
	})
}

// Remove ends a service at once and forgets its objects.
func (s *Set) Remove(name string) {
	s.mu.Lock()
	x := s.services[name]
	delete(s.services, name)
	s.mu.Unlock()
	if x != nil {
		x.close()
		s.cfg.Store.RemoveService(name)
	}
}

// Close ends all services. What they kept stays in the store.
func (s *Set) Close() {
	for _, x := range s.All() {
		x.close()
	}
}

func (x *Service) close() {
	x.mu.Lock()
	r := x.current
	x.mu.Unlock()
	r.cancel()
	x.group.Wait()
}
