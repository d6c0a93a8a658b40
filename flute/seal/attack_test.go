package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// attacked plays ten seconds of a stream to a Verifier while somebody sends
// 10,000 datagrams a second of one class. hostile makes them from true ones,
// and may forge the octets as well. A parent answers for what is missing.
func attacked(t *testing.T, hostile func(chance *rand.Rand, seen [][]byte) []byte, forge bool) VerifierStats {
	const name, chunks, size = "v", 250, 2000
	w := newWorkshop(t, SignerConfig{KeyID: 1})
	d := newDesk(t, VerifierConfig{FirstContact: 5 * time.Second})
	chance := rand.New(rand.NewPCG(4, 4))
	b := octets(1, chunks*size)
	var seen [][]byte // what the attacker has heard, from two minutes ago on
	past := octets(9, size*10)
	for i := range 500 {
		d.at = micro(start) - 120e6 + uint64(i)*40_000
		seen = append(seen, d.make(rec(name, 1, past, (i+1)*size/50, 0)))
	}
	x := w.begin(Outgoing{Name: name, Generation: 2})
	o := d.open(name, 2)
	in := &memory{}
	fetched, equal := 0, int64(0)
	push := func(raw []byte, via Path) { _ = d.v.Push(w.now, raw, via) }
	settle := func() {
		for {
			ev, ok := d.v.Poll()
			if !ok {
				break
			}
			switch ev.Kind {
			case NeedContact, NeedSeal:
				if x.Seal() != nil {
					fetched++
					push(x.Seal().Bytes(), Parent)
				}
			case Conflict, Displaced, Rotated:
				t.Fatalf("%v", ev.Kind)
			}
		}
		verdict := d.v.Advance(w.now, o, in)
		if verdict.Forged > 0 {
			require.True(t, forge)
			in.b = in.b[:verdict.Readable]
			n := len(in.b)
			v := d.v.Check(o, int64(n), b[n:verdict.Forged])
			require.Zero(t, v.Forged)
			require.Equal(t, verdict.Forged, v.Readable)
			in.b = append(in.b, b[n:verdict.Forged]...)
		}
		require.LessOrEqual(t, o.Readable(), x.Len())
		for ; equal < o.Readable(); equal += size {
			end := min(o.Readable(), equal+size)
			require.True(t, bytes.Equal(in.b[equal:end], b[equal:end]), "what is readable is what was sealed")
		}
	}
	for i := range chunks {
		x.Append(b[i*size : (i+1)*size])
		if i == chunks-1 {
			require.NoError(t, x.End(w.now))
		} else {
			require.NoError(t, x.Cut(w.now))
		}
		for range 40 {
			w.run(ms)
			genuine := w.take()
			for k := range 10 {
				if raw := hostile(chance, seen); raw != nil {
					push(raw, Multicast)
				}
				if k == 6 {
					for _, e := range genuine {
						seen = append(seen, e.seal.Bytes())
						push(e.seal.Bytes(), Multicast)
					}
				}
			}
			if len(in.b) < int(x.Len()) {
				n := len(in.b)
				in.b = append(in.b, b[n:x.Len()]...)
				if forge && chance.IntN(3) == 0 {
					in.b[n+chance.IntN(size)] ^= 0x40
				}
			}
			d.now = w.now
			d.v.HandleTimeout(d.now)
			settle()
		}
		require.GreaterOrEqual(t, o.Readable(), max(0, x.Len()-60*size), "the reader is never far behind")
	}
	for range 100 {
		w.run(20 * ms)
		for _, e := range w.take() {
			push(e.seal.Bytes(), Multicast)
		}
		in.complete = true
		d.now = w.now
		d.v.HandleTimeout(d.now)
		settle()
	}
	require.Equal(t, Whole, o.State())
	st := d.v.Stats()
	require.LessOrEqual(t, st.Checks, uint64(12*300+30+fetched))
	require.LessOrEqual(t, st.Names, 2)
	t.Logf("%d datagrams, %d checks, rejected %v, %d from the parent, %d mismatches", st.Datagrams, st.Checks, st.Rejected, fetched, st.Mismatches)
	return st
}

