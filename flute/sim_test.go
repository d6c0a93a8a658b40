package flute_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/fdt"
)

var (
	noon   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	source = netip.MustParseAddrPort("192.0.2.1:4000")
)

// wire carries the packets of a sender to a receiver, in simulated time.
type wire struct {
	t    testing.TB
	now  time.Time
	s    *flute.Sender
	c    *collector
	lose func([]byte) bool
	log  [][]byte // packets sent
	keep bool
}

func newWire(t testing.TB, tx flute.SenderConfig, rx flute.ReceiverConfig) *wire {
	s, err := flute.NewSender(tx)
	require.NoError(t, err)
	return &wire{t: t, now: noon, s: s, c: newCollector(t, rx)}
}

// step lets all packets pass that may leave now, and tells when the next one may.
func (w *wire) step() time.Time {
	var buf []byte
	for {
		w.s.RunWork(w.now)
		pkt, ok := w.s.Poll(w.now, buf[:0])
		if !ok {
			if work, more := w.s.PollWork(); more {
				work.Run()
				w.s.Finish(w.now, work)
				continue
			}
			break
		}
		require.LessOrEqual(w.t, len(pkt), 1400)
		if w.keep {
			w.log = append(w.log, bytes.Clone(pkt))
		}
		if w.lose == nil || !w.lose(pkt) {
			require.NoError(w.t, w.c.r.Push(w.now, source, pkt))
		}
		w.c.poll(w.now)
		buf = pkt
	}
	return w.s.NextTimeout(w.now)
}

// run runs until the time has come, or nothing is left to be done.
func (w *wire) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := w.step()
		if t := w.c.r.NextTimeout(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
		if next.IsZero() || next.After(end) {
			break
		}
		require.False(w.t, next.Before(w.now) && w.s.Idle(), "no progress")
		if !next.After(w.now) {
			next = w.now.Add(time.Microsecond)
		}
		w.now = next
		w.c.r.HandleTimeout(w.now)
		w.c.poll(w.now)
	}
	w.now = end
	w.c.r.HandleTimeout(w.now)
	w.c.poll(w.now)
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func file(location string, body []byte) flute.File {
	return flute.File{Location: location, Body: bytes.NewReader(body), Length: int64(len(body))}
}

func (w *wire) add(f flute.File) uint64 {
	w.t.Helper()
	toi, err := w.s.Add(w.now, f)
	require.NoError(w.t, err)
	return toi
}

// got is the digest of what came of a TOI.
func (w *wire) got(toi uint64) string { return w.c.sums[object{0, toi, -1}] }

// entry is what the receiver knows of a TOI.
func (w *wire) entry(toi uint64) fdt.File {
	e, ok := w.c.r.Sessions()[0].FDT().File(w.now, toi)
	require.True(w.t, ok)
	return e.File
}
