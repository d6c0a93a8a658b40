package amt

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// twoPaths feeds a merger with one sequence by two paths of different delay.
type arrival struct {
	at      time.Duration
	path    Path
	payload []byte
}

// 1,000 planned switches with 5 % equal payloads and no loss on the paths lose
// and double nothing, whichever path is ahead.
func TestPlannedSwitches(t *testing.T) {
	for _, delays := range [][2]time.Duration{
		{10 * time.Millisecond, 10 * time.Millisecond}, {5 * time.Millisecond, 180 * time.Millisecond},
		{120 * time.Millisecond, 3 * time.Millisecond},
	} {
		for _, mix := range []string{"one payload", "runs", "few payloads"} {
			t.Run(fmt.Sprint(delays, mix), func(t *testing.T) {
				switches := 200
				if mix == "one payload" {
					switches = 1000
				}
				testPlannedSwitches(t, switches, delays, mix, 0)
			})
		}
	}
}

// The same with packets that overtake each other on both paths: nothing is
// lost, and nothing doubled.
func TestPlannedSwitchesWithReordering(t *testing.T) {
	testPlannedSwitches(t, 1000, [2]time.Duration{10 * time.Millisecond, 30 * time.Millisecond}, "none", 8*time.Millisecond)
}

func testPlannedSwitches(t *testing.T, switches int, delays [2]time.Duration, mix string, jitter time.Duration) {
	const (
		interval = 2 * time.Millisecond
		per      = 200 // packets between two switches
	)
	rng := rand.New(rand.NewPCG(1, 2))
	m := newMerger()
	sent := make(map[string]int)
	got := make(map[string]int)
	var late [2][]arrival // on their way, by path
	paths := [2]Path{1, 2}
	done := 0
	active := 0
	deliver := func(p []byte) { got[string(p)]++ }
	payload := func(i int) []byte {
		b := make([]byte, 64)
		switch {
		case mix == "one payload" && rng.IntN(20) == 0:
			return b
		case mix == "runs" && i%200 < 10:
			return b
		case mix == "few payloads" && rng.IntN(20) == 0:
			b[8] = byte(rng.IntN(4))
			return b
		}
		binary.BigEndian.PutUint64(b, uint64(i)+1)
		return b
	}
	arrive := func(now time.Duration) {
		for {
			// The earliest of both paths.
			best := -1
			for k := range late {
				if len(late[k]) > 0 && late[k][0].at <= now && (best < 0 || late[k][0].at < late[best][0].at) {
					best = k
				}
			}
			if best < 0 {
				return
			}
			a := late[best][0]
			late[best] = late[best][1:]
			at := time.Unix(0, 0).Add(a.at)
			if m.push(at, a.path, a.payload, netip.AddrPort{}) {
				deliver(a.payload)
			}
			if list, ok := m.align(at); ok {
				for _, p := range list {
					deliver(p.payload)
				}
				late[active] = nil // its socket is closed
				active = 1 - active
				done++
			}
		}
	}
	i := 0
	for done < switches {
		require.Less(t, i, switches*per*3, "%d of %d switches", done, switches)
		now := time.Duration(i) * interval
		arrive(now)
		if i%per == per-1 {
			m.begin(paths[1-active], anyPath) // joined: its packets come from now on
		}
		p := payload(i)
		sent[string(p)]++
		for k := range paths {
			if paths[k] == m.current || !m.started && k == 0 || m.waiting && paths[k] == m.next {
				a := arrival{now + delays[k], paths[k], p}
				if jitter > 0 {
					a.at += time.Duration(rng.Int64N(int64(jitter)))
				}
				at := len(late[k])
				for at > 0 && late[k][at-1].at > a.at {
					at--
				}
				late[k] = append(late[k], arrival{})
				copy(late[k][at+1:], late[k][at:])
				late[k][at] = a
			}
		}
		i++
	}
	// What the path in use has not delivered yet.
	arrive(time.Duration(i)*interval + time.Second)
	require.Equal(t, len(sent), len(got))
	for p, n := range sent {
		require.Equal(t, n, got[p], "%x", p[:9])
	}
}

// With loss on both paths payloads are lost that both, or the one in use, have
// lost; none is doubled.
func TestSwitchesUnderLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	m := newMerger()
	got := make(map[uint64]int)
	var queue []arrival // of path 2, which is late
	take := func(now time.Duration, path Path, p []byte) {
		at := time.Unix(0, 0).Add(now)
		if m.push(at, path, p, netip.AddrPort{}) {
			got[binary.BigEndian.Uint64(p)]++
		}
		if list, ok := m.align(at); ok {
			for _, p := range list {
				got[binary.BigEndian.Uint64(p.payload)]++
			}
		}
	}
	const n = 100_000
	for i := range n {
		now := time.Duration(i) * time.Millisecond
		b := make([]byte, 8)
		binary.BigEndian.PutUint64(b, uint64(i))
		if i%500 == 499 {
			m.begin(3-m.current, anyPath)
		}
		if rng.IntN(50) != 0 {
			take(now, 1, b)
		}
		if rng.IntN(50) != 0 {
			queue = append(queue, arrival{now + 40*time.Millisecond, 2, b})
		}
		for len(queue) > 0 && queue[0].at <= now {
			take(queue[0].at, 2, queue[0].payload)
			queue = queue[1:]
		}
	}
	for i, count := range got {
		require.Equal(t, 1, count, i)
	}
	require.Greater(t, len(got), n*96/100)
}

