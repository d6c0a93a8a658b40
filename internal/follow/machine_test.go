package follow

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/manifest"
)

// bench drives a machine in a time of its own.
type bench struct {
	t       *testing.T
	m       *Machine
	index   manifest.Index
	now     time.Time
	here    map[string]bool // at the node
	jobs    map[string]Action
	log     []string
	objects map[string]*Object // that grow
	stand   string             // packets bring nothing of it
}

func newBench(t *testing.T) *bench {
	b := &bench{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), here: make(map[string]bool),
		jobs: make(map[string]Action), objects: make(map[string]*Object),
	}
	b.m = New(b.now, Config{Index: &b.index, Has: func(name string) bool { return b.here[name] }, Rand: func() float64 { return 0 }, Window: 6})
	return b
}

// settle notes what the machine wants.
func (b *bench) settle() {
	for {
		a, ok := b.m.Poll()
		if !ok {
			return
		}
		kind := [...]string{"", "fetch", "fill", "feed", "refresh", "discover", "cancel"}[a.Kind]
		b.log = append(b.log, kind+" "+a.Name)
		if a.Kind == Cancel {
			b.result(a.Name, Failed)
			continue
		}
		require.NotContains(b.t, b.jobs, a.Name)
		b.jobs[a.Name] = a
	}
}

// run lets time pass up to d, in steps as the machine's driver has them.
func (b *bench) run(d time.Duration) {
	for end := b.now.Add(d); b.now.Before(end); {
		b.now = b.now.Add(min(40*time.Millisecond, end.Sub(b.now)))
		if !b.now.Before(b.m.NextTimeout()) {
			b.m.HandleTimeout(b.now)
		}
		b.settle()
	}
}

// hear lets time pass with packets at a distance.
func (b *bench) hear(d, every time.Duration) {
	for end := b.now.Add(d); b.now.Before(end); {
		b.run(every)
		for name, o := range b.objects {
			if name != b.stand {
				b.m.Grown(b.now, o)
			}
		}
		b.m.Packets(b.now)
		b.settle()
	}
}

func (b *bench) begin(name string, parent bool) {
	b.index.Observe(name, 0)
	b.here[name] = true
	b.objects[name] = b.m.Begun(b.now, Meta{Name: name, Media: true, Parent: parent})
	b.settle()
}

func (b *bench) end(name string) {
	o := b.objects[name]
	delete(b.objects, name)
	b.m.Ended(b.now, o, true)
	b.settle()
}

func (b *bench) result(name string, out Outcome) {
	a, ok := b.jobs[name]
	require.True(b.t, ok, name)
	delete(b.jobs, name)
	b.m.Result(b.now, a.Job, out)
	b.settle()
}

func v(n int) string { return fmt.Sprintf("v-%05d.m4s", n) }

// list brings a manifest that lists the segments from..to.
func (b *bench) list(from, to int) {
	body := fmt.Sprintf("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=\"init.mp4\"\n", from)
	for n := from; n <= to; n++ {
		body += "#EXTINF:2,\n" + v(n) + "\n"
	}
	require.NoError(b.t, b.index.Update("v.m3u8", []byte(body)))
	b.m.Manifest(b.now, "v.m3u8")
	b.settle()
}

// live brings the machine into a flow of low latency: segments up to n are here, and n grows.
func (b *bench) live(n int) {
	b.here["init.mp4"] = true
	for k := 1; k < n; k++ {
		b.begin(v(k), false)
		b.end(v(k))
	}
	b.list(1, n-1)
	b.begin(v(n), false)
	b.hear(20*time.Second, 40*time.Millisecond)
	require.Empty(b.t, b.log, "nothing is asked for while multicast brings all")
}

func (b *bench) takeLog() []string {
	log := b.log
	b.log = nil
	slices.Sort(log)
	return log
}

