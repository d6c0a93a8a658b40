package raptorq

import (
	"bytes"
	"fmt"

	"github.com/treedn/treedn/fec/internal/gf256"
)

// surplus is how many symbols beyond K a decoder holds. Each symbol in excess of
// need divides the failure probability by more than a hundred, so a block that
// so many cannot decode is not made of random symbols.
const surplus = 64

// patience is how often decoding may fail before a decoder asks for one symbol
// more each time. With random symbols it happens once in ten billion blocks.
const patience = 4

// Decoder recovers one source block from any sufficient set of its encoding
// symbols. It is not safe for concurrent use.
type Decoder struct {
	codec  *Codec
	params params
	k, t   int

	store     slab
	source    []*byte // received or decoded source symbols, nil if unknown
	missing   int     // unknown source symbols
	repair    []repairSymbol
	index     map[uint32]int // ESI of a repair symbol: its position in repair
	deficit   int            // further symbols that the last attempt asked for
	attempts  int            // failed calls of Decode
	recovered int            // source symbols that were decoded
	code      *code

	residues residues
}

type repairSymbol struct {
	esi  uint32
	data *byte
}

// NewDecoder is [Codec.NewDecoder] of a codec of its own.
func NewDecoder(k, t int) (*Decoder, error) {
	return new(Codec).NewDecoder(k, t)
}

// NewDecoder prepares to receive a block of k source symbols of t octets. The
// decoder takes 8 octets per source symbol at once and memory for symbols as
// they arrive, never more than [DecoderMemory] says. If that exceeds the
// codec's MemoryLimit the error is [ErrMemory].
func (c *Codec) NewDecoder(k, t int) (*Decoder, error) {
	d := &Decoder{codec: c}
	if err := d.Reset(k, t); err != nil {
		return nil, err
	}
	return d, nil
}

// Reset makes the decoder one for another block, as [Codec.NewDecoder] does, and
// uses its memory again: what Symbol has returned is invalid.
func (d *Decoder) Reset(k, t int) error {
	if k < 1 || k > MaxK || t < 1 || t > MaxSymbolSize {
		return fmt.Errorf("%w: K = %d, T = %d", ErrSize, k, t)
	}
	p := d.params
	if k != d.k {
		p = lookup(k)
	}
	if err := p.addressable(t); err != nil {
		return err
	}
	limit := d.codec.MemoryLimit
	if limit == 0 {
		limit = DefaultMemoryLimit
	}
	if need := DecoderMemory(k, t); limit > 0 && need > limit {
		return fmt.Errorf("%w: K = %d, T = %d take %d octets", ErrMemory, k, t, need)
	}
	if p.kp != d.params.kp {
		d.code = nil
	}
	d.params, d.k, d.t, d.missing = p, k, t, k
	d.store.reset(t)
	d.source = zeroed(d.source, k)
	d.repair = d.repair[:0]
	clear(d.index)
	d.deficit, d.attempts, d.recovered = 0, 0, 0
	d.residues.reset(d)
	return nil
}

// DecoderMemory bounds the memory, in octets, that a decoder takes for a block
// of k source symbols of t octets: for up to K+64 symbols received, K decoded,
// and the work of decoding. The sums of [Decoder.Expect] are not counted.
func DecoderMemory(k, t int) int64 {
	p := lookup(k)
	slot := int64(slotSize(t))
	symbols := int64(2*k+surplus)*(slot+32) + 2*slabSize
	working := int64(p.columns())*320 + int64(400+2*min(k, maxDense))*int64(p.kp) + 2<<20
	return symbols + working
}

// K returns the number of source symbols.
func (d *Decoder) K() int { return d.k }

// SymbolSize returns T, the length of a symbol in octets.
func (d *Decoder) SymbolSize() int { return d.t }

