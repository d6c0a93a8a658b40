package lab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree is what most tests have: CAST, two RELAYs in a row with another one that
// the second of them knows as a parent, too, and a BEACON behind them.
type tree struct {
	*lab
	s                           *source
	cast, relay, relay2, relay4 *process
	bf                          *process
}

// newTree starts the tree, and returns once there is something to play.
func newTree(t *testing.T) *tree {
	return newTreeFrom(t, func(l *lab) *source { return l.push("cast", ingestURL) })
}

func newTreeFrom(t *testing.T, push func(*lab) *source) *tree {
	x := &tree{lab: newLab(t)}
	x.cast = x.start("cast", "cast")
	x.runs("cast")
	x.s = push(x.lab)
	x.ready("cast")
	x.relay, x.relay2, x.relay4 = x.start("relay", "relay"), x.start("relay2", "relay"), x.start("relay4", "relay")
	x.bf = x.start("bf", "beacon")
	x.ready("relay", "relay2", "relay4", "bf")
	require.NoError(t, x.s.wait(t.Context(), func() bool { return x.s.segment(0, 4) != nil }))
	return x
}

// A disturbance is something that breaks, and what it may cost.
type disturbance struct {
	name  string
	lasts time.Duration
	after time.Duration // until its traces are gone
	begin func()
	end   func()
	// stall is how long a player may stall that is 2 s behind the edge and has
	// that much to spare. One that is 10 s behind may not stall at all.
	stall func(lasted, buffer time.Duration) time.Duration
}

func none(_, _ time.Duration) time.Duration { return 0 }

// outage is for a disturbance during which a player gets nothing.
func outage(lasted, buffer time.Duration) time.Duration {
	return max(0, lasted-buffer) + failing(lasted, buffer)
}

// failing is for one after which others have to be asked.
func failing(_, _ time.Duration) time.Duration { return 500 * time.Millisecond }

// disturb lets players at a node look on while something breaks. What the test
// itself was late by, which is on the same machine, is not the tree's fault.
func (l *lab) disturb(t *testing.T, node string, s *source, d disturbance) {
	before := l.services([]string{node})
	far, near, lister := l.play(node, s, 10*time.Second, false), l.play(node, s, 2*time.Second, true), l.list(node, s)
	l.machine.late()
	time.Sleep(2500 * time.Millisecond)
	buffer := near.buffer()
	begun := time.Now()
	d.begin()
	time.Sleep(d.lasts)
	d.end()
	lasted := time.Since(begun) // with what it takes to begin and to end it
	time.Sleep(d.after)
	a, b := far.end(), near.end()
	late := l.machine.late()
	allowed := d.stall(lasted, buffer)
	t.Logf("it took %.2f s; 10 s behind: %v", lasted.Seconds(), a)
	t.Logf(" 2 s behind: %v; allowed %.2f s", b, allowed.Seconds())
	t.Logf("%s; the machine was late by %v at most", lister.end(), late.Round(time.Millisecond))
	t.Log(figures(node, difference(l.service(node), before[node])))
	for lag, seen := range map[string]seen{"10 s": a, "2 s": b} {
		assert.Empty(t, seen.different, "segments that differ, %s behind", lag)
		assert.Empty(t, seen.missing, "segments that are missing, %s behind", lag)
	}
	assert.LessOrEqual(t, a.total, forgiven(late, 0), "stall of a player 10 s behind")
	assert.LessOrEqual(t, b.total, forgiven(late, allowed), "stall of a player 2 s behind")
}

// forgiven is what a stall may take on a machine that is late: each of the
// processes on the way may have been so.
func forgiven(late, allowed time.Duration) time.Duration {
	const onTime, processes = 20 * time.Millisecond, 5
	if late > onTime {
		allowed += processes * late
	}
	return allowed
}

// TestFailover breaks the tree in all sorts of ways while players look on.
func TestFailover(t *testing.T) {
	t.Parallel()
	x := newTree(t)
	all := x.read("bf", x.s)
	from := time.Now()

	x.start("bb", "beacon")
	x.runs("bb")
	t.Run("no multicast at all", func(t *testing.T) {
		x.disturb(t, "bb", x.s, disturbance{
			after: 12 * time.Second, begin: func() {}, end: func() {}, stall: none,
		})
	})
	for _, d := range []disturbance{
		{
			name: "multicast alone dropped on the first hop", lasts: 5 * time.Second, after: 10 * time.Second,
			begin: func() { x.sh("hole", "r1", "relay", media) }, end: func() { x.sh("clear", "r1", "relay") },
			stall: none,
		},
		{
			name: "multicast alone dropped on the last hop", lasts: 5 * time.Second, after: 10 * time.Second,
			begin: func() { x.sh("hole", "relay4", "bf", media) }, end: func() { x.sh("clear", "relay4", "bf") },
			stall: none,
		},
		{
			name: "carrier lost between the RELAYs", lasts: 5 * time.Second, after: 11 * time.Second,
			begin: func() { x.sh("cut", "relay", "relay4") }, end: func() { x.sh("heal", "relay", "relay4") },
			stall: outage,
		},
		{
			name: "the last RELAY killed and back", lasts: 3 * time.Second, after: 11 * time.Second,
			begin: x.relay4.kill, end: func() { x.relay4.run() }, stall: outage,
		},
		{
			name: "the first RELAY killed and back", lasts: 3 * time.Second, after: 11 * time.Second,
			begin: x.relay.kill, end: func() { x.relay.run() }, stall: outage,
		},
		{
			name: "the first RELAY killed for good, another parent known", lasts: 5 * time.Second, after: 11 * time.Second,
			begin: x.relay.kill, end: func() {}, stall: failing,
		},
	} {
		t.Run(d.name, func(t *testing.T) { x.disturb(t, "bf", x.s, d) })
	}
	all.compare(t, from, time.Now().Add(-2*time.Second))
}

// TestLoss loses 30 % of the packets on the last hop for a minute, in bursts.
func TestLoss(t *testing.T) {
	t.Parallel()
	x := newTree(t)
	all := x.read("bf", x.s)
	from := time.Now()
	x.disturb(t, "bf", x.s, disturbance{
		lasts: time.Minute, after: 3 * time.Second,
		begin: func() { x.sh("wire", "relay4", "bf", "-udp", "-ge", "8.6,20,100") },
		end:   func() { t.Log(x.sh("unwire", "relay4", "bf")) },
		stall: none,
	})
	all.compare(t, from, time.Now().Add(-2*time.Second))
	require.NotZero(t, x.service("bf").PacketsLost)
}
