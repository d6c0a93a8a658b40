package fec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Computed independently for k = 32, r = 8 from the failure law.
func TestFailure(t *testing.T) {
	for _, c := range []struct{ loss, want float64 }{
		{0.01, 2.5e-10},
		{0.02, 8.7e-8},
		{0.05, 1.3e-4},
		{0.07, 1.5e-3},
		{0.10, 1.6e-2},
		{0.15, 0.14},
		{0.20, 0.41},
	} {
		require.InEpsilon(t, c.want, Loss{Random: c.loss}.Failure(32, 8), 0.06, "loss %v", c.loss)
	}
}

func TestRepair(t *testing.T) {
	for _, c := range []struct {
		loss, target float64
		k, want      int
	}{
		{0.30, 1e-3, 32, 30},
		{0.30, 1e-6, 32, 41},
		{0.10, 1e-6, 64, 25},
		{0.30, 1e-3, 64, 49},
		{0.30, 1e-6, 64, 64},
		{0.30, 1e-3, 256, 151},
		{0.30, 1e-6, 256, 176},
		{0.10, 1e-3, 32, 11},
		{0.10, 1e-6, 32, 17},
		{0.10, 1e-3, 256, 47},
		{0.10, 1e-6, 256, 59},
		{0, 0, 32, 17}, // the defaults
		{0, 0, 0, 0},
		{0, 0, -1, 0},
	} {
		l := Loss{Random: c.loss, Target: c.target}
		require.Equal(t, c.want, l.Repair(c.k), "%+v", c)
	}
}

// Every pattern of losses of a few packets, weighed one by one.
func TestRepairWeightedAgainstEnumeration(t *testing.T) {
	cases := []struct {
		costs []int
		gain  int
	}{
		{[]int{1}, 1},
		{[]int{1, 1, 1, 1}, 1},
		{[]int{2, 1, 2, 0, 1}, 1},
		{[]int{3, 2, 2, 3, 1}, 2},
		{[]int{7, 4, 5, 6}, 3},
		{[]int{1, 1, 1, 1, 1, 1}, 4},
	}
	for _, c := range cases {
		for _, random := range []float64{0.01, 0.1, 0.2} {
			for _, target := range []float64{1e-1, 1e-2, 1e-3} {
				l := Loss{Random: random, Target: target}
				want := 0
				for enumerate(c.costs, c.gain, want, random) > target {
					want++
				}
				require.Equal(t, want, l.RepairWeighted(c.costs, c.gain), "%+v %+v", c, l)
			}
		}
	}
}

func enumerate(costs []int, gain, r int, random float64) float64 {
	n := len(costs) + r
	total := 0.0
	for lost := range 1 << n {
		p, need, have := 1.0, 0, 0
		for i := range n {
			if lost>>i&1 != 0 {
				p *= random
				if i < len(costs) {
					need += costs[i]
				}
			} else {
				p *= 1 - random
				if i >= len(costs) {
					have += gain
				}
			}
		}
		switch surplus := have - need; {
		case need == 0:
		case surplus < 0:
			total += p
		case surplus < len(failureLaw):
			total += p * failureLaw[surplus]
		}
	}
	return total
}

func TestRepairWeightedOfEqualPacketsIsRepair(t *testing.T) {
	for _, k := range []int{1, 2, 10, 100, 400, 3000, 56403} {
		require.Equal(t, Loss{}.Repair(k), Loss{}.RepairWeighted(ones(k), 1))
	}
	require.Zero(t, Loss{}.RepairWeighted(nil, 1))
	require.Zero(t, Loss{}.RepairWeighted([]int{0, -5}, 1))
	require.Positive(t, Loss{}.RepairWeighted([]int{3}, 0))
}

func ones(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = 1
	}
	return s
}

// Many different costs are counted coarsely: hardly below the exact number, and
// not far above.
func TestRepairWeightedCoarse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		costs := make([]int, 400)
		for i := range costs {
			costs[i] = 20 + rng.IntN(400)
		}
		for _, target := range []float64{1e-3, 1e-6} {
			l := Loss{Target: target}
			got := l.RepairWeighted(costs, 16)
			exact := newDemand(l.populate(), group(costs), 16, math.MaxInt).repair(l.populate())
			require.GreaterOrEqual(t, got, exact)
			require.LessOrEqual(t, got, exact+exact/50+1)
		}
	}
}

func TestLossLimits(t *testing.T) {
	require.Equal(t, Loss{Random: 0.95}.Repair(5), Loss{Random: 7}.Repair(5))
	require.Equal(t, Loss{Target: 1e-12}.Repair(5), Loss{Target: 1e-300}.Repair(5))
	require.Equal(t, Loss{}.Repair(5), Loss{Random: math.NaN(), Target: -1}.Repair(5))
	require.Zero(t, Loss{Target: 2}.Repair(5))
	require.InDelta(t, 1-math.Pow(0.9, 5), Loss{}.Failure(5, -3), 1e-12)
}

func FuzzRepairWeighted(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200}, 1, 0.1, 1e-6)
	f.Add([]byte{}, 0, 0.0, 0.0)
	f.Fuzz(func(t *testing.T, sizes []byte, gain int, random, target float64) {
		if len(sizes) > 200 {
			return
		}
		costs := make([]int, len(sizes))
		for i, s := range sizes {
			costs[i] = int(s)
		}
		l := Loss{Random: random, Target: target}
		r := l.RepairWeighted(costs, gain)
		require.GreaterOrEqual(t, r, 0)
		// More packets need no less repair, where losses are those of a network.
		if len(costs) > 0 && gain < 1<<20 && random > 1e-3 && target > 1e-9 && target < 0.1 {
			require.GreaterOrEqual(t, l.RepairWeighted(append(costs, 100), gain), r-r/50-1)
		}
	})
}

func BenchmarkRepair(b *testing.B) {
	for b.Loop() {
		Loss{}.Repair(400)
	}
}

func BenchmarkRepairWeighted(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name            string
		n, widest, gain int
	}{
		{"400 packets of 1 to 2 symbols", 400, 2, 1},
		{"400 packets of 1 to 20 symbols", 400, 20, 12},
		{"400 packets of 1 to 400 symbols", 400, 400, 300},
		{"10000 packets of 1 to 20 symbols", 10000, 20, 12},
	} {
		costs := make([]int, c.n)
		for i := range costs {
			costs[i] = 1 + rng.IntN(c.widest)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Loss{}.RepairWeighted(costs, c.gain)
			}
		})
	}
}
