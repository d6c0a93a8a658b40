package flute_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
)

var schemes = []fec.EncodingID{
	fec.CompactNoCode, fec.Raptor, fec.ReedSolomonGF2M, fec.LDPCStaircase, fec.ReedSolomonGF256, fec.RaptorQ,
	fec.SmallBlockSystematic,
}

// Every scheme in every profile, without loss, with one file of several blocks and some of few octets.
func TestSchemes(t *testing.T) {
	for _, profile := range []flute.Profile{flute.Version2, flute.Version1, flute.MBMS} {
		for _, scheme := range schemes {
			t.Run(fmt.Sprintf("%d/%v", profile, scheme), func(t *testing.T) {
				w := newWire(t, flute.SenderConfig{
					Profile: profile, FEC: flute.FEC{Scheme: scheme, MaxBlock: 60}, ObjectFTI: profile == flute.Version2, SHA256: profile != flute.MBMS,
				}, flute.ReceiverConfig{})
				want := map[uint64]string{}
				for i, n := range []int{300_000, 0, 1, 1331, 5000, 65536} {
					body := random(uint64(i), n)
					want[w.add(file(fmt.Sprint(i), body))] = sum(body)
				}
				w.run(5 * time.Second)
				for toi, s := range want {
					require.Equal(t, s, w.got(toi), "TOI %d", toi)
					require.Equal(t, flute.DigestEncoded, w.c.digests[object{0, toi, -1}])
				}
				require.Empty(t, w.c.faults)
				require.Zero(t, w.c.lost)
				require.Zero(t, w.c.r.Stats().Memory)
				require.True(t, w.s.Idle())
			})
		}
	}
}

// A fifth of the packets is lost, and the repair of the planner makes up for it. Without a code, the rounds of a
// carousel do.
func TestLoss(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme.String(), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, uint64(scheme)))
			w := newWire(t, flute.SenderConfig{
				FEC: flute.FEC{Scheme: scheme, Loss: fec.Loss{Random: 0.2}, MaxBlock: 120}, Rate: 100_000_000,
			}, flute.ReceiverConfig{})
			w.lose = func([]byte) bool { return rnd.IntN(5) == 0 }
			want := map[uint64]string{}
			for i, n := range []int{300_000, 100_000, 20_000} {
				body := random(uint64(i), n)
				f := file(fmt.Sprint(i), body)
				if scheme == fec.CompactNoCode {
					f.Rounds = 12
				}
				want[w.add(f)] = sum(body)
			}
			w.run(20 * time.Second)
			for toi, s := range want {
				require.Equal(t, s, w.got(toi), "TOI %d", toi)
			}
			require.Zero(t, w.c.r.Stats().Memory)
			if scheme != fec.CompactNoCode {
				require.NotZero(t, w.c.r.Stats().Recovered)
			}
		})
	}
}

// Of a thousand files with the repair that the planner gives for one failure in a million, every one becomes complete.
func TestThousandFiles(t *testing.T) {
	loss := fec.Loss{Random: 0.2, Target: 1e-6}
	rnd := rand.New(rand.NewPCG(20, 20))
	w := newWire(t, flute.SenderConfig{
		FEC: flute.FEC{Scheme: fec.RaptorQ, Loss: loss}, FDTFEC: flute.FEC{Scheme: fec.RaptorQ, Loss: loss},
		Rate: 1_000_000_000, MaxPayload: 256,
	}, flute.ReceiverConfig{MaxObjects: 2000})
	w.lose = func([]byte) bool { return rnd.IntN(5) == 0 }
	want := map[uint64]string{}
	for i := range 1000 {
		body := random(uint64(i), 4000+i)
		want[w.add(file(fmt.Sprint(i), body))] = sum(body)
	}
	w.run(30 * time.Second)
	for toi, s := range want {
		require.Equal(t, s, w.got(toi), "TOI %d", toi)
	}
	require.Zero(t, w.c.lost)
	st := w.c.r.Stats()
	require.Equal(t, uint64(1000), st.Objects)
	require.Greater(t, st.Decodes, uint64(900))
}
