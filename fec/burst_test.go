package fec

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Independent losses, calculated as a channel whose bursts are what happens by chance.
func TestChannelWithoutMemory(t *testing.T) {
	for _, random := range []float64{0.01, 0.1, 0.3} {
		l := Loss{Random: random}.populate()
		c := channel{loss: [2]float64{0, 1}, at: [2]float64{1 - random, random}}
		c.next = [2][2]float64{c.at, c.at}
		for _, k := range []int{1, 10, 100} {
			require.Equal(t, l.Repair(k), c.repeated(l, k).repair())
			for _, r := range []int{0, 1, k / 4, k} {
				want := l.Failure(k, r)
				require.InDelta(t, want, c.repeated(l, k).failure(r), 1e-3*want+1e-10)
			}
		}
		costs := []int{3, 2, 2, 3, 0, 1, 7}
		require.Equal(t, l.RepairWeighted(costs, 2), c.sequence(l, costs, 2).repair())
	}
}

// Shares of failed blocks in simulations of millions of blocks, of 32+8 packets one
// after the other, in turns of eight, and of 256+64.
func TestBurstsAgainstSimulation(t *testing.T) {
	for _, c := range []struct {
		random, burst, want float64
		k, r, depth         int
	}{
		{0.02, 5, 0.02615, 32, 8, 1},
		{0.02, 5, 3.4e-5, 32, 8, 8},
		{0.02, 5, 3.3e-5, 256, 64, 1},
		{0.05, 20, 0.0846, 32, 8, 1},
		{0.05, 20, 0.0426, 32, 8, 8},
		{0.05, 20, 0.0485, 256, 64, 1},
	} {
		got := Loss{Random: c.random, Burst: c.burst, Depth: c.depth}.Failure(c.k, c.r)
		require.InEpsilon(t, c.want, got, 0.08, "%+v: %v", c, got)
	}
}

// A channel with losses in both states, played through.
func TestGilbertElliott(t *testing.T) {
	l := Loss{Random: 0.08, Burst: 6, InBurst: 0.7, Outside: 0.01, Depth: 2}
	c, ok := l.populate().channel()
	require.True(t, ok)
	rng := rand.New(rand.NewPCG(1, 2))
	const k, r, rounds = 20, 8, 30_000
	failed, lostAll, bursts, inBurst := 0, 0, 0, 0
	for range rounds {
		state := 0
		if rng.Float64() < c.at[1] {
			state = 1
		}
		lost := [2]int{}
		for i := range k + r {
			if rng.Float64() < c.loss[state] {
				lost[i/k]++
				lostAll++
			}
			before := state
			if rng.Float64() > c.next[state][0] {
				state = 1
			} else {
				state = 0
			}
			if before == 1 {
				inBurst++
				if state == 0 {
					bursts++
				}
			}
		}
		if surplus := r - lost[0] - lost[1]; lost[0] > 0 && (surplus < 0 || surplus < len(failureLaw) && rng.Float64() < failureLaw[surplus]) {
			failed++
		}
	}
	require.InEpsilon(t, l.Random, float64(lostAll)/rounds/(k+r), 0.03)
	require.InEpsilon(t, float64(failed)/rounds, l.Failure(k, r), 0.05)
	// Every second packet: bursts of six packets look like ones of little over three.
	require.InDelta(t, 3.5, float64(inBurst)/float64(bursts), 0.4)
}

func TestBurstsTakeMoreRepair(t *testing.T) {
	independent := Loss{Random: 0.05}
	require.Equal(t, independent.Repair(64), Loss{Random: 0.05, Burst: 1}.Repair(64))
	require.Equal(t, independent.Repair(64), Loss{Random: 0.05, Depth: 8}.Repair(64))
	last := independent.Repair(64)
	for _, burst := range []float64{2, 5, 10, 20} {
		r := Loss{Random: 0.05, Burst: burst}.Repair(64)
		require.Greater(t, r, last)
		last = r
	}
	// Interleaving brings it back.
	for _, depth := range []int{2, 8, 64} {
		r := Loss{Random: 0.05, Burst: 20, Depth: depth}.Repair(64)
		require.Less(t, r, last)
		last = r
	}
	require.InDelta(t, independent.Repair(64), last, 3)
}

