package fec

import (
	"cmp"
	"math"
	"slices"
)

// Loss says how much loss a block of packets must survive, and plans its repair.
//
// Losses strike repair packets as well as source packets. They are independent unless
// Burst is given; then the channel is that of Gilbert and Elliott, which changes
// between good times and bursts. Packets of a block follow each other, source packets
// first, unless Depth says otherwise.
type Loss struct {
	// Random is the share of packets that are lost, bursts included. Default 0.10;
	// values above 0.95 count as 0.95, and those below 1e-9 as 1e-9.
	Random float64

	// Target is the probability that a block cannot be decoded which is
	// accepted. Default 1e-6; values below 1e-12 count as 1e-12.
	Target float64

	// Burst is the mean length of a burst in packets on the wire. Zero, and what is
	// no longer than independent losses come in a row by chance, 1/(1-Random), means
	// that losses are independent; values above 1000 count as 1000.
	Burst float64

	// InBurst is the share of packets that are lost during a burst, and Outside the
	// share lost at other times. Defaults 1 and 0. InBurst is more than Random, and
	// Outside less, or they are taken to be the defaults.
	InBurst, Outside float64

	// Depth is the interleaving depth: so many packets on the wire is one packet of
	// the block after the one before, because as many blocks, or flows, take turns.
	// Default 1. Independent losses do not care.
	Depth int
}

const (
	defaultRandom = 0.10
	defaultTarget = 1e-6
	highestRandom = 0.95
	lowestRandom  = 1e-9
	lowestTarget  = 1e-12
)

func (l Loss) populate() Loss {
	if !(l.Random > 0) {
		l.Random = defaultRandom
	}
	if !(l.Target > 0) {
		l.Target = defaultTarget
	}
	l.Random = min(max(l.Random, lowestRandom), highestRandom)
	l.Target = max(l.Target, lowestTarget)
	if !(l.InBurst > l.Random && l.InBurst <= 1) {
		l.InBurst = 1
	}
	if !(l.Outside >= 0 && l.Outside < l.Random) {
		l.Outside = 0
	}
	l.Depth = max(l.Depth, 1)
	return l
}

// failureLaw is the probability that RaptorQ cannot decode although as many
// symbols as source symbols, or one more and so on, have arrived and not all are
// source symbols. Measured with random repair symbols for K = 10, 49 and 101:
// 6.5e-3 to 7.1e-3, 3.4e-5 to 4.1e-5, 1.8e-7 to 5.4e-7, and about 1.5e-9 for the
// two larger blocks. RFC 6330 section 5.8 demands 1e-2, 1e-4 and 1e-6.
var failureLaw = [...]float64{6.7e-3, 4e-5, 3e-7, 2e-9, 1e-11}

// Failure returns the probability that a block of k source packets with r repair
// packets, one symbol each, cannot be recovered.
func (l Loss) Failure(k, r int) float64 {
	if k <= 0 {
		return 0
	}
	l = l.populate()
	if c, ok := l.channel(); ok {
		return c.repeated(l, k).failure(max(r, 0))
	}
	return newDemand(l, repeated(1, k), 1, maxWork).failure(l, max(r, 0))
}

// Repair returns the number of repair packets, of one symbol each, that k source
// packets of one symbol each need: the smallest for which [Loss.Failure] does
// not exceed Target.
func (l Loss) Repair(k int) int {
	if k <= 0 {
		return 0
	}
	l = l.populate()
	if c, ok := l.channel(); ok {
		return c.repeated(l, k).repair()
	}
	return newDemand(l, repeated(1, k), 1, maxWork).repair(l)
}

