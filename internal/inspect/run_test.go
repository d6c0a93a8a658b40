package inspect_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/inspect"
)

// Packets that the kernel joined, as in a capture on the host of a sender that leaves segmentation to the interface, are
// told apart.
func TestRuns(t *testing.T) {
	runs := 0
	for _, file := range captures(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			packets := packetsOf(t, file)
			events := inspectAll(packets, inspect.Config{})
			joined := join(packets)
			runs += len(packets) - len(joined)
			again := inspectAll(joined, inspect.Config{})
			require.Equal(t, ids(objects(events)), ids(objects(again)))
			count := func(events []inspect.Event) uint64 { return events[len(events)-1].(*inspect.SummaryEvent).Packets }
			require.Equal(t, count(events), count(again))
		})
	}
	require.Greater(t, runs, 1000)
}

// join puts packets of one size, and a shorter one behind them, into one datagram.
func join(packets []packet) (out []packet) {
	size, full := 0, true
	for _, p := range packets {
		if n := len(out) - 1; n >= 0 && !full && p.to == out[n].to && p.from == out[n].from && len(p.b) <= size && len(out[n].b)+len(p.b) < 60000 && p.to.Port() != 4937 {
			out[n].b = append(out[n].b[:len(out[n].b):len(out[n].b)], p.b...)
			full = len(p.b) < size
			continue
		}
		out = append(out, p)
		size, full = len(p.b), len(p.b) < 1000
	}
	return out
}
