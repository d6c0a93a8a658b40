package route

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
)

// The field is that of the code: combinations of source symbols with the coefficients are the repair symbols.
func TestCoefficients(t *testing.T) {
	var c coefficients
	gf := c.field()
	for _, k := range []int{1, 2, 10, 57, 160} {
		source := randomBytes(uint64(k), k*64)
		enc := newEncoder(t, source, 64)
		esis := []uint32{uint32(k), uint32(k) + 1, uint32(k) + 77}
		rows, err := c.of(&raptorq.Codec{}, k, esis)
		require.NoError(t, err)
		for e, esi := range esis {
			sum := make([]byte, 64)
			for i := range k {
				gf.addMul(sum, source[i*64:(i+1)*64], rows[e*k+i])
			}
			require.Equal(t, enc.AppendSymbol(nil, esi), sum)
		}
	}
	for a := 1; a < 256; a++ {
		require.Equal(t, byte(1), gf.mul[a][gf.inverse(byte(a))])
	}
}

func TestSystem(t *testing.T) {
	gf := newField()
	r := rand.New(rand.NewPCG(1, 9))
	for range 100 {
		n := 1 + r.IntN(12)
		x := make([][]byte, n)
		for i := range x {
			x[i] = randomBytes(r.Uint64(), 8)
		}
		equation := func(s *system, from, to int) {
			left, right := make([]byte, n), make([]byte, 8)
			for i := from; i < to; i++ {
				left[i] = byte(r.Uint32())
				gf.addMul(right, x[i], left[i])
			}
			s.left, s.right = append(s.left, left), append(s.right, right)
		}
		// The first unknowns have equations enough, the others one too few.
		s := &system{width: n, size: 8}
		first := r.IntN(n)
		for range first + 3 {
			equation(s, 0, first)
		}
		for range n - first - 1 {
			equation(s, 0, n)
		}
		require.True(t, s.solve(gf))
		known := s.determined()
		for i, b := range known {
			if b != nil {
				require.Equal(t, x[i], b)
			}
			if i < first {
				require.NotNil(t, b, "with few exceptions in 2^24")
			}
		}
		// A wrong one is found.
		equation(s, 0, n)
		equation(s, 0, n)
		equation(s, 0, n)
		s.right[len(s.right)-1][0] ^= 1
		s.pivots = nil
		require.False(t, s.solve(gf))
	}
}

// smallStream sends chunks of some octets, as an audio track does.
type smallStream struct {
	*sim
	tx   *Transmission
	b    []byte
	n    int
	size int
}

func (x *smallStream) begin() {
	x.n++
	var err error
	x.tx, err = x.snd.Begin(x.now, Outgoing{Name: media(x.n, 7).Name, Track: Track{Stem: stem, Number: uint32(x.n), Run: 7, Kind: Audio}})
	require.NoError(x.t, err)
	x.b = nil
}

func (x *smallStream) chunks(n int) {
	for range n {
		b := randomBytes(uint64(len(x.b)), x.size+len(x.b)%50)
		x.b = append(x.b, b...)
		require.NoError(x.t, x.tx.Append(x.now, b))
		x.tx.Cut()
		x.run(20 * time.Millisecond)
	}
}

func newSmallStream(t *testing.T, rc ReceiverConfig) *smallStream {
	x := &smallStream{sim: newSim(t, SenderConfig{}, rc), size: 300}
	x.begin()
	x.chunks(20) // it shows its rhythm
	require.NoError(t, x.tx.End(x.now))
	x.run(time.Second)
	x.begin()
	return x
}

// Overlapping blocks of few symbols each bring back what none of them could alone.
func TestSmallStreams(t *testing.T) {
	x := newSmallStream(t, ReceiverConfig{})
	x.chunks(20)
	require.True(t, x.tx.growth.small)
	o := x.rcv.objects[objectKey{x.tx.TSI(), x.tx.TOI()}]
	require.Equal(t, int64(len(x.b)), o.Prefix())
	for _, b := range x.tx.growth.blocks {
		require.True(t, b.window)
		require.True(t, b.growingBlock.aligned())
		require.LessOrEqual(t, b.symbols(), maxWindow)
	}
	st := x.snd.Stats()
	// Three source packets in a row, and no more than those.
	x.drop = func(pkt []byte) bool { return pkt[0]&3 == psiSource }
	x.chunks(3)
	x.drop = nil
	require.Less(t, o.Prefix(), int64(len(x.b)))
	decodes := x.rcv.Stats().Decodes
	x.chunks(12)
	require.Equal(t, int64(len(x.b)), o.Prefix(), "they are back before the end")
	require.Greater(t, x.rcv.Stats().Decodes, decodes)
	require.Empty(t, o.blocks)
	require.GreaterOrEqual(t, o.Recovered(), int64(900))
	require.NoError(t, x.tx.End(x.now))
	x.run(time.Second)
	require.True(t, bytes.Equal(x.b, x.got[media(2, 7).Name]))
	now := x.snd.Stats()
	growing := float64(now.GrowingOctets-st.GrowingOctets) / float64(now.SourceOctets-st.SourceOctets)
	require.Less(t, growing, 0.65)
	require.Zero(t, x.rcv.decoding)
	require.Zero(t, x.rcv.Stats().DecodeErrors)
}

