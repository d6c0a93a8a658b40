package flute_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	fecobject "github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
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

// Objects whose symbols do not lie in a row: of several sub-blocks, and LDPC with several symbols in a packet. And packets
// of several symbols, as Raptor has them for small objects.
func TestScatteredSymbols(t *testing.T) {
	body := random(1, 20_000)
	for name, info := range map[string]fec.ObjectInfo{
		"RaptorQ, sub-blocks":   {ID: fec.RaptorQ, TransferLength: 20_000, SymbolSize: 240, SourceBlocks: 3, SubBlocks: 4, Alignment: 4},
		"Raptor, sub-blocks":    {ID: fec.Raptor, TransferLength: 20_000, SymbolSize: 240, SourceBlocks: 2, SubBlocks: 3, Alignment: 4},
		"LDPC, three symbols":   {ID: fec.LDPCStaircase, TransferLength: 20_000, SymbolSize: 100, MaxBlock: 70, MaxSymbols: 140, Group: 3, N1m3: 2, Seed: 7},
		"RaptorQ, five symbols": {ID: fec.RaptorQ, TransferLength: 20_000, SymbolSize: 100, SourceBlocks: 3, SubBlocks: 1, Alignment: 4},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHand(t, flute.ReceiverConfig{})
			attributes, err := fdt.FECOf(info)
			require.NoError(t, err)
			f := described(1, "a", len(body))
			f.FEC = attributes
			require.NoError(t, h.push(instance(t, 0, describe(t, f))))
			var codec fecobject.Codec
			enc, err := codec.NewEncoder(info, bytes.NewReader(body))
			require.NoError(t, err)
			if name == "RaptorQ, five symbols" {
				enc.Group = 5
			}
			rnd := rand.New(rand.NewPCG(3, 3))
			asked := false
			for sbn := range uint32(info.Blocks()) {
				b, err := enc.Block(sbn)
				require.NoError(t, err)
				for i := range min(b.Packets(), 2*b.SourcePackets()) {
					if rnd.IntN(4) == 0 {
						continue
					}
					pkt, err := b.AppendPacket(nil, i)
					require.NoError(t, err)
					head := lct.Header{TSI: 1, TOI: 1, HasTOI: true, Codepoint: uint8(info.ID)}
					out, err := head.AppendTo(nil)
					require.NoError(t, err)
					require.NoError(t, h.r.Push(h.now, source, append(out, pkt...)))
					if sbn == 0 && i == 3 {
						list, _ := h.events()
						missing := list[1].Object.AppendMissingSymbols(nil, 1)
						require.Less(t, missing[0].Need, b.K())
						asked = true
					}
				}
				h.r.RunWork(h.now)
			}
			require.True(t, asked)
			require.Equal(t, []string{string(body)}, h.release())
			require.NotZero(t, h.r.Stats().Decodes)
			require.Zero(t, h.r.Stats().Memory)
		})
	}
}
