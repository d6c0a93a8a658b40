package route

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Computations run on other goroutines while packets come in, and leave: blocks that overlap, objects that are protected
// together, and whole ones. The race detector looks on.
func TestWorksRunElsewhere(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	r := NewReceiver(ReceiverConfig{})
	drop := lossy(5, 0.1)
	content, got := map[string][]byte{}, map[string][]byte{}
	type running struct {
		w    *Work
		done chan struct{}
	}
	var sending, receiving []running
	start := func(list []running, poll func() (*Work, bool)) []running {
		for w, ok := poll(); ok; w, ok = poll() {
			x := running{w, make(chan struct{})}
			go func() {
				x.w.Run()
				close(x.done)
			}()
			list = append(list, x)
		}
		return list
	}
	finish := func(list []running, n int, finish func(time.Time, *Work)) []running {
		for len(list) > n {
			<-list[0].done
			finish(now, list[0].w)
			list = list[1:]
		}
		return list
	}
	step := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
			sending = finish(start(sending, s.PollWork), 2, s.Finish)
			for pkt, ok := s.Poll(now, nil); ok; pkt, ok = s.Poll(now, nil) {
				if tsi := pkt[11]; tsi != 0 && drop(pkt) {
					continue
				}
				_ = r.Push(now, simSrc, pkt)
				receiving = start(receiving, r.PollWork)
			}
			r.HandleTimeout(now)
			receiving = finish(start(receiving, r.PollWork), 2, r.Finish)
			for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
				if ev.Kind == Complete {
					b := make([]byte, ev.Object.Length())
					_, err := ev.Object.ReadAt(b, 0)
					require.NoError(t, err)
					got[ev.Object.Name()] = b
					r.Release(now, ev.Object)
				}
			}
		}
	}
	begin := func(stem string, n int, pool string) *Transmission {
		tx, err := s.Begin(now, Outgoing{
			Name: fmt.Sprintf("%s-%d", stem, n), Track: Track{Stem: stem + "-$TOI$", Number: uint32(n), Run: 1, Kind: Audio}, Pool: pool,
		})
		require.NoError(t, err)
		return tx
	}
	add := func(tx *Transmission, n int) {
		b := randomBytes(uint64(len(content[tx.out.Name])), n)
		content[tx.out.Name] = append(content[tx.out.Name], b...)
		require.NoError(t, tx.Append(now, b))
		tx.Cut()
	}
	for n := 1; n <= 20; n++ {
		small, video, audio := begin("small", n, ""), begin("v", n, "pool"), begin("a", n, "pool")
		for range 20 {
			add(small, 300)
			add(video, 3000)
			add(audio, 200)
			step(20 * time.Millisecond)
		}
		for _, tx := range []*Transmission{small, video, audio} {
			require.NoError(t, tx.End(now))
		}
	}
	for range 20 {
		sending = finish(sending, 0, s.Finish)
		receiving = finish(receiving, 0, r.Finish)
		step(100 * time.Millisecond)
	}
	for name, b := range content {
		require.True(t, bytes.Equal(b, got[name]), name)
	}
	require.Zero(t, r.Stats().DecodeErrors)
	require.Zero(t, r.decoding)
}
