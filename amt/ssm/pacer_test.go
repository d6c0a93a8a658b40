package ssm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPacerBurstThenRate(t *testing.T) {
	now := time.Unix(1000, 0)
	p := Pacer{Rate: 1_000_000, Burst: 10_000}
	var burst int
	for p.Take(now, 1000) {
		burst++
	}
	require.Equal(t, 10, burst)
	require.Equal(t, now.Add(time.Millisecond+1), p.Next(now, 1000))
	now = now.Add(time.Millisecond - time.Microsecond)
	require.False(t, p.Take(now, 1000))
	require.Equal(t, now.Add(time.Microsecond+1), p.Next(now, 1000))
	require.True(t, p.Take(p.Next(now, 1000), 1000))
}

func TestPacerUnlimited(t *testing.T) {
	var p Pacer
	now := time.Unix(1000, 0)
	require.True(t, p.Take(now, 1<<30))
	require.Equal(t, now, p.Next(now, 1<<30))
}

func TestPacerPacketLargerThanBurst(t *testing.T) {
	now := time.Unix(1000, 0)
	p := Pacer{Rate: 1000, Burst: 100}
	require.True(t, p.Take(now, 1500), "a full bucket lets it pass")
	require.False(t, p.Take(now, 1))
	next := p.Next(now, 1500)
	require.WithinDuration(t, now.Add(1500*time.Millisecond), next, time.Microsecond)
	require.True(t, p.Take(next, 1500))
}

func TestPacerClockGoesBack(t *testing.T) {
	now := time.Unix(1000, 0)
	p := Pacer{Rate: 1000, Burst: 100}
	require.True(t, p.Take(now, 100))
	require.False(t, p.Take(now.Add(-time.Hour), 100))
	require.True(t, p.Take(now.Add(time.Second), 100))
}

// Over any time the pacer lets pass no more than burst + rate * time, and a
// packet passes at the time that Next gives.
func FuzzPacer(f *testing.F) {
	f.Add(uint32(1_000_000), uint16(64000), []byte{1, 200, 7, 255, 0, 3})
	f.Add(uint32(1), uint16(1), []byte{255, 255})
	f.Fuzz(func(t *testing.T, rate uint32, burst uint16, script []byte) {
		if rate == 0 || burst == 0 || len(script) > 1000 {
			return
		}
		p := Pacer{Rate: uint64(rate), Burst: int(burst)}
		start := time.Unix(1000, 0)
		now, passed, largest := start, 0.0, 0
		for _, b := range script {
			now = now.Add(time.Duration(b) * 10 * time.Microsecond)
			size := int(b)*6 + 1
			if !p.Take(now, size) {
				next := p.Next(now, size)
				require.True(t, next.After(now))
				now = next
				require.True(t, p.Take(now, size), "Take at the time of Next")
			}
			passed += float64(size)
			largest = max(largest, size)
			limit := float64(max(int(burst), largest)) + now.Sub(start).Seconds()*float64(rate)
			require.LessOrEqual(t, passed, limit*(1+1e-9)+1)
		}
	})
}

func BenchmarkPacer(b *testing.B) {
	p := Pacer{Rate: 1 << 40}
	now := time.Unix(1000, 0)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		p.Take(now, 1400)
	}
}
