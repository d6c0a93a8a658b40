package cache

import "time"

// makeRoom evicts from memory until octets and objects more fit, within the
// service's limits and the store's.
func (s *Store) makeRoom(svc *service, octets int64, objects int) bool {
	fits, _ := s.evict(svc, octets, objects, false)
	return fits
}

// awaitRoom is for writers, before makeRoom: if that would lose an object that
// is on its way to the disk, it waits for the disk, for a while. It gives s.mu
// up meanwhile and tells whether it did: then what its caller knew may be over.
func (s *Store) awaitRoom(svc *service, octets int64, objects int) (waited bool) {
	if fits, waits := s.evict(svc, octets, objects, true); fits || !waits || !s.diskMoves() {
		return false
	}
	late := false // guarded by s.mu
	timer := time.AfterFunc(s.cfg.SpillWait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.spill.written.Broadcast()
	})
	defer timer.Stop()
	for s.diskMoves() {
		s.spill.written.Wait()
		if fits, waits := s.evict(svc, octets, objects, true); fits || !waits {
			break
		}
		if late {
			s.spill.stuck = true
			break
		}
	}
	return true
}

// diskMoves tells whether it makes sense to wait for the disk.
func (s *Store) diskMoves() bool {
	p := &s.spill
	return s.cfg.SpillWait > 0 && p.running && p.failure == nil && !p.stuck && !s.closed
}

// evict evicts until octets and objects more fit, and tells whether they do. If
// it shall spare what is on its way to the disk, it stops at such an object and
// tells that this one waits.
func (s *Store) evict(svc *service, octets int64, objects int, spare bool) (fits, waits bool) {
	now := s.cfg.Now()
	for {
		from := svc
		if !svc.cfg.Memory.exceeded(svc.mem, octets, objects) {
			if !s.cfg.Memory.exceeded(s.mem, octets, objects) {
				return true, false
			}
			from = s.heaviest(octets)
		}
		o := s.victim(from, now, spare)
		if o == nil {
			return false, false
		}
		if spare && s.spill.pending(o) {
			return false, true
		}
		s.evictMemory(o)
	}
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
// SIEVE; else what waits for the disk; else the oldest pinned one. Unless what
// waits is spared, which is when it would be lost, a pinned one that the disk
// has goes before it.
func (s *Store) victim(svc *service, now time.Time, spare bool) *Object {
	if svc == nil {
		return nil
	}
	live := func(o *Object) bool { return now.Sub(o.meta.Created) < s.cfg.LiveWindow }
	if n := svc.clean.Victim(live); n != nil {
		return n.Value
	}
	d, p := svc.dirty.Oldest(), svc.pinned.Oldest()
	if p != nil && (d == nil || !spare && p.Value.file.Load() != nil) {
		d = p
	}
	if d == nil {
		return nil
	}
	return d.Value
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
