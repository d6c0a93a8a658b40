package speed

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/packetio"
	"github.com/treedn/treedn/route"
)

// The sockets are sources and sinks.
var (
	_ packetio.Source = (*ssmReceiver)(nil)
	_ packetio.Sink   = (*ssmSender)(nil)
)

const (
	maxPayload = 1456 // packets with EXT_TOL of 24 bits are 1452
	tracks     = 8
	batch      = 64 // packets of one call
)

// load is eight tracks with an object each of 2 to 4 MB, as the packets that a sender of ROUTE makes of them.
type load struct {
	signalling [][]byte
	batches    [][][]byte // those of the tracks in turn
	octets     int        // UDP payload
	packets    int
	round      uint32
}

func session() route.Session {
	return route.Session{Source: sourceAddr, Group: channel.Group, Port: channel.Port}
}

func newSender() *route.Sender {
	return route.NewSender(route.SenderConfig{
		Session: session(), MaxPayload: maxPayload, NoRepair: true, Rate: 1e12, Burst: 1 << 30, Loss: fec.Loss{},
		MaxBuffered: 1 << 30, Retain: time.Second,
	})
}

func begin(tb testing.TB, s *route.Sender, now time.Time, track int, number uint32, size int) *route.Transmission {
	stem := string(rune('a'+track)) + "-$TOI$.m4s"
	name := []byte{byte('a' + track), '-'}
	name = appendNumber(name, number)
	t, err := s.Begin(now, route.Outgoing{
		Name: string(name) + ".m4s", Length: int64(size),
		Track: route.Track{Stem: stem, Number: number, Run: 1, Kind: route.Video},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func appendNumber(b []byte, n uint32) []byte {
	if n >= 10 {
		b = appendNumber(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

func objectSize(track int) int { return 2_000_000 + track*2_000_000/(tracks-1) }

// newLoad renders the packets.
func newLoad(tb testing.TB) *load {
	l := &load{}
	s := newSender()
	now := time.Now()
	body := make([]byte, 4_000_000)
	for i := range body {
		body[i] = byte(i * 7)
	}
	for i := range tracks {
		t := begin(tb, s, now, i, 1, objectSize(i))
		require.NoError(tb, t.Append(now, body[:objectSize(i)]))
		require.NoError(tb, t.End(now))
	}
	queues := map[uint32][]byte{} // each in a buffer of its own
	ends := map[uint32][]int{}
	for pkt, ok := s.Poll(now, nil); ok; pkt, ok = s.Poll(now, nil) {
		tsi := binary.BigEndian.Uint32(pkt[8:])
		if tsi == 0 {
			l.signalling = append(l.signalling, pkt)
			continue
		}
		queues[tsi] = append(queues[tsi], pkt...)
		ends[tsi] = append(ends[tsi], len(queues[tsi]))
		l.octets += len(pkt)
		l.packets++
	}
	at := map[uint32]int{}
	off := map[uint32]int{}
	for more := true; more; {
		more = false
		for tsi, q := range queues {
			var one [][]byte
			for len(one) < batch && at[tsi] < len(ends[tsi]) {
				end := ends[tsi][at[tsi]]
				one = append(one, q[off[tsi]:end])
				off[tsi] = end
				at[tsi]++
			}
			if len(one) > 0 {
				l.batches = append(l.batches, one)
				more = true
			}
		}
	}
	require.Len(tb, queues, tracks)
	return l
}

// next makes the objects of the next round, with new TOIs, out of those before.
func (l *load) next() {
	l.round++
	for _, one := range l.batches {
		for _, pkt := range one {
			binary.BigEndian.PutUint32(pkt[12:], l.round)
		}
	}
}

// figures of one direction.
type figures struct {
	octets int64
	wall   time.Duration
	cpu    time.Duration
}

func (f figures) plus(g figures) figures {
	return figures{f.octets + g.octets, f.wall + g.wall, f.cpu + g.cpu}
}

func (f figures) gbits() float64 { return float64(f.octets) * 8 / 1e9 / f.wall.Seconds() }
func (f figures) cost() float64  { return f.cpu.Seconds() / (float64(f.octets) * 8 / 1e9) }

// flow keeps the octets on the way below what the receive buffer holds, whose accounting counts more than payload.
type flow struct {
	sent, got atomic.Int64
	stop      atomic.Bool
	window    int64
}

func (f *flow) wait() {
	for f.sent.Load()-f.got.Load() > f.window && !f.stop.Load() {
		time.Sleep(50 * time.Microsecond)
	}
}

// transfer sends rounds of a load, as fast as the receiver takes them, and gives what arrives to handle.
func transfer(tb testing.TB, ln *link, l *load, rounds int, handle packetio.Handler) (send, recv figures) {
	var f flow
	f.window = 8 << 20
	total := int64(rounds) * int64(l.octets)
	sent := make(chan figures)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		start, used := time.Now(), cpu()
		for range rounds {
			l.next()
			for _, one := range l.batches {
				f.wait()
				if _, err := ln.tx.WriteBatch(one, channel.Destination()); err != nil {
					tb.Error(err)
					f.stop.Store(true)
				}
				n := 0
				for _, p := range one {
					n += len(p)
				}
				f.sent.Add(int64(n))
			}
		}
		sent <- figures{total, time.Since(start), cpu() - used}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var got int64
	count := func(at time.Time, from, to addrPort, run []byte, size int) {
		got += int64(len(run))
		handle(at, from, to, run, size)
	}
	_ = ln.rx.SetReadDeadline(time.Now().Add(5 * time.Minute))
	start, used := time.Now(), cpu()
	for got < total {
		if err := ln.rx.Receive(count); err != nil {
			f.stop.Store(true)
			tb.Error(err, errors.Is(err, os.ErrDeadlineExceeded))
			break
		}
		f.got.Store(got)
	}
	recv = figures{total, time.Since(start), cpu() - used}
	return <-sent, recv
}
