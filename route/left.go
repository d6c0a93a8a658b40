package route

import (
	"cmp"
	"slices"
	"time"

	"github.com/treedn/treedn/flute/reassembly"
)

// Repair packets that are too few to fill the holes of a growing object still tell something about them: so many symbols
// less need be asked for. What is left to them is found without solving anything, as if any symbols sufficed, which is all
// but true of RaptorQ; where it is not, the object is asked for again.

// maxLeft bounds the holes of an object that are left to its repair packets.
const maxLeft = 64

// leave takes from the holes of an object what repair symbols that it has will bring once the rest is there. Octets from
// end on are not asked for yet: blocks that lack any of those bring nothing for now. What was left to them before is
// among the holes again.
func (r *Receiver) leave(o *Object, end int64) {
	o.left = o.left[:0]
	if o.noFEC || len(o.blocks) == 0 {
		return
	}
	var room [maxObjectBlocks]*openBlock
	joint := room[:0] // blocks that are decoded together
	for _, b := range slices.Backward(o.blocks) {
		if b.aligned() && b.brings(end) && (len(joint) == 0 || b.size == joint[0].size) {
			joint = append(joint, b)
		}
	}
	if len(joint) > 0 {
		r.leaveTo(o, joint, joint[0].size, 0)
	}
	for i, b := range o.blocks {
		if !b.aligned() && b.brings(end) {
			r.leaveTo(o, o.blocks[i:i+1], b.size, b.origin())
		}
	}
	slices.SortFunc(o.left, func(a, b reassembly.Range) int { return cmp.Compare(a.Start, b.Start) })
	if len(r.missing) == 0 && !o.decodes() { // that was tried
		r.missing, o.left = append(r.missing, o.left...), o.left[:0]
	}
}

// reclaim sees that what was left to repair packets is asked for if they did not bring it although all else is there.
func (r *Receiver) reclaim(now time.Time, o *Object) {
	if len(o.left) == 0 || o.complete || o.decodes() {
		return
	}
	r.missing = o.held.AppendMissing(r.missing[:0], 0, o.asked)
	left := o.left
	for _, hole := range r.missing {
		for len(left) > 0 && left[0].End <= hole.Start {
			left = left[1:]
		}
		for len(left) > 0 && left[0].Start <= hole.Start && hole.Start < hole.End {
			hole.Start, left = left[0].End, left[1:]
		}
		if hole.Start < hole.End {
			return // it was asked for
		}
	}
	if len(r.missing) > 0 {
		o.askAgain = now
		r.arm(o, now)
	}
}

// decodes tells whether blocks of the object are being decoded.
func (o *Object) decodes() bool {
	return o.joint || slices.ContainsFunc(o.blocks, func(b *openBlock) bool { return b.decode != nil })
}

// brings tells whether the block has symbols that are of use once all holes below end are filled.
func (b *openBlock) brings(end int64) bool {
	return !b.dead && len(b.symbols) > 0 && (b.end() <= end || b.o.held.Contains(end, b.end()))
}

// leaveTo leaves symbols to blocks whose symbols begin at origin or at multiples of their size behind it. Each symbol of
// a hole takes one repair symbol, of the block that ends first, so that as many as can be have one.
func (r *Receiver) leaveTo(o *Object, blocks []*openBlock, size int, origin int64) {
	var room [maxObjectBlocks]int
	rest := room[:len(blocks)]
	for i, b := range blocks {
		rest[i] = len(b.symbols)
	}
	t := int64(size)
	out := r.asking[:0]
	last, given := int64(-1), false // the symbol that was looked at last
	for _, hole := range r.missing {
		for x := hole.Start; x < hole.End; {
			if x < origin {
				part := reassembly.Range{Start: x, End: min(origin, hole.End)}
				out, x = appendRange(out, part), part.End
				continue
			}
			i := (x - origin) / t
			cell := reassembly.Range{Start: origin + i*t, End: origin + (i+1)*t}
			if i != last { // or else this is another hole of it
				last, given = i, take(blocks, rest, cell)
			}
			part := reassembly.Range{Start: x, End: min(cell.End, hole.End)}
			x = part.End
			if given && len(o.left) < maxLeft {
				o.left = append(o.left, part)
			} else {
				out = appendRange(out, part)
			}
		}
	}
	r.asking, r.missing = r.missing, out
}

// take takes a repair symbol for a source symbol, and tells whether there was one. A block of which the symbol is the
// last, and incomplete, has an unknown of its own there, unless it is alone.
func take(blocks []*openBlock, rest []int, cell reassembly.Range) bool {
	best := -1
	for i, b := range blocks {
		if b.start >= cell.End || b.end() <= cell.Start {
			continue
		}
		if len(blocks) > 1 && b.end() < cell.End {
			return false
		}
		if rest[i] > 0 && (best < 0 || b.end() < blocks[best].end()) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	rest[best]--
	return true
}

// appendRange appends a range that does not begin before the end of the last one.
func appendRange(list []reassembly.Range, x reassembly.Range) []reassembly.Range {
	if n := len(list); n > 0 && list[n-1].End == x.Start {
		list[n-1].End = x.End
		return list
	}
	return append(list, x)
}
