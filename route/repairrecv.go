package route

import (
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/route/internal/ranges"
	"github.com/treedn/treedn/route/internal/slab"
)

// repairState is what the repair flow has brought for one object.
type repairState struct {
	oti    fec.OTI
	blocks []blockState
	data   slab.Buffer // the repair symbols, in the order of arrival
	count  int
}

type blockState struct {
	k       int
	off     int64 // of the block in the super-object
	symbols []repairSymbol
	tried   int // symbols that did not suffice
	decode  *decodeJob
}

type repairSymbol struct {
	esi uint32
	at  int // place in repairState.data, in symbols
}

// surplus is how many symbols more than K are kept for a block: beyond it the
// decoder's failure is out of the question.
const surplus = 32

// maxBlock bounds the source symbols of a block, since the time to decode one
// grows faster than its size: a forged packet must not cost a second.
const maxBlock = 16384

// pushRepair handles a repair packet, whose header is in r.hdr.
func (r *Receiver) pushRepair(now time.Time, key objectKey, id uint32, payload []byte) error {
	ch := r.channels[key.tsi]
	if ch == nil || len(ch.sources) != 1 {
		// Before the signalling came, or super-objects of several objects.
		r.stats.Ignored++
		return nil
	}
	src, ok := ch.sourceOf(key.toi)
	if !ok {
		return errRepair
	}
	r.lastRepair = now
	oti := ch.repairOTI
	if fti, ok := r.hdr.Extensions.FTI(); ok {
		var err error
		if oti, err = fec.ParseFTI(fti); err != nil {
			return errRepair
		}
	}
	r.stats.Lost += ch.esis.gap(key.toi, id, len(payload), oti)
	o := r.objects[src]
	if o != nil && o.complete || o == nil && r.records.m[src] != nil {
		r.stats.Repeats++
		return nil
	}
	if o == nil {
		// Nothing of the object came but its repair packets.
		var err error
		if o, err = r.open(now, src, cpMedia); err != nil {
			return err
		}
	}
	if o.endedAt.IsZero() && o.visible() {
		// Repair packets follow the last source packet.
		o.endedAt = now
	}
	return r.addRepair(now, o, oti, id, payload)
}

// SupplySymbols adds repair symbols of an object that came by another way:
// consecutive ones of source block sbn, the first of them esi.
func (r *Receiver) SupplySymbols(now time.Time, o *Object, oti fec.OTI, sbn uint8, esi uint32, symbols []byte) error {
	if o.released || o.r != r {
		return ErrReleased
	}
	if o.complete {
		return nil
	}
	if esi >= 1<<24 || oti.Validate() != nil {
		return errRepair
	}
	return r.addRepair(now, o, oti, uint32(sbn)<<24|esi, symbols)
}

func (r *Receiver) addRepair(now time.Time, o *Object, oti fec.OTI, id uint32, payload []byte) error {
	if o.noFEC {
		return nil
	}
	t := int(oti.SymbolSize)
	sbn, esi := uint8(id>>24), id&0xffffff
	if t < lengthField || oti.SubBlocks != 1 || len(payload) == 0 || len(payload)%t != 0 || sbn >= oti.SourceBlocks ||
		oti.TransferLength%uint64(t) != 0 || int64(oti.TransferLength) > r.cfg.MaxObject+int64(t)+lengthField {
		return errRepair
	}
	st := o.repair
	if st == nil {
		if o.length >= 0 && o.firm && !fitsSuperObject(o.length, oti) || o.held.End()+lengthField > int64(oti.TransferLength) {
			return errRepair
		}
		st = &repairState{oti: oti, blocks: make([]blockState, oti.SourceBlocks)}
		for i := range st.blocks {
			k, off, _ := oti.Block(uint8(i))
			if k > maxBlock {
				return errRepair
			}
			st.blocks[i].k, st.blocks[i].off = k, int64(off)
		}
		o.repair = st
	} else if st.oti != oti {
		return errRepair
	}
	b := &st.blocks[sbn]
	if esi < uint32(b.k) {
		return errRepair // a source symbol: never sent in a repair flow
	}
	octets, fresh := len(payload), false
	for ; len(payload) > 0 && esi < 1<<24; payload, esi = payload[t:], esi+1 {
		if len(b.symbols) >= b.k+surplus {
			break
		}
		i, dup := slices.BinarySearchFunc(b.symbols, esi, func(s repairSymbol, e uint32) int { return int(s.esi) - int(e) })
		if dup {
			continue
		}
		for !st.data.WriteAt(&r.pool, payload[:t], int64(st.count)*int64(t)) {
			if !r.evictUndescribed(o) {
				return errMemory
			}
		}
		b.symbols = slices.Insert(b.symbols, i, repairSymbol{esi, st.count})
		st.count++
		fresh = true
	}
	if !fresh {
		r.stats.Repeats++
		return nil
	}
	o.lastRepair = now
	r.stats.RepairPackets++
	r.stats.RepairOctets += uint64(octets)
	r.decode(now, o)
	if !o.released && !o.complete {
		r.arm(o, r.wakeTime(now, o))
	}
	return nil
}

