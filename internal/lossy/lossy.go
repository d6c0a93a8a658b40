// Package lossy drops packets on purpose, repeatably: it stands in a node's packet source so that what the tree does
// about loss can be shown and tested without a bad network.
package lossy

import (
	"math/rand/v2"
	"time"
)

// Config says what to drop. The zero value drops nothing.
type Config struct {
	// Random is the share of packets lost independently, 0 to 1.
	Random float64
	// BurstEvery and BurstFor lose everything for BurstFor once in BurstEvery; the zero value means no bursts.
	BurstEvery, BurstFor time.Duration
	// Seed makes two runs over the same packets lose the same ones.
	Seed uint64
}

// Active reports whether anything is ever lost.
func (c Config) Active() bool { return c.Random > 0 || c.BurstEvery > 0 && c.BurstFor > 0 }

// Dropper decides packet by packet. It is owned by one goroutine.
type Dropper struct {
	cfg     Config
	rng     *rand.Rand
	start   time.Time
	dropped uint64
}

// New returns a Dropper whose bursts count from the first packet it is asked about.
func New(cfg Config) *Dropper {
	return &Dropper{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15))}
}

// Drop tells whether the packet that arrives now is lost.
func (d *Dropper) Drop(now time.Time) bool {
	if d.start.IsZero() {
		d.start = now
	}
	lost := d.cfg.Random > 0 && d.rng.Float64() < d.cfg.Random
	if d.cfg.BurstEvery > 0 && d.cfg.BurstFor > 0 {
		// The burst stands at the end of its period, so that a receiver has something before it.
		into := now.Sub(d.start) % d.cfg.BurstEvery
		lost = lost || into >= d.cfg.BurstEvery-d.cfg.BurstFor
	}
	if lost {
		d.dropped++
	}
	return lost
}

// Dropped counts the packets lost so far.
func (d *Dropper) Dropped() uint64 { return d.dropped }
