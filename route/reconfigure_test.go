package route

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
)

func TestReconfigure(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true, Rate: 8_000_000, Burst: 10_000})
	send := func(number int) []parsed {
		tx, err := s.Begin(now, media(number, 1))
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, 50_000)))
		require.True(t, s.Waiting())
		require.NoError(t, tx.End(now))
		ps := drain(t, s, &now, 2*time.Second)
		require.False(t, s.Waiting())
		return ps
	}
	repairs := func(ps []parsed) (n int) {
		for _, p := range ps {
			if isRepair(p) {
				n++
			}
		}
		return n
	}
	ps := send(1)
	require.Zero(t, repairs(ps))
	require.Nil(t, published(t, ps).RS[0].LS[0].RepairFlow)

	s.Reconfigure(SenderConfig{Rate: 80_000_000, Loss: fec.Loss{Random: 0.3}})
	require.Equal(t, int64(80_000_000), s.Stats().Rate)
	ps = send(2)
	require.NotZero(t, repairs(ps))
	require.NotNil(t, published(t, ps).RS[0].LS[0].RepairFlow, "the S-TSID tells of the repair flow")
	require.Equal(t, uint32(1), published(t, ps).RS[0].LS[0].TSI, "the channel stays")

	more := repairs(ps)
	s.Reconfigure(SenderConfig{Rate: 80_000_000, Loss: fec.Loss{Random: 0.05}, GrowingDelay: 20 * time.Millisecond})
	ps = send(3)
	require.Less(t, repairs(ps), more)
	require.Equal(t, uint32(120), published(t, ps).RS[0].LS[0].RepairFlow.GrowingDelay, "six times as long at most")
	s.Reconfigure(SenderConfig{Rate: 80_000_000, GrowingDelay: -1})
	require.Zero(t, published(t, send(4)).RS[0].LS[0].RepairFlow.GrowingTSI)
}
