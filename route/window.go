package route

import (
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/fec/raptorq"
)

// Blocks of an object may overlap: see section 4.1 of growing.md. What no single one of them decodes, several may
// together, since each repair symbol is a linear equation of the source symbols. That is how small streams get by with
// few repair packets: each one helps with all losses before it.

const (
	// maxWindow bounds the source symbols of a block that takes part.
	maxWindow = 160
	// maxEquations and maxUnknown bound one attempt.
	maxEquations = 192
	maxUnknown   = 160
	// maxJoint bounds the work of attempts in a second, in multiplications of octets, which take a nanosecond or less: an
	// attempt costs far more than the packet that it may be due to.
	maxJoint = 200_000_000
)

// aligned tells whether the block may take part in joint decoding: its symbols begin at multiples of their size.
func (b growingBlock) aligned() bool {
	return b.lead == 0 && b.start%int64(b.size) == 0 && b.symbols() <= maxWindow
}

// cell is a source symbol in the object. The last symbol of a block may hold fewer octets than the same one of a later
// block, and is another unknown then.
type cell struct {
	at  int64 // its first octet
	len int   // octets that are not padding
}

func (b growingBlock) cell(i int) cell {
	start, end, _ := b.symbol(i)
	return cell{start, int(end - start)}
}

// decodeJoint hands out what blocks of an object with symbols of one size may decode together.
func (r *Receiver) decodeJoint(o *Object, size int) {
	if o.joint || o.noFEC || r.cfg.HoldSignalling && !o.preferred {
		return
	}
	var room [maxObjectBlocks]*openBlock
	blocks := room[:0]
	equations, octets := 0, 0
	var from, to int64
	for _, b := range slices.Backward(o.blocks) { // the latest first
		if b.size != size || b.dead || b.decode != nil || len(b.symbols) == 0 || !b.aligned() {
			continue
		}
		if equations+len(b.symbols) > maxEquations {
			break
		}
		if len(blocks) == 0 || b.start < from {
			from = b.start
		}
		to = max(to, b.end())
		equations += len(b.symbols)
		octets += len(b.symbols) * size
		blocks = append(blocks, b)
	}
	mark := o.held.Total()<<16 + int64(equations)
	if len(blocks) < 2 || mark == o.jointMark || to-from > maxGrowingBlock {
		return
	}
	octets += int(to - from)
	work := equations*int(to-from) + equations*equations*(equations+size)
	if r.decoding+octets > maxBlockDecodes || !r.joints.spend(r.clock, work, maxJoint) {
		return
	}
	o.jointMark, o.joint = mark, true
	r.decoding += octets
	j := &jointDecode{r: r, o: o, epoch: o.epoch, octets: octets, size: size, from: from, codec: &r.codec, rows: &r.rows}
	j.source = make([]byte, to-from)
	for x := from; ; {
		h, ok := o.held.Next(x, to)
		if !ok {
			break
		}
		o.data.ReadAt(j.source[h.Start-from:h.End-from], h.Start)
		x = h.End
	}
	for _, b := range blocks {
		w := windowBlock{growingBlock: b.growingBlock, known: make([]bool, b.k)}
		b.eachKnown(func(first, n int) {
			for i := first; i < first+n; i++ {
				w.known[i] = true
			}
		})
		for _, s := range b.symbols {
			w.esis = append(w.esis, s.esi)
			at := len(w.repair)
			w.repair = append(w.repair, make([]byte, size)...)
			b.data.ReadAt(w.repair[at:], int64(s.at)*int64(size))
		}
		j.blocks = append(j.blocks, w)
	}
	r.works = append(r.works, &Work{run: j.run, joint: j})
}

// jointDecode solves the equations of several blocks. It has copies of everything.
type jointDecode struct {
	r      *Receiver
	o      *Object
	epoch  int
	octets int
	back   bool
	size   int
	from   int64
	source []byte // octets from there on, those that are known
	blocks []windowBlock
	codec  *raptorq.Codec
	rows   *coefficients

	found []solved
	err   error
}

type windowBlock struct {
	growingBlock
	known  []bool
	esis   []uint32
	repair []byte
}

type solved struct {
	cell
	symbol []byte
}

func (j *jointDecode) run() {
	unknown := map[cell]int{}
	var cells []cell
	for _, b := range j.blocks {
		for i, known := range b.known {
			if c := b.cell(i); !known {
				if _, ok := unknown[c]; !ok {
					unknown[c] = len(cells)
					cells = append(cells, c)
				}
			}
		}
	}
	if len(cells) == 0 || len(cells) > maxUnknown {
		return
	}
	s := system{width: len(cells), size: j.size}
	gf := j.rows.field()
	for _, b := range j.blocks {
		k := b.growingBlock.symbols()
		coefficients, err := j.rows.of(j.codec, k, b.esis)
		if err != nil {
			j.err = err
			return
		}
		for e := range b.esis {
			row := coefficients[e*k : (e+1)*k]
			left, right := make([]byte, s.width), slices.Clone(b.repair[e*j.size:(e+1)*j.size])
			for i, c := range row {
				x := b.cell(i)
				if b.known[i] {
					gf.addMul(right[:x.len], j.source[x.at-j.from:x.at-j.from+int64(x.len)], c)
				} else {
					left[unknown[x]] = c
				}
			}
			s.left, s.right = append(s.left, left), append(s.right, right)
		}
	}
	if !s.solve(gf) {
		j.err = errInconsistent
		return
	}
	for i, row := range s.determined() {
		if row != nil {
			j.found = append(j.found, solved{cells[i], row})
		}
	}
}

