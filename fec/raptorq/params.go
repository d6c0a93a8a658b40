package raptorq

import (
	"fmt"
	"math"
	"sort"
)

const (
	// MaxK is the largest number of source symbols in one block
	// (RFC 6330 section 5.1.2, K'_max).
	MaxK = 56403

	// MaxSymbolSize is the largest symbol size T that the FEC Object
	// Transmission Information can carry (section 3.3.2).
	MaxSymbolSize = 65535

	// MaxESI is the largest encoding symbol ID that the FEC Payload ID can
	// carry (section 3.2).
	MaxESI = 1<<24 - 1
)

// params are the code parameters of one K' under the names of section 5.3.3.3.
type params struct {
	kp int // K', source symbols including padding
	j  uint32
	s  int // LDPC symbols
	h  int // HDPC symbols
	w  int // LT symbols, LDPC symbols included
	l  int // intermediate symbols
	p  int // permanently inactive symbols
	p1 int // smallest prime that is not below p
	b  int // LT symbols that are not LDPC symbols
}

// lookup returns the parameters for a block of k symbols, 1 <= k <= MaxK.
func lookup(k int) params {
	i := sort.Search(len(systematicTable), func(i int) bool {
		return int(systematicTable[i].kp) >= k
	})
	row := &systematicTable[i]
	p := params{
		kp: int(row.kp),
		j:  uint32(row.j),
		s:  int(row.s),
		h:  int(row.h),
		w:  int(row.w),
	}
	p.l = p.kp + p.s + p.h
	p.p = p.l - p.w
	p.b = p.w - p.s
	// P1 equals P when P is itself prime. Starting the search above P gives
	// codes that do not interoperate for 99 of the 477 values of K'.
	for p.p1 = p.p; !prime(p.p1); p.p1++ {
	}
	return p
}

// addressable returns an error when the intermediate symbols do not fit the
// address space, as happens on 32-bit machines.
func (p *params) addressable(t int) error {
	if uint64(p.columns())*uint64(slotSize(t)) > math.MaxInt {
		return fmt.Errorf("%w: K' = %d, T = %d exceed the address space", ErrSize, p.kp, t)
	}
	return nil
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n >= 2
}

// random is Rand[y, i, m] of section 5.3.5.1.
func random(y uint32, i uint8, m uint32) uint32 {
	return (randTable[0][uint8(y)+i] ^
		randTable[1][uint8(y>>8)+i] ^
		randTable[2][uint8(y>>16)+i] ^
		randTable[3][uint8(y>>24)+i]) % m
}

// degree is Deg[v] of section 5.3.5.2, without the cap at W-2.
func degree(v uint32) uint32 {
	d := uint32(1)
	for v >= degreeTable[d] {
		d++
	}
	return d
}

// maxColumns bounds the number of intermediate symbols in one encoding symbol:
// up to 30 LT symbols and up to 3 permanently inactive ones.
const maxColumns = 33

type tuple struct {
	d, a, b    uint32
	d1, a1, b1 uint32
}

// tuple is Tuple[K', X] of section 5.3.5.4; x is an internal symbol ID.
func (p *params) tuple(x uint32) tuple {
	a := 53591 + p.j*997
	if a%2 == 0 {
		a++
	}
	y := 10267*(p.j+1) + x*a
	w, p1 := uint32(p.w), uint32(p.p1)
	t := tuple{
		d:  min(degree(random(y, 0, 1<<20)), w-2),
		a:  1 + random(y, 1, w-1),
		b:  random(y, 2, w),
		d1: 2,
		a1: 1 + random(x, 4, p1-1),
		b1: random(x, 5, p1),
	}
	if t.d < 4 {
		t.d1 = 2 + random(x, 3, 2)
	}
	return t
}

// appendColumns appends the intermediate symbols whose sum is the encoding
// symbol with internal symbol ID x (section 5.3.5.3): LT symbols first, then
// permanently inactive ones. They are all different, because both walks step
// through a prime modulus and are shorter than it.
func (p *params) appendColumns(dst []uint16, x uint32) []uint16 {
	t := p.tuple(x)
	w, pi, p1 := uint32(p.w), uint32(p.p), uint32(p.p1)
	for ; t.d > 0; t.d-- {
		dst = append(dst, uint16(t.b))
		if t.b += t.a; t.b >= w {
			t.b -= w
		}
	}
	for ; t.d1 > 0; t.d1-- {
		for t.b1 >= pi {
			t.b1 = (t.b1 + t.a1) % p1
		}
		dst = append(dst, uint16(w+t.b1))
		t.b1 = (t.b1 + t.a1) % p1
	}
	return dst
}

// isi maps a wire ESI to an internal symbol ID: the K'-K padding symbols have
// an ISI but no ESI (section 5.3.1).
func (p *params) isi(k int, esi uint32) uint32 {
	if esi < uint32(k) {
		return esi
	}
	return esi + uint32(p.kp-k)
}
