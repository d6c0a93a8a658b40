package flute_test

import (
	"bytes"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
)

// script is fuzz input that is read an octet at a time, zeros at its end.
type script struct{ b []byte }

func (s *script) octet() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

// FuzzTransfer lets a script add and remove files of all kinds, and lose, repeat and delay their packets. Whatever
// becomes complete is what was sent, and in the end all does that is still being sent.
func FuzzTransfer(f *testing.F) {
	for scheme := range byte(7) {
		f.Add([]byte{scheme, 0, scheme, 200, 7, 1, scheme, 9, 3, 200, 4, 0, 1, 2, 3, 6, 80}, uint8(scheme))
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		sc, fate := &script{b[:min(len(b), 64)]}, &script{bytes.Clone(b)}
		s, err := flute.NewSender(flute.SenderConfig{
			Profile: flute.Profile(kind % 3), MaxPayload: 256, Rate: 2_000_000, Parallel: int(kind/3%4) + 1,
			FDTGzip: kind&64 != 0, FDTFiles: int(kind%5) + 1, FDTInterval: 200 * time.Millisecond, FDTLifetime: 2 * time.Second,
		})
		require.NoError(t, err)
		r := flute.NewReceiver(flute.ReceiverConfig{})
		now := noon
		want, got, gone := map[string][]byte{}, map[string]bool{}, map[string]bool{}
		reliable := false
		var delayed [][]byte
		push := func(pkt []byte) { _ = r.Push(now, source, pkt) }
		poll := func() {
			r.RunWork(now)
			for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
				switch ev.Kind {
				case flute.Complete:
					o := ev.Object
					name := o.Location()
					content, err := o.Content(0)
					require.NoError(t, err)
					body, err := io.ReadAll(content)
					require.NoError(t, err)
					require.Equal(t, want[name], append([]byte{}, body...))
					got[name] = true
					r.Release(now, o)
				case flute.Fault:
					t.Fatal(ev.Err)
				}
			}
		}
		run := func(d time.Duration) {
			for end := now.Add(d); now.Before(end); now = now.Add(5 * time.Millisecond) {
				r.HandleTimeout(now)
				s.RunWork(now)
				for pkt, ok := s.Poll(now, nil); ok; pkt, ok = s.Poll(now, nil) {
					s.RunWork(now)
					x := fate.octet() % 16
					switch {
					case reliable, x > 4:
						push(pkt)
					case x == 4:
						push(pkt)
						push(pkt)
					case x == 3:
						delayed = append(delayed, pkt)
					}
					if len(delayed) > 3 || reliable {
						for _, p := range delayed {
							push(p)
						}
						delayed = nil
					}
				}
				poll()
			}
		}
		tois := map[string]uint64{}
		for n := 0; len(sc.b) > 0 && n < 12; n++ {
			name := strconv.Itoa(n)
			switch op := sc.octet(); {
			case op < 200:
				body := random(uint64(n), int(sc.octet())*int(op%8))
				x := file(name, body)
				x.FEC = &flute.FEC{
					Scheme: schemes[int(op)%len(schemes)], Loss: fec.Loss{Random: 0.2, Target: 1e-3}, MaxBlock: int(sc.octet()%40) + 4,
				}
				x.Rounds, x.Interval = -1, time.Duration(sc.octet())*time.Millisecond
				if op%3 == 0 {
					x.Compress = "gzip"
				}
				tois[name], err = s.Add(now, x)
				require.NoError(t, err)
				want[name] = append([]byte{}, body...)
			case op < 220:
				for old, toi := range tois {
					s.Remove(now, toi)
					delete(tois, old)
					gone[old] = true
					break
				}
			default:
				run(time.Duration(op) * time.Millisecond)
			}
		}
		reliable = true
		run(1500 * time.Millisecond)
		for name := range want {
			require.True(t, got[name] || gone[name], name)
		}
		require.Zero(t, r.Stats().Rejected)
	})
}
