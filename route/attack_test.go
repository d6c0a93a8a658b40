package route

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

// gate stands for what a role puts behind the Receiver: it knows the true
// octets, accepts no other, fetches what is missing, and accepts no forged
// signalling.
type gate struct {
	*live
	whole map[string]bool
}

func newGate(t *testing.T, rc ReceiverConfig) *gate {
	rc.HoldSignalling = true
	g := &gate{newLive(t, SenderConfig{}, rc), map[string]bool{}}
	g.keep = true
	g.unicast()
	ask := g.onEvent
	g.onEvent = func(ev Event) {
		ask(ev)
		switch ev.Kind {
		case Signalling:
			if !bytes.Contains(ev.Signal.Body, []byte("evil")) {
				g.rcv.Accept(g.now, ev.Signal)
			}
		case Progress, Complete:
			g.verify(ev.Object, ev.Kind == Complete)
		}
	}
	return g
}

func (g *gate) verify(o *Object, complete bool) {
	truth, known := g.want[o.Name()]
	if !known {
		g.rcv.Release(g.now, o)
		return
	}
	p := make([]byte, o.Prefix())
	_, err := o.ReadAt(p, 0)
	require.NoError(g.t, err)
	n := 0
	for n < len(p) && n < len(truth) && p[n] == truth[n] {
		n++
	}
	_, ended := g.ends[o.Name()]
	switch {
	case n < len(p):
		g.rcv.Reject(g.now, o, int64(n))
	case !complete:
	case n == len(truth) && ended:
		g.whole[o.Name()] = true
		g.rcv.Release(g.now, o)
	default: // the length was forged
		g.rcv.Reject(g.now, o, int64(n))
	}
}

// attack sends forged packets, made by forge, at a rate, with the true service.
func (g *gate) attack(every time.Duration, segments int, forge func(r *rand.Rand) []byte) {
	r := rand.New(rand.NewPCG(13, 13))
	next := g.now
	g.clock = func() {
		for !next.After(g.now) {
			_ = g.rcv.Push(next, simSrc, forge(r))
			g.rcv.RunWork(next)
			g.poll()
			next = next.Add(every)
		}
	}
	for n := 1; n <= segments; n++ {
		g.segment(n)
	}
	g.run(4 * time.Second)
	require.LessOrEqual(g.t, g.rcv.pool.Used(), g.rcv.pool.Limit())
	for name := range g.want {
		if name != "init-v.mp4" && name != "init-a.mp4" { // they have no end here
			require.True(g.t, g.whole[name], "%s is not complete", name)
		}
	}
	g.t.Logf("%+v", g.rcv.Stats())
}

// Every class of forgery alone, at 2,000 packets a second.
func TestAttacks(t *testing.T) {
	mark := bytes.Repeat([]byte("forged! "), 100)
	var evil [256][]byte
	// living returns identifiers of an object that is being sent.
	living := func(g *gate, r *rand.Rand) (tsi, toi uint32) {
		n := uint32(g.now.Sub(simStart)/time.Second) + 1
		return 2 + r.Uint32N(2), n + r.Uint32N(2)
	}
	for _, c := range []struct {
		name  string
		forge func(g *gate, r *rand.Rand) []byte
	}{
		{"random octets", func(g *gate, r *rand.Rand) []byte {
			return randomBytes(r.Uint64(), r.IntN(1400))
		}},
		{"random packets", func(g *gate, r *rand.Rand) []byte {
			return pk{tsi: r.Uint32N(5), toi: r.Uint32(), cp: 8, off: r.Uint32(), data: mark}.bytes()
		}},
		{"payload of living TOIs", func(g *gate, r *rand.Rand) []byte {
			tsi, toi := living(g, r)
			return pk{tsi: tsi, toi: toi, cp: 8, off: r.Uint32N(300_000), data: mark[:r.IntN(len(mark))]}.bytes()
		}},
		{"far offsets of living TOIs", func(g *gate, r *rand.Rand) []byte {
			tsi, toi := living(g, r)
			return pk{tsi: tsi, toi: toi, cp: 8, off: r.Uint32N(60_000_000), data: mark}.bytes()
		}},
		{"flags A and B", func(g *gate, r *rand.Rand) []byte {
			tsi, toi := living(g, r)
			p := pk{tsi: tsi, toi: toi, cp: 8, off: r.Uint32N(300_000), close: true}.bytes()
			p[1] |= 2
			return p
		}},
		{"EXT_TOL", func(g *gate, r *rand.Rand) []byte {
			tsi, toi := living(g, r)
			return pk{tsi: tsi, toi: toi, cp: 8, off: 0, tol: int64(r.Uint32N(400_000)), close: true}.bytes()
		}},
		{"FEC symbols", func(g *gate, r *rand.Rand) []byte {
			tsi, toi := living(g, r)
			oti, _ := RepairOTI(int64(r.Uint32N(400_000)), 1344, 1024)
			k, _, _ := oti.Block(0)
			return pk{tsi: tsi, toi: toi, psi: 1, off: uint32(k) + r.Uint32N(30), data: randomBytes(r.Uint64(), 1344), fti: fec.AppendOTI(nil, oti)}.bytes()
		}},
		{"symbols for growing objects", func(g *gate, r *rand.Rand) []byte {
			tsi, toi := living(g, r)
			b := growingBlock{r.Int64N(300_000), 1 + r.IntN(100_000), 1344, r.IntN(1344)}
			return growingBytes(tsi^growingTSIBit, toi, b, uint32(b.symbols())+r.Uint32N(30), uint16(r.Uint32()), randomBytes(r.Uint64(), 1344))
		}},
		{"S-TSID", func(g *gate, r *rand.Rand) []byte {
			version := byte(r.Uint32())
			if evil[version] == nil {
				doc := sls.STSID{RS: []sls.RS{{LS: []sls.LS{channelLS(2, fdt.Instance{FileTemplate: "evil-$TOI$"})}}}}
				body, _ := doc.Append(nil)
				p := sls.Package{Version: version, NoEnvelope: true, Parts: []sls.Part{{
					ContentType: sls.MediaTypeSTSID, Location: stsidLocation, Generation: r.Uint64(), Body: body,
				}}}
				b, _ := p.AppendGzip(nil)
				evil[version] = pk{tsi: 0, toi: uint32(p.TOI(true)), cp: 3, data: b, tol: int64(len(b))}.bytes()
			}
			return evil[version]
		}},
		{"EFDT", func(g *gate, r *rand.Rand) []byte {
			in := fdt.Instance{Expires: expiresNever, Files: []fdt.File{{TOI: uint64(r.Uint32N(10) + 1), ContentLocation: "evil", Generation: r.Uint64()}}}
			b, _ := in.Append(nil)
			return pk{tsi: 2 + r.Uint32N(2), toi: 0, cp: 8, data: b, tol: int64(len(b))}.bytes()
		}},
		{"pieces of packages", func(g *gate, r *rand.Rand) []byte {
			toi := g.snd.signal.toi&^0xff | uint32(byte(g.snd.signal.version)+byte(r.Uint32N(3)))
			return pk{tsi: 0, toi: toi, cp: 3, off: r.Uint32N(1000), data: mark[:100], tol: int64(r.Uint32N(2000))}.bytes()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, ReceiverConfig{MaxMemory: 16 << 20})
			g.attack(500*time.Microsecond, 4, func(r *rand.Rand) []byte { return c.forge(g, r) })
		})
	}
}
