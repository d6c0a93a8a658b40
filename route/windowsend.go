package route

import (
	"time"

	"github.com/treedn/treedn/flute/pacing"
)

// Streams of few packets are repaired by blocks that overlap: each covers the latest packets of the object, also those
// that the blocks before it cover, and repair packets are sent at a constant share of the source packets. A receiver
// solves the blocks together.

const (
	// windowPackets is how many source packets a block covers at most. Losses of more than half a second ago are for
	// the repair of the whole object.
	windowPackets = 32
	// windowSplit is how many symbols the packets of a stream take: the more, the less is wasted on octets that a repair
	// packet covers without need.
	windowSplit = 4
)

// windowShare is the share of octets, headers included, that repair packets of such streams may take. The fewer packets
// there are, the longer a lost one waits for repair packets that follow it at this share: those of a few packets a second
// get more.
func windowShare(random, perSecond float64) float64 {
	return growingShare(random) + wholeShare + min(0.2, 3/max(perSecond, 1))
}

// windowTotal is the share that these and the repair packets for the whole object may take together: losses in bursts are
// more than blocks make up for.
const windowTotal = 0.65

// rhythm notes how many packets a chunk took.
func (f *flow) rhythm(packets int) {
	if f.perChunk == 0 {
		f.perChunk = float64(packets)
	} else {
		f.perChunk += (float64(packets) - f.perChunk) / 8
	}
}

// small tells whether so few packets are sent that blocks of their own would be no use for them. It is decided once for
// an object, as its channel was when it began.
func (t *Transmission) small() bool {
	f, g := t.flow, &t.growth
	if !g.decided {
		g.decided = true
		g.small = f.interval > 0 && f.perChunk > 0 &&
			f.perChunk*float64(smallTime*t.s.cfg.GrowingDelay)/float64(f.interval) < manyPackets
	}
	return g.small
}

// smallTime is in how many times GrowingDelay a stream that is not small has manyPackets.
const smallTime = 2

// closeWindow sends what repair packets have become due for a small stream.
func (s *Sender) closeWindow(now time.Time, t *Transmission) {
	g := &t.growth
	s.ungrow(t)
	if t.next < len(t.packets) {
		return
	}
	for g.counted = max(g.counted, g.first); g.counted < t.next; g.counted++ {
		g.credit += windowShare(random(s.cfg.Loss), t.flow.perChunk/t.flow.interval.Seconds()) * float64(int(t.packets[g.counted].n)+sourceHeader+pacing.UDPOverhead)
	}
	b, ok := t.window()
	if !ok {
		return
	}
	octets := float64(b.packet() + pacing.UDPOverhead)
	b.count = int(g.credit / octets)
	if b.count == 0 {
		return
	}
	g.credit -= float64(b.count) * octets
	g.first = t.next
	s.handOut(t, b, now, now.Add(s.cfg.GrowingDelay))
}

// window returns the block of the latest packets.
func (t *Transmission) window() (b sentBlock, ok bool) {
	g := &t.growth
	if g.size == 0 {
		// One symbol size for the whole object, so that its blocks have symbols in common.
		total := 0
		for _, p := range t.packets[:t.next] {
			total += int(p.n)
		}
		g.size = max(2*symbolAlignment, roundSymbol(total/t.next/windowSplit))
	}
	b.size, b.window = g.size, true
	b.first, b.last = g.first, t.next
	last := t.packets[t.next-1]
	end := int64(last.off) + int64(last.n)
	at := max(0, t.next-windowPackets)
	for ; at < t.next; at++ {
		b.start = int64(t.packets[at].off) / int64(b.size) * int64(b.size)
		b.length = int(end - b.start)
		if b.symbols() <= maxWindow {
			break
		}
	}
	// A repair packet makes up for one lost packet of those in the block.
	largest := 0
	for _, p := range t.packets[at:t.next] {
		largest = max(largest, int(p.n))
	}
	b.group = max(1, min((largest+b.size-1)/b.size+1, (t.s.cfg.MaxPayload-growingOverhead)/b.size))
	return b, b.valid() && b.start < end
}

// windowLoss gives what is lost of overlapping blocks its probabilities: [missing][packets], where missing is how many
// symbols more than repair packets brought would be needed to get the lost packets back, all at once.
type windowLoss [][]float64

// maxLost bounds the packets that are counted. More are as unlikely as they are beyond repair.
const maxLost = 40

func newWindowLoss() windowLoss { return windowLoss{{1}} }

// source adds a packet that costs c symbols.
func (w windowLoss) source(c int, p float64) windowLoss {
	n := len(w)
	for range c {
		w = append(w, nil)
	}
	for m := n - 1; m >= 0; m-- {
		for l := len(w[m]) - 1; l >= 0; l-- {
			x := w[m][l]
			if x == 0 {
				continue
			}
			w.add(m+c, min(l+1, maxLost), x*p)
			w[m][l] = x * (1 - p)
		}
	}
	for len(w) > 1 && sum(w[len(w)-1]) < negligible {
		w = w[:len(w)-1]
	}
	return w
}

// repair adds a repair packet of gain symbols.
func (w windowLoss) repair(gain int, p float64) {
	for m := 1; m < len(w); m++ {
		for l, x := range w[m] {
			if x == 0 {
				continue
			}
			w[m][l] = x * p
			if m <= gain {
				w.add(0, 0, x*(1-p))
			} else {
				w.add(m-gain, l, x*(1-p))
			}
		}
	}
}

func (w windowLoss) add(m, l int, x float64) {
	for len(w[m]) <= l {
		w[m] = append(w[m], 0)
	}
	w[m][l] += x
}

// packets returns how many packets are lost for good, counted in units of so many.
func (w windowLoss) packets(each int) distribution {
	d := make(distribution, 1, maxLost*each+1)
	for _, row := range w {
		for l, x := range row {
			for len(d) <= l*each {
				d = append(d, 0)
			}
			d[l*each] += x
		}
	}
	return d.trim()
}

func sum(list []float64) (s float64) {
	for _, x := range list {
		s += x
	}
	return s
}
