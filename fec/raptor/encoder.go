package raptor

import (
	"crypto/subtle"
	"fmt"
	"slices"
)

// Encoder produces the encoding symbols of one source block. It is safe for
// concurrent use.
type Encoder struct {
	params params
	t      int
	source []byte
	inter  []byte // L intermediate symbols
}

// NewEncoder is [Codec.NewEncoder] of a codec without a cache. A sender of many
// blocks keeps a Codec instead, which saves planning each block anew.
func NewEncoder(source []byte, t int) (*Encoder, error) {
	return new(Codec).NewEncoder(source, t)
}

// NewEncoder prepares a block of K = ceil(len(source)/t) source symbols of t
// octets, the last one padded with zeros, and computes its intermediate
// symbols: this is where the time of encoding goes. The encoder keeps source,
// which must not change while the encoder is in use.
func (c *Codec) NewEncoder(source []byte, t int) (*Encoder, error) {
	if t < 1 || t > MaxSymbolSize {
		return nil, fmt.Errorf("%w: T = %d", ErrSize, t)
	}
	k := (len(source)-1)/t + 1
	if len(source) == 0 || k < MinK || k > MaxK {
		return nil, fmt.Errorf("%w: %d octets in symbols of %d", ErrSize, len(source), t)
	}
	e := &Encoder{params: newParams(k), t: t, source: source}
	symbols := make([][]byte, k)
	for i := range symbols {
		symbols[i] = source[i*t : min((i+1)*t, len(source))]
	}
	e.inter = make([]byte, e.params.l*t)
	c.run(c.encodingPlan(&e.params), e.inter, t, values{e.params.s, symbols})
	return e, nil
}

// K returns the number of source symbols.
func (e *Encoder) K() int { return e.params.k }

// SymbolSize returns T, the length of a symbol in octets.
func (e *Encoder) SymbolSize() int { return e.t }

// AppendSymbol appends the encoding symbol with the given ESI: the source symbol
// below K, a repair symbol from K on. There are no symbols above MaxESI; then dst
// is returned as it is. AppendSymbol does not allocate when dst has room for T
// octets more.
func (e *Encoder) AppendSymbol(dst []byte, esi uint32) []byte {
	if esi > MaxESI {
		return dst
	}
	n := len(dst)
	dst = slices.Grow(dst, e.t)[:n+e.t]
	symbol := dst[n:]
	if int(esi) < e.params.k {
		have := copy(symbol, e.source[int(esi)*e.t:])
		clear(symbol[have:])
		return dst
	}
	e.params.encode(symbol, e.inter, esi)
	return dst
}

// encode writes the encoding symbol with the given ESI to dst.
func (p *params) encode(dst, inter []byte, esi uint32) {
	var columns [maxColumns]uint32
	t := len(dst)
	for i, c := range p.appendColumns(columns[:0], esi) {
		s := inter[int(c)*t : (int(c)+1)*t]
		if i == 0 {
			copy(dst, s)
		} else {
			subtle.XORBytes(dst, dst, s)
		}
	}
}