// RepairWeighted is Repair for source packets that are not cut along symbols.
// When source packet i is lost, costs[i] symbols are unknown, namely all that it
// has a part in; each repair packet brings gain symbols. Symbols that two
// packets share count for both, which is exact as long as not both are lost.
//
// It takes well under a millisecond for hundreds of packets. The result is exact
// unless the costs have so many values that they must be counted in units of
// several symbols; then it is up to a few packets more. With bursts it takes some
// milliseconds, and costs are in the order of sending.
func (l Loss) RepairWeighted(costs []int, gain int) int {
	l = l.populate()
	groups := group(costs)
	if len(groups) == 0 {
		return 0
	}
	if c, ok := l.channel(); ok {
		return c.sequence(l, costs, min(max(gain, 1), maxBlockSymbols)).repair()
	}
	return newDemand(l, groups, min(max(gain, 1), maxBlockSymbols), maxWork).repair(l)
}

// maxWork bounds the multiplications of planning one block; it keeps them to a
// fraction of a millisecond.
const maxWork = 500_000

// costGroup stands for count packets of equal cost.
type costGroup struct{ cost, count int }

func repeated(cost, count int) []costGroup { return []costGroup{{cost, count}} }

// group counts equal costs; packets that cost nothing need no repair.
func group(costs []int) []costGroup {
	groups := make([]costGroup, 0, len(costs))
	for _, c := range costs {
		groups = append(groups, costGroup{min(c, maxBlockSymbols), 1})
	}
	return merge(groups)
}

// merge orders groups by cost and joins those of equal cost, in place.
func merge(groups []costGroup) []costGroup {
	slices.SortFunc(groups, func(a, b costGroup) int { return cmp.Compare(a.cost, b.cost) })
	out := groups[:0]
	for _, g := range groups {
		switch n := len(out); {
		case g.cost <= 0 || g.count <= 0:
		case n > 0 && out[n-1].cost == g.cost:
			out[n-1].count += g.count
		default:
			out = append(out, g)
		}
	}
	return out
}

// demand is what losses of source packets ask of the repair packets.
type demand struct {
	gain int
	unit int // symbols per entry of fail
	// fail[g/unit] is the probability that the block is not decodable when g
	// symbols of repair have arrived; beyond the end it is negligible.
	fail []float64
}

// newDemand convolves the losses of all groups, which are ordered by cost, in no
// more than about the given number of multiplications. l must be populated.
func newDemand(l Loss, groups []costGroup, gain, work int) demand {
	// Probability that falls off the ends is accounted as failure or as more
	// lost symbols, so the result errs to the safe side by at most this much.
	negligible := l.Target * 1e-5 / float64(2*len(groups))
	unit := 1
	counted := groups
	for estimate(l, counted, negligible) > work {
		unit *= 2
		counted = coarsen(groups, unit)
	}
	sum := distribution{p: []float64{1}}
	lost := 0.0
	for _, g := range counted {
		sum = sum.add(binomial(g.count, l.Random), g.cost)
		lost += sum.trim(negligible)
	}
	// Rounding may have counted a sum too low; one unit more makes up for it.
	law := failureLaw[:]
	if unit > 1 {
		sum.low++
		law = law[:1]
	}

	// Turn the distribution of the symbols lost into the probability of
	// failure for each number of symbols that repair brings.
	n := sum.low + len(sum.p)
	fail := make([]float64, n+len(law))
	for g := len(fail) - 1; g >= 0; g-- {
		fail[g] = lost
		for s, f := range law {
			if d := g - s; d > 0 && d >= sum.low && d < n { // nothing lost, nothing to decode
				fail[g] += f * sum.p[d-sum.low]
			}
		}
		if g >= sum.low && g < n {
			lost += sum.p[g-sum.low]
		}
	}
	return demand{gain: gain, unit: unit, fail: fail}
}

// failure returns the probability of failure with r repair packets.
func (d demand) failure(l Loss, r int) float64 {
	received := binomial(r, 1-l.Random)
	p := 0.0
	for i, q := range received.p {
		g := uint64(received.low+i) * uint64(d.gain) / uint64(d.unit)
		if g >= uint64(len(d.fail)) {
			break
		}
		p += q * d.fail[g]
	}
	return p
}

// maxRepair is how many symbols the ESI can number.
const maxRepair = 1 << 24

