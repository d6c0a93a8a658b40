package telemetry

import (
	"math"
	"sync"
	"time"
)

// Rate is a moving average of octets over about the last second: an octet
// weighs e^-t, t seconds after it came. The zero value is ready; it may be used
// by several goroutines at a time, and nothing allocates.
type Rate struct {
	mu     sync.Mutex // guards below
	octets float64    // decayed to the time at
	at     time.Time
}

// Add counts octets that came at the time now. A time before the last one
// counts as the last one.
func (r *Rate) Add(now time.Time, octets int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decay(now)
	r.octets += float64(octets)
}

// Bits is the rate at the time now, in bit/s.
func (r *Rate) Bits(now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decay(now)
	if r.octets < 0.1 {
		return 0 // what is left of a stream that ended
	}
	return 8 * r.octets
}

func (r *Rate) decay(now time.Time) {
	if d := now.Sub(r.at); d > 0 {
		r.octets *= math.Exp(-d.Seconds())
		r.at = now
	}
}