// decoding tells whether a Work of the object is out.
func (o *Object) decoding() bool {
	if o.repair != nil {
		for i := range o.repair.blocks {
			if o.repair.blocks[i].decode != nil {
				return true
			}
		}
	}
	return false
}

func (r *Receiver) dropRepair(o *Object) {
	if o.repair != nil {
		o.repair.data.Release(&r.pool, o.busy > 0)
		o.repair = nil
	}
}

// decode hands out the blocks that lack something and have symbols enough.
func (r *Receiver) decode(now time.Time, o *Object) {
	if o.kind == kindUndescribed {
		return
	}
	st := o.repair
	for sbn := range st.blocks {
		b := &st.blocks[sbn]
		if b.decode != nil || len(b.symbols) == 0 {
			continue
		}
		known := o.knownSymbols(st.oti, b)
		if known == b.k || known+len(b.symbols) < b.k || known+len(b.symbols) <= b.tried {
			continue
		}
		j := &decodeJob{
			o: o, epoch: o.epoch, sbn: sbn, block: *b, oti: st.oti, length: o.firmLength(),
			total: known + len(b.symbols), held: slices.Clone(o.held.All()), data: o.data.Clone(), repair: st.data.Clone(),
		}
		j.block.symbols = slices.Clone(b.symbols)
		b.decode = j
		o.busy++
		r.works = append(r.works, &Work{run: j.run, decode: j})
	}
}

func (o *Object) firmLength() int64 {
	if o.firm {
		return o.length
	}
	return -1
}

// knownSymbols counts the source symbols of a block that are known: all their
// octets are held, or are padding or length field of a super-object whose
// length is known.
func (o *Object) knownSymbols(oti fec.OTI, b *blockState) (n int) {
	t := int64(oti.SymbolSize)
	end := b.off + int64(b.k)*t
	whole := func(from, to int64) int {
		return int(max(0, to/t-(from+t-1)/t))
	}
	joined := !o.firm || o.length >= end
	for x := b.off; ; {
		h, ok := o.held.Next(x, end)
		if !ok {
			break
		}
		x = h.End
		if !joined && h.End == o.length {
			h.End, joined = end, true
		}
		n += whole(h.Start, h.End)
	}
	if !joined {
		n += whole(max(o.length, b.off), end)
	}
	return n
}

// PollWork returns the next FEC computation to run, and false if there is
// none.
func (r *Receiver) PollWork() (*Work, bool) {
	if len(r.works) == 0 {
		return nil, false
	}
	w := r.works[0]
	r.works = slices.Delete(r.works, 0, 1)
	return w, true
}

// RunWork runs all waiting computations at once, for callers that can afford
// the delay.
func (r *Receiver) RunWork(now time.Time) {
	for {
		w, ok := r.PollWork()
		if !ok {
			return
		}
		w.Run()
		r.Finish(now, w)
	}
}

// decodeJob decodes one source block. It reads octets that are held already,
// which nobody changes, and repair symbols, likewise.
type decodeJob struct {
	o      *Object
	epoch  int
	sbn    int
	block  blockState
	oti    fec.OTI
	length int64
	held   []ranges.Range
	data   slab.Buffer
	repair slab.Buffer

	total int // symbols known, of source and repair
	back  bool

	done  bool
	err   error
	found []decodedSymbol
	last  []byte // the last symbol of the super-object, if it was decoded
}

