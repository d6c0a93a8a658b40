package route

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/reassembly"
)

const (
	// maxObjectBlocks bounds the blocks of one object that wait for symbols. A
	// block waits for milliseconds, or else for the end of the object.
	maxObjectBlocks = 16
	// maxBlockDecodes bounds the octets of blocks that are being decoded.
	maxBlockDecodes = 8 << 20
)

// openBlock is a block of a growing object of which octets are missing and
// repair symbols have come.
type openBlock struct {
	growingBlock
	o       *Object
	k       int
	symbols []repairSymbol    // by ESI
	data    reassembly.Buffer // of the symbols, in the order of arrival
	tried   int               // symbols that did not suffice
	decode  *blockDecode
	dead    bool // contradicted what was received
}

// pushGrowing handles a repair packet of the flow for growing objects that
// belongs to the repair flow of ch.
func (r *Receiver) pushGrowing(now time.Time, ch *channel, key objectKey, b []byte) error {
	p, ok := parseGrowing(b)
	if !ok {
		return errRepair
	}
	src, ok := ch.sourceOf(key.toi)
	if !ok || p.end() > r.cfg.MaxObject {
		return errRepair
	}
	o := r.objects[src]
	if o == nil {
		if rec := r.records.m[src]; rec != nil {
			if rec.loss == nil {
				rec.loss = openAccount(cmp.Or(r.channels[src.tsi], ch))
				r.closeAccount(now, rec.loss)
			}
			r.growingCame(now, rec.loss, key, p.seq)
			r.stats.Repeats++
			return nil
		}
		if c := r.channels[src.tsi]; c == nil || !c.seen {
			// The receiver has just come: the octets that were sent before
			// are more than this brings.
			r.stats.Ignored++
			r.ignore(key)
			return nil
		}
		var err error
		if o, err = r.open(now, src, cpMedia); err != nil {
			return err
		}
	}
	if !o.visible() {
		r.stats.Ignored++
		r.ignore(key)
		return nil
	}
	if o.loss == nil {
		o.loss = o.account()
		if o.complete {
			r.closeAccount(now, o.loss)
		}
	}
	r.growingCame(now, o.loss, key, p.seq)
	if p.start < o.repairing.End && p.end() > o.repairing.End {
		o.overlap = true
	}
	if p.end() >= o.repairing.End {
		o.repairing, o.repairedAt = Range{p.start, p.end()}, now
	}
	if o.complete || o.held.Contains(p.start, p.end()) {
		r.stats.Repeats++
		return nil
	}
	return r.addGrowing(now, o, &p)
}

func (r *Receiver) addGrowing(now time.Time, o *Object, p *growingPacket) error {
	switch {
	case o.noFEC:
		return nil
	case o.firm && p.end() > o.length:
		return errRepair
	case o.late && p.end() <= o.first:
		r.stats.Ignored++
		return nil
	}
	b := r.block(o, p.growingBlock)
	if b.dead {
		return nil
	}
	octets, fresh := len(p.symbols), false
	symbols := p.symbols
	for esi := p.esi; len(symbols) > 0 && len(b.symbols) < b.k+surplus; esi++ {
		i, dup := slices.BinarySearchFunc(b.symbols, esi, func(s repairSymbol, e uint32) int { return int(s.esi) - int(e) })
		if !dup {
			at := len(b.symbols)
			if !b.data.WriteAt(r.pool, symbols[:b.size], int64(at)*int64(b.size)) {
				return errMemory // octets of objects are worth more
			}
			b.symbols = slices.Insert(b.symbols, i, repairSymbol{esi, at})
			fresh = true
		}
		symbols = symbols[b.size:]
	}
	if !fresh {
		r.stats.Repeats++
		return nil
	}
	o.grown = true
	r.stats.RepairPackets++
	r.stats.RepairOctets += uint64(octets)
	r.decodeBlock(b)
	return nil
}

// block returns the block of an object that is like g. There may be others that
// overlap it: a forged one must not keep the true one out.
func (r *Receiver) block(o *Object, g growingBlock) *openBlock {
	for _, b := range o.blocks {
		if b.growingBlock == g {
			return b
		}
	}
	if len(o.blocks) >= maxObjectBlocks {
		r.dropBlock(least(o.blocks))
	}
	if len(r.blocks) >= r.cfg.MaxBlocks {
		r.dropBlock(least(r.blocks))
	}
	b := &openBlock{}
	if n := len(r.freeBlocks); n > 0 {
		b, r.freeBlocks = r.freeBlocks[n-1], r.freeBlocks[:n-1]
	}
	*b = openBlock{growingBlock: g, o: o, k: g.symbols(), symbols: b.symbols[:0]}
	o.blocks = append(o.blocks, b)
	r.blocks = append(r.blocks, b)
	return b
}

