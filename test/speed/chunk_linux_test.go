package speed

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/route"
)

// BenchmarkChunk measures, on the loopback interface, how long it takes from a low-latency chunk given to a sender until
// all of it can be read at a receiver, and how long a bare datagram takes on the same way, sent before each chunk.
func BenchmarkChunk(b *testing.B) {
	const (
		size    = 25_000 // 40 ms of 5 Mbit/s
		spacing = 10 * time.Millisecond
		perSeg  = 50
	)
	ch := ssmtest.Channel(b)
	host := ssm.NewHost(ssm.Config{})
	defer host.Close()
	rx, err := host.Join(context.Background(), ch, "")
	require.NoError(b, err)
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(b, err)
	defer tx.Close()
	ses := route.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}

	type arrival struct {
		bare   bool
		name   string
		prefix int64
		at     time.Time
	}
	arrivals := make(chan arrival, 1024)
	go func() {
		defer close(arrivals)
		r := route.NewReceiver(route.ReceiverConfig{Session: ses})
		handle := func(at time.Time, from, to netip.AddrPort, run []byte, size int) {
			if run[0] == 0xff {
				arrivals <- arrival{bare: true, at: time.Now()}
				return
			}
			r.PushRun(at, from, to, run, size)
			for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
				switch ev.Kind {
				case route.Progress, route.Complete:
					arrivals <- arrival{name: ev.Object.Name(), prefix: ev.Object.Prefix(), at: time.Now()}
					if ev.Kind == route.Complete {
						r.Release(at, ev.Object)
					}
				}
			}
		}
		for rx.Receive(handle) == nil {
		}
	}()

	s := route.NewSender(route.SenderConfig{Session: ses})
	body := make([]byte, size)
	buf := make([]byte, 0, 64*1400)
	var pkts [][]byte
	flush := func() {
		for {
			now := time.Now()
			buf, pkts = buf[:0], pkts[:0]
			for len(pkts) < 64 {
				n := len(buf)
				var ok bool
				if buf, ok = s.Poll(now, buf); !ok {
					break
				}
				pkts = append(pkts, buf[n:len(buf):len(buf)])
			}
			if len(pkts) == 0 {
				return
			}
			_, err := tx.WriteBatch(pkts, ch.Destination())
			require.NoError(b, err)
		}
	}
	var bare, chunk []time.Duration
	var t *route.Transmission
	var name string
	n := 0
	send := func() {
		if n%perSeg == 0 {
			if t != nil {
				require.NoError(b, t.End(time.Now()))
			}
			number := uint32(n/perSeg + 1)
			name = string(appendNumber([]byte("v-"), number)) + ".m4s"
			t, err = s.Begin(time.Now(), route.Outgoing{Name: name, Track: route.Track{Stem: "v-$TOI$.m4s", Number: number, Run: 1}})
			require.NoError(b, err)
		}
		n++
		at := time.Now()
		_, err := tx.WriteBatch([][]byte{{0xff}}, ch.Destination())
		require.NoError(b, err)
		for x := range arrivals {
			if x.bare {
				bare = append(bare, x.at.Sub(at))
				break
			}
		}
		want := int64((n-1)%perSeg+1) * size
		at = time.Now()
		require.NoError(b, t.Append(at, body))
		t.Cut()
		flush()
		timeout := time.After(time.Second)
		for done := false; !done; {
			select {
			case x := <-arrivals:
				if done = x.name == name && x.prefix >= want; done {
					chunk = append(chunk, x.at.Sub(at))
				}
			case <-time.After(time.Until(s.NextTimeout(time.Now()))):
			case <-timeout:
				b.Fatal("a chunk did not arrive")
			}
			if !done {
				s.RunWork(time.Now())
				flush()
			}
		}
		for end := at.Add(spacing); time.Now().Before(end); time.Sleep(time.Millisecond) {
			s.RunWork(time.Now()) // repair packets of the chunks before
			flush()
		}
	}
	for range 2 * perSeg {
		send() // the rate adapts
	}
	bare, chunk = nil, nil
	for b.Loop() {
		send()
	}
	slices.Sort(bare)
	slices.Sort(chunk)
	at := func(d []time.Duration, q float64) float64 { return float64(d[int(q*float64(len(d)-1))]) / 1e6 }
	b.ReportMetric(at(bare, .5), "bare-p50-ms")
	b.ReportMetric(at(bare, .99), "bare-p99-ms")
	b.ReportMetric(at(chunk, .5), "p50-ms")
	b.ReportMetric(at(chunk, .99), "p99-ms")
	b.ReportMetric(at(chunk, .99)-at(bare, .99), "above-bare-p99-ms")
	b.ReportMetric(0, "ns/op")
	require.NoError(b, rx.Close())
	for range arrivals {
	}
}
