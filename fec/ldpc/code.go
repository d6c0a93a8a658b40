package ldpc

import (
	"fmt"
	"slices"
)

const (
	// MaxN is the largest number of encoding symbols in one block
	// (RFC 5170 section 4.2.2).
	MaxN = 1 << 20

	// MaxSymbolSize is the largest symbol size that the FEC Object Transmission
	// Information can carry.
	MaxSymbolSize = 65535

	// DefaultN1 is the default of [Params.N1].
	DefaultN1 = 3
)

// Params are what sender and receiver must agree on.
type Params struct {
	K int // source symbols, from 1
	N int // encoding symbols, from K to MaxN

	// N1 is the target number of equations for each source symbol, from 3 to 10:
	// N1m3 + 3. Default DefaultN1. Five and more make elimination succeed with
	// fewer symbols, and peeling with more.
	N1 int

	// Seed of the generator, from 1 to 2^31-2.
	Seed uint32

	// Group is G, the number of symbols in a packet, from 1 to 31. Default 1.
	Group int
}

func (p Params) populate() Params {
	if p.N1 == 0 {
		p.N1 = DefaultN1
	}
	if p.Group == 0 {
		p.Group = 1
	}
	return p
}

// Validate refuses what RFC 5170 rules out, and what its algorithm never ends
// with: fewer equations than a source symbol is to be in, and rows that are to
// have two different symbols of one. The error is [ErrSize].
func (p Params) Validate() error {
	p = p.populate()
	m := p.N - p.K
	switch {
	case p.K < 1, m < 0, p.N > MaxN:
		return fmt.Errorf("%w: k = %d, n = %d", ErrSize, p.K, p.N)
	case p.N1 < 3, p.N1 > 10:
		return fmt.Errorf("%w: N1 = %d", ErrSize, p.N1)
	case p.Group < 1, p.Group > 31:
		return fmt.Errorf("%w: G = %d", ErrSize, p.Group)
	case p.Seed < 1, p.Seed >= prngModulus:
		return fmt.Errorf("%w: seed %d", ErrSize, p.Seed)
	case m > 0 && (m < p.N1 || p.K < 2):
		return fmt.Errorf("%w: no matrix for k = %d, n = %d, N1 = %d", ErrSize, p.K, p.N, p.N1)
	}
	return nil
}

// Memory returns about how many octets the code of these parameters takes, before
// any symbol is held.
func (p Params) Memory() int {
	p = p.populate()
	return 8*(p.N1*max(p.K, 0)+2*max(p.N-p.K, 0)) + 8*max(p.N-p.K, 0)
}

// Code is a parity check matrix. It is immutable and safe for concurrent use:
// blocks of one size share it.
type Code struct {
	params Params

	// Row i consists of source symbols left[start[i]:start[i+1]], in ascending
	// order, and of repair symbols i and, but for the first row, i-1.
	left  []uint32
	start []uint32

	// The permutation of repair symbols (section 5.6), nil unless G > 1.
	sequence []uint32 // repair symbol: its place in the sequence of sending
	repair   []uint32 // place: repair symbol
}

// NewCode draws the matrix for the parameters (RFC 5170 section 6.2).
func NewCode(p Params) (*Code, error) {
	p = p.populate()
	if err := p.Validate(); err != nil {
		return nil, err
	}
	c := &Code{params: p, start: make([]uint32, p.N-p.K+1)}
	if p.N == p.K {
		return c, nil
	}
	rng := prng(p.Seed)
	c.drawLeft(&rng)
	if p.Group > 1 {
		c.drawGroups(&rng)
	}
	return c, nil
}

