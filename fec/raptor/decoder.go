package raptor

import (
	"bytes"
	"crypto/subtle"
	"fmt"

	"github.com/treedn/treedn/fec/internal/gf2"
	"github.com/treedn/treedn/fec/internal/symbols"
)

// surplus is how many repair symbols beyond K a decoder holds. Each symbol in
// excess of need nearly halves the failure probability, so a block that so many cannot
// decode is not made of random symbols.
const surplus = 64

// Decoder recovers one source block from any sufficient set of its encoding
// symbols. It is not safe for concurrent use.
type Decoder struct {
	codec  *Codec
	params params
	t      int

	store   symbols.Store
	source  [][]byte // received or decoded source symbols, nil if unknown
	missing int      // unknown source symbols
	esis    []uint32 // of the repair symbols
	repair  [][]byte
	index   map[uint32]int // ESI of a repair symbol: its position in repair
	deficit int            // further symbols that the last attempt asked for
	corrupt bool           // surplus symbols contradict the decoded block
}

// NewDecoder is [Codec.NewDecoder] of a new codec.
func NewDecoder(k, t int) (*Decoder, error) {
	return new(Codec).NewDecoder(k, t)
}

// NewDecoder prepares to receive a block of k source symbols of t octets. The
// decoder takes 24 octets per source symbol at once, t octets for each symbol that
// it accepts (at most 2k+64), and about k*t octets while it decodes.
func (c *Codec) NewDecoder(k, t int) (*Decoder, error) {
	if k < MinK || k > MaxK || t < 1 || t > MaxSymbolSize {
		return nil, fmt.Errorf("%w: K = %d, T = %d", ErrSize, k, t)
	}
	return &Decoder{
		codec:   c,
		params:  newParams(k),
		t:       t,
		store:   symbols.Store{Size: t, Most: k},
		source:  make([][]byte, k),
		missing: k,
	}, nil
}

// K returns the number of source symbols.
func (d *Decoder) K() int { return d.params.k }

// SymbolSize returns T, the length of a symbol in octets.
func (d *Decoder) SymbolSize() int { return d.t }

// Add takes a copy of a received encoding symbol. It reports whether the symbol
// brings something: a repeated one, one of a block that is decoded, and repair
// symbols beyond any use do not. The last source symbol may come without its
// padding (RFC 5053 section 5.3.2). A symbol that is refused with [ErrSymbol] or
// [ErrConflict] changes nothing.
func (d *Decoder) Add(esi uint32, symbol []byte) (fresh bool, err error) {
	k := d.params.k
	short := esi == uint32(k-1) && len(symbol) > 0 && len(symbol) < d.t
	if esi > MaxESI || len(symbol) != d.t && !short {
		return false, fmt.Errorf("%w: ESI %d, %d octets", ErrSymbol, esi, len(symbol))
	}
	if esi < uint32(k) {
		if have := d.source[esi]; have != nil {
			return false, compare(esi, have, symbol)
		}
		d.source[esi] = d.store.Keep(symbol)
		d.missing--
	} else {
		if i, ok := d.index[esi]; ok {
			return false, compare(esi, d.repair[i], symbol)
		}
		if d.missing == 0 || len(d.repair) >= k+surplus {
			return false, nil
		}
		if d.index == nil {
			d.index = make(map[uint32]int)
		}
		d.index[esi] = len(d.repair)
		d.esis = append(d.esis, esi)
		d.repair = append(d.repair, d.store.Keep(symbol))
	}
	if d.deficit > 0 {
		d.deficit--
	}
	if d.missing == 0 {
		d.release()
	}
	return true, nil
}

func compare(esi uint32, have, symbol []byte) error {
	if bytes.Equal(have[:len(symbol)], symbol) {
		return nil
	}
	return fmt.Errorf("%w: ESI %d", ErrConflict, esi)
}

// release drops what only decoding needs.
func (d *Decoder) release() {
	d.esis, d.repair, d.index, d.deficit = nil, nil, nil, 0
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
// least [Decoder.Need] more symbols, after which Decode is called again.
//
// Decode does its work in the caller's goroutine: for the largest blocks that is
// tens of milliseconds. Decoders of one [Codec] share memory for it.
func (d *Decoder) Decode() (done bool) {
	if d.missing == 0 {
		return true
	}
	if d.Need() > 0 {
		return false
	}
	p := &d.params
	n := p.k - d.missing + len(d.repair)
	esis := make([]uint32, 0, n)
	v := values{p.s, make([][]byte, 0, n)}
	for i, s := range d.source {
		if s != nil {
			esis = append(esis, uint32(i))
			v.symbols = append(v.symbols, s)
		}
	}
	esis = append(esis, d.esis...)
	v.symbols = append(v.symbols, d.repair...)
	plan, m, need := newPlan(p, esis)
	if plan == nil {
		d.deficit = need
		return false
	}
	buffer := d.codec.buffer(p.l * d.t)
	defer d.codec.buffers.Put(buffer)
	inter := *buffer
	d.codec.run(plan, inter, d.t, v)
	d.corrupt = !consistent(plan, m, inter, d.t, v)
	for i, s := range d.source {
		if s == nil {
			s = d.store.Next()
			p.encode(s, inter, uint32(i))
			d.source[i] = s
		}
	}
	d.missing = 0
	d.release()
	return true
}

// consistent checks the rows that the solution was not made of.
func consistent(plan *gf2.Plan, m *gf2.Matrix, inter []byte, t int, v values) bool {
	if len(plan.Surplus()) == 0 {
		return true
	}
	sum, zero := make([]byte, t), make([]byte, t)
	for _, r := range plan.Surplus() {
		v.Set(sum, int(r), 0)
		for _, c := range m.Row(int(r)) {
			subtle.XORBytes(sum, sum, inter[int(c)*t:(int(c)+1)*t])
		}
		if !bytes.Equal(sum, zero) {
			return false
		}
	}
	return true
}

// Consistent reports whether all symbols that a successful [Decoder.Decode] used
// agree with each other. False means that at least one symbol is corrupt, and
// that any decoded symbol may be. It takes surplus symbols to notice: with n of
// them, about one corrupt symbol in 2^n goes unseen. Somebody who forges symbols
// on purpose can make them agree.
func (d *Decoder) Consistent() bool { return !d.corrupt }

// Symbol returns source symbol i with its padding, or nil while it is neither
// received nor decoded or when there is no such symbol. The octets belong to the
// decoder and must not be changed.
func (d *Decoder) Symbol(i int) []byte {
	if i < 0 || i >= d.params.k {
		return nil
	}
	return d.source[i]
}
