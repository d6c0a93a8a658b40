package sealing_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
)

// memory is octets that have come by multicast.
type memory struct {
	b        []byte
	complete bool
}

func (m *memory) Prefix() int64          { return int64(len(m.b)) }
func (m *memory) Complete() bool         { return m.complete }
func (m *memory) Bytes(off int64) []byte { return m.b[off:] }

// notices counts what a Gate tells.
type notices struct {
	mu sync.Mutex
	n  [3]int
}

func (n *notices) notify(k sealing.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.n[k]++
}

func (n *notices) of(k sealing.Notice) int {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n[k]
}

func TestGateLetsThroughWhatIsSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		x := newChild(t, childConfig{trust: true})
		b := octets(1, 30_000)
		o := r.begin("v.m4s", 7)
		var n notices
		in := &memory{}
		g, err := x.gate.Open("v.m4s", 7, n.notify)
		require.NoError(t, err)
		_, err = x.gate.Open("v.m4s", 7, n.notify)
		require.ErrorIs(t, err, seal.ErrOpen)
		for i := range 3 {
			chunk := b[i*10_000 : (i+1)*10_000]
			in.b = append(in.b, chunk...)
			require.EqualValues(t, i*10_000, g.Advance(in).Readable)
			require.NoError(t, o.Write(chunk, true))
			time.Sleep(25 * time.Millisecond)
			require.NoError(t, x.push(r.take()...))
			require.NotZero(t, n.of(sealing.Sealed))
			v := g.Advance(in)
			require.EqualValues(t, (i+1)*10_000, v.Readable)
			require.EqualValues(t, (i+1)*10_000, v.Sealed)
			require.Equal(t, r.sealer.Newest(), v.Seal)
		}
		require.EqualValues(t, -1, g.End())
		require.NoError(t, o.Commit())
		time.Sleep(25 * time.Millisecond)
		require.NoError(t, x.push(r.take()...))
		require.Equal(t, seal.Whole, g.Advance(in).State)
		require.EqualValues(t, 30_000, g.End())
		g.Release()
		require.Zero(t, x.gate.Stats().Open)

		// A newer generation displaces the one that is open.
		g, err = x.gate.Open("v.m4s", 7, n.notify)
		require.NoError(t, err)
		r.put("v.m4s", 8, octets(2, 10_000), 10_000)
		time.Sleep(25 * time.Millisecond)
		require.NoError(t, x.push(r.take()...))
		require.Equal(t, 1, n.of(sealing.Refused))
		require.Equal(t, seal.Superseded, g.Advance(in).State)
		g.Release()
		_, err = x.gate.Open("v.m4s", 7, n.notify)
		require.ErrorIs(t, err, seal.ErrStale)
	})
}

// Octets that stand make the gate ask the parents, if the name is one that somebody announces.
func TestGateAsksForSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		var asked []string
		parent := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked = append(asked, q.URL.Path)
			r.ServeHTTP(w, q)
		})
		x := newChild(t, childConfig{parents: []string{"gone", "parent"}, net: network{"parent": parent}})
		x.announce("v-1.m4s")
		b := octets(1, 30_000)
		r.put("v-1.m4s", 7, b, 10_000)
		time.Sleep(25 * time.Millisecond)
		var n notices
		var objects []*sealing.Object
		for _, name := range []string{"v-1.m4s", "forged.m4s"} {
			g, err := x.gate.Open(name, 7, n.notify)
			require.NoError(t, err)
			g.Advance(&memory{b: b, complete: true})
			defer g.Release()
			objects = append(objects, g)
		}
		began := time.Now()
		for n.of(sealing.Sealed) == 0 {
			require.Less(t, time.Since(began), time.Second)
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, time.Since(began), 400*time.Millisecond)
		require.Equal(t, seal.Whole, objects[0].Advance(&memory{b: b, complete: true}).State)
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{"/seal/v1/live/v-1.m4s"}, asked)
	})
}

