package raptorq

import (
	"fmt"
	"slices"
	"sync"

	"github.com/treedn/treedn/fec/internal/gf256"
)

// Encoder produces the encoding symbols of one source block. It is safe for
// concurrent use, apart from Reset.
type Encoder struct {
	codec  *Codec
	params params
	k, t   int
	short  []byte  // the last symbol with its padding, if source ends before
	vals   []*byte // K' source symbols

	mu    sync.Mutex // guards below
	code  *code
	inter []byte // all strips of the intermediate symbols
	made  int    // repair symbols made without them
}

// NewEncoder is [Codec.NewEncoder] of a codec of its own. A sender of many
// blocks keeps a Codec instead, which saves planning each block anew.
func NewEncoder(source []byte, t int) (*Encoder, error) {
	return new(Codec).NewEncoder(source, t)
}

// NewEncoder prepares a block of K = ceil(len(source)/t) source symbols of t
// octets, the last one padded with zeros. The encoder keeps source, which must
// not change while the encoder is in use.
func (c *Codec) NewEncoder(source []byte, t int) (*Encoder, error) {
	e := &Encoder{codec: c}
	if err := e.Reset(source, t); err != nil {
		return nil, err
	}
	return e, nil
}

// Reset makes the encoder one for another block, as [Codec.NewEncoder] does, and
// uses its memory again.
func (e *Encoder) Reset(source []byte, t int) error {
	if t < 1 || t > MaxSymbolSize {
		return fmt.Errorf("%w: T = %d", ErrSize, t)
	}
	k := (len(source)-1)/t + 1
	if len(source) == 0 || k > MaxK {
		return fmt.Errorf("%w: %d octets in symbols of %d", ErrSize, len(source), t)
	}
	p := e.params
	if k != e.k {
		p = lookup(k)
	}
	if err := p.addressable(t); err != nil {
		return err
	}
	if p.kp != e.params.kp {
		e.code = nil
	}
	e.params, e.k, e.t = p, k, t
	e.inter, e.made = nil, 0
	e.vals = resize(e.vals, p.kp)
	clear(e.vals[:cap(e.vals)]) // of the former block
	for i := range k {
		e.vals[i] = &source[i*t]
	}
	if k*t > len(source) {
		e.short = zeroed(e.short, t)
		copy(e.short, source[(k-1)*t:])
		e.vals[k-1] = &e.short[0]
	}
	for i := k; i < p.kp; i++ {
		e.vals[i] = &zeros[0]
	}
	return nil
}

// K returns the number of source symbols.
func (e *Encoder) K() int { return e.k }

// SymbolSize returns T, the length of a symbol in octets.
func (e *Encoder) SymbolSize() int { return e.t }

// AppendSymbol appends the encoding symbol with the given ESI: the source symbol
// below K, a repair symbol from K on. It does not allocate when dst has room
// for T octets more, except that the first calls may keep the intermediate
// symbols, which take somewhat more memory than the block. An ESI above MaxESI
// has no FEC Payload ID to carry it.
//
// When the number of repair symbols is known, [Encoder.AppendRepair] is faster
// and keeps nothing.
func (e *Encoder) AppendSymbol(dst []byte, esi uint32) []byte {
	n := len(dst)
	dst = slices.Grow(dst, e.t)[:n+e.t]
	symbol := dst[n:]
	if esi < uint32(e.k) {
		copy(symbol, gf256.Octets(e.vals[esi], 0, e.t))
		return dst
	}
	x := e.params.isi(e.k, esi)
	if inter := e.intermediate(x); inter != nil {
		e.params.encode(symbol, inter, x)
		return dst
	}
	sc := e.codec.scratch()
	e.dense(symbol, x, 1, sc)
	e.codec.release(sc)
	return dst
}

// AppendRepair appends the n repair symbols with the ESIs from first on, which
// must not be below K. It does not allocate when dst has room for n*T octets
// more.
func (e *Encoder) AppendRepair(dst []byte, first uint32, n int) []byte {
	if n <= 0 {
		return dst
	}
	if first < uint32(e.k) {
		panic(fmt.Sprintf("raptorq: ESI %d is no repair symbol of a block with K = %d", first, e.k))
	}
	at := len(dst)
	dst = slices.Grow(dst, n*e.t)[:at+n*e.t]
	symbols := dst[at:]
	x := e.params.isi(e.k, first)

	e.mu.Lock()
	co, inter := e.planned(), e.inter
	e.mu.Unlock()
	switch {
	case inter != nil:
		for i := range n {
			e.params.encode(symbols[i*e.t:(i+1)*e.t], inter, x+uint32(i))
		}
	case e.params.coefficientsKept(x, n) && e.codec.denseEncode(&e.params, n, e.t):
		sc := e.codec.scratch()
		e.dense(symbols, x, n, sc)
		e.codec.release(sc)
	default:
		sc := e.codec.scratch()
		sc.targets.reset()
		for i := range n {
			sc.targets.add(&e.params, x+uint32(i), &symbols[i*e.t])
		}
		co.plan.solve(e.vals, e.t, sc)
		e.codec.release(sc)
	}
	return dst
}

// planned returns the code. The caller holds e.mu.
func (e *Encoder) planned() *code {
	if e.code == nil {
		e.code = e.codec.code(&e.params)
	}
	return e.code
}

// intermediate returns the intermediate symbols for making the repair symbol
// with ISI x alone. It is nil as long as making single symbols without them has
// cost less than they cost.
func (e *Encoder) intermediate(x uint32) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	co := e.planned()
	if e.inter != nil {
		return e.inter
	}
	if e.params.coefficientsKept(x, 1) && e.codec.denseEncode(&e.params, e.made+1, e.t) {
		e.made++
		return nil
	}
	sc := e.codec.scratch()
	e.inter = co.plan.intermediate(e.vals, e.t, sc)
	e.codec.release(sc)
	return e.inter
}

// coefficientsKept tells whether the coefficients of the n repair symbols with
// ISIs from x on are kept.
func (p *params) coefficientsKept(x uint32, n int) bool {
	return uint64(x)+uint64(n) <= uint64(p.kp+batch*maxBatches)
}

// dense makes n repair symbols from the source symbols.
func (e *Encoder) dense(symbols []byte, x uint32, n int, sc *scratch) {
	e.mu.Lock()
	co := e.code
	e.mu.Unlock()
	whole := e.t &^ (gf256.Unit - 1)
	rest := strip{off: whole, n: e.t - whole, width: gf256.Unit}
	vals := e.vals[:e.k]
	var pad []*byte
	if rest.n > 0 {
		pad = sc.collect(vals, rest)
	}
	at := int(x) - e.params.kp
	for i := 0; i < n; {
		b, j := (at+i)/batch, (at+i)%batch
		m := min(n-i, batch-j)
		coef := e.codec.coefficients(co, b, sc)
		sc.out = sc.out[:0]
		for r := range m {
			sc.out = append(sc.out, &symbols[(i+r)*e.t])
		}
		gf256.Product(sc.out, vals, coef[j:], batch, 0, whole, false)
		if rest.n > 0 {
			sc.residue = resize(sc.residue, m*gf256.Unit)
			for r := range m {
				sc.out[r] = &sc.residue[r*gf256.Unit]
			}
			gf256.Product(sc.out, pad, coef[j:], batch, 0, gf256.Unit, false)
			for r := range m {
				copy(symbols[(i+r)*e.t+whole:(i+r+1)*e.t], sc.residue[r*gf256.Unit:])
			}
		}
		i += m
	}
}