// Add takes a copy of a received encoding symbol. It reports whether the symbol
// brings something: a repeated one, one of a block that is decoded, and repair
// symbols beyond any use do not. The last source symbol may come without its
// padding (RFC 6330 section 4.4.2). A symbol that is refused with [ErrSymbol] or
// [ErrConflict] changes nothing.
//
// RaptorQ cannot tell a corrupt symbol from a good one, and one corrupt symbol
// spoils the block: symbols must be authentic, or the object be verified.
func (d *Decoder) Add(esi uint32, symbol []byte) (fresh bool, err error) {
	short := esi == uint32(d.k-1) && len(symbol) > 0 && len(symbol) < d.t
	if esi > MaxESI || len(symbol) != d.t && !short {
		return false, fmt.Errorf("%w: ESI %d, %d octets", ErrSymbol, esi, len(symbol))
	}
	if esi < uint32(d.k) {
		if have := d.source[esi]; have != nil {
			return false, d.compare(esi, have, symbol)
		}
		d.source[esi] = d.store.keep(symbol)
		d.missing--
		d.residues.source(d, esi)
	} else {
		if i, ok := d.index[esi]; ok {
			return false, d.compare(esi, d.repair[i].data, symbol)
		}
		if d.missing == 0 || d.k-d.missing+len(d.repair) >= d.k+surplus {
			return false, nil
		}
		if d.index == nil {
			d.index = make(map[uint32]int)
		}
		d.index[esi] = len(d.repair)
		d.repair = append(d.repair, repairSymbol{esi, d.store.keep(symbol)})
	}
	if d.deficit > 0 {
		d.deficit--
	}
	return true, nil
}

func (d *Decoder) compare(esi uint32, have *byte, symbol []byte) error {
	if bytes.Equal(gf256.Octets(have, 0, len(symbol)), symbol) {
		return nil
	}
	return fmt.Errorf("%w: ESI %d", ErrConflict, esi)
}

// Need returns a lower bound of the further symbols that decoding takes: zero
// means that [Decoder.Decode] is worth a call, or that the block is complete.
func (d *Decoder) Need() int {
	if d.missing == 0 {
		return 0
	}
	return max(d.missing-len(d.repair), d.deficit)
}

// AppendMissing appends the ESIs of the source symbols that are neither received
// nor decoded, in ascending order: those that a repair by unicast would ask for.
func (d *Decoder) AppendMissing(dst []uint32) []uint32 {
	if d.missing == 0 {
		return dst
	}
	for i, s := range d.source {
		if s == nil {
			dst = append(dst, uint32(i))
		}
	}
	return dst
}

// Decode recovers the missing source symbols from all symbols received so far
// and reports whether the block is complete. False is no error: it asks for at
// least [Decoder.Need] more symbols, after which Decode is called again. With K
// random symbols it happens in about 6 of 1000 blocks, with each further symbol
// more than a hundred times less often.
//
// Decode does its work in the caller's goroutine: for a block of a few thousand
// symbols that is milliseconds. Decoders of one [Codec] share memory for it.
func (d *Decoder) Decode() (done bool) {
	if d.missing == 0 {
		return true
	}
	if d.Need() > 0 {
		return false
	}
	sc := d.codec.scratch()
	defer d.codec.release(sc)
	sc.missing = d.AppendMissing(sc.missing[:0])
	need := 0
	if d.preferDense(len(sc.missing)) {
		need = d.decodeDense(sc)
	} else {
		need = d.decodeSparse(sc)
	}
	if need > 0 {
		// Somebody who picks symbols can make any number of attempts fail.
		if d.attempts++; d.attempts > patience {
			need = max(need, d.attempts-patience)
		}
		d.deficit = need
		return false
	}
	d.recovered = d.missing
	d.missing, d.deficit = 0, 0
	return true
}

// preferDense chooses the regime for e missing symbols.
func (d *Decoder) preferDense(e int) bool {
	return d.codec.denseDecode(&d.params, d.t, situation{
		missing:  e,
		generate: d.generations(e),
		planned:  d.code != nil || d.codec.planned(&d.params),
		formed:   d.residues.cover(d, e),
	})
}

