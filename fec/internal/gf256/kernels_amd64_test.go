//go:build !purego

package gf256

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
)

// The matrices multiply as the instruction is documented, also where the
// processor has none: bit i of the product is the parity of octet 7-i of the
// matrix and the factor.
func TestMatrices(t *testing.T) {
	for c, m := range matrices {
		for x := range 256 {
			var p uint8
			for i := range 8 {
				p |= uint8(bits.OnesCount8(uint8(m>>(8*(7-i)))&uint8(x))&1) << i
			}
			require.Equal(t, Mul(uint8(c), uint8(x)), p)
		}
	}
}
