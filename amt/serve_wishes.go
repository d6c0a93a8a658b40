package amt

import (
	"container/list"
	"fmt"
	"net/netip"
	"time"
)

// channel is a source and a group; the source is the zero address for all sources.
type channel = [2]netip.Addr

// wishes are channels that are to be joined or left upstream, in the order in which that
// was first wished; of each the last wish counts.
type wishes struct {
	order list.List // of wish
	of    map[channel]*list.Element
}

type wish struct {
	key  channel
	join bool
}

func (w *wishes) len() int { return len(w.of) }

func (w *wishes) has(key channel) bool { return w.of[key] != nil }

func (w *wishes) set(key channel, join bool) {
	if e := w.of[key]; e != nil {
		e.Value = wish{key, join}
		return
	}
	if w.of == nil {
		w.of = make(map[channel]*list.Element)
	}
	w.of[key] = w.order.PushBack(wish{key, join})
}

func (w *wishes) remove(key channel) {
	if e := w.of[key]; e != nil {
		w.order.Remove(e)
		delete(w.of, key)
	}
}

func (w *wishes) take() (first wish, ok bool) {
	e := w.order.Front()
	if e == nil {
		return first, false
	}
	first = e.Value.(wish)
	w.remove(first.key)
	return first, true
}

// poke wakes who waits for c, now or next time.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wish notes that a channel is to be joined, or left. An upstream may take its time while
// gateways come and go; what waits for it meanwhile is bounded by the channels that it
// has and those that are wanted, since a wish that changes nothing is forgotten. The
// mutex is held.
func (s *Server) wish(key channel, join bool) {
	_, failed := s.failed[key]
	known := s.have[key] || failed || s.doing == key
	if join && s.have[key] || !join && !known {
		s.wishes.remove(key)
		return
	}
	s.wishes.set(key, join)
}

// upstream joins and leaves, which may take time, until the server is closed.
func (s *Server) upstream() {
	defer func() { _ = s.config.Upstream.Close() }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		s.mu.Lock()
		for _, key := range s.retry(now) {
			if !s.wishes.has(key) {
				s.wishes.set(key, true)
			}
		}
		n, at := s.wishes.len(), s.retryAt()
		s.mu.Unlock()
		for range n {
			if !s.grant() {
				return
			}
		}
		if n > 0 {
			continue
		}
		wait := time.Hour
		if !at.IsZero() {
			wait = max(at.Sub(now), time.Millisecond)
		}
		timer.Reset(wait)
		select {
		case <-s.closed:
			return
		case <-timer.C:
		case <-s.work:
		}
	}
}

// grant does what is wished first; it reports whether the server goes on.
func (s *Server) grant() bool {
	select {
	case <-s.closed:
		return false
	default:
	}
	s.mu.Lock()
	w, ok := s.wishes.take()
	if !ok || w.join && s.have[w.key] { // joined while it was wished
		s.mu.Unlock()
		return true
	}
	s.doing = w.key
	joined := s.have[w.key]
	if !w.join {
		delete(s.have, w.key)
		s.joins++
		delete(s.failed, w.key)
	}
	s.mu.Unlock()
	var err error
	source, group := w.key[0], w.key[1]
	if w.join {
		f := &forwarder{server: s, source: source, group: group}
		err = s.config.Upstream.Join(source, group, f.forward)
	} else if joined {
		s.config.Upstream.Leave(source, group)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing = channel{}
	if w.join {
		s.joined(w.key, err)
	}
	return true
}

// joined notes how a join has ended. The mutex is held.
func (s *Server) joined(key channel, err error) {
	if err == nil {
		s.have[key] = true
		s.joins++
		delete(s.failed, key)
		return
	}
	s.sent.JoinErrors++
	if s.failed[key].IsZero() {
		s.untold.fresh++
		s.untold.last = &JoinError{Source: key[0], Group: key[1], Err: err}
		poke(s.wake)
	}
	at := time.Now().Add(retryJoin)
	s.failed[key] = at
	s.again = append(s.again, failedJoin{key, at})
}

// JoinError is why a channel that gateways want could not be joined upstream, as the
// attribute "err" of what a [Server] logs about it.
type JoinError struct {
	Source, Group netip.Addr // Source is the zero address for all sources
	Err           error      // what the upstream returned
}

func (e *JoinError) Error() string {
	source := "*"
	if e.Source.IsValid() {
		source = e.Source.String()
	}
	return fmt.Sprintf("joining (%s,%v): %v", source, e.Group, e.Err)
}

// Unwrap returns what the upstream returned.
func (e *JoinError) Unwrap() error { return e.Err }

// failedJoin is due to be tried again, if Server.failed has the same time.
type failedJoin struct {
	key channel
	at  time.Time
}

// joinFailures are those that the log has not been told of.
type joinFailures struct {
	fresh int // channels
	now   int // those that cannot be joined now
	last  *JoinError
}

const (
	// retryJoin is the time after which a join that failed is tried again.
	retryJoin = 5 * time.Second
	// maxRetries bounds those that are tried together. Gateways may want very many
	// channels that cannot be joined, and new ones are not to wait for all of them.
	maxRetries = 64
)

// retry returns joins that failed and are due again. The mutex is held, as in what
// follows.
func (s *Server) retry(now time.Time) (todo []channel) {
	n := 0
	for ; n < len(s.again) && len(todo) < maxRetries; n++ {
		f := &s.again[n]
		if s.failed[f.key] != f.at { // left meanwhile, or another failure
			continue
		}
		if f.at.After(now) {
			break
		}
		todo = append(todo, f.key)
	}
	if s.again = s.again[n:]; len(s.again) == 0 {
		s.again = nil
	}
	return todo
}

// retryAt returns when retry has something to return; the zero time means never.
func (s *Server) retryAt() (at time.Time) {
	if len(s.again) > 0 {
		at = s.again[0].at
	}
	return at
}

// failures returns what the log is to be told of joins that failed, those of a minute
// together, and when that is due if it is not.
func (s *Server) failures(now time.Time) (report joinFailures, next time.Time) {
	if s.untold.fresh == 0 {
		return report, next
	}
	if at := s.told.Add(logInterval); at.After(now) && !s.told.IsZero() {
		return report, at
	}
	report, s.untold, s.told = s.untold, joinFailures{}, now
	report.now = len(s.failed)
	return report, next
}