// However many objects stand, and whatever the parents do, requests are few.
func TestGateBoundsItsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most, all := 0, 0, 0
		parent := http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			mu.Lock()
			now, all = now+1, all+1
			most = max(most, now)
			mu.Unlock()
			<-q.Context().Done()
			mu.Lock()
			now--
			mu.Unlock()
		})
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": parent}})
		var names []string
		for i := range 200 {
			names = append(names, string(rune('a'+i%26))+string(rune('a'+i/26))+".m4s")
		}
		x.announce(names...)
		for _, name := range names {
			g, err := x.gate.Open(name, 7, func(sealing.Notice) {})
			require.NoError(t, err)
			g.Advance(&memory{b: octets(1, 100)})
			defer g.Release()
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.LessOrEqual(t, most, 16+1) // one for all seals of the service
		require.LessOrEqual(t, all, 16+2*10+4)
	})
}

// What a node meets first may be a replay: with parents it asks them, without it waits for what is newest.
func TestFirstContact(t *testing.T) {
	for name, parents := range map[string][]string{"with a parent": {"parent"}, "with a parent that has just begun": {"new", "parent"}, "alone": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoot(t, "")
				r.put("v.m4s", 7, octets(1, 10_000), 10_000)
				time.Sleep(time.Second)
				past := r.take()
				time.Sleep(2 * time.Minute)
				x := newChild(t, childConfig{parents: parents, net: network{"parent": r, "new": answering(nil)}})
				r.put("v.m4s", 8, octets(2, 10_000), 10_000)
				time.Sleep(25 * time.Millisecond)
				present := r.take()
				require.NoError(t, x.push(past[0])) // with a parent it is asked at once
				wait := 10 * time.Millisecond
				if parents == nil {
					time.Sleep(4 * time.Second)
					synctest.Wait()
					require.Nil(t, x.gate.Newest(seal.Content))
					require.NoError(t, x.push(present...))
					wait = time.Second
				}
				time.Sleep(wait)
				synctest.Wait()
				require.Equal(t, present[len(present)-1], x.gate.Newest(seal.Content))
				require.ErrorIs(t, x.push(past[0]), seal.ErrOld)
				_, err := x.gate.Open("v.m4s", 7, func(sealing.Notice) {})
				require.ErrorIs(t, err, seal.ErrStale, "the replayed object is refused")
			})
		})
	}
}

// Clocks of hosts differ; seals are compared with each other.
func TestGateWithAClockThatIsOff(t *testing.T) {
	for _, offset := range []time.Duration{-time.Hour, time.Hour, -23 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoot(t, "")
			x := newChild(t, childConfig{trust: true, offset: offset})
			r.put("v.m4s", 7, octets(1, 10_000), 10_000)
			time.Sleep(25 * time.Millisecond)
			require.NoError(t, x.push(r.take()...))
			generation, ok := x.gate.Known("v.m4s")
			require.True(t, ok)
			require.EqualValues(t, 7, generation)
		})
	}
}

// forwarded is a sink that notes what a gate sends on.
type forwarded struct {
	mu    sync.Mutex
	seals [][]byte
}

func (*forwarded) Begin(service.Meta) service.ObjectSink { return nil }
func (*forwarded) Manifest(service.Meta, []byte)         {}
func (f *forwarded) Seal(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seals = append(f.seals, b)
}

// A node that sends on sends the seals behind the octets that they made readable, unchanged, and none that is forged, old
// or of signalling.
func TestGateSendsSealsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		x := newChild(t, childConfig{trust: true, forward: true, anchors: []seal.Anchor{anchor(seal.Content, 1), anchor(seal.Hop, 2)}})
		f := &forwarded{}
		x.svc.AddSink(f)
		b := octets(1, 10_000)
		r.put("v.m4s", 7, b, 10_000)
		time.Sleep(25 * time.Millisecond)
		sent := r.take()
		require.NoError(t, x.push(sent...))
		require.ErrorIs(t, x.push(forged(sent[0])), seal.ErrSignature)
		time.Sleep(time.Second)
		require.Empty(t, f.seals, "no octet is readable")
		g, err := x.gate.Open("v.m4s", 7, func(sealing.Notice) {})
		require.NoError(t, err)
		defer g.Release()
		require.Equal(t, seal.Whole, g.Advance(&memory{b: b, complete: true}).State)

		source, group := testSession()
		h, err := sealing.NewHop(sealing.HopConfig{Service: "live", Key: testKey(2), Source: source, Group: group, Port: 4001})
		require.NoError(t, err)
		require.NoError(t, h.Announce(time.Now(), b, 5))
		d, _ := h.Poll(time.Now())
		require.NoError(t, x.push(d))
		s, err := x.gate.Open(h.Name(), 5, func(sealing.Notice) {})
		require.NoError(t, err)
		defer s.Release()
		require.Equal(t, seal.Whole, s.Advance(seal.Body(b)).State)
		time.Sleep(time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		require.NotEmpty(t, f.seals)
		for _, b := range f.seals {
			require.True(t, slices.ContainsFunc(sent, func(s []byte) bool { return string(s) == string(b) }))
		}
	})
}

