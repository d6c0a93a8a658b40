package sealing_test

import (
	"encoding/binary"
	"fmt"
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

// requests counts what a parent is asked for, by whether it is all seals or those of an object.
type requests struct {
	next http.Handler

	mu      sync.Mutex
	follows int
	objects int
}

func (q *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	switch {
	case r.URL.Query().Has("follow"):
		q.follows++
	case r.URL.Query().Has("generation"):
		q.objects++
	}
	q.mu.Unlock()
	q.next.ServeHTTP(w, r)
}

func (q *requests) counts() (follows, objects int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.follows, q.objects
}

// So many forged seals come that next to no true one is checked. The node does not ask for those of each object, of which
// many begin: it follows all of them at a parent, and what is true is readable as soon as else. When the forger stops, so
// does that.
func TestFloodOfForgedSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			seconds, forgedPerChunk = 20, 200 // 5,000 a second
			chunkTime, chunk        = 40 * time.Millisecond, 2000
			objectTime              = 200 * time.Millisecond // five a second
		)
		r := newRoot(t, "")
		q := &requests{next: r}
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": q}, trust: true})
		var names []string
		for i := range 5*seconds + 1 {
			names = append(names, fmt.Sprintf("v-%03d.m4s", i))
		}
		x.announce(names...)
		r.put(names[0], 7, octets(1, chunk), chunk)
		time.Sleep(10 * time.Millisecond)
		sent := r.take()
		require.NoError(t, x.push(sent...))
		template := sent[0]
		count := uint64(0)
		flood := func() {
			for range forgedPerChunk {
				b := slices.Clone(template)
				count++
				binary.BigEndian.PutUint64(b[8:], uint64(time.Now().Add(time.Second).UnixMicro())+2*count) // always something new
				_ = x.gate.Push(b, seal.Multicast)
			}
		}
		var waits []time.Duration
		for i := range 5 * seconds {
			name, body := names[i+1], octets(uint64(i), 5*chunk)
			o := r.begin(name, 7)
			var g *sealing.Object
			for n := chunk; n <= len(body); n += chunk {
				begun := time.Now()
				require.NoError(t, o.Write(body[n-chunk:n], true))
				flood()
				_ = x.push(r.take()...) // next to none is checked
				if g == nil {
					var err error
					g, err = x.gate.Open(name, 7, func(sealing.Notice) {})
					require.NoError(t, err)
				}
				for g.Advance(seal.Body(body[:n])).Readable < int64(n) && time.Since(begun) < chunkTime {
					time.Sleep(time.Millisecond)
				}
				waits = append(waits, time.Since(begun))
				time.Sleep(time.Until(begun.Add(chunkTime)))
			}
			require.NoError(t, o.Commit())
			time.Sleep(20 * time.Millisecond)
			require.Equal(t, seal.Whole, g.Advance(seal.Body(body)).State, name)
			g.Release()
		}
		st := x.gate.Stats()
		follows, objects := q.counts()
		slices.Sort(waits)
		t.Logf("%d forged seals, %d signatures checked, %d seals unchecked; %d requests for all seals, %d for those of one object; "+
			"octets wait p50 %v, p99 %v, max %v", count, st.Checks, st.Rejected[seal.RejectLimit], follows, objects,
			waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
		require.Greater(t, st.Rejected[seal.RejectLimit], count/2)
		require.LessOrEqual(t, st.Checks, uint64((seconds+1)*(300+60)), "forged and true ones")
		require.LessOrEqual(t, follows, 2)
		require.LessOrEqual(t, objects, 2)
		require.LessOrEqual(t, waits[len(waits)*99/100], 10*time.Millisecond)

		time.Sleep(10 * time.Second)
		before, _ := q.counts()
		r.put("late.m4s", 7, octets(1, chunk), chunk)
		time.Sleep(20 * time.Second)
		after, _ := q.counts()
		require.Equal(t, before, after, "nobody forges any more")
		_, ok := x.gate.Known("late.m4s")
		require.False(t, ok, "seals are followed no more")
	})
}

// Children that follow the seals of a service get the newest ones at once and the others as they come.
func TestHandlerFollowsAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		r.put("v-1.m4s", 7, octets(1, 1000), 1000)
		time.Sleep(10 * time.Millisecond)
		x := newChild(t, childConfig{parents: []string{"gone", "parent"}, net: network{"parent": r}})
		done := make(chan error, 1)
		go func() { done <- x.fetcher.Client.Follow(t.Context(), "live", x.gate.PushParent) }()
		known := func(name string) bool {
			synctest.Wait()
			_, ok := x.gate.Known(name)
			return ok
		}
		require.True(t, known("v-1.m4s"))
		for _, name := range []string{"v-2.m4s", "v-3.m4s", "v-4.m4s"} {
			time.Sleep(time.Second)
			require.False(t, known(name))
			r.put(name, 7, octets(1, 1000), 1000)
			time.Sleep(10 * time.Millisecond)
			require.True(t, known(name), name)
		}
		// One that has nothing new is left.
		time.Sleep(4 * time.Second)
		select {
		case <-done:
		default:
			t.Fatal("it goes on")
		}
		require.Error(t, x.fetcher.Client.Follow(t.Context(), "other", x.gate.PushParent))
	})
}

// A child that does not read does not hold up the service: what it did not take is gone.
func TestFollowerThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		r.put("v-0.m4s", 7, octets(1, 1000), 1000)
		time.Sleep(10 * time.Millisecond)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://parent/seal/v1/live?follow=1", nil)
		require.NoError(t, err)
		resp, err := network{"parent": r}.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		for i := range 200 {
			r.put(fmt.Sprintf("v-%d.m4s", i+1), 7, octets(1, 1000), 1000)
			time.Sleep(100 * time.Millisecond)
		}
		require.Greater(t, len(r.take()), 100)
	})
}

var _ service.SealSink = (*root)(nil)
