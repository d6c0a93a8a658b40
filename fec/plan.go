package fec

import "time"

// Plan is what it takes to send blocks of K source packets, of one symbol each,
// through a given loss.
type Plan struct {
	K      int // source packets of a block
	Repair int // repair packets of a block
	Depth  int // blocks that take turns

	// Failure is the probability that a block cannot be recovered, at most the
	// target.
	Failure float64
}

// Plan returns the repair for blocks of k source packets.
//
// To choose k, Depth and the delay that they mean, mind what each does:
//
//   - Larger blocks average losses out: of all ways to spend a delay, one large
//     block needs the least repair. It is limited by the code, and by the work.
//   - Interleaving smaller blocks spreads a burst over them. It gains most of what a
//     larger block gains against bursts, and nothing against independent losses.
//   - Neither helps against bursts that are longer than what a block spans: only a
//     longer window does, or asking again.
func (l Loss) Plan(k int) Plan {
	l = l.populate()
	r := l.Repair(k)
	return Plan{K: k, Repair: r, Depth: l.Depth, Failure: l.Failure(k, r)}
}

// Overhead returns repair packets for each source packet.
func (p Plan) Overhead() float64 {
	if p.K <= 0 {
		return 0
	}
	return float64(p.Repair) / float64(p.K)
}

// Span returns how many packets on the wire a block extends over, from its first
// packet to its last, those of other blocks included.
func (p Plan) Span() int {
	return max(0, (p.K+p.Repair-1)*max(p.Depth, 1)+1)
}

// Window returns how long a block is under way if sourceRate source packets are sent
// each second, of all blocks that take turns, and repair packets in proportion: so
// much later than its packet a lost one is there. Zero if there is no rate.
func (p Plan) Window(sourceRate float64) time.Duration {
	if !(sourceRate > 0) {
		return 0
	}
	return time.Duration(float64(p.Span()) / (sourceRate * (1 + p.Overhead())) * float64(time.Second))
}

// PlanWindow returns the plan with the largest blocks that the window has room for, if
// sourceRate source packets are sent each second, and at most maxK source packets to a
// block. K is zero if not even one has room.
func (l Loss) PlanWindow(sourceRate float64, window time.Duration, maxK int) Plan {
	depth := float64(max(l.Depth, 1))
	k := int(min(float64(maxK), sourceRate*window.Seconds()/depth))
	for ; k > 0; k-- {
		if p := l.Plan(k); p.Window(sourceRate) <= window {
			return p
		}
	}
	return Plan{Depth: int(depth)}
}
