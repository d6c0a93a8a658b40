package reception

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/gateway"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/service"
)

// Config configures a Set.
type Config struct {
	Via      string // stands for this node in Via fields
	Store    *cache.Store
	Host     *ssm.Host
	Loss     lossy.Config
	Children bool // see Options
	Now      func() time.Time
	Logger   *slog.Logger
}

// Set is the services of one node. Its methods are safe for concurrent use; Add, Change and Remove of one service are
// for one goroutine at a time.
type Set struct {
	cfg     Config
	clients gateway.Clients // that look for AMT relays

	mu       sync.RWMutex // guards below
	services map[string]*Service
}

// NewSet returns an empty set.
func NewSet(cfg Config) *Set {
	return &Set{cfg: cfg, services: make(map[string]*Service)}
}

// Lookup finds a service by name; nil if it is not here.
func (s *Set) Lookup(name string) *service.Service {
	if x := s.Get(name); x != nil {
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
	slices.SortFunc(all, func(a, b *Service) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

// Add begins to receive a service.
func (s *Set) Add(c config.Service) (*Service, error) {
	x, err := newService(s, c)
	if err != nil {
		return nil, err
	}
	if err := s.begin(x, c); err != nil {
		x.close()
		s.cfg.Store.RemoveService(c.Name)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[c.Name] = x
	return x, nil
}

func (s *Set) begin(x *Service, c config.Service) error {
	if err := s.store(x, c); err != nil {
		return err
	}
	if err := x.adopt(c); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.receive(c); err != nil {
		return err
	}
	x.group.Go(x.follow.run)
	x.group.Go(x.watchDrops)
	return nil
}

// Change applies a new configuration of a service without a gap. If anything of it cannot be applied, nothing is.
func (s *Set) Change(c config.Service) error {
	commit, _, err := s.Prepare(c)
	if err == nil {
		commit()
	}
	return err
}

// Prepare makes all of a Change that can fail, and returns how to complete it and how to take it back. One of them is to be
// called.
func (s *Set) Prepare(c config.Service) (commit, undo func(), err error) {
	x := s.Get(c.Name)
	if x == nil {
		return nil, nil, fmt.Errorf("service %s: is not here", c.Name)
	}
	return x.prepare(c)
}

// errSealed is returned for a change that would make what was believed unbelieved, or the other way round.
var errSealed = errors.New("a service cannot become sealed or unsigned under way: remove it and add it again")

// store tells the cache of a service.
func (s *Set) store(x *Service, c config.Service) error {
	keys := x.keys
	sc := cache.ServiceConfig{Keys: keys.turn(c.CacheKey, s.cfg.Now(), c.Retention), Retention: c.Retention}
	if err := s.cfg.Store.SetService(c.Name, sc); err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	x.keys = keys
	return nil
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