// decodeSparse decodes by inactivation. It returns how many symbols more it
// takes at least.
func (d *Decoder) decodeSparse(sc *scratch) (need int) {
	p := &d.params
	sc.isis, sc.vals = sc.isis[:0], sc.vals[:0]
	use := func(isi uint32, value *byte) {
		sc.isis = append(sc.isis, isi)
		sc.vals = append(sc.vals, value)
	}
	for i, s := range d.source {
		if s != nil {
			use(uint32(i), s)
		}
	}
	// Padding symbols are known to be zero (section 5.3.1).
	for i := d.k; i < p.kp; i++ {
		use(uint32(i), &zeros[0])
	}
	for _, r := range d.repair {
		if len(sc.isis) == maxRows {
			break
		}
		use(p.isi(d.k, r.esi), r.data)
	}
	pl, need := sc.planner.make(p, sc.isis)
	if pl == nil {
		return need
	}
	sc.targets.reset()
	for _, i := range sc.missing {
		d.source[i] = d.store.next()
		sc.targets.add(p, i, d.source[i])
	}
	pl.solve(sc.vals, d.store.slot, sc)
	return 0
}

// Consistent reports whether all symbols that the decoder holds agree with each
// other; it is true until the block is complete. False means that at least one
// symbol is corrupt, and that any decoded symbol may be. It takes more than K
// symbols to notice: with one to spare about 99 of 100 corrupt symbols show,
// with two practically all. Somebody who forges symbols on purpose can make them
// agree.
//
// The check makes the repair symbols that were received again, if there is one
// to spare, which takes as long as encoding the block. What it costs is only
// spent when it is called.
func (d *Decoder) Consistent() bool {
	if d.missing > 0 || len(d.repair) == d.recovered {
		return true
	}
	sc := d.codec.scratch()
	defer d.codec.release(sc)
	d.ready()
	sc.targets.reset()
	sc.targets.compare = true
	for _, r := range d.repair {
		sc.targets.add(&d.params, d.params.isi(d.k, r.esi), r.data)
	}
	d.code.plan.solve(d.values(sc), d.store.slot, sc)
	return !sc.targets.differ
}

// values returns the source symbols and padding as values of the encoding plan,
// with zeros for what is missing.
func (d *Decoder) values(sc *scratch) []*byte {
	sc.vals = resize(sc.vals, d.params.kp)
	for i := range sc.vals {
		sc.vals[i] = &zeros[0]
		if i < d.k && d.source[i] != nil {
			sc.vals[i] = d.source[i]
		}
	}
	return sc.vals
}

// ready gets the code.
func (d *Decoder) ready() {
	if d.code == nil {
		d.code = d.codec.code(&d.params)
	}
}

// Symbol returns source symbol i with its padding, or nil while it is neither
// received nor decoded or when there is no such symbol. The octets belong to the
// decoder, must not be changed, and are valid until Reset.
func (d *Decoder) Symbol(i int) []byte {
	if i < 0 || i >= d.k || d.source[i] == nil {
		return nil
	}
	return gf256.Octets(d.source[i], 0, d.t)[:d.t:d.t]
}

// slab hands out slots for symbols from larger pieces of memory: a slot is a
// symbol rounded up to whole units, with zeros behind it.
type slab struct {
	t, slot int
	pieces  [][]byte
	at      int // the piece in use
	free    []byte
}

// slabSize is the least and slabMax the usual most size of a piece, in octets.
const (
	slabSize = 32 << 10
	slabMax  = 1 << 20
)

func slotSize(t int) int { return (t + gf256.Unit - 1) &^ (gf256.Unit - 1) }

func (s *slab) reset(t int) {
	s.t, s.slot = t, slotSize(t)
	s.at, s.free = 0, nil
	if len(s.pieces) > 0 {
		s.free = s.pieces[0]
	}
}

// next returns a slot of any content.
func (s *slab) next() *byte {
	for len(s.free) < s.slot {
		if s.at+1 < len(s.pieces) {
			s.at++
		} else {
			// Pieces grow with the block, by a quarter of what there is.
			total := 0
			for _, p := range s.pieces {
				total += len(p)
			}
			n := min(max(total/4, slabSize), slabMax)
			s.pieces = append(s.pieces, make([]byte, max(1, n/s.slot)*s.slot))
			s.at = len(s.pieces) - 1
		}
		s.free = s.pieces[s.at]
	}
	b := &s.free[0]
	s.free = s.free[s.slot:]
	return b
}

func (s *slab) keep(symbol []byte) *byte {
	p := s.next()
	b := gf256.Octets(p, 0, s.slot)
	clear(b[copy(b, symbol):])
	return p
}
