package route

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/pacing"
)

// sentBlock is a block of a growing object together with what is sent for it:
// count repair packets of group symbols each, for the source packets
// [first, last).
type sentBlock struct {
	growingBlock
	first, last  int
	group, count int
	window       bool // it overlaps those before it: first is its first new packet
}

// fewPackets is up to how many source packets of a block all symbol sizes are
// tried, smallPackets if they are small. Blocks of more have less to gain.
const (
	fewPackets   = 8
	smallPackets = 64
)

// How repair octets are shared, as parts of the source octets. A block of 40
// packets needs about growingShare for the full target. One of fewer packets
// needs more; beyond that share it gets only so many that it fails cheapRisk
// times as often, or slowRisk times for each GrowingDelay that it lasts: the fewer
// blocks there are, the more of them may fail for an object to be delayed as often. Up to wholeShare, all that blocks leave goes to the repair
// packets for the whole object, more than the plan asks for: losses that come in
// bursts are too much for many blocks, and what these got is lost then.
const (
	cheapRisk  = 50
	slowRisk   = 12.5
	wholeShare = 0.06 // beyond growingShare
)

func growingShare(random float64) float64 { return 0.15 + 2.7*random }

// plans remembers what package fec calculated: tracks repeat the same few shapes of blocks.
type plans struct {
	known map[string]int
	key   []byte // scratch
	costs []int  // likewise
	loss  fec.Loss
}

// maxPlans bounds what is remembered; planning anew is all that more would cost.
const maxPlans = 4096

// repair is fec.Loss.RepairWeighted. The order of costs, which lie below 2^16, matters for bursts alone.
func (p *plans) repair(loss fec.Loss, costs []int, gain int) int {
	p.costs = append(p.costs[:0], costs...)
	if loss.Burst == 0 {
		slices.Sort(p.costs)
	}
	key := binary.BigEndian.AppendUint64(p.key[:0], math.Float64bits(loss.Target))
	key = binary.BigEndian.AppendUint16(key, uint16(gain))
	for _, c := range p.costs {
		key = binary.BigEndian.AppendUint16(key, uint16(c))
	}
	p.key = key
	target := loss.Target
	loss.Target = 0
	if p.known == nil || p.loss != loss || len(p.known) >= maxPlans {
		p.known, p.loss = make(map[string]int), loss
	}
	n, ok := p.known[string(key)]
	if !ok {
		loss.Target = target
		n = loss.RepairWeighted(p.costs, gain)
		p.known[string(key)] = n
	}
	return n
}

// growing chooses the symbols and the number of repair packets of a block of consecutive source packets, for which the
// first one waited so many times GrowingDelay.
func (p *plans) growing(packets []span, unit int, loss fec.Loss, waited float64) (b sentBlock) {
	last := packets[len(packets)-1]
	b.start = int64(packets[0].off)
	b.length = int(int64(last.off) + int64(last.n) - b.start)
	small := b.length < len(packets)*unit/2 && len(packets) <= smallPackets
	if len(packets) > fewPackets && !small {
		// Packets end at multiples of the unit, and so do symbols.
		n := splitUnit(int64(b.length), packets, unit, random(loss), maxGrowingSymbols-2)
		b.size, b.group = unit/n, n
		b.lead = int(b.start) % b.size
		b.count = b.repair(p, loss, b.costs(nil, packets), waited)
		return b
	}
	largest := 0
	for _, p := range packets {
		largest = max(largest, int(p.n))
	}
	best := math.MaxInt
	try := func(size, lead int) {
		x := b
		x.size, x.lead = size, lead
		if !x.valid() {
			return
		}
		costs := x.costs(nil, packets)
		for x.group = 1; x.group*size <= unit; x.group *= 2 {
			x.count = x.repair(p, loss, costs, waited)
			if octets := x.count * (x.packet() + pacing.UDPOverhead); octets < best {
				best, b = octets, x
			}
		}
	}
	// Small packets: symbols that begin with the block.
	for n := 1; n <= 4; n *= 2 {
		try(roundSymbol((largest+n-1)/n), 0)
	}
	if b.length <= unit {
		try(roundSymbol(b.length), 0)
	}
	for n := 1; n <= 8; n++ {
		if unit%(n*symbolAlignment) == 0 {
			try(unit/n, int(b.start)%(unit/n))
		}
	}
	return b
}