// The key is turned under way: receivers first, then the signer. Nothing has to come again that was verified, and what the
// old key seals from then on is refused.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		x := newChild(t, childConfig{trust: true})
		b := octets(1, 40_000)
		o := r.begin("v.m4s", 7)
		in := &memory{}
		g, err := x.gate.Open("v.m4s", 7, func(sealing.Notice) {})
		require.NoError(t, err)
		defer g.Release()
		step := func(i int) {
			in.b = append(in.b, b[i*10_000:(i+1)*10_000]...)
			require.NoError(t, o.Write(b[i*10_000:(i+1)*10_000], true))
			time.Sleep(25 * time.Millisecond)
			_ = x.push(r.take()...)
			require.EqualValues(t, (i+1)*10_000, g.Advance(in).Readable)
		}
		step(0)
		old := r.sealer.Newest()
		require.NoError(t, x.gate.SetAnchors([]seal.Anchor{anchor(seal.Content, 1), anchor(seal.Content, 3)}))
		step(1)
		require.NoError(t, r.sealer.Rotate(testKey(3)))
		step(2)
		require.NotEqual(t, unmarshal(t, old).Key, unmarshal(t, r.sealer.Newest()).Key)
		require.ErrorIs(t, x.push(old), seal.ErrKey)
		require.NoError(t, x.gate.SetAnchors([]seal.Anchor{anchor(seal.Content, 3)}))
		step(3)
		require.NoError(t, o.Commit())
		time.Sleep(25 * time.Millisecond)
		_ = x.push(r.take()...)
		require.Equal(t, seal.Whole, g.Advance(in).State)
		require.Zero(t, x.gate.Stats().Conflicts)

		// Those with the old key alone believe nothing that the new one seals.
		y := newChild(t, childConfig{trust: true})
		require.ErrorIs(t, y.push(r.sealer.Newest()), seal.ErrKey)
	})
}

// Octets that no seal covers take so much memory and no more: the ones that stand longest go.
func TestGateBoundsUnverifiedOctets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newChild(t, childConfig{trust: true})
		var n notices
		for i := range 40 {
			g, err := x.gate.Open(string(rune('A'+i))+".m4s", 1, n.notify)
			require.NoError(t, err)
			defer g.Release()
			g.Advance(&memory{b: make([]byte, 1<<20)})
			time.Sleep(time.Millisecond)
			require.LessOrEqual(t, x.gate.Stats().Unverified, int64(32<<20))
		}
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 8, n.of(sealing.Refused))
		require.EqualValues(t, 8, x.gate.Stats().Evicted)
	})
}

// Advance copies nothing.
func TestAdvanceTakesNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		x := newChild(t, childConfig{trust: true})
		const chunk, chunks = 20_000, 60
		b := octets(1, chunk*chunks)
		o := r.begin("v.m4s", 7)
		for i := range chunks {
			require.NoError(t, o.Write(b[i*chunk:(i+1)*chunk], true))
			time.Sleep(25 * time.Millisecond)
			require.NoError(t, x.push(r.take()...))
		}
		g, err := x.gate.Open("v.m4s", 7, func(sealing.Notice) {})
		require.NoError(t, err)
		defer g.Release()
		in := &memory{}
		i := 0
		require.Zero(t, testing.AllocsPerRun(chunks-2, func() {
			i++
			in.b = b[:i*chunk]
			g.Advance(in)
		}))
		require.GreaterOrEqual(t, g.Advance(in).Readable, int64(chunk*(chunks-3)))
	})
}