type decodedSymbol struct {
	off    int64 // in the super-object
	symbol []byte
}

func (j *decodeJob) run() {
	t := int64(j.oti.SymbolSize)
	d, err := raptorq.NewDecoder(j.block.k, int(t))
	if err != nil {
		j.err = err
		return
	}
	buf := make([]byte, t)
	var unknown []int
	h := 0
	for i := range j.block.k {
		off := j.block.off + int64(i)*t
		if !j.source(buf, off, &h) {
			unknown = append(unknown, i)
			continue
		}
		if _, err := d.Add(uint32(i), buf); err != nil {
			j.err = err
			return
		}
	}
	for _, s := range j.block.symbols {
		j.repair.ReadAt(buf, int64(s.at)*t)
		if _, err := d.Add(s.esi, buf); err != nil {
			j.err = err
			return
		}
	}
	if j.done = d.Decode(); !j.done {
		return
	}
	for _, i := range unknown {
		off := j.block.off + int64(i)*t
		j.found = append(j.found, decodedSymbol{off, d.Symbol(i)})
		if off+t == int64(j.oti.TransferLength) {
			j.last = d.Symbol(i)
		}
	}
}

// source fills buf with the symbol at off, if all of it is known. *h is the
// first range that may matter.
func (j *decodeJob) source(buf []byte, off int64, h *int) bool {
	end := off + int64(len(buf))
	objEnd := end
	if j.length >= 0 {
		objEnd = min(end, j.length)
	}
	if off < objEnd {
		for *h < len(j.held) && j.held[*h].End <= off {
			*h++
		}
		if *h == len(j.held) || j.held[*h].Start > off || j.held[*h].End < objEnd {
			return false
		}
		j.data.ReadAt(buf[:objEnd-off], off)
	}
	if objEnd < end {
		from := max(objEnd, off)
		clear(buf[from-off:])
		if end == int64(j.oti.TransferLength) {
			putLength(buf, j.length)
		}
	}
	return true
}

func putLength(symbol []byte, f int64) {
	b := symbol[len(symbol)-lengthField:]
	b[0], b[1], b[2], b[3] = byte(f>>24), byte(f>>16), byte(f>>8), byte(f)
}

// Finish takes a computation back that has been run.
func (r *Receiver) Finish(now time.Time, w *Work) {
	j := w.decode
	if j == nil || j.o.r != r || j.back {
		return
	}
	o := j.o
	o.busy--
	j.back = true
	if o.released || o.complete || o.epoch != j.epoch || o.repair == nil {
		return
	}
	b := &o.repair.blocks[j.sbn]
	b.decode = nil
	switch {
	case j.err != nil:
		r.poisoned(o)
	case !j.done:
		b.tried = j.total
	default:
		r.stats.Decodes++
		r.recover(now, o, j)
	}
	if o.released || o.complete {
		return
	}
	r.advanced(now, o, 0)
}

// recover stores what a block brought.
func (r *Receiver) recover(now time.Time, o *Object, j *decodeJob) {
	if j.last != nil {
		f, ok := superLength(j.last, j.oti)
		if !ok || o.setLength(f, true) != nil || o.length != f {
			r.poisoned(o)
			return
		}
	}
	var added int64
	for _, s := range j.found {
		p := s.symbol
		if o.firm {
			p = p[:max(0, min(int64(len(p)), o.length-s.off))]
		}
		if len(p) == 0 {
			continue
		}
		n, err := o.store(now, s.off, p, byFEC)
		added += n
		if err != nil {
			r.poisoned(o)
			break
		}
	}
	o.recovered += added
	r.stats.Recovered += uint64(added)
	r.advanced(now, o, added)
}

// poisoned ends FEC for an object: a symbol, of source or repair, was forged,
// and nothing tells which.
func (r *Receiver) poisoned(o *Object) {
	r.stats.DecodeErrors++
	o.noFEC = true
	r.dropRepair(o)
}