// least returns the block with the fewest symbols, the oldest of them: those of
// a true block come one after the other.
func least(blocks []*openBlock) *openBlock {
	return slices.MinFunc(blocks, func(a, b *openBlock) int { return len(a.symbols) - len(b.symbols) })
}

// dropBlock forgets a block.
func (r *Receiver) dropBlock(b *openBlock) {
	b.o.blocks = remove(b.o.blocks, b)
	r.blocks = remove(r.blocks, b)
	b.data.Release(r.pool, false)
	b.o, b.decode = nil, nil
	if len(r.freeBlocks) < maxObjectBlocks {
		r.freeBlocks = append(r.freeBlocks, b)
	}
}

// remove takes b out of a list and keeps its order.
func remove(list []*openBlock, b *openBlock) []*openBlock {
	i := slices.Index(list, b)
	return slices.Delete(list, i, i+1)
}

// dropBlocks forgets the blocks of an object that have octets from off on.
func (r *Receiver) dropBlocks(o *Object, off int64) {
	for i := len(o.blocks) - 1; i >= 0; i-- {
		if b := o.blocks[i]; b.end() > off {
			r.dropBlock(b)
		}
	}
}

// evictBlock frees the memory of a block for octets of objects, and tells
// whether there was one.
func (r *Receiver) evictBlock() bool {
	for _, b := range r.blocks {
		if b.data.Held() > 0 {
			r.dropBlock(b)
			return true
		}
	}
	return false
}

// settleBlocks looks at the blocks of an object that got octets of
// [start, end).
func (r *Receiver) settleBlocks(o *Object, start, end int64) {
	for i := len(o.blocks) - 1; i >= 0; i-- {
		b := o.blocks[i]
		switch {
		case b.start >= end || b.end() <= start:
		case o.held.Contains(b.start, b.end()):
			r.dropBlock(b)
		default:
			r.decodeBlock(b)
		}
	}
}

// eachKnown calls f for the runs of source symbols that are known: of which the
// object holds all octets that are not padding.
func (b *openBlock) eachKnown(f func(first, n int)) {
	t, origin := int64(b.size), b.origin()
	for x := b.start; ; {
		h, ok := b.o.held.Next(x, b.end())
		if !ok {
			return
		}
		x = h.End
		first := (h.Start - origin + t - 1) / t
		if h.Start == b.start {
			first = 0
		}
		last := (h.End - origin) / t
		if h.End == b.end() {
			last = int64(b.k)
		}
		if first < last {
			f(int(first), int(last-first))
		}
	}
}

// symbol returns which octets of the object are in source symbol i, and how many
// zeros are before them.
func (b growingBlock) symbol(i int) (start, end int64, zeros int) {
	at := b.origin() + int64(i)*int64(b.size)
	start, end = max(at, b.start), min(at+int64(b.size), b.end())
	return start, end, int(start - at)
}

// decodeBlock hands a block out if its symbols may suffice.
func (r *Receiver) decodeBlock(b *openBlock) {
	if b.decode != nil || b.dead || len(b.symbols) == 0 {
		return
	}
	known := 0
	b.eachKnown(func(_, n int) { known += n })
	total := known + len(b.symbols)
	if total < b.k || total <= b.tried {
		if b.aligned() {
			r.decodeJoint(b.o, b.size)
		}
		return
	}
	octets := (b.k + len(b.symbols)) * b.size
	if r.decoding+octets > maxBlockDecodes && r.decoding > 0 {
		r.postponed = true
		return
	}
	r.decoding += octets
	j := &blockDecode{}
	if n := len(r.freeDecodes); n > 0 {
		j, r.freeDecodes = r.freeDecodes[n-1], r.freeDecodes[:n-1]
	}
	*j = blockDecode{
		r: r, b: b, growingBlock: b.growingBlock, epoch: b.o.epoch, octets: octets, total: total,
		codec: &r.codec, known: j.known[:0], source: j.source[:0], esis: j.esis[:0], repair: j.repair[:0],
	}
	j.known = append(j.known, make([]bool, b.k)...)
	j.source = slices.Grow(j.source, b.k*b.size)[:b.k*b.size]
	b.eachKnown(func(first, n int) {
		for i := first; i < first+n; i++ {
			j.known[i] = true
			start, end, zeros := b.symbol(i)
			s := j.source[i*b.size : (i+1)*b.size]
			clear(s[:zeros])
			b.o.data.ReadAt(s[zeros:zeros+int(end-start)], start)
			clear(s[zeros+int(end-start):])
		}
	})
	j.repair = slices.Grow(j.repair, len(b.symbols)*b.size)[:len(b.symbols)*b.size]
	for i, s := range b.symbols {
		j.esis = append(j.esis, s.esi)
		b.data.ReadAt(j.repair[i*b.size:(i+1)*b.size], int64(s.at)*int64(b.size))
	}
	b.decode = j
	j.work = &Work{run: j.run, grown: j}
	r.works = append(r.works, j.work)
}

