package follow

import "time"

// gaps learns the longest gap that is usual in a flow of packets.
type gaps struct {
	last        time.Time
	begun       time.Time // of the present bucket
	peak, older time.Duration
}

const (
	// bucket is for how long a gap counts at least; at most twice that.
	bucket = 8 * time.Second
	// unlearnt is what counts as usual at first. A flow of bursts may need longer, which costs a few requests once.
	unlearnt = 1500 * time.Millisecond

	leastSilence = 300 * time.Millisecond
	leastMargin  = 200 * time.Millisecond
)

func newGaps(now time.Time) gaps {
	return gaps{last: now, begun: now, older: unlearnt}
}

// heard notes a packet. The gap before it counts unless the flow was taken for silent.
func (g *gaps) heard(now time.Time, usual bool) {
	if d := now.Sub(g.last); usual && d > g.peak {
		g.peak = d
	}
	if now.Sub(g.begun) >= bucket {
		if usual {
			g.older, g.peak = g.peak, 0
		}
		g.begun = now
	}
	g.last = now
}

// silence is after how long without a packet a flow is silent, at most a given time.
func (g *gaps) silence(most time.Duration) time.Duration {
	usual := max(g.peak, g.older)
	return max(leastSilence, min(most, usual+max(usual/4, leastMargin)))
}
