package flute_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
)

// Work runs on other goroutines while packets come and objects go: the race detector sees whether it reads what changes.
func TestWorkElsewhere(t *testing.T) {
	for _, scheme := range []fec.EncodingID{fec.RaptorQ, fec.ReedSolomonGF256, fec.LDPCStaircase} {
		w := newWire(t, flute.SenderConfig{
			FEC: flute.FEC{Scheme: scheme, Loss: fec.Loss{Random: 0.1}, MaxBlock: 40}, Rate: 50_000_000, SHA256: true,
		}, flute.ReceiverConfig{})
		w.keep = true
		want := map[string]string{}
		for i := range 20 {
			body := random(uint64(i), 100_000+i)
			f := file(string(rune('a'+i)), body)
			f.Rounds, f.Interval = 2, 200*time.Millisecond
			w.add(f)
			want[f.Location] = sum(body)
		}
		w.lose = func([]byte) bool { return true }
		w.run(3 * time.Second)

		rnd := rand.New(rand.NewPCG(5, uint64(scheme)))
		r := flute.NewReceiver(flute.ReceiverConfig{})
		todo, done := make(chan *flute.Work, 1000), make(chan *flute.Work, 1000)
		var workers sync.WaitGroup
		for range 2 {
			workers.Go(func() {
				for work := range todo {
					work.Run()
					done <- work
				}
			})
		}
		got := map[string]string{}
		now, open := noon, 0
		poll := func() {
			for work, ok := r.PollWork(); ok; work, ok = r.PollWork() {
				todo <- work
				open++
			}
			for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
				if ev.Kind == flute.Complete {
					b := make([]byte, ev.Object.Length())
					_, err := ev.Object.ReadAt(b, 0)
					require.NoError(t, err)
					got[ev.Object.Location()] = sum(b)
					r.Release(now, ev.Object)
				}
			}
		}
		finish := func(work *flute.Work) {
			open--
			r.Finish(now, work)
			poll()
		}
		for _, p := range w.log {
			now = now.Add(100 * time.Microsecond)
			if rnd.IntN(10) > 0 {
				require.NoError(t, r.Push(now, source, p))
			}
			r.HandleTimeout(now)
			poll()
			select {
			case work := <-done:
				finish(work)
			default:
			}
		}
		for open > 0 {
			finish(<-done)
		}
		close(todo)
		workers.Wait()
		require.Equal(t, want, got)
		require.NotZero(t, r.Stats().Decodes)
		require.Zero(t, r.Stats().Memory)
	}
}