// The second of two equal payloads, which only the next path has had so far, is not
// taken for the first that came late.
func TestSwitchBeforeAnEqualPayload(t *testing.T) {
	m := newMerger()
	now := time.Unix(0, 0)
	got := make(map[string]int)
	push := func(path Path, p string) {
		if m.push(now, path, []byte(p), netip.AddrPort{}) {
			got[p]++
		}
		if list, ok := m.align(now); ok {
			for _, p := range list {
				got[string(p.payload)]++
			}
		}
	}
	payload := func(i int) string {
		if i == 0 || i == 58 {
			return "equal"
		}
		return fmt.Sprint(i)
	}
	for i := range 10 {
		push(1, payload(i))
	}
	m.begin(2, anyPath)
	for i := 10; i < 70; i++ {
		push(2, payload(i))
	}
	for i := 10; i < 70; i++ {
		push(1, payload(i))
	}
	require.Equal(t, Path(2), m.current)
	require.Equal(t, 2, got["equal"])
	require.Len(t, got, 70-1)
}

func TestForcedSwitch(t *testing.T) {
	m := newMerger()
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*1e6) }
	require.True(t, m.push(at(0), 1, []byte("a"), netip.AddrPort{}))
	require.True(t, m.push(at(1), 1, []byte("b"), netip.AddrPort{}))
	require.False(t, m.push(at(2), 2, []byte("b"), netip.AddrPort{}))
	m.begin(2, anyPath)
	require.False(t, m.push(at(3), 2, []byte("b"), netip.AddrPort{}))
	require.False(t, m.push(at(3), 2, []byte("c"), netip.AddrPort{}))
	require.False(t, m.push(at(3), 2, []byte("c"), netip.AddrPort{}))
	list, gap := m.force(at(51), 2)
	require.Equal(t, []held{{payload: []byte("c")}, {payload: []byte("c")}}, list)
	require.Equal(t, 50*time.Millisecond, gap)
	require.True(t, m.push(at(60), 2, []byte("d"), netip.AddrPort{}))
	require.False(t, m.push(at(60), 1, []byte("e"), netip.AddrPort{}))
}

// A path that was to be the next falls silent before the two are aligned. What it alone
// has had is delivered if it was the last to deliver anything, and dropped when it comes
// by the present path after all.
func TestReleased(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*1e6) }
	begin := func() *merger {
		m := newMerger()
		require.True(t, m.push(at(0), 1, []byte("a"), netip.AddrPort{}))
		m.begin(2, anyPath)
		for i, p := range []string{"a", "b", "b", "c"} {
			require.False(t, m.push(at(10+i), 2, []byte(p), netip.AddrPort{}))
		}
		return m
	}
	m := begin()
	require.Equal(t, []held{{payload: []byte("b")}, {payload: []byte("b")}, {payload: []byte("c")}}, m.release(at(13)))
	require.False(t, m.waiting)
	for _, p := range []string{"b", "b", "c"} {
		require.False(t, m.push(at(1000), 1, []byte(p), netip.AddrPort{}))
	}
	for _, p := range []string{"b", "c", "d"} {
		require.True(t, m.push(at(1001), 1, []byte(p), netip.AddrPort{}), "they are others")
	}
	m = begin()
	require.True(t, m.push(at(14), 1, []byte("d"), netip.AddrPort{}))
	require.Empty(t, m.release(at(13)), "the present path is ahead")
	require.True(t, m.push(at(15), 1, []byte("c"), netip.AddrPort{}), "only out of order")
}

// What a path that never aligns can make us hold is bounded.
func TestHeldBound(t *testing.T) {
	m := newMerger()
	m.push(time.Unix(0, 0), 1, []byte("a"), netip.AddrPort{})
	m.begin(2, anyPath)
	for i := range 20_000 {
		b := make([]byte, 1400)
		binary.BigEndian.PutUint64(b, uint64(i))
		m.push(time.Unix(0, int64(i)), 2, b, netip.AddrPort{})
		_, ok := m.align(time.Unix(0, int64(i)))
		require.False(t, ok)
	}
	require.LessOrEqual(t, m.octets, heldOctets)
	require.LessOrEqual(t, len(m.held), historySize)
}

func BenchmarkMergerPush(b *testing.B) {
	m := newMerger()
	p := make([]byte, 1316)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i++
		binary.BigEndian.PutUint64(p, i)
		if !m.push(time.Time{}, 1, p, netip.AddrPort{}) {
			b.Fatal("dropped")
		}
	}
}
