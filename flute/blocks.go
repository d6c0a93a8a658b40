package flute

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/reassembly"
)

// block is a source block of which symbols came that only a decoder can place: repair symbols, and all symbols of raw
// objects. Source symbols of others are in the object itself.
type block struct {
	stored  []storedSymbols // by ESI
	data    reassembly.Buffer
	used    int64
	symbols int
	source  int // source symbols that are held, if counted is set
	counted bool
	tried   int // symbols that did not suffice
	job     *decodeJob
}

// storedSymbols are those of one packet.
type storedSymbols struct {
	esi uint32
	n   int // octets
	at  int64
}

func (b *block) find(esi uint32) (int, bool) {
	return slices.BinarySearchFunc(b.stored, esi, func(s storedSymbols, esi uint32) int { return cmp.Compare(s.esi, esi) })
}

// keep stores a packet for the decoder.
func (o *Object) keep(now time.Time, id fec.PayloadID, symbols []byte, k, count int) error {
	b := o.blocks[id.SBN]
	if b == nil {
		b = &block{}
	}
	i, found := b.find(id.ESI)
	if found {
		return nil
	}
	if b.symbols > k+k/8+64 {
		return nil // random symbols would have sufficed long ago
	}
	if err := o.claim(&b.data, symbols, b.used); err != nil {
		return err
	}
	if o.blocks == nil {
		o.blocks = make(map[uint32]*block)
	}
	o.blocks[id.SBN] = b
	b.stored = slices.Insert(b.stored, i, storedSymbols{id.ESI, len(symbols), b.used})
	b.used += int64(len(symbols))
	b.symbols += count
	o.r.stats.RepairPackets++
	o.r.stats.RepairOctets += uint64(len(symbols))
	o.settle(now, id.SBN, b)
	return nil
}

// settle looks after a block that got a symbol: it is forgotten when it is whole, and decoded when it can be.
func (o *Object) settle(now time.Time, sbn uint32, b *block) {
	k, offset, length := o.info.Block(sbn)
	if o.held.Contains(int64(offset), int64(offset+length)) {
		o.dropBlock(sbn, b)
		return
	}
	if b.job != nil || b.symbols == 0 {
		return
	}
	total := o.known(sbn, b)
	if total < k || total <= b.tried {
		return
	}
	need := int64(object.BlockMemory(&o.info, k))
	if o.r.decoding > 0 && o.r.decoding+need > o.r.cfg.MaxDecoding {
		o.r.postponed = true
		return
	}
	j := &decodeJob{
		o: o, b: b, sbn: sbn, info: o.info, raw: o.raw, held: slices.Clone(o.held.All()), data: o.data.clone(),
		stored: slices.Clone(b.stored), symbols: b.data.Clone(), codec: &o.r.codec,
		budget: o.r.cfg.MaxDecoding, need: need, total: total,
	}
	b.job = j
	o.busy++
	o.decoding++
	o.r.decoding += need
	o.r.works = append(o.r.works, &Work{run: j.run, decode: j})
}

func (o *Object) dropBlock(sbn uint32, b *block) {
	b.data.Release(o.r.pool, b.job != nil)
	delete(o.blocks, sbn)
}

// known counts the symbols of a block that are there.
func (o *Object) known(sbn uint32, b *block) int {
	if o.raw {
		return b.symbols
	}
	// Packets bring whole symbols, which are counted as they come. What comes by Supply is cut otherwise.
	if !b.counted || o.supplied > 0 {
		b.source, b.counted = o.knownSource(sbn), true
	}
	return b.source + b.symbols
}

// knownSource counts the source symbols of a block that are held.
func (o *Object) knownSource(sbn uint32) (n int) {
	_, offset, length := o.info.Block(sbn)
	t := int64(o.info.SymbolSize)
	start, end := int64(offset), int64(offset+length)
	for x := start; ; {
		h, ok := o.held.Next(x, end)
		if !ok {
			return n
		}
		x = h.End
		if h.End == end {
			h.End = start + (end-start+t-1)/t*t // the last symbol may be short
		}
		n += int(max(0, (h.End-start)/t-(h.Start-start+t-1)/t))
	}
}

// decodeJob decodes one source block. It reads octets that are held already, which nobody changes, and stored symbols,
// likewise.
type decodeJob struct {
	o       *Object
	b       *block
	sbn     uint32
	info    fec.ObjectInfo
	raw     bool
	held    []reassembly.Range
	data    octets
	stored  []storedSymbols
	symbols reassembly.Buffer
	codec   *object.Codec
	budget  int64
	need    int64
	total   int

	back bool
	done bool
	err  error
	body []byte // the block, decoded
	at   int64  // where it lies
}

// WriteAt takes what the decoder found.
func (j *decodeJob) WriteAt(p []byte, off int64) (int, error) {
	return copy(j.body[off-j.at:], p), nil
}

func (j *decodeJob) run() {
	k, offset, length := j.info.Block(j.sbn)
	j.at, j.body = int64(offset), make([]byte, length)
	d, err := j.codec.NewDecoder(j.info, j, object.DecoderConfig{MaxMemory: int(min(j.budget, 1<<31-1))})
	if err != nil {
		j.err = err
		return
	}
	id := fec.PayloadID{SBN: j.sbn}
	if j.info.ID == fec.SmallBlockSystematic {
		id.SBL = uint16(k)
	}
	buf := make([]byte, j.info.SymbolSize)
	t := uint64(len(buf))
	h := 0
	for i := uint64(0); i < uint64(k) && !j.raw && !j.done; i++ {
		from, to := int64(offset+i*t), int64(offset+min(length, (i+1)*t))
		for h < len(j.held) && j.held[h].End <= from {
			h++
		}
		if h == len(j.held) || j.held[h].Start > from || j.held[h].End < to {
			continue
		}
		clear(buf)
		if err := j.data.read(buf[:to-from], from); err != nil {
			j.err = err
			return
		}
		id.ESI = uint32(i)
		if j.done, err = d.Add(id, buf); err != nil {
			j.err = err
			return
		}
	}
	for _, s := range j.stored {
		if j.done {
			return
		}
		buf = append(buf[:0], make([]byte, s.n)...)
		j.symbols.ReadAt(buf, s.at)
		id.ESI = s.esi
		if j.done, err = d.Add(id, buf); err != nil {
			j.err = err
			return
		}
	}
}

// finishDecode takes a block back.
func (r *Receiver) finishDecode(now time.Time, j *decodeJob) {
	o := j.o
	o.busy--
	o.decoding--
	r.decoding -= j.need
	j.b.job = nil
	if o.released || o.complete || o.blocks[j.sbn] != j.b {
		return
	}
	var added int64
	switch {
	case j.err != nil:
		// Symbols contradict each other, and nothing tells which are forged. Begin anew.
		r.stats.DecodeErrors++
		if errors.Is(j.err, object.ErrBudget) {
			o.noFEC = true
		}
		o.dropBlock(j.sbn, j.b)
	case !j.done:
		j.b.tried = j.total
		o.settle(now, j.sbn, j.b)
	default:
		r.stats.Decodes++
		n, err := o.store(j.at, j.body, byFEC)
		added = n
		r.stats.Recovered += uint64(n)
		if err != nil {
			j.b.tried = j.total
			break
		}
		o.dropBlock(j.sbn, j.b)
	}
	r.advanced(now, o, added)
}

// resume starts what was postponed for want of memory.
func (r *Receiver) resume(now time.Time) {
	if !r.postponed {
		return
	}
	r.postponed = false
	for _, o := range r.active {
		for sbn, b := range o.blocks {
			o.settle(now, sbn, b)
		}
	}
}
