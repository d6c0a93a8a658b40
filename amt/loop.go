package amt

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// loopGuard keeps packets from going round in circles where they leave a tunnel
// and go on: tunnels themselves do not touch the time to live of what they
// carry.
//
// Each packet that goes on loses one of its time to live, and one that has but
// one left goes no further. That ends every loop, after up to 254 rounds. The
// guard ends most after the first: it remembers the packets of the last seconds
// without what routers change in them, and with their time to live. One that
// comes again with less has been here before. Equal packets that a source sends
// on purpose come with the same, and pass.
type loopGuard struct {
	seed maphash.Seed
	seen []seenPacket // by hash: the latest of those that share a place
	base time.Time
}

type seenPacket struct {
	hash uint64
	at   uint32 // milliseconds since base, from 1; 0: none
	ttl  uint8
}

const (
	guardSize   = 1 << 16 // packets, of 16 octets each
	guardMemory = 5 * time.Second
)

// loopVerdict says what becomes of a packet.
type loopVerdict uint8

const (
	loopPass    loopVerdict = iota
	loopExpired             // its time to live is over
	loopSeen                // it has been here before
)

func newLoopGuard(now time.Time) *loopGuard {
	return &loopGuard{seed: maphash.MakeSeed(), seen: make([]seenPacket, guardSize), base: now}
}

// pass decides on a packet that has been parsed, and takes one off its time to
// live if it may go on.
func (g *loopGuard) pass(now time.Time, p *Packet) loopVerdict {
	if p.TTL < 2 {
		return loopExpired
	}
	h := g.hash(p.Raw)
	s := &g.seen[h%guardSize]
	at := uint32(now.Sub(g.base)/time.Millisecond) + 1
	if s.at != 0 && s.hash == h && at-s.at < uint32(guardMemory/time.Millisecond) && p.TTL < s.ttl {
		return loopSeen
	}
	*s = seenPacket{h, at, p.TTL}
	p.hop()
	return loopPass
}

// hash is that of what routers leave alone: neither the time to live nor the
// field for DSCP and ECN.
func (g *loopGuard) hash(b []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	if b[0]>>4 == 4 {
		h.Write(b[2:8])
		h.WriteByte(b[9])
		h.Write(b[12:])
	} else {
		h.Write(b[4:7])
		h.Write(b[8:])
	}
	return h.Sum64()
}

// hop takes one off the time to live, in the packet as well.
func (p *Packet) hop() {
	p.TTL--
	b := p.Raw
	if b[0]>>4 == 6 {
		b[7]--
		return
	}
	b[8]--
	// RFC 1624 section 3.
	sum := checksum.Fold(uint64(^binary.BigEndian.Uint16(b[10:])) + 0xfeff)
	binary.BigEndian.PutUint16(b[10:], sum)
}
