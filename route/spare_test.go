package route

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/lct"
)

// The key frame of a segment leaves at once, although the repair packets of the
// segment before are on their way.
func TestKeyFrameOvertakesRepair(t *testing.T) {
	const keyFrame = 60_000
	now := time.Unix(1_700_000_000, 0)
	s := NewSender(SenderConfig{Rate: 20_000_000})
	buf := make([]byte, 0, 2048)
	repair := 0
	// send sends until a time, as a caller does who sleeps until NextTimeout,
	// and returns when the last source packet left.
	send := func(until time.Time) (last time.Time) {
		for {
			s.RunWork(now)
			for pkt, ok := s.Poll(now, buf); ok; pkt, ok = s.Poll(now, buf) {
				var h lct.Header
				_, err := h.Unmarshal(pkt)
				require.NoError(t, err)
				switch {
				case h.PSI&psiSource == 0:
					repair++
				case h.TSI != 0:
					last = now
				}
			}
			next := s.NextTimeout(now)
			require.True(t, next.After(now), "a time to wait for")
			if next.After(until) {
				now = until
				return last
			}
			now = next
		}
	}
	object := func(number uint32) *Transmission {
		tx, err := s.Begin(now, Outgoing{Name: "v" + string('0'+rune(number)), Track: Track{Stem: "v$TOI$", Number: number, Run: 1}})
		require.NoError(t, err)
		return tx
	}
	tx := object(1)
	for range 50 { // 2 Mbit/s
		require.NoError(t, tx.Append(now, make([]byte, 10_000)))
		tx.Cut()
		send(now.Add(40 * time.Millisecond))
	}
	require.NoError(t, tx.End(now))
	ended := now
	send(now.Add(15 * time.Millisecond))
	require.NotZero(t, repair, "repair packets are on their way")

	tx = object(2)
	begun := now
	require.NoError(t, tx.Append(now, make([]byte, keyFrame)))
	tx.Cut()
	last := send(now.Add(40 * time.Millisecond))
	require.Less(t, last.Sub(begun), 5*time.Millisecond)
	for repair < 60 && now.Sub(ended) < time.Second {
		send(now.Add(10 * time.Millisecond))
	}
	require.GreaterOrEqual(t, repair, 60)
	require.Less(t, now.Sub(ended), 200*time.Millisecond, "the repair packets follow")
}