func TestGoOverAndReturn(t *testing.T) {
	b := newBench(t)
	b.live(5)
	begun := b.now
	b.run(280 * time.Millisecond)
	require.Empty(t, b.log)
	b.run(80 * time.Millisecond)
	require.Equal(t, []string{"feed " + v(5), "refresh v.m3u8"}, b.takeLog())
	require.Equal(t, Parent, b.m.State().Source)
	require.LessOrEqual(t, b.m.State().Since.Sub(begun), 340*time.Millisecond)

	// The segment is fed to its end, and the next one is asked for at once.
	b.run(time.Second)
	require.Empty(t, b.log)
	b.end(v(5))
	b.result(v(5), Done)
	require.Equal(t, []string{"fetch " + v(6)}, b.takeLog())
	b.begin(v(6), true)
	b.run(time.Second)
	b.end(v(6))
	b.result(v(6), Done)
	require.Equal(t, []string{"fetch " + v(7)}, b.takeLog())
	b.list(1, 6)
	b.result("v.m3u8", Done)
	require.Equal(t, []string{"refresh v.m3u8"}, b.takeLog())

	// Multicast is back before the segment has begun: it is left to it.
	b.m.Packets(b.now)
	b.settle()
	require.Equal(t, []string{"cancel " + v(7), "cancel v.m3u8"}, b.takeLog())
	b.hear(200*time.Millisecond, 40*time.Millisecond)
	require.False(t, b.m.State().Back)
	b.begin(v(7), false)
	require.True(t, b.m.State().Back)
	b.hear(2*time.Second, 40*time.Millisecond)
	require.Equal(t, Parent, b.m.State().Source)
	b.end(v(7))
	require.Equal(t, Multicast, b.m.State().Source)
	require.Empty(t, b.takeLog())
	b.begin(v(8), false)
	b.hear(10*time.Second, 40*time.Millisecond)
	b.log = nil

	// The outage has taught nothing: the next one is found as soon.
	b.run(340 * time.Millisecond)
	require.Contains(t, b.log, "feed "+v(8))
}

// What multicast does not begin although its packets come again is asked for after all.
func TestReturnThatBringsNothing(t *testing.T) {
	b := newBench(t)
	b.live(5)
	b.run(400 * time.Millisecond)
	b.end(v(5))
	b.result(v(5), Done)
	b.takeLog()
	b.m.Packets(b.now)
	b.settle()
	require.Equal(t, []string{"cancel " + v(6), "cancel v.m3u8"}, b.takeLog())
	b.hear(400*time.Millisecond, 40*time.Millisecond)
	log := b.takeLog()
	require.Contains(t, log, "fetch "+v(6))
	require.Contains(t, log, "refresh v.m3u8")

	// Packets that bring nothing, forged ones for example, are given that chance with growing distance.
	begun, cancelled := b.now, 0
	for n := 6; n < 30; n++ {
		b.hear(100*time.Millisecond, 20*time.Millisecond)
		b.begin(v(n), true)
		b.hear(1900*time.Millisecond, 20*time.Millisecond)
		b.end(v(n))
		b.result(v(n), Done)
		asked := b.now
		for b.jobs[v(n+1)].Job == 0 {
			b.hear(20*time.Millisecond, 20*time.Millisecond)
			require.Less(t, b.now.Sub(asked), 400*time.Millisecond)
		}
		if b.now.After(asked) {
			cancelled++
		}
	}
	require.Equal(t, Parent, b.m.State().Source)
	require.LessOrEqual(t, cancelled, 6, "in %v", b.now.Sub(begun))
}

// A flow of bursts is not taken for silent between them.
func TestBursts(t *testing.T) {
	b := newBench(t)
	b.here["init.mp4"] = true
	for n := 1; n <= 20; n++ {
		b.begin(v(n), false)
		b.hear(200*time.Millisecond, 20*time.Millisecond)
		b.end(v(n))
		b.list(max(1, n-5), n)
		if n < 20 {
			b.run(1800 * time.Millisecond)
		}
		if n == 4 {
			b.takeLog() // the flow was not known yet
		}
	}
	require.Empty(t, b.log)
	require.Equal(t, Multicast, b.m.State().Source)
	b.run(2200 * time.Millisecond)
	require.Empty(t, b.log)
	b.run(300 * time.Millisecond)
	require.Equal(t, []string{"fetch " + v(21), "refresh v.m3u8"}, b.takeLog())
}