// repair returns the smallest number of repair packets that meets the target.
func (d demand) repair(l Loss) int {
	enough := func(r int) bool { return r >= maxRepair || d.failure(l, r) <= l.Target }
	high := 1
	for !enough(high) {
		high *= 2
	}
	low := high / 2 // not enough, or zero
	if low == 0 && enough(0) {
		return 0
	}
	for high-low > 1 {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// estimate returns about how many multiplications the convolution takes, or how
// many sums it has to keep if these are more.
func estimate(l Loss, groups []costGroup, negligible float64) int {
	x := -math.Log(negligible)
	variance, width, work := 0.0, 1.0, 0.0
	for _, g := range groups {
		n, c := float64(g.count), float64(g.cost)
		v := n * l.Random * (1 - l.Random)
		// Bernstein's inequality tells which terms and which sums matter.
		work += width * min(n+1, 2*math.Sqrt(2*v*x)+x)
		variance += v * c * c
		width = 2*math.Sqrt(2*variance*x) + c*x
	}
	return int(min(max(work, width), math.MaxInt32))
}

// coarsen counts costs in units of several symbols. Rounding errors are carried
// on to the next packet in order of cost, so that sums of lost packets, which
// are random selections, come out right on average.
func coarsen(groups []costGroup, unit int) []costGroup {
	var out []costGroup
	carry := uint64(0)
	for _, g := range groups {
		// Of count packets, those whose share of the remainders completes a
		// unit are counted as the higher of the two neighbouring costs.
		whole, rest := g.cost/unit, g.cost%unit
		total := carry + uint64(rest)*uint64(g.count)
		up := int(total / uint64(unit))
		carry = total % uint64(unit)
		out = append(out, costGroup{whole, g.count - up}, costGroup{whole + 1, up})
	}
	return merge(out)
}

// distribution gives the sums low, low+1, ... the probabilities p.
type distribution struct {
	low int
	p   []float64
}

// binomial returns the number of successes in n trials of probability p, without
// the far tails that add up to less than any target counts.
func binomial(n int, p float64) distribution {
	if n == 0 {
		return distribution{p: []float64{1}}
	}
	const floor = 1e-24
	mode := min(int(float64(n+1)*p), n)
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	peak := math.Exp(lg(n) - lg(mode) - lg(n-mode) +
		float64(mode)*math.Log(p) + float64(n-mode)*math.Log1p(-p))
	odds := p / (1 - p)
	var down []float64
	for i, q := mode, peak; i > 0; i-- {
		q *= float64(i) / float64(n-i+1) / odds
		if q < floor {
			break
		}
		down = append(down, q)
	}
	d := distribution{low: mode - len(down), p: make([]float64, 0, 2*len(down)+2)}
	for _, q := range slices.Backward(down) {
		d.p = append(d.p, q)
	}
	d.p = append(d.p, peak)
	for i, q := mode, peak; i < n; i++ {
		q *= float64(n-i) / float64(i+1) * odds
		if q < floor {
			break
		}
		d.p = append(d.p, q)
	}
	return d
}

// add returns the distribution of d plus cost times b.
func (d distribution) add(b distribution, cost int) distribution {
	sum := distribution{
		low: d.low + b.low*cost,
		p:   make([]float64, len(d.p)+(len(b.p)-1)*cost),
	}
	for i, q := range b.p {
		part := sum.p[i*cost : i*cost+len(d.p)]
		for j, x := range d.p {
			part[j] += q * x
		}
	}
	return sum
}

// trim cuts both tails of at most the given probability. The lower one is moved
// up to the first sum that stays; the upper one is returned.
func (d *distribution) trim(negligible float64) (tail float64) {
	n := len(d.p)
	for n > 1 && tail+d.p[n-1] <= negligible {
		n--
		tail += d.p[n]
	}
	d.p = d.p[:n]
	first, below := 0, 0.0
	for first < n-1 && below+d.p[first] <= negligible {
		below += d.p[first]
		first++
	}
	d.p = d.p[first:]
	d.p[0] += below
	d.low += first
	return tail
}
