package route

import (
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/reassembly"
)

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
		o.repair.data.Release(r.pool, o.busy > 0)
		o.repair = nil
	}
}

// decode hands out the blocks that lack something and have symbols enough.
func (r *Receiver) decode(now time.Time, o *Object) {
	if o.kind == kindUndescribed || r.cfg.HoldSignalling && !o.preferred {
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
			codec: &r.codec,
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
	held   []reassembly.Range
	data   reassembly.Buffer
	repair reassembly.Buffer
	codec  *raptorq.Codec

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
	d, err := j.codec.NewDecoder(j.block.k, int(t))
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
	if w.grown != nil {
		r.finishBlock(now, w)
		return
	}
	if w.joint != nil {
		r.finishJoint(now, w.joint)
		return
	}
	if w.pool != nil {
		r.finishPool(now, w.pool)
		return
	}
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
	r.settleBlocks(o, 0, o.held.End())
	r.advanced(now, o, added)
}

// poisoned ends FEC for an object: a symbol, of source or repair, was forged,
// and nothing tells which.
func (r *Receiver) poisoned(o *Object) {
	r.stats.DecodeErrors++
	o.noFEC = true
	r.dropRepair(o)
	r.dropBlocks(o, 0)
}
