package amt

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"
)

// bucket is a token bucket of 8 octets. Its time is in tenths of a second, see
// Relay.
type bucket struct {
	tokens float32
	last   uint32
}

// take takes a token, if there is one.
func (b *bucket) take(now uint32, perTick, burst float32) bool {
	if !b.has(now, perTick, burst) {
		return false
	}
	b.tokens--
	return true
}

// has reports whether there is a token.
func (b *bucket) has(now uint32, perTick, burst float32) bool {
	if b.last == 0 {
		b.tokens = burst
	} else if now > b.last {
		b.tokens = min(burst, b.tokens+float32(now-b.last)*perTick)
	}
	b.last = now
	return b.tokens >= 1
}

// prefixes has a bucket for each prefix of source addresses: /24 of IPv4, /56 of
// IPv6. The table does not grow; prefixes that fall on one bucket, which nobody
// outside can arrange, share it.
type prefixes struct {
	seed    maphash.Seed
	buckets []bucket
}

func newPrefixes(size int) prefixes {
	return prefixes{maphash.MakeSeed(), make([]bucket, size)}
}

func (p *prefixes) of(a netip.Addr) *bucket {
	b := a.As16()
	prefix := binary.BigEndian.Uint64(b[:8]) &^ 0xff
	if a.Is4() {
		prefix = uint64(binary.BigEndian.Uint32(b[12:]))&^0xff | 1
	}
	binary.LittleEndian.PutUint64(b[:8], prefix)
	return &p.buckets[maphash.Bytes(p.seed, b[:8])%uint64(len(p.buckets))]
}

const relayTick = 100 * time.Millisecond
