package raptorq

import (
	"bytes"
	"fmt"
)

// surplus is how many repair symbols beyond K a decoder holds. Each repair
// symbol in excess of need divides the failure probability by more than a
// hundred, so a block that so many cannot decode is not made of random symbols.
const surplus = 64

// Decoder recovers one source block from any sufficient set of its encoding
// symbols. It is not safe for concurrent use.
type Decoder struct {
	codec  *Codec
	params params
	k, t   int

	store   slab
	source  [][]byte // received or decoded source symbols, nil if unknown
	missing int      // unknown source symbols
	repair  []repairSymbol
	index   map[uint32]int // ESI of a repair symbol: its position in repair
	deficit int            // further symbols that the last attempt asked for
	corrupt bool           // surplus symbols contradict the decoded block
}

type repairSymbol struct {
	esi  uint32
	data []byte
}

// NewDecoder is [Codec.NewDecoder] of a new codec.
func NewDecoder(k, t int) (*Decoder, error) {
	return new(Codec).NewDecoder(k, t)
}

// NewDecoder prepares to receive a block of k source symbols of t octets. The
// decoder takes 24 octets per source symbol at once, T octets for each symbol
// that it accepts (at most 2K+64), and about K*T octets while it decodes.
func (c *Codec) NewDecoder(k, t int) (*Decoder, error) {
	if k < 1 || k > MaxK || t < 1 || t > MaxSymbolSize {
		return nil, fmt.Errorf("%w: K = %d, T = %d", ErrSize, k, t)
	}
	d := &Decoder{
		codec:   c,
		params:  lookup(k),
		k:       k,
		t:       t,
		store:   slab{t: t},
		source:  make([][]byte, k),
		missing: k,
	}
	if err := d.params.addressable(t); err != nil {
		return nil, err
	}
	return d, nil
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
	} else {
		if i, ok := d.index[esi]; ok {
			return false, d.compare(esi, d.repair[i].data, symbol)
		}
		if d.missing == 0 || len(d.repair) >= d.k+surplus {
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
	if d.missing == 0 {
		d.release()
	}
	return true, nil
}

func (d *Decoder) compare(esi uint32, have, symbol []byte) error {
	if bytes.Equal(have[:len(symbol)], symbol) {
		return nil
	}
	return fmt.Errorf("%w: ESI %d", ErrConflict, esi)
}

// release drops what only decoding needs.
func (d *Decoder) release() {
	d.repair, d.index, d.deficit = nil, nil, 0
}

// Need returns a lower bound of the further symbols that decoding takes: zero
// means that [Decoder.Decode] is worth a call, or that the block is complete.
func (d *Decoder) Need() int {
	if d.missing == 0 {
		return 0
	}
	return max(d.missing-len(d.repair), d.deficit)
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
	p := &d.params
	isis := make([]uint32, 0, p.kp-d.missing+len(d.repair))
	values := make([][]byte, 0, cap(isis))
	for i, s := range d.source {
		if s != nil {
			isis = append(isis, uint32(i))
			values = append(values, s)
		}
	}
	// Padding symbols are known to be zero (section 5.3.1).
	for i := d.k; i < p.kp; i++ {
		isis = append(isis, uint32(i))
		values = append(values, nil)
	}
	for _, r := range d.repair {
		isis = append(isis, p.isi(d.k, r.esi))
		values = append(values, r.data)
	}
	pl, need := newPlan(p, isis)
	if pl == nil {
		d.deficit = need
		return false
	}
	scratch := d.codec.buffer(p.l * d.t)
	defer d.codec.buffers.Put(scratch)
	inter := *scratch
	pl.run(inter, d.t, values)
	d.corrupt = !pl.consistent(inter, d.t, values)
	for i, s := range d.source {
		if s == nil {
			s = d.store.next()
			p.encode(s, inter, uint32(i))
			d.source[i] = s
		}
	}
	d.missing = 0
	d.release()
	return true
}

// Consistent reports whether all symbols that a successful [Decoder.Decode] used
// agree with each other. False means that at least one symbol is corrupt, and
// that any decoded symbol may be. It takes more than K symbols to notice: with
// one to spare about 99 of 100 corrupt symbols show, with two practically all.
// Somebody who forges symbols on purpose can make them agree.
func (d *Decoder) Consistent() bool { return !d.corrupt }

// Symbol returns source symbol i with its padding, or nil while it is neither
// received nor decoded or when there is no such symbol. The octets belong to the
// decoder and must not be changed.
func (d *Decoder) Symbol(i int) []byte {
	if i < 0 || i >= d.k {
		return nil
	}
	return d.source[i]
}

// slab hands out zeroed symbols of t octets from larger pieces of memory.
type slab struct {
	t    int
	free []byte
}

// slabSize is the least size of a piece, in octets.
const slabSize = 32 << 10

func (s *slab) next() []byte {
	if len(s.free) < s.t {
		s.free = make([]byte, max(1, slabSize/s.t)*s.t)
	}
	b := s.free[:s.t:s.t]
	s.free = s.free[s.t:]
	return b
}

func (s *slab) keep(symbol []byte) []byte {
	b := s.next()
	copy(b, symbol)
	return b
}
