package ldpc

import (
	"crypto/subtle"
	"fmt"
	"slices"
)

// Encoder produces the encoding symbols of one source block. It is safe for
// concurrent use.
type Encoder struct {
	code   *Code
	t      int
	source []byte
	repair []byte
}

// NewEncoder prepares a block of k source symbols of t octets, the last one padded
// with zeros, and computes its n-k repair symbols. The encoder keeps source, which
// must not change while the encoder is in use.
func (c *Code) NewEncoder(source []byte, t int) (*Encoder, error) {
	if t < 1 || t > MaxSymbolSize || len(source) == 0 || (len(source)-1)/t+1 != c.params.K {
		return nil, fmt.Errorf("%w: %d octets in %d symbols of %d", ErrSize, len(source), c.params.K, t)
	}
	e := &Encoder{code: c, t: t, source: source}
	m := c.params.N - c.params.K
	e.repair = make([]byte, m*t)
	for i := range m {
		sum := e.repair[i*t : (i+1)*t]
		if i > 0 {
			copy(sum, e.repair[(i-1)*t:])
		}
		for _, j := range c.row(i) {
			subtle.XORBytes(sum, sum, source[int(j)*t:min((int(j)+1)*t, len(source))])
		}
	}
	return e, nil
}

// K returns the number of source symbols.
func (e *Encoder) K() int { return e.code.params.K }

// SymbolSize returns the length of a symbol in octets.
func (e *Encoder) SymbolSize() int { return e.t }

// AppendSymbol appends the encoding symbol with the given ESI: the source symbol
// below k, a repair symbol from k on. There are no symbols from n on; then dst is
// returned as it is. AppendSymbol does not allocate when dst has room for the
// symbol.
func (e *Encoder) AppendSymbol(dst []byte, esi uint32) []byte {
	k := e.code.params.K
	if esi >= uint32(e.code.params.N) {
		return dst
	}
	i := int(esi)
	if i >= k {
		return append(dst, e.repair[(i-k)*e.t:(i-k+1)*e.t]...)
	}
	n := len(dst)
	dst = slices.Grow(dst, e.t)[:n+e.t]
	have := copy(dst[n:], e.source[i*e.t:])
	clear(dst[n+have:])
	return dst
}
