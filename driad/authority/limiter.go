package authority

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limiter bounds the rate of answers by what they say and the prefix that they go to.
// Its table does not grow; what falls on the same bucket, which nobody outside can
// arrange, shares it.
type limiter struct {
	seed        maphash.Seed
	rate, burst float32
	shards      [64]shard
}

type shard struct {
	mu      sync.Mutex // guards below
	buckets [256]bucket
}

type bucket struct {
	last   int64 // ns
	tokens float32
	slips  uint8
}

type verdict uint8

const (
	pass verdict = iota
	slip         // answer truncated, so that a true client comes by TCP
	drop
)

func newLimiter(rate, burst int) *limiter {
	return &limiter{seed: maphash.MakeSeed(), rate: float32(rate), burst: float32(burst)}
}

// networkOf returns what the addresses of one client have in common: /24 or /56.
func networkOf(client netip.Addr) (prefix [8]byte) {
	a := client.As16()
	if client.Unmap().Is4() {
		copy(prefix[:], a[12:15])
		prefix[7] = 1
	} else {
		copy(prefix[:7], a[:7])
	}
	return prefix
}

func (l *limiter) check(now time.Time, client netip.Addr, key []byte) verdict {
	var h maphash.Hash
	h.SetSeed(l.seed)
	prefix := networkOf(client)
	_, _ = h.Write(prefix[:])
	_, _ = h.Write(key)
	var sum [8]byte
	binary.LittleEndian.PutUint64(sum[:], h.Sum64())
	s := &l.shards[sum[0]&63]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.buckets[sum[1]]
	t := now.UnixNano()
	if b.last == 0 {
		b.tokens = l.burst
	} else if t > b.last {
		b.tokens = min(l.burst, b.tokens+l.rate*float32(t-b.last)/1e9)
	}
	b.last = max(b.last, t)
	if b.tokens >= 1 {
		b.tokens--
		return pass
	}
	if b.slips++; b.slips%2 == 1 {
		return slip
	}
	return drop
}
