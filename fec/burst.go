package fec

import "math"

// channel is the one of Gilbert and Elliott, seen by packets of one block: a Markov
// chain of two states with a probability of loss in each.
type channel struct {
	loss [2]float64    // outside bursts and within
	at   [2]float64    // share of time in each
	next [2][2]float64 // from one packet of the block to the next
}

const longestBurst = 1000

// channel returns the channel of populated l, if losses are not independent.
func (l Loss) channel() (c channel, ok bool) {
	if !(l.Burst > 1/(1-l.Random)) {
		return channel{}, false
	}
	end := 1 / min(l.Burst, longestBurst)
	burst := (l.Random - l.Outside) / (l.InBurst - l.Outside)
	if !(burst > 0 && burst < 1) {
		return channel{}, false
	}
	c.loss = [2]float64{l.Outside, l.InBurst}
	c.at = [2]float64{1 - burst, burst}
	// After d packets the chain has forgotten all but memory of its state. Bursts
	// must last for at least a packet, and the pauses between them, too.
	begin := min(1, end*burst/(1-burst))
	memory := math.Pow(max(1-begin-end, 0), float64(l.Depth))
	for s := range c.next {
		for t := range c.next[s] {
			c.next[s][t] = c.at[t] * (1 - memory)
		}
		c.next[s][s] += memory
	}
	return c, true
}

// chainWork is about how many additions planning a block of packets of different
// costs may take before costs are counted roughly.
const chainWork = 5_000_000

// chain follows a block through the channel. Of state s, p[s][i] is the probability
// that floor+i units of symbols are missing; negative numbers are surplus.
type chain struct {
	c     channel
	l     Loss
	gain  int // units that a repair packet brings
	floor int
	p     [2][]float64
	lost  float64 // probability of more missing than p holds

	law        []float64
	negligible float64
}

// repeated is sequence for k packets that cost a symbol each.
func (c channel) repeated(l Loss, k int) *chain {
	n := newChain(c, l, 1, k)
	for range k {
		n.source(1)
	}
	n.discardLossless()
	return n
}

// sequence sends source packets of the given costs, of which some are positive.
// Costs are counted in units of several symbols if that saves much work, and no more
// than a repair packet brings, so that it is not overrated.
func (c channel) sequence(l Loss, costs []int, gain int) *chain {
	positive, total := 0, 0
	for _, cost := range costs {
		if cost > 0 {
			positive++
			total += min(cost, maxBlockSymbols)
		}
	}
	unit := 1
	for total/unit*positive > chainWork && 2*unit <= gain {
		unit *= 2
	}
	n := newChain(c, l, gain/unit, positive)
	carry := 0
	for _, cost := range costs {
		carry += max(0, min(cost, maxBlockSymbols))
		n.source(carry / unit)
		carry %= unit
	}
	if unit > 1 {
		// Rounding may have counted a sum too low; one unit more makes up for it.
		n.floor++
		n.law = n.law[:1]
	} else {
		n.discardLossless()
	}
	return n
}

func newChain(c channel, l Loss, gain, packets int) *chain {
	return &chain{
		c: c, l: l, gain: gain,
		p:          [2][]float64{{c.at[0]}, {c.at[1]}},
		law:        failureLaw[:],
		negligible: l.Target * 1e-5 / float64(2*packets+1),
	}
}

// step sends a packet whose loss, or arrival, moves what is missing by so many units.
func (n *chain) step(ifLost, ifReceived int) {
	var sent [2][]float64
	shift := max(ifLost, ifReceived) - min(ifLost, ifReceived)
	for s, p := range n.p {
		sent[s] = make([]float64, len(p)+shift)
		lost, received := sent[s][max(ifLost-ifReceived, 0):], sent[s][max(ifReceived-ifLost, 0):]
		for i, q := range p {
			lost[i] += q * n.c.loss[s]
			received[i] += q * (1 - n.c.loss[s])
		}
	}
	n.floor += min(ifLost, ifReceived)
	for i := range sent[0] {
		g, b := sent[0][i], sent[1][i]
		sent[0][i] = g*n.c.next[0][0] + b*n.c.next[1][0]
		sent[1][i] = g*n.c.next[0][1] + b*n.c.next[1][1]
	}
	n.p = sent
	n.trim()
}

func (n *chain) source(cost int) { n.step(cost, 0) }

// trim cuts what is improbable at both ends: above it counts as failure, below it is
// moved up; and it joins what is as good as recovered.
func (n *chain) trim() {
	p := n.p
	end, first := len(p[0]), 0
	for cut := 0.0; end > 1; end-- {
		if cut += p[0][end-1] + p[1][end-1]; cut > n.negligible {
			break
		}
		n.lost += p[0][end-1] + p[1][end-1]
	}
	safe := -len(n.law)
	for cut := 0.0; first < end-1; first++ {
		if cut += p[0][first] + p[1][first]; cut > n.negligible && n.floor+first >= safe {
			break
		}
		p[0][first+1] += p[0][first]
		p[1][first+1] += p[1][first]
	}
	n.p = [2][]float64{p[0][first:end], p[1][first:end]}
	n.floor += first
}

// discardLossless takes out the case of no source packet lost, which needs no repair.
func (n *chain) discardLossless() {
	if n.floor == 0 {
		n.p[0][0], n.p[1][0] = 0, 0
	}
}

// fails returns the probability of failure with the repair sent so far.
func (n *chain) fails() float64 {
	f := n.lost
	for i := range n.p[0] {
		q := n.p[0][i] + n.p[1][i]
		switch missing := n.floor + i; {
		case missing > 0:
			f += q
		case -missing < len(n.law):
			f += q * n.law[-missing]
		}
	}
	return f
}

func (n *chain) failure(r int) float64 {
	for range r {
		n.step(0, -n.gain)
	}
	return n.fails()
}

// repair returns the smallest number of repair packets that meets the target.
func (n *chain) repair() (r int) {
	for ; r < maxRepair && n.fails() > n.l.Target; r++ {
		n.step(0, -n.gain)
	}
	return r
}
