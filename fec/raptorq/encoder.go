package raptorq

import (
	"fmt"
	"slices"
)

// Encoder produces the encoding symbols of one source block. It is safe for
// concurrent use.
type Encoder struct {
	params params
	k, t   int
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
	if len(source) == 0 || k > MaxK {
		return nil, fmt.Errorf("%w: %d octets in symbols of %d", ErrSize, len(source), t)
	}
	e := &Encoder{params: lookup(k), k: k, t: t, source: source}
	if err := e.params.addressable(t); err != nil {
		return nil, err
	}
	values := make([][]byte, e.params.kp)
	for i := range k {
		if (i+1)*t <= len(source) {
			values[i] = source[i*t : (i+1)*t]
		} else {
			values[i] = make([]byte, t)
			copy(values[i], source[i*t:])
		}
	}
	e.inter = make([]byte, e.params.l*t)
	c.encodingPlan(&e.params).run(e.inter, t, values)
	return e, nil
}

// K returns the number of source symbols.
func (e *Encoder) K() int { return e.k }

// SymbolSize returns T, the length of a symbol in octets.
func (e *Encoder) SymbolSize() int { return e.t }

// AppendSymbol appends the encoding symbol with the given ESI: the source symbol
// below K, a repair symbol from K on. It does not allocate when dst has room
// for T octets more. An ESI above MaxESI has no FEC Payload ID to carry it.
func (e *Encoder) AppendSymbol(dst []byte, esi uint32) []byte {
	n := len(dst)
	dst = slices.Grow(dst, e.t)[:n+e.t]
	symbol := dst[n:]
	if esi < uint32(e.k) {
		have := copy(symbol, e.source[int(esi)*e.t:])
		clear(symbol[have:])
		return dst
	}
	e.params.encode(symbol, e.inter, e.params.isi(e.k, esi))
	return dst
}