func TestAttacks(t *testing.T) {
	edited := func(seen [][]byte, c *rand.Rand, f func(b []byte)) []byte {
		b := slices.Clone(seen[len(seen)-1-c.IntN(min(20, len(seen)))])
		f(b)
		return b
	}
	for _, a := range []struct {
		name    string
		hostile func(c *rand.Rand, seen [][]byte) []byte
		reason  Reason // of most rejections
	}{
		{"random octets", func(c *rand.Rand, _ [][]byte) []byte {
			b := make([]byte, c.IntN(1300))
			for i := range b {
				b[i] = byte(c.Uint32())
			}
			return b
		}, RejectFormat},
		{"random records behind a true header", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) {
				for i := headerLen; i < len(b); i++ {
					b[i] = byte(c.Uint32())
				}
			})
		}, RejectFormat},
		{"forged digests", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { b[headerLen+20+c.IntN(20)] ^= 1 << c.IntN(8) })
		}, RejectRepeat},
		{"forged generations", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { b[headerLen+1+c.IntN(8)]++ })
		}, RejectLimit},
		{"forged ends", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { b[headerLen] ^= 1 + byte(c.IntN(2)) })
		}, RejectLimit},
		{"forged signatures", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { b[8+6]++; b[len(b)-1-c.IntN(64)] ^= 1 << c.IntN(8) })
		}, RejectRepeat},
		{"replays of the last second", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func([]byte) {})
		}, RejectRepeat},
		{"replays of two minutes ago", func(c *rand.Rand, seen [][]byte) []byte {
			return seen[c.IntN(500)]
		}, RejectOld},
		{"unknown keys", func(c *rand.Rand, seen [][]byte) []byte {
			b, _ := (&Datagram{Key: KeyID(10 + c.IntN(100)), Time: micro(start), Records: []Record{rec("v", 2, []byte("forged"), 6, 0)}}).
				Append(nil, "demo", testKey(9))
			return b
		}, RejectKey},
		{"a wrong key under a true key id", func(c *rand.Rand, seen [][]byte) []byte {
			b, _ := (&Datagram{Key: 1, Time: micro(start), Records: []Record{rec("v", 2, []byte("forged"), 6, 0)}}).
				Append(nil, "demo", testKey(9))
			return b
		}, RejectSignature},
		{"the hop key for media", func(c *rand.Rand, seen [][]byte) []byte {
			b, _ := (&Datagram{Key: 3, Time: micro(start), Records: []Record{rec("v", 2, []byte("forged"), 6, Named)}}).
				Append(nil, "demo", testKey(3))
			return b
		}, RejectKey},
		{"another service", func(c *rand.Rand, seen [][]byte) []byte {
			b, _ := (&Datagram{Key: 1, Time: micro(start), Records: []Record{rec("v", 2, []byte("forged"), 6, 0)}}).
				Append(nil, "other", testKey(1))
			return b
		}, RejectService},
		{"another service under a forged id", func(c *rand.Rand, seen [][]byte) []byte {
			b, _ := (&Datagram{Key: 1, Time: micro(start), Records: []Record{rec("v", 2, []byte("forged"), 6, 0)}}).
				Append(nil, "other", testKey(1))
			copy(b[2:6], seen[0][2:6])
			return b
		}, RejectSignature},
		{"travels into the past", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { b[8+3]-- })
		}, RejectOld},
		{"travels into the future", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { b[8+2] += byte(1 + c.IntN(200)) })
		}, RejectClock},
		{"travels by an hour", func(c *rand.Rand, seen [][]byte) []byte {
			return edited(seen, c, func(b []byte) { binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+3600e6) })
		}, RejectLimit},
	} {
		t.Run(a.name, func(t *testing.T) {
			// A benchmark's worth of signatures: see that they are made once.
			var cache []byte
			st := attacked(t, func(c *rand.Rand, seen [][]byte) []byte {
				if a.reason == RejectKey || a.reason == RejectService || a.reason == RejectSignature {
					if cache == nil || c.IntN(100) == 0 {
						cache = a.hostile(c, seen)
					}
					return cache
				}
				return a.hostile(c, seen)
			}, false)
			most := 0
			for r, n := range st.Rejected {
				if n > st.Rejected[most] {
					most = r
				}
			}
			if a.reason == RejectSignature {
				require.NotZero(t, st.Rejected[RejectSignature])
			} else {
				require.Equal(t, a.reason, Reason(most), "%v", st.Rejected)
			}
			require.Zero(t, st.Mismatches)
		})
	}
	t.Run("forged octets", func(t *testing.T) {
		st := attacked(t, func(*rand.Rand, [][]byte) []byte { return nil }, true)
		require.Greater(t, st.Mismatches, uint64(30))
	})
}

// A signature that belongs to something else than a seal does not verify.
func TestSignatureIsBoundToSeals(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := d.make(rec("v", 1, []byte("octets"), 6, 0))
	body := b[:len(b)-ed25519.SignatureSize]
	bare := append(slices.Clone(body), ed25519.Sign(d.key, body)...)
	require.ErrorIs(t, d.v.Push(d.now, bare, Parent), ErrSignature)
	require.NoError(t, d.v.Push(d.now, b, Parent))
}
