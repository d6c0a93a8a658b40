package pacing

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBucket(t *testing.T) {
	const rate = 8000 // an octet in a millisecond
	now := time.Unix(1000, 0)
	var b Bucket
	require.Zero(t, b.Wait(now, rate, 100))
	b.Take(now, 99, rate)
	require.Zero(t, b.Wait(now, rate, 100), "it is not empty")
	b.Take(now, 50, rate)
	require.Equal(t, 49*time.Millisecond, b.Wait(now, rate, 100))
	require.Zero(t, b.Wait(now, rate, 150), "a larger one is not empty")
	now = now.Add(49 * time.Millisecond)
	require.Zero(t, b.Wait(now, rate, 100))
	now = now.Add(time.Hour)
	b.Take(now, 101, rate)
	require.Equal(t, time.Millisecond, b.Wait(now, rate, 100), "it holds no more, however long it has been full")
}

// Long bursts at low rates do not overflow.
func TestBucketAtExtremes(t *testing.T) {
	now := time.Unix(1000, 0)
	var b Bucket
	b.Take(now, math.MaxInt32, 1<<20)
	require.InDelta(t, 16384*time.Second, b.Wait(now, 1<<20, 0), float64(10*time.Microsecond))
	require.Zero(t, b.Wait(now, 1<<20, math.MaxInt32))
}
