package route

import (
	"math"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
)

// span is the part of an object that one source packet carried.
type span struct {
	off, n uint32
}

// maxObjectSymbols bounds the symbols of one object when small symbols would
// suit its packets better: beyond it the coder's time per symbol dominates.
const maxObjectSymbols = 8192

// symbolSize chooses the symbol size Y of an object of f octets whose source
// packets were cut at the given spans, and how many symbols a repair packet
// takes. unit is the largest payload of a repair packet.
//
// If packets cover whole symbols, a lost packet costs one repair packet and Y
// is the full payload. Packets of low-latency chunks end anywhere: a symbol
// that several of them share is lost with any of them, so that smaller symbols
// cost less, although a packet then touches a part of one at either end.
func symbolSize(f int64, packets []span, unit int, loss float64) (y, perPacket int) {
	if f+lengthField <= int64(unit) {
		// One symbol, no longer than needed: each repair packet is as good
		// as the object.
		return int(f+lengthField+symbolAlignment-1) &^ (symbolAlignment - 1), 1
	}
	n := splitUnit(f, packets, unit, loss, maxObjectSymbols)
	return unit / n, n
}

// splitUnit chooses into how many symbols the unit is split, so that f octets
// are no more than limit symbols.
func splitUnit(f int64, packets []span, unit int, loss float64, limit int64) (split int) {
	best := math.Inf(1)
	for n := 1; n <= 16; n++ {
		if unit%(n*symbolAlignment) != 0 || n > 1 && f/int64(unit/n) > limit {
			continue
		}
		var mean, variance float64
		for _, p := range packets {
			c := float64(symbolsTouched(p, unit/n)) / float64(n)
			mean += loss * c
			variance += loss * (1 - loss) * c * c
		}
		// The estimate decides between sizes only; the number of packets
		// comes from the exact law. Three percent must be gained for the
		// sake of smaller symbols, which cost time.
		if cost := (mean + 5*math.Sqrt(variance) + 1) * (1 + 0.03*math.Log2(float64(n))); cost < best {
			best, split = cost, n
		}
	}
	return split
}

func symbolsTouched(p span, y int) int {
	if p.n == 0 {
		return 1 // the packet that closes the object: its length, the last symbol
	}
	return int((int64(p.off)+int64(p.n)-1)/int64(y)-int64(p.off)/int64(y)) + 1
}

// blockCosts appends, for each source packet that has a part in the symbols
// [first, first+k), the number of those symbols that its loss costs.
func blockCosts(dst []int, packets []span, y int, first, k int64) []int {
	for _, p := range packets {
		a := int64(p.off) / int64(y)
		b := a
		if p.n == 0 {
			a = max(0, (int64(p.off)+lengthField-1)/int64(y))
			b = a
		} else {
			b = (int64(p.off) + int64(p.n) - 1) / int64(y)
		}
		if a, b = max(a, first), min(b, first+k-1); a <= b {
			dst = append(dst, int(b-a)+1)
		}
	}
	return dst
}

// encodeJob makes the repair symbols of one object.
type encodeJob struct {
	tx       *Transmission
	tsi      uint32 // of the repair packets
	object   []byte
	packets  []span
	grown    []sentBlock // repaired while the object grew
	unit     int
	block    int
	loss     fec.Loss
	codec    *raptorq.Codec
	oti      fec.OTI
	fti      [12]byte
	group    int // symbols per packet
	turn     int
	blocks   []repairBlock
	err      error
	back     bool
	firstESI uint32 // beyond every ESI that was sent, in any block

	// Of a super-object of several.
	pool    []*Transmission
	of      *poolFlow
	epoch   int
	objects [][]byte
	cuts    [][]span
}

// repairBlock is what the repair flow sends of one source block: count symbols
// from ESI k on.
type repairBlock struct {
	k       uint32
	symbols []byte
	sent    int // octets of symbols
}

func (j *encodeJob) run() {
	y, group := symbolSize(int64(len(j.object)), j.packets, j.unit, random(j.loss))
	j.group = group
	block := max(j.block, j.block*group/4)
	block = max(block, int(superSymbols(int64(len(j.object)), y)+254)/255) // Z has 8 bits
	if j.oti, j.err = RepairOTI(int64(len(j.object)), y, block); j.err != nil {
		return
	}
	fec.AppendOTI(j.fti[:0], j.oti)
	super := closeSuperObject(j.object, 0, y)
	spare := spareForWhole(j.loss, j.packets, j.grown)
	var costs []int
	for sbn := range int(j.oti.SourceBlocks) {
		k, off, n := j.oti.Block(uint8(sbn))
		first := int64(off) / int64(y)
		enc, err := j.codec.NewEncoder(super[off:off+n], y)
		if err != nil {
			j.err = err
			return
		}
		costs = blockCosts(costs[:0], j.packets, y, first, int64(k))
		count := j.loss.RepairWeighted(costs, group)
		if len(j.grown) > 0 && j.loss.Burst == 0 { // a burst strikes blocks and what repairs the whole alike
			rest := planRest(j.loss, j.packets, j.grown, y, group, first, int64(k))
			here := float64(n) / float64(j.oti.TransferLength)
			count = min(count, max(rest, int(float64(spare)*here)/(group*y+repairOverhead)))
		}
		count *= group
		b := repairBlock{k: uint32(k), symbols: enc.AppendRepair(make([]byte, 0, count*y), uint32(k), count)}
		j.firstESI = max(j.firstESI, uint32(k+count))
		j.blocks = append(j.blocks, b)
	}
}
