package seal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestForwarder(t *testing.T) {
	f := NewForwarder(ForwarderConfig{})
	now := start
	var out []*Seal
	var at []time.Duration
	run := func(d time.Duration) {
		end := now.Add(d)
		for {
			for s, ok := f.Poll(now); ok; s, ok = f.Poll(now) {
				out, at = append(out, s), append(at, now.Sub(start))
			}
			next := f.NextTimeout()
			if next.IsZero() || next.After(end) {
				now = end
				return
			}
			require.True(t, next.After(now))
			now = next
		}
	}
	f.Forward(now, nil)
	run(time.Second)
	require.Empty(t, out)

	a, b := &Seal{time: 20e6}, &Seal{time: 20e6 + 1}
	at0 := now.Sub(start)
	f.Forward(now, a)
	f.Forward(now, a)
	run(ms)
	f.Forward(now, a) // it made another object readable
	f.Forward(now, b)
	run(ms)
	f.Forward(now, a)
	run(50 * ms)
	require.Equal(t, []*Seal{a, b, a}, out)
	require.Equal(t, []time.Duration{at0, at0 + ms, at0 + 5*ms}, at)
	run(time.Second)
	require.Equal(t, []*Seal{a, b, a, a, a}, out, "the last one goes again")
	require.Equal(t, []time.Duration{at0 + 105*ms, at0 + 505*ms}, at[3:])
	require.True(t, f.NextTimeout().IsZero())

	out, at = nil, nil
	f.Forward(now, &Seal{time: 10e6}) // older than ForwardAge
	run(time.Second)
	require.Empty(t, out)

	for i := range 200 {
		f.Forward(now, &Seal{time: 30e6 + uint64(i)})
	}
	run(300 * ms)
	require.InDelta(t, 34, len(out), 2, "100 a second")
	run(time.Second)
	require.Equal(t, uint64(30e6+199), out[len(out)-1].time)
	require.LessOrEqual(t, len(out), maxForwards+2, "the oldest are dropped")
}
