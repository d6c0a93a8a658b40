package reception

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/telemetry"
)

// What the system dropped of a session counts after the session was left.
func TestDropsOfASessionThatWasLeft(t *testing.T) {
	ch := ssmtest.Channel(t)
	rx, err := ssm.NewHost(ssm.Config{ReceiveBuffer: 4 << 10}).Join(t.Context(), ch, "")
	require.NoError(t, err)
	defer rx.Close()
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	w := &way{native: []*ssm.Receiver{rx}}
	l := &ways{main: &way{}}
	left := l.join(&way{media: rx, native: w.native})
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = make([]byte, 1400)
	}
	for range 1000 { // nobody reads
		_, err := tx.WriteBatch(batch, ch.Destination())
		require.NoError(t, err)
		if l.status(true).Dropped > 0 {
			break
		}
	}
	require.Equal(t, telemetry.WayNative, w.status(true).Kind)
	dropped := l.status(true).Dropped
	require.Positive(t, dropped)
	require.NoError(t, left.Close())
	require.Empty(t, l.others)
	require.GreaterOrEqual(t, l.status(true).Dropped, dropped)
}

// What was cut of a session counts, too, and goes on to when it was left.
func TestTruncatedPacketsOfASession(t *testing.T) {
	ch := ssmtest.Channel(t)
	rx, err := ssm.NewHost(ssm.Config{}).Join(t.Context(), ch, "")
	require.NoError(t, err)
	defer rx.Close()
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	l := &ways{main: &way{native: []*ssm.Receiver{rx}}}
	other := l.join(&way{media: rx, native: []*ssm.Receiver{rx}})
	_, err = tx.WriteBatch([][]byte{make([]byte, 100)}, ch.Destination())
	require.NoError(t, err)
	n, err := rx.ReadBatch([]ssm.Message{{Buffer: make([]byte, 10)}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 1, l.main.status(true).Truncated)
	require.EqualValues(t, 2, l.status(true).Truncated)
	require.NoError(t, other.Close())
	require.EqualValues(t, 2, l.status(true).Truncated)
	require.Zero(t, l.status(true).Rejected)
}
