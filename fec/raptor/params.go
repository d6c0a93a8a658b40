package raptor

import "math/bits"

const (
	// MinK and MaxK bound the number of source symbols in one block
	// (RFC 5053 section 5.7).
	MinK = 4
	MaxK = 8192

	// MaxSymbolSize is the largest symbol size T that the FEC Object
	// Transmission Information can carry (section 3.2.2).
	MaxSymbolSize = 65535

	// MaxESI is the largest encoding symbol ID that the FEC Payload ID can
	// carry (section 3.1).
	MaxESI = 1<<16 - 1
)

// params are the code parameters of one K under the names of section 5.4.2.3.
type params struct {
	k  int
	s  int // LDPC symbols
	h  int // Half symbols
	l  int // intermediate symbols
	lp int // L', the smallest prime that is not below l

	// A and B of Trip (section 5.4.4.4).
	a, b uint32
}

// newParams returns the parameters for a block of k symbols, MinK <= k <= MaxK.
func newParams(k int) params {
	p := params{k: k}
	x := 1
	for x*(x-1) < 2*k {
		x++
	}
	p.s = nextPrime((k+99)/100 + x)
	for p.h = 1; choose(p.h, (p.h+1)/2) < k+p.s; p.h++ {
	}
	p.l = k + p.s + p.h
	p.lp = nextPrime(p.l)
	j := uint32(systematicIndex[k-MinK])
	p.a = (53591 + j*997) % q
	p.b = 10267 * (j + 1) % q
	return p
}

// q is the largest prime below 2^16.
const q = 65521

func nextPrime(n int) int {
	for !prime(n) {
		n++
	}
	return n
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n >= 2
}

func choose(n, k int) int {
	c := 1
	for i := 1; i <= k; i++ {
		c = c * (n - k + i) / i
	}
	return c
}

// random is Rand[X, i, m] of section 5.4.4.1; x is below 2^16 here.
func random(x uint32, i uint8, m uint32) uint32 {
	return (randTable[0][uint8(x)+i] ^ randTable[1][uint8(x>>8)+i]) % m
}

// triple is Trip[K, X] of section 5.4.4.4.
func (p *params) triple(x uint32) (d, a, b uint32) {
	// X is at most 2^16-1 and A below q, so the product fits.
	y := (p.b + x*p.a%q) % q
	v := random(y, 0, 1<<20)
	i := 0
	for v >= degreeTable[i].f {
		i++
	}
	lp := uint32(p.lp)
	return degreeTable[i].d, 1 + random(y, 1, lp-1), random(y, 2, lp)
}

// maxColumns bounds the number of intermediate symbols in one encoding symbol.
const maxColumns = 40

// appendColumns appends the intermediate symbols whose sum is the encoding symbol
// with ESI x (LTEnc, section 5.4.4.3). They are all different, because the walk
// steps through a prime modulus and is shorter than it.
func (p *params) appendColumns(dst []uint32, x uint32) []uint32 {
	d, a, b := p.triple(x)
	l, lp := uint32(p.l), uint32(p.lp)
	for n := min(d, l); n > 0; n-- {
		for b >= l {
			b = (b + a) % lp
		}
		dst = append(dst, b)
		b = (b + a) % lp
	}
	return dst
}

// ldpcRows returns the columns of the S LDPC constraints (section 5.4.2.3).
func (p *params) ldpcRows() [][]uint32 {
	rows := make([][]uint32, p.s)
	arena := make([]uint32, 0, 3*p.k+p.s)
	counts := make([]int, p.s)
	each := func(f func(i, b int)) {
		for i := range p.k {
			a, b := 1+i/p.s%(p.s-1), i%p.s
			for range 3 {
				f(i, b)
				b = (b + a) % p.s
			}
		}
	}
	each(func(_, b int) { counts[b]++ })
	for b, n := range counts {
		at := len(arena)
		arena = arena[:at+n+1]
		rows[b] = arena[at : at : at+n+1]
	}
	each(func(i, b int) { rows[b] = append(rows[b], uint32(i)) })
	for b := range rows {
		rows[b] = append(rows[b], uint32(p.k+b))
	}
	return rows
}

// halfRows returns the columns of the H Half constraints: Half symbol h is the
// sum of the other symbols j for which bit h of m[j, H'] is set, the numbers of
// the Gray sequence that have H' ones.
func (p *params) halfRows() [][]uint32 {
	rows := make([][]uint32, p.h)
	ones := (p.h + 1) / 2
	g := uint32(0)
	for j := range p.k + p.s {
		m := uint32(0)
		for {
			g++
			if m = g ^ g>>1; bits.OnesCount32(m) == ones {
				break
			}
		}
		for ; m != 0; m &= m - 1 {
			h := bits.TrailingZeros32(m)
			rows[h] = append(rows[h], uint32(j))
		}
	}
	for h := range rows {
		rows[h] = append(rows[h], uint32(p.k+p.s+h))
	}
	return rows
}
