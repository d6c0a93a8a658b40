package flute

import "time"

// udpOverhead is what IPv4 and UDP add to a packet on the wire.
const udpOverhead = 28

// bucket is a token bucket that is kept as one time: the moment at which it will be full again.
type bucket struct {
	full time.Time
}

// wait returns how long the next packet has to wait. A packet may leave while the bucket is not empty, so that its size
// does not matter.
func (b *bucket) wait(now time.Time, rate int64, burst int) time.Duration {
	if !b.full.After(now) {
		return 0
	}
	return max(0, b.full.Sub(now)-octetTime(int64(burst), rate))
}

func (b *bucket) take(now time.Time, n int, rate int64) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(octetTime(int64(n), rate))
}

func octetTime(n, rate int64) time.Duration {
	return time.Duration(float64(n) * 8 * float64(time.Second) / float64(rate))
}
