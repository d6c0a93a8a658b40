package cache

import (
	"sync/atomic"
	"time"
)

// TierStats tells what a tier holds.
type TierStats struct {
	Octets  int64
	Objects int
	Limit   Limit
}

// Stats is a snapshot of a store. Counters begin at zero with Open.
type Stats struct {
	Memory TierStats
	Disk   TierStats
	// Growing is the number of objects without an end, replaced ones included.
	Growing int
	// ForeignFiles and ForeignOctets are sealed files on disk for which no
	// configured key fits. They go first when the disk tier needs room.
	ForeignFiles  int
	ForeignOctets int64

	Hits, Misses       uint64 // of Lookup and Fetch
	Fills, Collapsed   uint64 // Fetch: fills started, callers that shared one
	Created, Finished  uint64 // objects; Put counts as both
	Aborted, Replaced  uint64
	Refused            uint64 // generations: older than, or equal to, the current
	NoSpace            uint64 // writes refused since memory was full
	EvictedMemory      uint64 // copies that left the memory tier
	EvictedDisk        uint64
	Expired            uint64 // dropped by retention or with their key
	Spilled            uint64 // objects written to disk
	Unspilled          uint64 // objects that left memory without reaching the disk
	AuthenticationFail uint64 // files that were not what was written
	DiskErrors         uint64

	// DiskFailed says that the disk tier is out of order and the store works
	// in memory only, since when, and why.
	DiskFailed      bool
	DiskFailedSince time.Time
	DiskError       string
}

// ServiceStats tells what a service holds.
type ServiceStats struct {
	Memory TierStats
	Disk   TierStats
}

type counters struct {
	hits, misses, fills, collapsed       atomic.Uint64
	created, finished, aborted, replaced atomic.Uint64
	refused, noSpace                     atomic.Uint64
	evictedMemory, evictedDisk, expired  atomic.Uint64
	spilled, unspilled                   atomic.Uint64
	authFail, diskErrors                 atomic.Uint64
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	c := &s.count
	st := Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(),
		Fills: c.fills.Load(), Collapsed: c.collapsed.Load(),
		Created: c.created.Load(), Finished: c.finished.Load(),
		Aborted: c.aborted.Load(), Replaced: c.replaced.Load(),
		Refused: c.refused.Load(), NoSpace: c.noSpace.Load(),
		EvictedMemory: c.evictedMemory.Load(), EvictedDisk: c.evictedDisk.Load(),
		Expired: c.expired.Load(), Spilled: c.spilled.Load(), Unspilled: c.unspilled.Load(),
		AuthenticationFail: c.authFail.Load(), DiskErrors: c.diskErrors.Load(),
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Memory = TierStats{s.mem.octets, s.mem.objects, s.cfg.Memory}
	st.Disk = TierStats{s.disk.octets, s.disk.objects, s.cfg.Disk}
	st.Growing = len(s.growing)
	s.diskStats(&st)
	return st
}

// ServiceStats returns what a service holds.
func (s *Store) ServiceStats(service string) ServiceStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	svc := s.services[service]
	if svc == nil {
		return ServiceStats{}
	}
	return ServiceStats{
		Memory: TierStats{svc.mem.octets, svc.mem.objects, svc.cfg.Memory},
		Disk:   TierStats{svc.disk.octets, svc.disk.objects, svc.cfg.Disk},
	}
}
