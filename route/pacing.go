package route

import "time"

// udpOverhead is what IPv4 and UDP add to a packet on the wire.
const udpOverhead = 28

// bucket is a token bucket that is kept as one time: the moment at which it
// will be full again.
type bucket struct {
	full time.Time
}

// wait returns how long the next packet has to wait. A packet may leave while
// the bucket is not empty, so that its size does not matter.
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
	return time.Duration(n * 8 * int64(time.Second) / rate)
}

// peak measures the highest number of octets in a second, in steps of an
// eighth, and forgets after one to two minutes.
type peak struct {
	step      time.Time
	slots     [8]int64
	at        int
	sum       int64
	epoch     time.Time
	now, last int64
}

const (
	peakStep  = time.Second / 8
	peakEpoch = time.Minute
)

func (p *peak) add(now time.Time, n int) {
	if d := now.Sub(p.step); d >= time.Second || d < 0 {
		p.slots, p.sum, p.step = [8]int64{}, 0, now
	}
	for now.Sub(p.step) >= peakStep {
		p.step = p.step.Add(peakStep)
		p.at = (p.at + 1) % len(p.slots)
		p.sum -= p.slots[p.at]
		p.slots[p.at] = 0
	}
	p.slots[p.at] += int64(n)
	p.sum += int64(n)
	if now.Sub(p.epoch) >= peakEpoch {
		p.last, p.now, p.epoch = p.now, 0, now
	}
	p.now = max(p.now, p.sum)
}

// bitrate is the peak in bit/s.
func (p *peak) bitrate() int64 { return 8 * max(p.now, p.last) }
