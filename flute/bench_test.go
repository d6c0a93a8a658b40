package flute_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
)

// BenchmarkReceive pushes the packets of one file of 4 MiB again and again, under other TOIs: the time of a packet from
// UDP payload to octets in place, with everything that a file costs. copy is the same octets by copy alone.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct {
		name string
		fec  flute.FEC
	}{{"no-code", flute.FEC{}}, {"raptorq", flute.FEC{Scheme: fec.RaptorQ}}} {
		b.Run(c.name, func(b *testing.B) {
			const files, length = 8, 4 << 20
			w := newWire(b, flute.SenderConfig{
				FEC: c.fec, Rate: 1e10, NoDigests: true, FDTInterval: time.Hour, FDTLifetime: 4 * time.Hour, Linger: time.Hour,
			}, flute.ReceiverConfig{})
			w.keep = true
			for i := range files {
				w.add(file(string(rune('a'+i)), random(uint64(i), length)))
			}
			w.run(10 * time.Second)
			require.Len(b, w.c.locations, files)
			packets := w.log
			b.SetBytes(int64(len(packets[100])))
			b.ReportAllocs()
			r := flute.NewReceiver(flute.ReceiverConfig{Source: source.Addr()})
			i, now := 0, noon
			for b.Loop() {
				if i == len(packets) {
					i = 0
					r = flute.NewReceiver(flute.ReceiverConfig{})
				}
				if err := r.Push(now, source, packets[i]); err != nil {
					b.Fatal(err)
				}
				i++
				for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
					if ev.Kind == flute.Complete {
						r.Release(now, ev.Object)
					}
				}
			}
		})
	}
	b.Run("copy", func(b *testing.B) {
		dst, src := make([]byte, 4<<20), bytes.Repeat([]byte{1}, 1400)
		b.SetBytes(1400)
		i := 0
		for b.Loop() {
			copy(dst[i:], src)
			if i += 1400; i > len(dst)-1400 {
				i = 0
			}
		}
	})
}

// BenchmarkSend makes the packets of a file.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name string
		fec  flute.FEC
	}{{"no-code", flute.FEC{}}, {"raptorq", flute.FEC{Scheme: fec.RaptorQ, MaxBlock: 256}}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := flute.NewSender(flute.SenderConfig{FEC: c.fec, Rate: 1e12, NoDigests: true})
			require.NoError(b, err)
			f := file("a", make([]byte, 16<<20))
			f.Rounds = -1
			_, err = s.Add(noon, f)
			require.NoError(b, err)
			buf, now := make([]byte, 0, 1500), noon
			b.SetBytes(1400)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond)
				pkt, ok := s.Poll(now, buf)
				for !ok {
					s.RunWork(now)
					pkt, ok = s.Poll(now, buf)
				}
				_ = pkt
			}
		})
	}
}