// blockDecode decodes one block of a growing object. It has copies of all
// symbols.
type blockDecode struct {
	growingBlock
	r      *Receiver
	b      *openBlock
	work   *Work
	epoch  int
	octets int
	total  int // symbols known, of source and repair
	codec  *raptorq.Codec

	known  []bool
	source []byte
	esis   []uint32
	repair []byte

	decoder *raptorq.Decoder
	done    bool
	err     error
}

var errInconsistent = errors.New("route: repair symbols contradict each other")

func (j *blockDecode) run() {
	t := j.size
	d, err := j.codec.NewDecoder(len(j.known), t)
	for i := 0; i < len(j.known) && err == nil; i++ {
		if j.known[i] {
			_, err = d.Add(uint32(i), j.source[i*t:(i+1)*t])
		}
	}
	for i := 0; i < len(j.esis) && err == nil; i++ {
		_, err = d.Add(j.esis[i], j.repair[i*t:(i+1)*t])
	}
	if err != nil {
		j.err = err
		return
	}
	if j.done = d.Decode(); j.done && !d.Consistent() {
		j.err = errInconsistent
	}
	j.decoder = d
}

// finishBlock takes a decoded block back.
func (r *Receiver) finishBlock(now time.Time, w *Work) {
	j := w.grown
	if j.r != r || j.work != w {
		return
	}
	j.work = nil
	r.decoding -= j.octets
	if b := j.b; b.decode == j {
		b.decode = nil
		o := b.o
		switch {
		case o.epoch != j.epoch:
			r.decodeBlock(b)
		case j.err != nil:
			r.contradicted(b)
		case !j.done:
			b.tried = j.total
			r.decodeBlock(b)
		default:
			r.recoverBlock(now, b, j.decoder)
		}
		r.reclaim(now, o)
	}
	j.b, j.decoder = nil, nil
	if len(r.freeDecodes) < maxObjectBlocks {
		r.freeDecodes = append(r.freeDecodes, j)
	}
	if r.postponed {
		r.postponed = false
		for _, b := range r.blocks {
			r.decodeBlock(b)
		}
	}
}

// recoverBlock stores what a block brought, unless it contradicts what was
// received.
func (r *Receiver) recoverBlock(now time.Time, b *openBlock, d *raptorq.Decoder) {
	o := b.o
	if o.firm && b.end() > o.length {
		r.dropBlock(b)
		return
	}
	r.unknown = r.unknown[:0]
	next := 0
	b.eachKnown(func(first, n int) {
		for ; next < first; next++ {
			r.unknown = append(r.unknown, next)
		}
		next = first + n
	})
	for ; next < b.k; next++ {
		r.unknown = append(r.unknown, next)
	}
	for _, i := range r.unknown {
		start, end, zeros := b.symbol(i)
		s := d.Symbol(i)
		if !zero(s[:zeros]) || !zero(s[zeros+int(end-start):]) || !o.agrees(start, s[zeros:zeros+int(end-start)]) {
			r.contradicted(b)
			return
		}
	}
	r.stats.Decodes++
	g := b.growingBlock
	r.dropBlock(b)
	var added int64
	for _, i := range r.unknown {
		start, end, zeros := g.symbol(i)
		n, err := o.store(now, start, d.Symbol(i)[zeros:zeros+int(end-start)], byFEC)
		added += n
		if err != nil {
			break // too many holes, or no memory
		}
	}
	o.recovered += added
	r.stats.Recovered += uint64(added)
	r.settleBlocks(o, g.start, g.end())
	r.advanced(now, o, added)
}

// contradicted ends a block with a forged symbol, of source or repair. Nothing
// tells which; that other blocks decode shows that not all is forged.
func (r *Receiver) contradicted(b *openBlock) {
	r.stats.DecodeErrors++
	b.dead = true
	b.data.Release(r.pool, false)
	b.symbols = b.symbols[:0]
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// agrees tells whether the octets that are held are those in p.
func (o *Object) agrees(off int64, p []byte) bool {
	end := off + int64(len(p))
	for x := off; ; {
		h, ok := o.held.Next(x, end)
		if !ok {
			return true
		}
		if !o.equal(h.Start, p[h.Start-off:h.End-off]) {
			return false
		}
		x = h.End
	}
}
