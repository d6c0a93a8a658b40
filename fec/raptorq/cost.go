package raptorq

import "github.com/treedn/treedn/fec/internal/gf256"

// Which regime is faster is a question of how many products per octet the
// processor makes in the time that a plan takes for the same octet. The figures
// are nanoseconds, measured with T = 1280; only their ratios matter.

// costs are the costs of one set of kernels.
type costs struct {
	product float64 // one coefficient times 64 octets
	sum     float64 // the plan's work for 64 octets of one source symbol
}

var kernelCosts = map[string]costs{
	"avx512+gfni": {product: 0.4, sum: 20},
	"avx2":        {product: 0.9, sum: 20},
	"neon":        {product: 2, sum: 40},
	"go":          {product: 45, sum: 150},
}

const (
	planCost      = 600 // planning for one received symbol
	generateCost  = 25  // coefficients of a batch, for one source symbol
	eliminateCost = 6   // one row operation on 64 octets or fewer
)

// denseEncode tells whether n repair symbols of t octets are made faster from
// the source symbols than by a plan.
func (c *Codec) denseEncode(p *params, n int) bool {
	if c.Regime != Auto {
		return c.Regime == Dense
	}
	k := kernelCosts[gf256.Kernel()]
	return float64(n)*k.product < k.sum
}

// denseDecode tells whether e lost symbols of t octets are recovered faster by
// an e x e system than by inactivation decoding. generate is the number of
// batches of coefficients that are not at hand.
func (c *Codec) denseDecode(p *params, e, t, generate int) bool {
	if c.Regime != Auto || e > maxDense {
		return c.Regime == Dense && e <= maxDense
	}
	k := kernelCosts[gf256.Kernel()]
	kp, n, units := float64(p.kp), float64(e), float64(t+63)/64
	residues := min(n*kp*k.product, kp*k.sum+7*n) * units
	solve := n*n*units*k.product + n*n*eliminateCost*(1+n/40)
	dense := residues + solve + kp*generateCost*float64(generate)
	sparse := kp*planCost + kp*k.sum*units
	return dense < sparse
}

// denseResidues tells whether the residues of e repair symbols are formed
// faster with coefficients than by a plan.
func (c *Codec) denseResidues(e int) bool {
	k := kernelCosts[gf256.Kernel()]
	return float64(e)*k.product < k.sum
}
