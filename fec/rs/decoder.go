package rs

import (
	"bytes"
	"fmt"

	"github.com/treedn/treedn/fec/internal/symbols"
)

// Decoder recovers one source block from any k of its encoding symbols. It is
// not safe for concurrent use.
type Decoder struct {
	matrix  Matrix
	k, t    int
	store   symbols.Store
	symbols [MaxSymbols][]byte // received or decoded, nil if unknown
	have    int                // symbols received
	missing int                // unknown source symbols
}

// NewDecoder prepares to receive a block of k source symbols of t octets. The
// decoder takes t octets for each symbol that it accepts, of which there are at
// most k, and for each that it recovers, in pieces of up to 32 kB.
func NewDecoder(m Matrix, k, t int) (*Decoder, error) {
	if !m.valid() || k < 1 || k > MaxSymbols || t < 1 {
		return nil, fmt.Errorf("%w: %v, k = %d, t = %d", ErrSize, m, k, t)
	}
	return &Decoder{matrix: m, k: k, t: t, store: symbols.Store{Size: t, Most: k}, missing: k}, nil
}

// K returns the number of source symbols.
func (d *Decoder) K() int { return d.k }

// SymbolSize returns the length of a symbol in octets.
func (d *Decoder) SymbolSize() int { return d.t }

// Add takes a copy of a received encoding symbol. It reports whether the symbol
// brings something: a repeated one does not, nor does any after k. The last
// source symbol may come without its padding. A symbol that is refused with
// [ErrSymbol] or [ErrConflict] changes nothing.
func (d *Decoder) Add(esi uint32, symbol []byte) (fresh bool, err error) {
	short := int64(esi) == int64(d.k-1) && len(symbol) > 0 && len(symbol) < d.t
	if esi >= MaxSymbols || len(symbol) != d.t && !short {
		return false, fmt.Errorf("%w: ESI %d, %d octets", ErrSymbol, esi, len(symbol))
	}
	if have := d.symbols[esi]; have != nil {
		if !bytes.Equal(have[:len(symbol)], symbol) {
			return false, fmt.Errorf("%w: ESI %d", ErrConflict, esi)
		}
		return false, nil
	}
	if d.Need() == 0 {
		return false, nil
	}
	d.symbols[esi] = d.store.Keep(symbol)
	d.have++
	if int(esi) < d.k {
		d.missing--
	}
	return true, nil
}

// Need returns the number of further symbols that decoding takes.
func (d *Decoder) Need() int { return d.k - d.have }

// Decode recovers the missing source symbols and reports whether the block is
// complete, which takes exactly k symbols.
func (d *Decoder) Decode() (done bool) {
	if d.Need() > 0 {
		return false
	}
	if d.missing == 0 {
		return true
	}
	points := make([]uint8, 0, d.k)
	values := make([][]byte, 0, d.k)
	for esi, s := range d.symbols {
		if s != nil {
			points = append(points, d.matrix.point(esi))
			values = append(values, s)
		}
	}
	code := newInterpolation(points)
	lost := make([][]byte, 0, d.missing)
	coef := make([]uint8, d.k*d.missing)
	var c [MaxSymbols]uint8
	for i, s := range d.symbols[:d.k] {
		if s != nil {
			continue
		}
		code.coefficients(&c, d.matrix.point(i))
		for r := range values {
			coef[r*d.missing+len(lost)] = c[r]
		}
		d.symbols[i] = d.store.Next()
		lost = append(lost, d.symbols[i])
	}
	product(lost, values, coef)
	d.missing = 0
	return true
}

// Symbol returns source symbol i with its padding, or nil while it is neither
// received nor decoded or when there is no such symbol. The octets belong to the
// decoder and must not be changed.
func (d *Decoder) Symbol(i int) []byte {
	if i < 0 || i >= d.k {
		return nil
	}
	return d.symbols[i]
}