func TestWeightedBursts(t *testing.T) {
	l := Loss{Random: 0.05, Burst: 8}
	costs := make([]int, 64)
	for i := range costs {
		costs[i] = 1
	}
	require.Equal(t, l.Repair(64), l.RepairWeighted(costs, 1))
	for i := range costs {
		costs[i] = 10
	}
	require.InDelta(t, l.Repair(64), l.RepairWeighted(costs, 10), 1)
	for i := range costs {
		costs[i] = 1000 // counted in units
	}
	require.InDelta(t, l.Repair(64), l.RepairWeighted(costs, 1000), 2)
	require.Zero(t, l.RepairWeighted([]int{0, -1}, 1))
}

func TestOddLosses(t *testing.T) {
	for _, l := range []Loss{
		{Random: 0.5, Burst: 1e9}, {Random: 2, Burst: 50}, {Burst: -1}, {Random: 0.1, Burst: 5, InBurst: 0.05},
		{Random: 0.1, Burst: 5, Outside: 0.2}, {Random: 0.1, Burst: 5, Depth: -3}, {Random: 0.9, Burst: 11},
	} {
		r := l.Repair(8)
		require.Positive(t, r)
		require.LessOrEqual(t, l.Failure(8, r), 1e-6)
		require.Greater(t, l.Failure(8, r-1), 1e-6)
	}
}

func TestPlan(t *testing.T) {
	p := Loss{Random: 0.10}.Plan(32)
	require.Equal(t, Plan{K: 32, Repair: 17, Depth: 1, Failure: p.Failure}, p)
	require.LessOrEqual(t, p.Failure, 1e-6)
	require.InDelta(t, 0.53, p.Overhead(), 0.01)
	require.Equal(t, 49, p.Span())
	require.InDelta(t, 320, p.Window(100).Milliseconds(), 1)
	p = Loss{Random: 0.05, Burst: 10, Depth: 4}.Plan(50)
	require.Equal(t, 4*(50+p.Repair-1)+1, p.Span())
	require.Zero(t, p.Window(0))
	require.Zero(t, Plan{}.Overhead())

	for _, window := range []time.Duration{100 * time.Millisecond, time.Second} {
		l := Loss{Random: 0.05, Burst: 10}
		p := l.PlanWindow(500, window, 1000)
		require.Positive(t, p.K)
		require.LessOrEqual(t, p.Window(500), window)
		require.Greater(t, l.Plan(p.K+3).Window(500), window)
	}
	require.Equal(t, 20, Loss{}.PlanWindow(500, time.Second, 20).K)
	require.Equal(t, Plan{Depth: 3}, Loss{Depth: 3}.PlanWindow(1, time.Millisecond, 20))
}

func FuzzLoss(f *testing.F) {
	f.Add(0.1, 1e-6, 5.0, 0.8, 0.01, 2, uint16(32), uint8(1))
	f.Fuzz(func(t *testing.T, random, target, burst, in, out float64, depth int, k uint16, gain uint8) {
		l := Loss{Random: random, Target: max(target, 1e-9), Burst: min(burst, 30), InBurst: in, Outside: out, Depth: depth}
		if random > 0.5 {
			l.Random = 0.5
		}
		n := int(k % 200)
		p := l.Plan(n)
		if !(p.Failure >= 0 && p.Failure <= l.populate().Target*1.0001) {
			t.Fatalf("%+v: %+v", l, p)
		}
		l.RepairWeighted([]int{n, 1, int(gain), 3}, int(gain))
	})
}

func BenchmarkRepairBursts(b *testing.B) {
	for b.Loop() {
		Loss{Random: 0.05, Burst: 10}.Repair(256)
	}
}
