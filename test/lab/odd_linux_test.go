package lab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// viewers are the two players that look on at a node.
type viewers struct {
	node      string
	far, near *player
}

func (l *lab) view(node string, s *source) *viewers {
	return &viewers{node, l.play(node, s, 10*time.Second, false), l.play(node, s, 2*time.Second, true)}
}

// end fails the test unless they saw everything, and in time.
func (v *viewers) end(t *testing.T, late time.Duration) {
	t.Helper()
	for lag, p := range map[string]*player{"10 s": v.far, " 2 s": v.near} {
		seen := p.end()
		t.Logf("%-4s %s behind: %v", v.node, lag, seen)
		assert.NotZero(t, seen.segments, "%s: segments", v.node)
		assert.Empty(t, seen.different, "%s: segments that differ", v.node)
		assert.Empty(t, seen.missing, "%s: segments that are missing", v.node)
		assert.LessOrEqual(t, seen.total, forgiven(late, 0), "%s: stall of a player %s behind", v.node, lag)
	}
}

// TestOddReceivers has nodes whose clocks are an hour off, a BEACON that starts
// long after all others, and one that sleeps for a minute.
func TestOddReceivers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.start("cast", "cast")
	s := l.push("cast", ingestURL)
	l.ready("cast")
	begun := time.Now()
	l.start("relay", "relay", "-clock-offset", "1h")
	l.start("relay4", "relay", "-clock-offset", "-1h")
	l.start("bf", "beacon", "-clock-offset", "1h")
	sleeper := l.start("bd", "beacon")
	l.ready("relay", "relay4", "bf", "bd")
	require.NoError(t, s.wait(t.Context(), func() bool { return s.segment(0, 4) != nil }))
	l.machine.late()
	watch := l.view("bf", s)

	time.Sleep(2 * time.Second)
	sleeper.stop()
	time.Sleep(time.Minute)
	sleeper.resume()
	time.Sleep(200 * time.Millisecond) // a player that was there would wait as long as any other
	awake := l.view("bd", s)
	all := l.read("bd", s)
	from := time.Now()

	time.Sleep(time.Until(begun.Add(70 * time.Second)))
	l.start("ba", "beacon")
	l.ready("ba")
	latecomer := l.view("ba", s)
	time.Sleep(14 * time.Second)

	late := l.machine.late()
	t.Logf("the machine was late by %v at most", late.Round(time.Millisecond))
	watch.end(t, late)
	awake.end(t, late)
	latecomer.end(t, late)
	all.compare(t, from, time.Now().Add(-2*time.Second))
	x := l.service("bd")
	assert.Greater(t, x.SourceOctets, x.FallbackOctets, "what a node gets by multicast that has slept")
}
