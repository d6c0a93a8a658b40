package route

import "time"

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
