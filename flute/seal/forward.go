package seal

import (
	"cmp"
	"time"
)

// ForwarderConfig configures a Forwarder. The zero value is usable.
type ForwarderConfig struct {
	// MaxRate bounds the datagrams per second, with bursts of four. Default 100:
	// one that covers several objects goes again for each.
	MaxRate int
}

// Forwarder decides when a node that sends octets on sends the seals on that
// made them readable. They stay as they are; that a node below gets a seal
// before the octets does no harm. It belongs to one goroutine.
type Forwarder struct {
	queue   [maxForwards]forward
	n       int
	sent    [16]forward // the newest ones, as a ring
	head    int
	newest  uint64
	last    *Seal
	freshAt time.Time
	idle    int
	limit   limiter
}

type forward struct {
	seal *Seal
	at   time.Time
}

const maxForwards = 64

// forwardDelays are when the last datagram goes again with nothing else to
// send.
var forwardDelays = [...]time.Duration{100 * time.Millisecond, repeatTime}

// NewForwarder returns a Forwarder with nothing to send.
func NewForwarder(cfg ForwarderConfig) *Forwarder {
	return &Forwarder{
		idle:  len(forwardDelays),
		limit: newLimiter(float64(cmp.Or(cfg.MaxRate, 100)), rateBurst),
	}
}

// Forward sends the seal of an object, see Object.Seal, right behind the octets
// that it has just made readable; and the seals of Resealed events. It goes at
// once; if it has just gone for another object, it goes again after 5 ms. Seals
// older than ForwardAge, compared with the newest one, do not go.
func (f *Forwarder) Forward(now time.Time, s *Seal) {
	if s == nil || s.time+uint64(ForwardAge/time.Microsecond) < f.newest {
		return
	}
	f.newest = max(f.newest, s.time)
	for i := range f.queue[:f.n] {
		if f.queue[i].seal == s {
			return
		}
	}
	at := now
	for i := range f.sent {
		if e := &f.sent[i]; e.seal == s && now.Sub(e.at) < gatherTime {
			at = e.at.Add(gatherTime)
		}
	}
	if f.n == maxForwards {
		copy(f.queue[:], f.queue[1:])
		f.n--
	}
	f.queue[f.n] = forward{s, at}
	f.n++
}

// Poll returns the next datagram that is due, and false if there is none.
func (f *Forwarder) Poll(now time.Time) (*Seal, bool) {
	for i := range f.queue[:f.n] {
		if now.Before(f.queue[i].at) {
			continue
		}
		s := f.queue[i].seal
		if !f.limit.allow(now) {
			return nil, false
		}
		copy(f.queue[i:f.n], f.queue[i+1:f.n])
		f.n--
		f.queue[f.n] = forward{}
		f.last, f.freshAt, f.idle = s, now, 0
		f.note(now, s)
		return s, true
	}
	if f.idle < len(forwardDelays) && !now.Before(f.freshAt.Add(forwardDelays[f.idle])) && f.limit.allow(now) {
		f.idle++
		f.note(now, f.last)
		return f.last, true
	}
	return nil, false
}

func (f *Forwarder) note(now time.Time, s *Seal) {
	f.sent[f.head] = forward{s, now}
	f.head = (f.head + 1) % len(f.sent)
}

// NextTimeout is when Poll has something to do, if nothing happens before. The
// zero time stands for never.
func (f *Forwarder) NextTimeout() (next time.Time) {
	for i := range f.queue[:f.n] {
		next = sooner(next, f.queue[i].at)
	}
	if f.idle < len(forwardDelays) {
		next = sooner(next, f.freshAt.Add(forwardDelays[f.idle]))
	}
	return f.limit.notBefore(next)
}
