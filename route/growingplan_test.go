package route

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
)

// What is left for the repair packets of the whole object is as calculated.
func TestPlanRest(t *testing.T) {
	const unit = 1344
	for _, c := range []struct {
		name   string
		packet int
		blocks int
		each   int // packets in a block
		tail   int
	}{
		{"full packets", unit, 6, 30, 12},
		{"cut packets", 1000, 5, 20, 7},
		{"small packets", 300, 8, 3, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			loss := fec.Loss{Random: 0.1, Target: 0.02}
			var packets []span
			for off := range c.blocks*c.each + c.tail {
				packets = append(packets, span{uint32(off * c.packet), uint32(c.packet)})
			}
			var p plans
			var blocks []sentBlock
			for i := range c.blocks {
				b := p.growing(packets[i*c.each:(i+1)*c.each], unit, fec.Loss{Random: 0.1, Target: 0.05}, 4)
				b.first, b.last = i*c.each, (i+1)*c.each
				require.True(t, b.valid())
				blocks = append(blocks, b)
			}
			f := int64(len(packets) * c.packet)
			y, group := symbolSize(f, packets, unit, 0.1)
			k := superSymbols(f, y)
			r := planRest(loss, packets, blocks, y, group, 0, k)
			whole := loss.RepairWeighted(blockCosts(nil, packets, y, 0, k), group)
			require.Less(t, r, whole)

			// Count how often it does not suffice.
			chance := rand.New(rand.NewPCG(7, 7))
			fails := func(r int) float64 {
				const runs = 20_000
				failed := 0
				for range runs {
					unknown := map[int64]bool{}
					lose := func(p span, size, origin int64, to map[int64]bool) {
						for s := (int64(p.off) - origin) / size; s <= (int64(p.off)+int64(p.n)-1-origin)/size; s++ {
							to[s] = true
						}
					}
					at := 0
					for _, b := range blocks {
						own := map[int64]bool{}
						lost := map[int64]bool{}
						for ; at < b.last; at++ {
							if chance.Float64() < 0.1 {
								lose(packets[at], int64(b.size), b.origin(), own)
								lose(packets[at], int64(y), 0, lost)
							}
						}
						got := 0
						for range b.count {
							if chance.Float64() >= 0.1 {
								got += b.group
							}
						}
						if got < len(own) {
							for s := range lost {
								unknown[s] = true
							}
						}
					}
					for ; at < len(packets); at++ {
						if chance.Float64() < 0.1 {
							lose(packets[at], int64(y), 0, unknown)
						}
					}
					got := 0
					for range r {
						if chance.Float64() >= 0.1 {
							got += group
						}
					}
					if got < len(unknown) {
						failed++
					}
				}
				return float64(failed) / runs
			}
			enough, fewer := fails(r), fails(r-2)
			t.Logf("%d symbols of %d octets: %d packets alone, %d beside %d for blocks; it fails %.4f, with two fewer %.4f",
				k, y, whole, r, c.blocks*blocks[0].count, enough, fewer)
			require.LessOrEqual(t, enough, loss.Target)
			require.Greater(t, fewer, enough)
		})
	}
}
