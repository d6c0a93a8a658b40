// Package pacing is the token bucket of senders that pace themselves: those of FLUTE and of ROUTE, and [Paced] of package
// packetio for others. It reads no clock.
//
// [Paced]: https://pkg.go.dev/github.com/treedn/treedn/flute/packetio#Paced
package pacing

import "time"

// UDPOverhead is what IPv4 and UDP add to a packet on the wire, in octets.
const UDPOverhead = 28

// Bucket is a token bucket that is kept as one time: the moment at which it will be full again. The zero value is full. Rates
// are in bit/s and positive.
type Bucket struct {
	full time.Time
}

// Wait returns how long the next packet has to wait for a bucket that holds burst octets. A packet may leave while the bucket
// is not empty, so that its size does not matter.
func (b *Bucket) Wait(now time.Time, rate int64, burst int) time.Duration {
	if !b.full.After(now) {
		return 0
	}
	return max(0, b.full.Sub(now)-duration(burst, rate))
}

// Take takes n octets out, of which there may be fewer.
func (b *Bucket) Take(now time.Time, n int, rate int64) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(duration(n, rate))
}

func duration(octets int, rate int64) time.Duration {
	return time.Duration(float64(octets) * 8 * float64(time.Second) / float64(rate))
}
