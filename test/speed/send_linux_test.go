package speed

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/route"
)

// stream feeds a sender with objects of eight tracks, as fast as it sends them, and sends what it makes of them.
type stream struct {
	s      *route.Sender
	tx     [tracks]*route.Transmission
	left   [tracks]int
	number uint32
	body   []byte
	buf    []byte
	pkts   [][]byte
}

func newStream(rate int64) *stream {
	return &stream{
		s: route.NewSender(route.SenderConfig{
			Session: session(), MaxPayload: maxPayload, NoRepair: true, Rate: rate, Retain: time.Second,
		}),
		body: make([]byte, 32<<10), buf: make([]byte, 0, batch*maxPayload),
	}
}

// feed appends up to a piece to each object, as long as little waits.
func (x *stream) feed(tb testing.TB, now time.Time) {
	for i := range x.tx {
		if x.left[i] == 0 {
			if x.tx[i] != nil {
				if err := x.tx[i].End(now); err != nil {
					tb.Fatal(err)
				}
			}
			if i == 0 {
				x.number++
			}
			x.tx[i] = begin(tb, x.s, now, i, x.number, objectSize(i))
			x.left[i] = objectSize(i)
		}
		n := min(len(x.body), x.left[i])
		if err := x.tx[i].Append(now, x.body[:n]); err != nil {
			tb.Fatal(err)
		}
		x.left[i] -= n
	}
}

// fill takes a batch of packets, each behind the one before it in one buffer.
func (x *stream) fill(now time.Time) (octets int) {
	x.buf, x.pkts = x.buf[:0], x.pkts[:0]
	for len(x.pkts) < batch {
		n := len(x.buf)
		var ok bool
		if x.buf, ok = x.s.Poll(now, x.buf); !ok {
			break
		}
		x.pkts = append(x.pkts, x.buf[n:len(x.buf):len(x.buf)])
	}
	return len(x.buf)
}

// run sends for some time.
func (x *stream) run(tb testing.TB, ln *link, d time.Duration) figures {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, used := time.Now(), cpu()
	var f figures
	for {
		now := time.Now()
		if f.wall = now.Sub(start); f.wall >= d {
			f.cpu = cpu() - used
			return f
		}
		n := x.fill(now)
		if n == 0 {
			if !x.s.Waiting() {
				x.feed(tb, now)
			} else if d := x.s.NextTimeout(now).Sub(now); d > 0 {
				time.Sleep(d)
			}
			continue
		}
		f.octets += int64(n)
		if _, err := ln.tx.WriteBatch(x.pkts, channel.Destination()); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkSend sends at a pace. A receiver that does nothing takes the packets.
func BenchmarkSend(b *testing.B) {
	for _, gbits := range []int64{5, 10} {
		b.Run(fmt.Sprintf("%dGbit", gbits), func(b *testing.B) {
			l := newLoad(b)
			ln := newLink(b, true)
			nothing := func(time.Time, addrPort, addrPort, []byte, int) {}
			for b.Loop() {
				raw, _ := transfer(b, ln, l, 50, nothing)
				require.NoError(b, ln.rx.SetReadDeadline(time.Time{}))
				done := make(chan struct{})
				go func() {
					defer close(done)
					for ln.rx.Receive(nothing) == nil {
					}
				}()
				x := newStream(gbits * 1e9)
				x.run(b, ln, time.Second)
				f := x.run(b, ln, 5*time.Second)
				require.NoError(b, ln.rx.SetReadDeadline(time.Unix(1, 0)))
				<-done
				b.ReportMetric(f.gbits(), "Gbit/s")
				b.ReportMetric(f.cost(), "cpu-s/Gbit")
				b.ReportMetric(raw.gbits(), "raw-Gbit/s")
				b.ReportMetric(raw.cost(), "raw-cpu-s/Gbit")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
