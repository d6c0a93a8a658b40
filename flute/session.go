package flute

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
)

type sessionKey struct {
	source netip.Addr
	tsi    uint64
}

// Session is one FLUTE session: what one sender sends under one TSI. It belongs to its Receiver's goroutine.
type Session struct {
	key     sessionKey
	version uint8
	db      fdt.Database
	packets uint64
	last    time.Time // packet
	files   int       // incomplete ones
	unread  int       // FDT Instances, incomplete
	closeAt time.Time // A was seen
	closed  bool
	faults  [reasons]time.Time // reported

	// For Diagnose.
	first      time.Time // packet
	rejected   [reasons]uint64
	scheme     fec.EncodingID // of the packet that was rejected last because of it
	badFDT     error          // of the last instance that was of no use
	instances  uint64
	described  bool // some instance had files
	nameless   uint64
	objects    uint64
	lost       uint64
	lostReason error
}

// Source is the address of the sender.
func (s *Session) Source() netip.Addr { return s.key.source }

// TSI is the Transport Session Identifier.
func (s *Session) TSI() uint64 { return s.key.tsi }

// Version is that of FLUTE, 1 or 2; 0 while no FDT Instance has come.
func (s *Session) Version() uint8 { return s.version }

// FDT is what the FDT Instances say. It is not to be changed.
func (s *Session) FDT() *fdt.Database { return &s.db }

// Closed tells that the sender closed the session.
func (s *Session) Closed() bool { return s.closed }

// Packets is the number of packets that came.
func (s *Session) Packets() uint64 { return s.packets }

// Sessions returns the sessions of which packets came, by TSI.
func (r *Receiver) Sessions() []*Session {
	all := make([]*Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Session) int {
		return cmp.Or(cmp.Compare(a.key.tsi, b.key.tsi), a.key.source.Compare(b.key.source))
	})
	return all
}

// idleSession is how long a session without packets keeps its place when others need it.
const idleSession = 30 * time.Second

// session returns the session of a packet.
func (r *Receiver) session(now time.Time, key sessionKey) (*Session, error) {
	if s := r.lastSession; s != nil && s.key == key {
		return s, nil
	}
	s := r.sessions[key]
	if s == nil {
		if len(r.sessions) >= r.cfg.MaxSessions && !r.evictSession(now) {
			return nil, errSessions
		}
		s = &Session{key: key}
		s.db.Limits.Octets = r.cfg.MaxInstance
		r.sessions[key] = s
	}
	r.lastSession = s
	return s, nil
}

// evictSession gives up a session without files or, if there is none, one that is idle.
func (r *Receiver) evictSession(now time.Time) bool {
	var victim *Session
	for _, s := range r.sessions {
		idle := now.Sub(s.last)
		if s.db.Len() > 0 && idle < idleSession || idle < time.Second {
			continue
		}
		if victim == nil || s.last.Before(victim.last) {
			victim = s
		}
	}
	if victim == nil {
		return false
	}
	for _, o := range slices.Clone(r.active) {
		if o.s == victim && !o.complete {
			r.lose(now, o, ErrEvicted)
		}
	}
	for key := range r.records.m {
		if key.s == victim {
			r.records.remove(key)
		}
	}
	delete(r.sessions, victim.key)
	if r.lastSession == victim {
		r.lastSession = nil
	}
	return true
}

// limitFiles bounds what the instances of a session may describe by what those of others do.
func (r *Receiver) limitFiles(s *Session) {
	left := r.cfg.MaxFiles
	for _, other := range r.sessions {
		if other != s {
			left -= other.db.Len()
		}
	}
	s.db.MaxFiles = max(left, min(minFiles, r.cfg.MaxFiles))
}

// minFiles is what a session may describe whatever others do.
const minFiles = 256

// arrived notes a packet of the session and its flag A.
func (r *Receiver) arrived(now time.Time, s *Session) {
	if s.packets++; s.packets == 1 {
		s.first = now
	}
	s.last = now
	switch {
	case !r.pkt.CloseSession:
		s.closeAt, s.closed = time.Time{}, false // A is a hint, and was one too early
	case s.closeAt.IsZero():
		s.closeAt = now
		r.wake(now.Add(r.cfg.CloseDelay))
	}
}

// close reports the sessions that were closed, and returns when there will be more.
func (r *Receiver) close(now time.Time) (next time.Time) {
	for _, s := range r.sessions {
		if s.closeAt.IsZero() || s.closed {
			continue
		}
		at := s.closeAt.Add(r.cfg.CloseDelay)
		if now.Before(at) {
			next = sooner(next, at)
			continue
		}
		s.closed = true
		r.events.Push(Event{Kind: Closed, Session: s})
		for _, o := range r.active {
			if o.s == s && !o.complete && o.visible() && o.endedAt.IsZero() {
				o.endedAt = now
				o.wake = sooner(o.wake, now.Add(r.cfg.GapDelay))
			}
		}
	}
	return next
}

// faultInterval is how often a session reports faults of the same kind.
const faultInterval = time.Second

func (r *Receiver) fault(now time.Time, s *Session, err *RejectError) {
	if last := s.faults[err.Reason]; !last.IsZero() && now.Sub(last) < faultInterval {
		return
	}
	s.faults[err.Reason] = now
	r.cfg.Logger.Warn("FLUTE session is at fault", "source", s.key.source, "tsi", s.key.tsi, "error", err)
	r.events.Push(Event{Kind: Fault, Session: s, Err: err})
}
