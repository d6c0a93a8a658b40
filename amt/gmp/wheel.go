package gmp

import (
	"math/bits"
	"time"
)

// tick is a time in tenths of a second since the router began, the unit of
// IGMP; 0 stands for never. It lasts for 13 years.
type tick uint32

const tickUnit = 100 * time.Millisecond

// wheel holds the links that have a timer, by the tick that it is due at. A
// timer may be early: what finds nothing due puts it where it belongs. Thus
// moving a deadline further away, which every report does, costs nothing.
type wheel struct {
	slots [wheelSize]uint32 // first link of each slot
	full  [wheelSize / 64]uint64
	now   tick // all slots up to here have been handled
}

// wheelSize is larger than the longest common timer, 260 s.
const wheelSize = 4096

func (w *wheel) set(slot uint32)   { w.full[slot/64] |= 1 << (slot % 64) }
func (w *wheel) clear(slot uint32) { w.full[slot/64] &^= 1 << (slot % 64) }

// slot returns the slot for a timer due at t, which is the last one for what
// is too far away.
func (w *wheel) slot(t tick) (uint32, tick) {
	if t <= w.now {
		t = w.now + 1
	}
	if t > w.now+wheelSize-1 {
		t = w.now + wheelSize - 1
	}
	return uint32(t % wheelSize), t
}

// first returns the first tick with timers, or 0.
func (w *wheel) first() tick {
	start := uint32((w.now + 1) % wheelSize)
	for i := uint32(0); i <= wheelSize/64; i++ {
		word := (start/64 + i) % (wheelSize / 64)
		b := w.full[word]
		switch i {
		case 0:
			b &= ^uint64(0) << (start % 64)
		case wheelSize / 64:
			b &= 1<<(start%64) - 1
		}
		if b != 0 {
			slot := word*64 + uint32(bits.TrailingZeros64(b))
			return w.now + 1 + tick((slot-start)%wheelSize)
		}
	}
	return 0
}
