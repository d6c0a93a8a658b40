package raptorq

import "github.com/treedn/treedn/fec/internal/gf256"

// Which regime is faster is a question of how many products per octet the
// processor makes in the time that a plan takes for the same octet. The figures
// are nanoseconds, measured with T = 1280; only their ratios matter.

// costs are the costs of one set of kernels for 64 octets of a symbol.
type costs struct {
	product float64 // a coefficient times a symbol
	near    float64 // the plan's work for one column
	far     float64 // the same when the source symbols exceed the caches
}

// kernelCosts are measured, but for NEON: there, only the numbers of
// instructions were compared.
var kernelCosts = map[string]costs{
	"avx512+gfni": {product: 0.38, near: 10, far: 18},
	"avx2":        {product: 0.82, near: 11, far: 20},
	"neon":        {product: 2, near: 25, far: 35},
	"go":          {product: 47, near: 150, far: 160},
}

const (
	planCost      = 500 // planning for one received symbol
	generateCost  = 25  // coefficients of a batch, for one source symbol
	eliminateCost = 2.5 // one operation on rows of few octets
)

// planned is the cost of a plan's work for all of a block, per 64 octets.
func (c costs) planned(p *params, t int) float64 {
	if p.far(t) {
		return c.far * float64(p.columns())
	}
	return c.near * float64(p.columns())
}

// denseEncode tells whether n symbols of t octets are made faster from the
// source symbols than by a plan.
func (c *Codec) denseEncode(p *params, n, t int) bool {
	if c.Regime != Auto {
		return c.Regime == Dense
	}
	return denseSums(p, n, t)
}

// denseSums is denseEncode where nobody has a choice.
func denseSums(p *params, n, t int) bool {
	k := kernelCosts[gf256.Kernel()]
	return float64(n)*float64(p.kp)*k.product < k.planned(p, t)
}

// situation is what the cost of decoding depends on.
type situation struct {
	missing  int  // source symbols
	generate int  // batches of coefficients that are not at hand
	planned  bool // the plan of the source symbols is at hand
	formed   bool // the residues have been formed while symbols arrived
}

// denseDecode tells whether symbols of t octets are recovered faster by a system
// for the missing ones than by inactivation decoding.
func (c *Codec) denseDecode(p *params, t int, s situation) bool {
	if c.Regime != Auto || s.missing > maxDense {
		return c.Regime == Dense && s.missing <= maxDense
	}
	k := kernelCosts[gf256.Kernel()]
	kp, n, units := float64(p.kp), float64(s.missing), float64(t+63)/64
	plan := k.planned(p, t) * units
	dense := n*n*units*k.product + n*n*(eliminateCost+n/80) + kp*generateCost*float64(s.generate)
	if !s.formed {
		dense += min(n*kp*k.product*units, plan)
	}
	if !s.planned {
		dense += kp * (planCost + generateCost)
	}
	return dense < kp*planCost+plan
}
