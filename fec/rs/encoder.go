package rs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/treedn/treedn/fec/internal/gf256"
)

var (
	// ErrSize reports a block, symbol size or matrix outside the code's limits:
	// 1 <= k <= MaxSymbols and t >= 1.
	ErrSize = errors.New("rs: block, symbol size or matrix out of range")

	// ErrSymbol reports an encoding symbol of the wrong length or with an ESI
	// that is not below MaxSymbols. The symbol was not taken.
	ErrSymbol = errors.New("rs: symbol of wrong length or encoding symbol ID")

	// ErrConflict reports a symbol that differs from the one that the decoder
	// holds for the same ESI, so that one of the two is corrupt. The first is
	// kept.
	ErrConflict = errors.New("rs: two different symbols with one encoding symbol ID")
)

// Encoder produces the encoding symbols of one source block. It is safe for
// concurrent use.
type Encoder struct {
	matrix Matrix
	k, t   int
	source []byte
	code   interpolation
}

// NewEncoder prepares a block of k = ceil(len(source)/t) source symbols of t
// octets, the last one padded with zeros. The encoder keeps source, which must
// not change while the encoder is in use.
func NewEncoder(m Matrix, source []byte, t int) (*Encoder, error) {
	if !m.valid() || t < 1 || len(source) == 0 || (len(source)-1)/t >= MaxSymbols {
		return nil, fmt.Errorf("%w: %v, %d octets in symbols of %d", ErrSize, m, len(source), t)
	}
	e := &Encoder{matrix: m, k: (len(source)-1)/t + 1, t: t, source: source}
	points := make([]uint8, e.k)
	for i := range points {
		points[i] = m.point(i)
	}
	e.code = newInterpolation(points)
	return e, nil
}

// K returns the number of source symbols.
func (e *Encoder) K() int { return e.k }

// SymbolSize returns the length of a symbol in octets.
func (e *Encoder) SymbolSize() int { return e.t }

// AppendSymbol appends the encoding symbol with the given ESI: the source symbol
// below k, a repair symbol from k on. There are no symbols from MaxSymbols on;
// then dst is returned as it is. AppendSymbol does not allocate when dst has room
// for the symbol.
func (e *Encoder) AppendSymbol(dst []byte, esi uint32) []byte {
	if esi >= MaxSymbols {
		return dst
	}
	n := len(dst)
	dst = slices.Grow(dst, e.t)[:n+e.t]
	symbol := dst[n:]
	if int(esi) < e.k {
		have := copy(symbol, e.source[int(esi)*e.t:])
		clear(symbol[have:])
		return dst
	}
	clear(symbol)
	var c [MaxSymbols]uint8
	e.code.coefficients(&c, e.matrix.point(int(esi)))
	for i := range e.k {
		s := e.source[i*e.t : min((i+1)*e.t, len(e.source))]
		gf256.AddMul(symbol[:len(s)], s, c[i])
	}
	return dst
}

// AppendSymbols appends n encoding symbols from the given ESI on, as AppendSymbol does
// one after the other. For several repair symbols that is much faster, because each
// source symbol is read once for all of them. There are none from MaxSymbols on.
func (e *Encoder) AppendSymbols(dst []byte, esi uint32, n int) []byte {
	n = min(n, MaxSymbols-int(min(esi, MaxSymbols)))
	for ; n > 0 && int(esi) < e.k; n-- {
		dst = e.AppendSymbol(dst, esi)
		esi++
	}
	if n <= 0 {
		return dst
	}
	at := len(dst)
	dst = slices.Grow(dst, n*e.t)[:at+n*e.t]
	out := make([][]byte, n)
	in := make([][]byte, e.k)
	coef := make([]uint8, e.k*n)
	var c [MaxSymbols]uint8
	for j := range out {
		out[j] = dst[at+j*e.t : at+(j+1)*e.t]
		e.code.coefficients(&c, e.matrix.point(int(esi)+j))
		for i := range in {
			coef[i*n+j] = c[i]
		}
	}
	for i := range in {
		in[i] = e.source[i*e.t : min((i+1)*e.t, len(e.source))]
	}
	if last := in[e.k-1]; len(last) < e.t {
		in[e.k-1] = append(make([]byte, 0, e.t), last...)[:e.t]
	}
	product(out, in, coef)
	return dst
}
