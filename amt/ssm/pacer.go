package ssm

import "time"

// DefaultBurst is the depth of a [Pacer] in octets: what one batch may put on
// the wire at once. It fits the default receive buffers of receivers and
// queues along the path.
const DefaultBurst = 64 << 10

// Pacer is a token bucket. It holds no clock and no socket: take the octets of
// a packet before it joins the batch for [Sender.WriteBatch], and sleep until
// Next when Take refuses. It is not safe for concurrent use.
type Pacer struct {
	// Rate in octets per second. Zero means unlimited. It may be changed at
	// any time.
	Rate uint64
	// Burst is the depth of the bucket in octets. Default: DefaultBurst.
	Burst int

	debt float64 // octets taken and not yet earned
	last time.Time
}

// Take takes the tokens for a packet of the given size, or reports that it has
// to wait. A packet larger than Burst passes when the bucket is full.
func (p *Pacer) Take(now time.Time, octets int) bool {
	if p.Rate == 0 {
		p.debt, p.last = 0, now
		return true
	}
	p.earn(now)
	// Half an octet for the rounding of times, so that Take succeeds at Next.
	if p.debt > 0.5 && p.debt+float64(octets) > float64(p.burst())+0.5 {
		return false
	}
	p.debt += float64(octets)
	return true
}

// Next returns when a packet of the given size can be taken: now or later.
func (p *Pacer) Next(now time.Time, octets int) time.Time {
	if p.Rate == 0 {
		return now
	}
	p.earn(now)
	// A packet larger than the bucket waits until all debt is paid.
	excess := min(p.debt, p.debt+float64(octets)-float64(p.burst()))
	if excess <= 0 {
		return now
	}
	// From p.last, which is later than now if the clock went back.
	return p.last.Add(time.Duration(excess/float64(p.Rate)*1e9) + 1)
}

func (p *Pacer) earn(now time.Time) {
	if elapsed := now.Sub(p.last); elapsed > 0 {
		p.debt = max(0, p.debt-elapsed.Seconds()*float64(p.Rate))
		p.last = now
	}
}

func (p *Pacer) burst() int {
	if p.Burst <= 0 {
		return DefaultBurst
	}
	return p.Burst
}