// packet is the length of a repair packet.
func (b *sentBlock) packet() int { return b.group*b.size + growingOverhead }

// repair returns how many repair packets the block gets if its source packets
// cost so many symbols.
func (b *sentBlock) repair(p *plans, loss fec.Loss, costs []int, waited float64) int {
	full := p.repair(loss, costs, b.group)
	share := int(growingShare(random(loss)) * float64(b.length+len(costs)*sourceHeader) / float64(b.packet()))
	if full <= share {
		return full
	}
	loss.Target = max(loss.Target, min(0.01, max(cheapRisk, slowRisk*waited)*loss.Target))
	return max(share, p.repair(loss, costs, b.group))
}

func roundSymbol(n int) int { return (n + symbolAlignment - 1) &^ (symbolAlignment - 1) }

// costs appends what each of the block's source packets costs if it is lost, in
// symbols.
func (b growingBlock) costs(dst []int, packets []span) []int {
	for _, p := range packets {
		off := int64(p.off) - b.origin()
		dst = append(dst, int((off+int64(p.n)-1)/int64(b.size)-off/int64(b.size))+1)
	}
	return dst
}

// random is the share of packets that are lost.
func random(l fec.Loss) float64 {
	if !(l.Random > 0) {
		return defaultRandom
	}
	return min(l.Random, 0.95)
}

const (
	defaultRandom = 0.1 // as fec.Loss has it
	defaultTarget = 1e-6
)

func target(l fec.Loss) float64 {
	if !(l.Target > 0) {
		return defaultTarget
	}
	return l.Target
}