// finishJoint stores what blocks brought together.
func (r *Receiver) finishJoint(now time.Time, j *jointDecode) {
	if j.r != r || j.back {
		return
	}
	j.back = true
	r.decoding -= j.octets
	o := j.o
	o.joint = false
	if o.released || o.complete || o.noFEC || o.epoch != j.epoch {
		return
	}
	defer r.reclaim(now, o)
	bad := j.err != nil
	for _, s := range j.found {
		bad = bad || !zero(s.symbol[s.len:]) || !o.agrees(s.at, s.symbol[:s.len]) || o.firm && s.at+int64(s.len) > o.length
	}
	if bad {
		for _, w := range j.blocks {
			for _, b := range o.blocks {
				if b.growingBlock == w.growingBlock && !b.dead {
					r.contradicted(b)
				}
			}
		}
		return
	}
	if len(j.found) == 0 {
		return
	}
	r.stats.Decodes++
	var added int64
	for _, s := range j.found {
		n, err := o.store(now, s.at, s.symbol[:s.len], byFEC)
		added += n
		if err != nil {
			break
		}
	}
	o.recovered += added
	r.stats.Recovered += uint64(added)
	r.settleBlocks(o, 0, o.held.End())
	r.advanced(now, o, added)
}

// system is a system of linear equations over GF(256).
type system struct {
	width, size int
	left, right [][]byte
	pivots      []int // column of each row, from the first on
}

// solve brings the system into reduced row echelon form. It is false if equations contradict each other.
func (s *system) solve(gf *field) bool {
	row := 0
	for col := 0; col < s.width && row < len(s.left); col++ {
		p := row
		for p < len(s.left) && s.left[p][col] == 0 {
			p++
		}
		if p == len(s.left) {
			continue
		}
		s.left[row], s.left[p] = s.left[p], s.left[row]
		s.right[row], s.right[p] = s.right[p], s.right[row]
		inverse := gf.inverse(s.left[row][col])
		gf.scale(s.left[row], inverse)
		gf.scale(s.right[row], inverse)
		for i := range s.left {
			if c := s.left[i][col]; i != row && c != 0 {
				gf.addMul(s.left[i], s.left[row], c)
				gf.addMul(s.right[i], s.right[row], c)
			}
		}
		s.pivots = append(s.pivots, col)
		row++
	}
	for ; row < len(s.left); row++ {
		if !zero(s.right[row]) {
			return false
		}
	}
	return true
}

// determined returns the values of those unknowns that have one.
func (s *system) determined() [][]byte {
	out := make([][]byte, s.width)
	for row, col := range s.pivots {
		single := true
		for i, c := range s.left[row] {
			single = single && (c == 0 || i == col)
		}
		if single {
			out[col] = s.right[row]
		}
	}
	return out
}

// field has the products of GF(256) with the polynomial of RFC 6330, section 5.7.
type field struct {
	mul [256][256]byte
	inv [256]byte
}

func newField() *field {
	f := new(field)
	for a := range 256 {
		for b := range 256 {
			x, y, p := a, b, 0
			for y > 0 {
				if y&1 != 0 {
					p ^= x
				}
				if x <<= 1; x > 255 {
					x ^= 0x11d
				}
				y >>= 1
			}
			f.mul[a][b] = byte(p)
			if p == 1 {
				f.inv[a] = byte(b)
			}
		}
	}
	return f
}

func (f *field) inverse(a byte) byte { return f.inv[a] }

// addMul adds c times src to dst, which is at least as long.
func (f *field) addMul(dst, src []byte, c byte) {
	if c == 0 {
		return
	}
	m := &f.mul[c]
	dst = dst[:len(src)]
	for i, x := range src {
		dst[i] ^= m[x]
	}
}

func (f *field) scale(b []byte, c byte) {
	m := &f.mul[c]
	for i, x := range b {
		b[i] = m[x]
	}
}

// coefficients are those of repair symbols: which combination of the source symbols each one is. An encoder of the unit
// vectors tells. It is safe for concurrent use.
type coefficients struct {
	mu       sync.Mutex
	gf       *field
	encoders map[int]*raptorq.Encoder // by K
}

func (c *coefficients) field() *field {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gf == nil {
		c.gf = newField()
	}
	return c.gf
}

// of returns the coefficients of repair symbols of blocks of k symbols, k octets for each.
func (c *coefficients) of(codec *raptorq.Codec, k int, esis []uint32) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := roundSymbol(k)
	enc := c.encoders[k]
	if enc == nil {
		unit := make([]byte, k*size)
		for i := range k {
			unit[i*size+i] = 1
		}
		var err error
		if enc, err = codec.NewEncoder(unit, size); err != nil {
			return nil, err
		}
		if c.encoders == nil {
			c.encoders = make(map[int]*raptorq.Encoder)
		}
		c.encoders[k] = enc
	}
	out := make([]byte, 0, len(esis)*k)
	row := make([]byte, 0, size)
	for _, esi := range esis {
		row = enc.AppendSymbol(row[:0], esi)
		out = append(out, row[:k]...)
	}
	return out, nil
}