// What contradicts is dropped.
func TestForgedWindows(t *testing.T) {
	x := newSmallStream(t, ReceiverConfig{})
	x.chunks(10)
	forge := true
	x.drop = func(pkt []byte) bool { return pkt[0]&3 == psiSource }
	x.chunks(2)
	x.drop = func(pkt []byte) bool {
		if forge && pkt[0]&3 == psiRepair {
			pkt[len(pkt)-1] ^= 1
		}
		return false
	}
	x.chunks(6)
	forge = false
	require.NoError(t, x.tx.End(x.now))
	x.run(2 * time.Second)
	require.True(t, bytes.Equal(x.b, x.got[media(2, 7).Name]), "the whole is repaired")
	require.NotZero(t, x.rcv.Stats().DecodeErrors)
	require.Zero(t, x.rcv.decoding)
}

// The plan for the whole object counts on overlapping blocks as much as they bring: compared with chance.
func TestPlanRestOfWindows(t *testing.T) {
	const p, packets, each = 0.1, 60, 300
	var spans []span
	for i := range packets {
		spans = append(spans, span{uint32(i * each), each})
	}
	var blocks []sentBlock
	for i := 2; i <= packets; i += 2 {
		b := sentBlock{first: i - 2, last: i, group: 4, count: 1, window: true}
		b.size, b.start = 80, int64(max(0, i-windowPackets)*each/80*80)
		b.length = i*each - int(b.start)
		blocks = append(blocks, b)
	}
	loss := fec.Loss{Random: p, Target: 0.01}
	y := 304
	k := superSymbols(packets*each, y)
	r := planRest(loss, spans, blocks, y, 1, 0, k)
	require.Less(t, r, loss.RepairWeighted(blockCosts(nil, spans, y, 0, k), 1))
	// What is missing at the end, in windows' symbols: those that could not be made up for.
	chance := rand.New(rand.NewPCG(3, 3))
	fails := 0
	const trials = 20_000
	for range trials {
		missing, symbols := 0, 0
		for _, b := range blocks {
			for _, c := range b.costs(nil, spans[b.first:b.last]) {
				if chance.Float64() < p {
					missing += c
					symbols += 2
				}
			}
			if chance.Float64() >= p {
				if missing -= b.group; missing <= 0 {
					missing, symbols = 0, 0
				}
			}
		}
		got := 0
		for range r {
			if chance.Float64() >= p {
				got++
			}
		}
		if symbols > got {
			fails++
		}
	}
	require.LessOrEqual(t, float64(fails)/trials, 0.013)
	require.Greater(t, r, 3)
}

// Forged blocks of the largest symbols cost no more work in a second than is allowed.
func TestJointWorkIsBounded(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(1))
	h.ok(pk{tsi: 1, toi: 1, cp: 8, data: seq(10)})
	spent, works := 0, 0
	for i := range 400 {
		g := growingBlock{start: int64(i%8) * 2048, length: 100 * 2048, size: 2048}
		_ = h.r.Push(h.now, simSrc, growingBytes(1001, 1, g, uint32(g.symbols()+i/8), uint16(i), randomBytes(uint64(i), g.size)))
		for w, ok := h.r.PollWork(); ok; w, ok = h.r.PollWork() {
			if w.joint != nil {
				works++
				equations := 0
				for _, b := range w.joint.blocks {
					equations += len(b.esis)
				}
				spent += equations * len(w.joint.source)
			}
			h.r.Finish(h.now, w) // it is not run
		}
	}
	t.Logf("%d attempts, %d multiplications", works, spent)
	require.Greater(t, works, 10)
	require.LessOrEqual(t, spent, maxJoint)
	require.Zero(t, h.r.decoding)
}