// planRest returns how many repair packets the symbols [first, first+k) of the
// whole object need, of gain symbols of y octets each, if these blocks of it
// were repaired while it grew. What a block lacks that cannot be decoded, and
// what was lost of the packets that no block covers, is left to them.
func planRest(loss fec.Loss, packets []span, blocks []sentBlock, y, gain int, first, k int64) int {
	p := random(loss)
	rest := distribution{1}
	var costs []int
	next := 0
	missing := newWindowLoss() // of overlapping blocks
	var covered, cost int      // their packets, and what these cost of the whole
	for _, b := range blocks {
		if b.window {
			// Those lost are known again as soon as enough repair packets came.
			list := packets[next:b.last]
			next = b.last
			costs = blockCosts(costs[:0], list, y, first, k)
			if len(costs) == 0 {
				continue
			}
			covered, cost = covered+len(costs), cost+total(costs)
			for _, c := range b.costs(costs[:0], list) {
				missing = missing.source(c, p)
			}
			for range b.count {
				missing.repair(b.group, p)
			}
			continue
		}
		costs = blockCosts(costs[:0], packets[next:b.first], y, first, k)
		rest = rest.packets(costs, p)
		next = b.last
		own := packets[b.first:b.last]
		costs = blockCosts(costs[:0], own, y, first, k)
		if len(costs) == 0 {
			continue
		}
		whole := total(costs)
		costs = b.costs(costs[:0], own)
		rest = rest.plus(undecoded(costs, b.group, b.count, p).scale(whole, total(costs)))
	}
	if covered > 0 {
		rest = rest.plus(missing.packets((cost + covered - 1) / covered))
	}
	costs = blockCosts(costs[:0], packets[next:], y, first, k)
	rest = rest.packets(costs, p)

	enough := func(r int) bool { return rest.unrecovered(r, gain, p) <= target(loss) }
	high := 1
	for !enough(high) && high < maxESI {
		high *= 2
	}
	low := high/2 - 1
	for high-low > 1 {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// spareForWhole returns how many octets of repair packets for the whole object
// there may be beside those for blocks.
func spareForWhole(loss fec.Loss, packets []span, blocks []sentBlock) int {
	source, repair, share := 0, 0, growingShare(random(loss))+wholeShare
	for _, p := range packets {
		source += int(p.n) + sourceHeader
	}
	for _, b := range blocks {
		repair += b.count * b.packet()
		if b.window {
			share = max(share, windowTotal)
		}
	}
	return max(0, int(share*float64(source))-repair)
}

func total(costs []int) (sum int) {
	for _, c := range costs {
		sum += c
	}
	return sum
}

// A distribution gives the number of lost symbols their probabilities.
type distribution []float64

// negligible is the probability of more lost symbols that is counted as that of
// the most that are kept. It is far below every target.
const negligible = 1e-16

// shortOfOne is the probability that RaptorQ cannot decode with exactly as many
// symbols as source symbols; with more of them it is left out of account.
const shortOfOne = 6.7e-3

// packets adds packets that are lost with probability p.
func (d distribution) packets(costs []int, p float64) distribution {
	for _, c := range costs {
		n := len(d)
		for range c {
			d = append(d, 0)
		}
		for i := n - 1; i >= 0; i-- {
			d[i+c] += d[i] * p
			d[i] *= 1 - p
		}
		d = d.trim()
	}
	return d
}

// plus adds losses that are independent of those in d.
func (d distribution) plus(o distribution) distribution {
	sum := make(distribution, len(d)+len(o)-1)
	for j, y := range o {
		if y == 0 {
			continue
		}
		for i, x := range d {
			sum[i+j] += x * y
		}
	}
	return sum.trim()
}

func (d distribution) trim() distribution {
	n := len(d)
	for n > 1 && d[n-1]+d[n-2] < negligible {
		d[n-2] += d[n-1]
		n--
	}
	return d[:n]
}

// scale counts losses in other symbols, of which there are to for from.
func (d distribution) scale(to, from int) distribution {
	if to == from {
		return d
	}
	out := make(distribution, ((len(d)-1)*to+from-1)/from+1)
	for c, x := range d {
		out[(c*to+from-1)/from] += x
	}
	return out
}

// undecoded returns how many symbols of a block stay unknown, counted in those
// that its lost packets cost.
func undecoded(costs []int, gain, count int, p float64) distribution {
	lost := distribution{1}.packets(costs, p)
	fails := failures(len(lost), count, gain, p)
	for c := 1; c < len(lost); c++ {
		known := lost[c] * (1 - fails[c])
		lost[c] -= known
		lost[0] += known
	}
	return lost.trim()
}

// unrecovered is the probability that count repair packets do not suffice.
func (d distribution) unrecovered(count, gain int, p float64) (sum float64) {
	fails := failures(len(d), count, gain, p)
	for c := 1; c < len(d); c++ {
		sum += d[c] * fails[c]
	}
	return sum
}

// failures returns for each number of lost symbols below n the probability that
// count repair packets do not bring them back.
func failures(n, count, gain int, p float64) []float64 {
	fails := make([]float64, n)
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	below, r := 0.0, 0 // the probability that fewer than r packets arrive
	for c := range fails {
		var exact float64
		for ; r <= count && r*gain <= c; r++ {
			q := math.Exp(lg(count) - lg(r) - lg(count-r) + float64(r)*math.Log1p(-p) + float64(count-r)*math.Log(p))
			if r*gain == c {
				exact = q
				break
			}
			below += q
		}
		if r > count {
			below = 1
		}
		fails[c] = min(1, below+shortOfOne*exact)
		if exact > 0 {
			below += exact
			r++
		}
	}
	return fails
}
