package ingest

import "time"

// A bucket is a token bucket of octets with a burst of one second. The zero
// value does not limit.
type bucket struct {
	rate   int64
	tokens float64
	last   time.Time
}

func (b *bucket) limit(rate int64) {
	b.rate = max(0, rate)
	b.tokens = min(b.tokens, float64(b.rate))
	if b.last.IsZero() {
		b.tokens = float64(b.rate)
	}
}

// used is how many octets of the last second's allowance are gone.
func (b *bucket) used(now time.Time) uint64 {
	tokens := min(float64(b.rate), b.tokens+now.Sub(b.last).Seconds()*float64(b.rate))
	return uint64(float64(b.rate) - tokens)
}

// take removes n octets and returns how long to pause before taking more.
func (b *bucket) take(n int, now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	if !b.last.IsZero() {
		b.tokens = min(float64(b.rate), b.tokens+now.Sub(b.last).Seconds()*float64(b.rate))
	}
	b.last = now
	b.tokens -= float64(n)
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / float64(b.rate) * float64(time.Second))
}