// drawLeft is left_matrix_init of section 6.2.
func (c *Code) drawLeft(rng *prng) {
	k, m, n1 := c.params.K, c.params.N-c.params.K, c.params.N1
	// choices is u: what lies from t on has not been chosen.
	choices := make([]uint32, n1*k)
	for h := range choices {
		choices[h] = uint32(h % m)
	}
	columns := make([]uint32, 0, n1*k) // the rows of each column, n1 of them
	t := 0
	for range k {
		column := columns[len(columns):len(columns):cap(columns)]
		for range n1 {
			row, free := uint32(0), t
			for free < len(choices) && slices.Contains(column, choices[free]) {
				free++
			}
			if free < len(choices) {
				i := t + rng.below(len(choices)-t)
				for slices.Contains(column, choices[i]) {
					i = t + rng.below(len(choices)-t)
				}
				row = choices[i]
				choices[i] = choices[t]
				t++
			} else {
				row = uint32(rng.below(m))
				for slices.Contains(column, row) {
					row = uint32(rng.below(m))
				}
			}
			column = append(column, row)
		}
		columns = columns[:len(columns)+n1]
	}
	degree := make([]uint32, m)
	for _, row := range columns {
		degree[row]++
	}
	// Each row gets at least two source symbols.
	room := uint32(0)
	for i, d := range degree {
		c.start[i] = room
		room += max(d, 2)
	}
	c.start[m] = room
	c.left = make([]uint32, room)
	clear(degree)
	for at, row := range columns {
		c.left[c.start[row]+degree[row]] = uint32(at / n1)
		degree[row]++
	}
	for i := range m {
		row := c.left[c.start[i]:c.start[i+1]]
		if degree[i] == 0 {
			row[0] = uint32(rng.below(k))
			degree[i]++
		}
		if degree[i] == 1 {
			row[1] = uint32(rng.below(k))
			for row[1] == row[0] {
				row[1] = uint32(rng.below(k))
			}
			slices.Sort(row)
		}
	}
}

// drawGroups is initialize_tables of section 5.6.
func (c *Code) drawGroups(rng *prng) {
	m := c.params.N - c.params.K
	c.sequence, c.repair = make([]uint32, m), make([]uint32, m)
	for i := range c.sequence {
		c.sequence[i], c.repair[i] = uint32(i), uint32(i)
	}
	for i := range m {
		r := rng.below(m)
		c.sequence[i], c.sequence[r] = c.sequence[r], c.sequence[i]
		c.repair[c.sequence[i]] = uint32(i)
		c.repair[c.sequence[r]] = uint32(r)
	}
}

// Params returns the parameters, defaults filled in.
func (c *Code) Params() Params { return c.params }

// K returns the number of source symbols.
func (c *Code) K() int { return c.params.K }

// N returns the number of encoding symbols.
func (c *Code) N() int { return c.params.N }

// row returns the source symbols of row i.
func (c *Code) row(i int) []uint32 { return c.left[c.start[i]:c.start[i+1]] }

// AppendGroup appends the ESIs of the G symbols of the packet whose FEC Payload ID
// has the given ESI (section 5.6): source symbols follow each other, repair symbols
// follow a permutation. Both begin anew after the last. None are appended for an
// ESI that is not below N.
func (c *Code) AppendGroup(dst []uint32, esi uint32) []uint32 {
	k, m := uint32(c.params.K), uint32(c.params.N-c.params.K)
	switch {
	case esi >= k+m:
	case c.params.Group == 1:
		dst = append(dst, esi)
	case esi < k:
		for i := range uint32(c.params.Group) {
			dst = append(dst, (esi+i)%k)
		}
	default:
		at := c.sequence[esi-k]
		for i := range uint32(c.params.Group) {
			dst = append(dst, k+c.repair[(at+i)%m])
		}
	}
	return dst
}

// RepairESI returns the ESI in the FEC Payload ID of repair packet i of a sender,
// from 0 to ceil((n-k)/G)-1.
func (c *Code) RepairESI(i int) uint32 {
	at := uint32(i * c.params.Group)
	if c.repair != nil {
		at = c.repair[int(at)%len(c.repair)]
	}
	return uint32(c.params.K) + at
}