// After a cut everything since then is asked for, what players need next first, and the edge in any case.
func TestAfterACut(t *testing.T) {
	b := newBench(t)
	b.live(5)
	b.run(400 * time.Millisecond)
	b.result(v(5), Failed) // nobody answers
	b.result("v.m3u8", Failed)
	b.takeLog()
	b.run(5 * time.Second)
	require.Contains(t, b.log, "feed "+v(5))
	require.Contains(t, b.log, "refresh v.m3u8")
	n := 0
	for _, name := range b.log {
		if name == "feed "+v(5) {
			n++
		}
	}
	require.LessOrEqual(t, n, 10, "with growing distance")
	b.log = nil
	b.list(3, 8)
	require.Equal(t, []string{"fetch " + v(6), "fetch " + v(7), "fetch " + v(8), "fetch " + v(9)}, b.takeLog())
	require.Zero(t, b.jobs[v(7)].Expect)
}

// A node that starts has the window filled, newest first and few at a time, for readers alone.
func TestStart(t *testing.T) {
	b := newBench(t)
	b.m.Packets(b.now)
	b.list(1, 8)
	b.begin(v(9), false)
	b.hear(3*time.Second, 40*time.Millisecond)
	require.Equal(t, []string{"fetch init.mp4", "fill " + v(7), "fill " + v(8)}, b.takeLog())
	require.Contains(t, b.jobs, v(8))
	b.here[v(8)] = true
	b.result(v(8), Done)
	require.Equal(t, []string{"fill " + v(6)}, b.takeLog())
	for range 4 {
		b.result(v(6), Absent)
		b.hear(3*time.Second, 40*time.Millisecond)
		if _, ok := b.jobs[v(6)]; !ok {
			break
		}
	}
	require.NotContains(t, b.jobs, v(6), "what no parent has is not asked for for ever")
	require.NotContains(t, b.log, "fetch "+v(5))
}

// A node that never hears anything asks for the manifests, and follows.
func TestNothingIsHeard(t *testing.T) {
	b := newBench(t)
	b.run(1800 * time.Millisecond)
	require.Empty(t, b.log)
	b.run(400 * time.Millisecond)
	require.Equal(t, []string{"discover "}, b.takeLog())
	require.False(t, b.m.State().Heard)
	b.list(1, 3)
	b.result("", Done)
	log := b.takeLog()
	for _, want := range []string{"fetch init.mp4", "fetch " + v(4), "refresh v.m3u8"} {
		require.Contains(t, log, want)
	}
	require.NotContains(t, log, "fetch "+v(2))
}

// While the source makes a pause one request waits; more are made with growing distance only.
func TestPauseOfTheSource(t *testing.T) {
	b := newBench(t)
	b.live(5)
	b.end(v(5))
	for range 20 {
		for name, a := range b.jobs {
			out := Absent
			if a.Kind == Feed {
				out = Done
			}
			b.result(name, out)
		}
		b.run(20 * time.Second)
	}
	b.log = nil
	for range 6 {
		for name := range b.jobs {
			b.result(name, Absent)
		}
		b.run(20 * time.Second)
	}
	require.LessOrEqual(t, len(b.log), 18, "in two minutes")
	b.list(1, 6)
	require.Contains(t, b.log, "fetch "+v(6))
}

// An object of multicast that stands though packets come, as with a loss that FEC cannot mend, is fed.
func TestObjectThatStands(t *testing.T) {
	b := newBench(t)
	b.live(5)
	b.begin("a-00005.m4s", false)
	b.stand = v(5)
	b.hear(900*time.Millisecond, 40*time.Millisecond)
	require.Empty(t, b.log)
	b.hear(200*time.Millisecond, 40*time.Millisecond)
	require.Equal(t, []string{"feed " + v(5)}, b.takeLog())
	require.Equal(t, Multicast, b.m.State().Source)
}

// An encoder that begins again uses its names again.
func TestNamesThatComeAgain(t *testing.T) {
	b := newBench(t)
	b.live(5)
	b.run(400 * time.Millisecond)
	b.end(v(5))
	b.result(v(5), Done)
	b.run(2 * time.Second)
	b.log = nil
	b.result(v(6), Absent)
	b.list(1, 1)
	require.Contains(t, b.log, "fetch "+v(2))
}

// An object that was given up is asked for again.
func TestObjectThatWasGivenUp(t *testing.T) {
	b := newBench(t)
	b.live(5)
	b.m.Ended(b.now, b.objects[v(5)], false)
	delete(b.here, v(5))
	b.list(1, 5)
	b.hear(time.Second, 40*time.Millisecond)
	require.Contains(t, b.takeLog(), "fetch "+v(5))
}
