package lab_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestChaos breaks the tree by chance, again and again, for as long as
// TREEDN_CHAOS says, by the numbers that TREEDN_CHAOS_SEED begins. What breaks
// may do so while something else is broken, but of what leaves the BEACON without
// anything one thing at a time, for 4 s at most: a player 10 s behind the
// publisher sees nothing of all that.
func TestChaos(t *testing.T) {
	t.Parallel()
	lasts, seed := 2*time.Minute, uint64(1)
	if s := os.Getenv("TREEDN_CHAOS"); s != "" {
		var err error
		lasts, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	if s := os.Getenv("TREEDN_CHAOS_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		require.NoError(t, err)
	}
	x := newTree(t)
	draw := rand.New(rand.NewPCG(seed, 0))
	plans := [][]breakage{
		plan(draw, x.isolating(), lasts, 4*time.Second, 9*time.Second),
		plan(draw, x.others(), lasts, 500*time.Millisecond, 3*time.Second),
	}
	x.machine.late()
	far, near := x.play("bf", x.s, 10*time.Second, false), x.play("bf", x.s, 2*time.Second, true)
	time.Sleep(2 * time.Second)
	from, n := time.Now(), 0
	var group sync.WaitGroup
	for _, all := range plans {
		n += len(all)
		group.Go(func() { x.carry(from, all) })
	}
	group.Wait()
	time.Sleep(12 * time.Second)
	a, b, late := far.end(), near.end(), x.machine.late()
	t.Logf("%d breakages in %v, seed %d; the machine was late by %v at most", n, lasts, seed, late.Round(time.Millisecond))
	t.Logf("10 s behind: %v", a)
	t.Logf(" 2 s behind: %v", b)
	t.Log(figures("bf", x.service("bf")))
	for lag, seen := range map[string]seen{"10 s": a, "2 s": b} {
		assert.NotZero(t, seen.segments)
		assert.Empty(t, seen.different, "segments that differ, %s behind", lag)
		assert.Empty(t, seen.missing, "segments that are missing, %s behind", lag)
	}
	assert.LessOrEqual(t, a.total, forgiven(late, 0), "stall of a player 10 s behind")
	x.compareLast(t, "bf", time.Now().Add(-40*time.Second), time.Now().Add(-3*time.Second))
}

// compareLast fails the test unless a node has all segments that began within a
// time, as CAST took them in. They must not be older than what is kept.
func (x *tree) compareLast(t *testing.T, node string, from, to time.Time) {
	t.Helper()
	client, n := x.client(node), 0
	for _, o := range x.s.objectsBetween(from, to) {
		if o.stream < 0 {
			continue
		}
		body, err := get(t.Context(), client, playerURL(node)+o.name)
		assert.NoError(t, err, o.name)
		assert.True(t, bytes.Equal(o.body, body), "%s: %d octets differ from the %d at CAST", o.name, len(body), len(o.body))
		n++
	}
	assert.NotZero(t, n)
	t.Logf("%-6s %d segments of the end, equal to what CAST took in", node, n)
}

// A breakage is something that breaks at a time, and for how long.
type breakage struct {
	at, lasts  time.Duration
	what       string
	begin, end func()
}

// way is what can break: begin, and end, which may draw how it is mended.
type way struct {
	what  string
	begin func()
	end   func(*rand.Rand) func()
}

// plan draws what breaks one after the other, with pauses.
func plan(draw *rand.Rand, ways []way, total, least, most time.Duration) (all []breakage) {
	span := func(least, most time.Duration) time.Duration {
		return least + time.Duration(draw.Int64N(int64(most-least)))
	}
	for at := span(0, most); at < total; {
		w := ways[draw.IntN(len(ways))]
		b := breakage{at: at, lasts: span(300*time.Millisecond, 4*time.Second), what: w.what, begin: w.begin, end: w.end(draw)}
		all = append(all, b)
		at += b.lasts + span(least, most)
	}
	return all
}

// carry breaks what was planned.
func (x *tree) carry(begun time.Time, all []breakage) {
	for _, b := range all {
		time.Sleep(time.Until(begun.Add(b.at)))
		x.t.Logf("%6.2f s: %s, %.1f s", time.Since(begun).Seconds(), b.what, b.lasts.Seconds())
		b.begin()
		time.Sleep(b.lasts)
		b.end()
	}
}

func always(f func()) func(*rand.Rand) func() { return func(*rand.Rand) func() { return f } }

func (x *tree) killed(p *process) way {
	return way{"kill -9 " + p.name, p.kill, func(draw *rand.Rand) func() {
		offset := []string{"-1h", "0s", "1h"}[draw.IntN(3)]
		return func() { p.run("-clock-offset", offset) }
	}}
}

func (x *tree) stopped(p *process) way { return way{"stop " + p.name, p.stop, always(p.resume)} }

func (x *tree) cut(a, b string) way {
	return way{"cut " + a + " - " + b, func() { x.sh("cut", a, b) }, always(func() { x.sh("heal", a, b) })}
}

func (x *tree) hole(a, b string) way {
	return way{"no multicast " + a + " > " + b, func() { x.sh("hole", a, b, media) }, always(func() { x.sh("hole", a, b, "udp dport 9") })}
}

func (x *tree) lossy(a, b string) way {
	return way{"loss " + a + " > " + b, func() { x.sh("wire", a, b, "-udp", "-ge", "8.6,20,100") }, always(func() { x.sh("unwire", a, b) })}
}

// isolating are the ways to break all that bf gets. One at a time is enough.
func (x *tree) isolating() []way {
	return []way{
		x.killed(x.relay4), x.killed(x.relay4), x.killed(x.bf), x.stopped(x.relay4),
		x.cut("relay4", "bf"), x.cut("relay", "relay4"), x.cut("r1", "relay"),
	}
}

// others are ways to break a part of it.
func (x *tree) others() []way {
	return []way{
		x.killed(x.relay), x.killed(x.relay), x.killed(x.relay2), x.stopped(x.relay), x.stopped(x.relay2),
		x.cut("r2", "relay2"), x.cut("r1", "r2"),
		x.hole("r1", "relay"), x.hole("relay", "relay4"), x.hole("relay4", "bf"),
		x.lossy("r1", "relay"), x.lossy("relay", "relay4"), x.lossy("relay4", "bf"),
	}
}
