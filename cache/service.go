package cache

import (
	"fmt"

	"github.com/treedn/treedn/cache/internal/sieve"
)

// service is what the store holds of one service; guarded by Store.mu.
type service struct {
	name    string
	cfg     ServiceConfig
	keys    []*epoch
	objects map[string]*Object
	mem     usage
	disk    usage

	// The evictable objects in memory, each in one queue: those that can go,
	// those on their way to the disk, those that go last.
	clean, dirty, pinned sieve.Queue[*Object]
	// The same on disk.
	files, pinnedFiles sieve.Queue[*Object]
}

// memQueue returns the queue of o's kind in memory.
func (svc *service) memQueue(o *Object, dirty bool) *sieve.Queue[*Object] {
	switch {
	case o.meta.Pinned:
		return &svc.pinned
	case dirty:
		return &svc.dirty
	}
	return &svc.clean
}

// List returns the objects of a service, in no order.
func (s *Store) List(service string) []*Object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	svc := s.services[service]
	if svc == nil {
		return nil
	}
	list := make([]*Object, 0, len(svc.objects))
	for _, o := range svc.objects {
		list = append(list, o)
	}
	return list
}

// Services returns the identifiers of the services that are configured or
// hold objects.
func (s *Store) Services() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.services))
	for name := range s.services {
		names = append(names, name)
	}
	return names
}

func (s *Store) service(name string) *service {
	svc := s.services[name]
	if svc == nil {
		svc = &service{name: name, objects: make(map[string]*Object)}
		s.services[name] = svc
	}
	return svc
}

// SetService configures a service while the store runs: limits and retention
// apply at once, objects sealed in epochs that are no longer listed are
// dropped from the disk. Files on disk that new keys fit are found in the
// background; Flush waits for that too.
func (s *Store) SetService(name string, sc ServiceConfig) error {
	if err := validateService(name, sc); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	svc := s.service(name)
	svc.cfg = sc
	if err := s.setKeys(svc); err != nil {
		return fmt.Errorf("cache: service %q: %w", name, err)
	}
	if s.spill.running && len(s.foreign) > 0 {
		s.spill.jobs = append(s.spill.jobs, func() { s.reclaim(svc) })
		s.spill.work.Signal()
	}
	s.sweep(svc)
	s.awaitRoom(svc, 0, 0)
	s.makeRoom(svc, 0, 0)
	s.makeDiskRoom(svc, 0, 0, 0)
	return nil
}

// RemoveService drops a service with its objects and keys.
func (s *Store) RemoveService(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.services[name]
	if svc == nil {
		return
	}
	for _, o := range svc.objects {
		s.drop(o)
	}
	svc.cfg, svc.keys = ServiceConfig{}, nil
	delete(s.services, name)
}
