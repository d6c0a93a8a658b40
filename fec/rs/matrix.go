package rs

import (
	"fmt"

	"github.com/treedn/treedn/fec/internal/gf256"
)

// MaxSymbols is the largest number of encoding symbols of a block, source
// symbols included: n in RFC 5510 section 8.
const MaxSymbols = 255

// Matrix selects the generator matrix of the code.
type Matrix uint8

// The matrices in use. The zero value is the one that the RFC specifies.
const (
	RFC5510 Matrix = iota
	Rizzo
	Backblaze
)

func (m Matrix) String() string {
	switch m {
	case RFC5510:
		return "RFC5510"
	case Rizzo:
		return "Rizzo"
	case Backblaze:
		return "Backblaze"
	}
	return fmt.Sprintf("Matrix(%d)", uint8(m))
}

func (m Matrix) valid() bool { return m <= Backblaze }

// point returns the field element at which encoding symbol esi is evaluated.
func (m Matrix) point(esi int) uint8 {
	switch m {
	case Rizzo:
		if esi == 0 {
			return 0
		}
		return gf256.Exp(esi - 1)
	case Backblaze:
		return uint8(esi)
	}
	return gf256.Exp(esi)
}

// interpolation finds the value of a polynomial of degree below k anywhere from
// its values at k points (Lagrange). Encoding and decoding are both that.
type interpolation struct {
	points []uint8
	scale  []uint8 // logarithm of 1/prod(points[i]-points[m], m != i)
}

func newInterpolation(points []uint8) interpolation {
	p := interpolation{points: points, scale: make([]uint8, len(points))}
	for i, x := range points {
		sum := 0
		for m, y := range points {
			if m != i {
				sum += gf256.Log(x ^ y)
			}
		}
		p.scale[i] = uint8((255 - sum%255) % 255)
	}
	return p
}

// coefficients sets c so that the value at x, which is none of the points, is
// the sum of c[i] times the value at point i.
func (p *interpolation) coefficients(c *[MaxSymbols]uint8, x uint8) {
	all := 0
	for _, y := range p.points {
		all += gf256.Log(x ^ y)
	}
	all %= 255
	for i, y := range p.points {
		c[i] = gf256.Exp((all + int(p.scale[i]) + 255 - gf256.Log(x^y)) % 255)
	}
}
