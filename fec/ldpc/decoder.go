package ldpc

import (
	"bytes"
	"crypto/subtle"
	"fmt"

	"github.com/treedn/treedn/fec/internal/gf2"
	"github.com/treedn/treedn/fec/internal/symbols"
)

// Decoder recovers one source block from any sufficient set of its encoding
// symbols. It is not safe for concurrent use.
type Decoder struct {
	code *Code
	t    int

	store   symbols.Store
	symbols [][]byte // received or decoded, nil if unknown
	have    int      // known symbols
	missing int      // unknown source symbols
	deficit int      // further symbols that the last attempt asked for
}

// NewDecoder prepares to receive a block of symbols of t octets. The decoder takes
// 24 octets for each encoding symbol at once, t octets for each symbol that it
// accepts, and t octets for each symbol that it decodes, repair symbols included:
// never more than n*(t+24) in all, but for planning, which takes about a hundred
// octets for each unknown symbol, and up to 32 MB in the largest blocks.
func (c *Code) NewDecoder(t int) (*Decoder, error) {
	if t < 1 || t > MaxSymbolSize {
		return nil, fmt.Errorf("%w: symbols of %d octets", ErrSize, t)
	}
	return &Decoder{
		code:    c,
		t:       t,
		store:   symbols.Store{Size: t, Most: c.params.K},
		symbols: make([][]byte, c.params.N),
		missing: c.params.K,
	}, nil
}

// K returns the number of source symbols.
func (d *Decoder) K() int { return d.code.params.K }

// SymbolSize returns the length of a symbol in octets.
func (d *Decoder) SymbolSize() int { return d.t }

// Add takes a copy of a received encoding symbol. It reports whether the symbol
// brings something: a repeated one does not, nor does a repair symbol of a block
// that is complete. The last source symbol may come without its padding. A symbol
// that is refused with [ErrSymbol] or [ErrConflict] changes nothing.
func (d *Decoder) Add(esi uint32, symbol []byte) (fresh bool, err error) {
	k := d.code.params.K
	short := esi == uint32(k-1) && len(symbol) > 0 && len(symbol) < d.t
	if esi >= uint32(len(d.symbols)) || len(symbol) != d.t && !short {
		return false, fmt.Errorf("%w: ESI %d, %d octets", ErrSymbol, esi, len(symbol))
	}
	if have := d.symbols[esi]; have != nil {
		if !bytes.Equal(have[:len(symbol)], symbol) {
			return false, fmt.Errorf("%w: ESI %d", ErrConflict, esi)
		}
		return false, nil
	}
	if d.missing == 0 {
		return false, nil
	}
	d.symbols[esi] = d.store.Keep(symbol)
	d.have++
	if int(esi) < k {
		d.missing--
	}
	if d.deficit > 0 {
		d.deficit--
	}
	return true, nil
}

// Need returns a lower bound of the further symbols that decoding takes: zero
// means that [Decoder.Decode] is worth a call, or that the block is complete.
func (d *Decoder) Need() int {
	if d.missing == 0 {
		return 0
	}
	return max(d.code.params.K-d.have, d.deficit)
}

// attemptsPerBlock bounds how often a block is tried in vain while as many symbols
// arrive as it has source symbols.
const attemptsPerBlock = 4096

// maxBits bounds what planning keeps about inactive columns; see [gf2.NewPlan].
const maxBits = 1 << 28

// Decode recovers the missing symbols from all symbols received so far and reports
// whether the block is complete: by peeling as far as that goes, and by elimination
// of what it leaves (RFC 5170 section 6.4), so it succeeds whenever the symbols
// determine the block. False is no error: it asks for at least [Decoder.Need] more
// symbols, after which Decode is called again.
//
// Decode does its work in the caller's goroutine: for a block of ten thousand
// symbols that is tens of milliseconds, for some hundred thousand it may be seconds.
func (d *Decoder) Decode() (done bool) {
	if d.missing == 0 {
		return true
	}
	if d.Need() > 0 {
		return false
	}
	c := d.code
	k, m := c.params.K, c.params.N-c.params.K

	// The unknown symbols are the columns; rows without any are left out.
	const known = ^uint32(0)
	column := make([]uint32, c.params.N)
	unknown := make([]uint32, 0, c.params.N-d.have)
	for esi, s := range d.symbols {
		column[esi] = known
		if s == nil {
			column[esi] = uint32(len(unknown))
			unknown = append(unknown, uint32(esi))
		}
	}
	matrix := gf2.NewMatrix(len(unknown), m, len(c.left)/2)
	v := equations{decoder: d, rows: make([]uint32, 0, m)}
	var row []uint32
	for i := range m {
		row = row[:0]
		for _, j := range c.row(i) {
			if column[j] != known {
				row = append(row, column[j])
			}
		}
		for j := k + i; j >= k && j >= k+i-1; j-- {
			if column[j] != known {
				row = append(row, column[j])
			}
		}
		if len(row) > 0 {
			matrix.Append(row...)
			v.rows = append(v.rows, uint32(i))
		}
	}
	plan, need := gf2.NewPlan(matrix, maxBits)
	if plan == nil {
		// The more work an attempt is, the fewer are made.
		d.deficit = need + k/attemptsPerBlock
		return false
	}
	solution := make([]byte, len(unknown)*d.t)
	plan.Run(solution, d.t, v, make([]byte, plan.Scratch(d.t)))
	for i, esi := range unknown {
		d.symbols[esi] = solution[i*d.t : (i+1)*d.t : (i+1)*d.t]
	}
	d.have = len(d.symbols)
	d.missing = 0
	d.deficit = 0
	return true
}

// equations gives the sum of the known symbols of each row of the matrix.
type equations struct {
	decoder *Decoder
	rows    []uint32 // row of the matrix: row of the code
}

func (v equations) Set(dst []byte, row, from int) {
	clear(dst)
	c, symbols := v.decoder.code, v.decoder.symbols
	add := func(s []byte) {
		if s != nil {
			subtle.XORBytes(dst, dst, s[from:])
		}
	}
	i := int(v.rows[row])
	for _, j := range c.row(i) {
		add(symbols[j])
	}
	add(symbols[c.params.K+i])
	if i > 0 {
		add(symbols[c.params.K+i-1])
	}
}

// Consistent reports whether the symbols of a complete block agree with each other,
// by checking every equation of which all symbols are known. False means that at
// least one symbol is corrupt, and that any decoded symbol may be. It takes symbols
// beyond those that decoding needed to notice, and somebody who forges symbols on
// purpose can make them agree.
func (d *Decoder) Consistent() bool {
	k := d.code.params.K
	sum, zero := make([]byte, d.t), make([]byte, d.t)
	v := equations{decoder: d, rows: []uint32{0}}
rows:
	for i := range d.code.params.N - k {
		for _, j := range d.code.row(i) {
			if d.symbols[j] == nil {
				continue rows
			}
		}
		if d.symbols[k+i] == nil || i > 0 && d.symbols[k+i-1] == nil {
			continue
		}
		v.rows[0] = uint32(i)
		v.Set(sum, 0, 0)
		if !bytes.Equal(sum, zero) {
			return false
		}
	}
	return true
}

// Symbol returns source symbol i with its padding, or nil while it is neither
// received nor decoded or when there is no such symbol. The octets belong to the
// decoder and must not be changed.
func (d *Decoder) Symbol(i int) []byte {
	if i < 0 || i >= d.code.params.K {
		return nil
	}
	return d.symbols[i]
}
