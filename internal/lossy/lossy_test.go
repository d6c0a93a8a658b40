package lossy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRandomLossIsRepeatableAndOfTheRightSize(t *testing.T) {
	const n = 100000
	run := func(seed uint64) (lost []bool) {
		d := New(Config{Random: 0.1, Seed: seed})
		for range n {
			lost = append(lost, d.Drop(time.Unix(0, 0)))
		}
		require.InDelta(t, 0.1*n, float64(d.Dropped()), 0.01*n)
		return lost
	}
	require.Equal(t, run(1), run(1))
	require.NotEqual(t, run(1), run(2))
}

func TestBurst(t *testing.T) {
	d := New(Config{BurstEvery: time.Second, BurstFor: 200 * time.Millisecond})
	start := time.Unix(100, 0)
	for ms := range 3000 {
		lost := d.Drop(start.Add(time.Duration(ms) * time.Millisecond))
		require.Equal(t, ms%1000 >= 800, lost, "at %d ms", ms)
	}
	require.EqualValues(t, 600, d.Dropped())
}

func TestZeroValueLosesNothing(t *testing.T) {
	require.False(t, Config{}.Active())
	d := New(Config{})
	for range 1000 {
		require.False(t, d.Drop(time.Now()))
	}
}
