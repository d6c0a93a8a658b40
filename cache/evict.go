package cache

import "time"

// makeRoom evicts from memory until octets and objects more fit, within the
// service's limits and the store's.
func (s *Store) makeRoom(svc *service, octets int64, objects int) bool {
	now := s.cfg.Now()
	for svc.cfg.Memory.exceeded(svc.mem, octets, objects) {
		o := s.victim(svc, now)
		if o == nil {
			return false
		}
		s.evictMemory(o)
	}
	for s.cfg.Memory.exceeded(s.mem, octets, objects) {
		o := s.victim(s.heaviest(octets), now)
		if o == nil {
			return false
		}
		s.evictMemory(o)
	}
	return true
}

// heaviest returns the service that has most of what is short, so that one
// that floods pays for itself. Services with nothing but pinned objects to
// give come after all others.
func (s *Store) heaviest(octets int64) *service {
	byObjects := !Limit{Octets: s.cfg.Memory.Octets}.exceeded(s.mem, octets, 0)
	var most *service
	var mostWeight int64
	for _, svc := range s.services {
		ordinary := svc.clean.Len() + svc.dirty.Len()
		if ordinary+svc.pinned.Len() == 0 {
			continue
		}
		weight := svc.mem.octets
		if byObjects {
			weight = int64(svc.mem.objects)
		}
		if ordinary == 0 {
			weight -= 1 << 62
		}
		if most == nil || weight > mostWeight {
			most, mostWeight = svc, weight
		}
	}
	return most
}

// victim chooses what leaves memory: what the disk has or cannot have, by
// SIEVE; else what waits for the disk; else the oldest pinned one.
func (s *Store) victim(svc *service, now time.Time) *Object {
	if svc == nil {
		return nil
	}
	live := func(o *Object) bool { return now.Sub(o.meta.Created) < s.cfg.LiveWindow }
	n := svc.clean.Victim(live)
	if d := svc.dirty.Oldest(); d != nil && (n == nil || live(n.Value)) {
		n = d
	}
	if n == nil {
		n = svc.pinned.Oldest()
	}
	if n == nil {
		return nil
	}
	return n.Value
}

// evictMemory takes a complete object out of memory; it stays in the store if
// the disk has it.
func (s *Store) evictMemory(o *Object) {
	s.count.evictedMemory.Add(1)
	if o.file.Load() == nil {
		if s.cfg.Dir != "" && len(o.svc.keys) > 0 {
			s.count.unspilled.Add(1)
		}
		s.drop(o)
	} else {
		o.inMem.Remove()
		s.uncharge(o)
	}
	o.body.Store(nil)
}

func (s *Store) retention(svc *service) time.Duration {
	if svc.cfg.Retention != 0 {
		return max(0, svc.cfg.Retention)
	}
	return s.cfg.Retention
}

// expired tells whether retention or the end of its key took o away.
func (s *Store) expired(o *Object, now time.Time) bool {
	if r := s.retention(o.svc); r > 0 && !o.meta.Pinned && now.Sub(o.meta.Created) > r && s.growing[o] == nil {
		return true
	}
	f := o.file.Load()
	return f != nil && o.body.Load() == nil && !f.epoch.readable(now)
}

// Sweep drops what retention and the end of keys took away. New objects sweep
// their own service; call it now and then for those that fell silent.
func (s *Store) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, svc := range s.services {
		s.sweep(svc)
	}
}

func (s *Store) sweep(svc *service) {
	now := s.cfg.Now()
	for _, e := range svc.keys {
		if !e.purged && !e.readable(now) {
			e.purged = true
			s.purge(svc, e)
		}
	}
	for {
		n := svc.clean.Oldest()
		if n == nil || !s.expired(n.Value, now) {
			n = svc.dirty.Oldest()
		}
		if n == nil || !s.expired(n.Value, now) {
			n = svc.files.Oldest()
		}
		if n == nil || !s.expired(n.Value, now) {
			return
		}
		s.count.expired.Add(1)
		s.drop(n.Value)
	}
}
