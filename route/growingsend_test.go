package route

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
)

// growingSender sends one object and notes when its blocks are repaired.
type growingSender struct {
	t    testing.TB
	s    *Sender
	now  time.Time
	tx   *Transmission
	b    []byte
	pkts []parsed
}

func newGrowingSender(t testing.TB, cfg SenderConfig) *growingSender {
	g := &growingSender{t: t, s: NewSender(cfg), now: simStart}
	g.begin(1)
	return g
}

func (g *growingSender) begin(n int) {
	var err error
	g.tx, err = g.s.Begin(g.now, media(n, 1))
	require.NoError(g.t, err)
	g.b = nil
	g.run(time.Millisecond)
}

func (g *growingSender) chunk(n int, pause time.Duration) {
	b := randomBytes(uint64(n), n)
	g.b = append(g.b, b...)
	require.NoError(g.t, g.tx.Append(g.now, b))
	g.tx.Cut()
	g.run(pause)
}

func (g *growingSender) run(d time.Duration) { g.pkts = append(g.pkts, drain(g.t, g.s, &g.now, d)...) }

type sentGrowing struct {
	growingPacket
	at time.Duration
}

// growing returns the repair packets of growing objects that were sent, and
// forgets all.
func (g *growingSender) growing() (out []sentGrowing) {
	seq := -1
	for _, p := range g.pkts {
		if p.TSI&growingTSIBit == 0 {
			continue
		}
		require.Equal(g.t, uint8(0), p.PSI)
		require.Equal(g.t, uint64(g.tx.TSI()|growingTSIBit), p.TSI)
		require.Equal(g.t, uint64(g.tx.TOI()), p.TOI)
		require.Empty(g.t, p.Extensions)
		x, ok := parseGrowing(append(binary.BigEndian.AppendUint32(nil, p.id), p.payload...))
		require.True(g.t, ok)
		require.LessOrEqual(g.t, x.end(), int64(len(g.b)))
		if seq >= 0 {
			require.Equal(g.t, uint16(seq+1), x.seq)
		}
		seq = int(x.seq)
		out = append(out, sentGrowing{x, p.at.Sub(simStart)})
	}
	g.pkts = nil
	return out
}

// ranges returns the blocks.
func rangesOf(sent []sentGrowing) (out []Range) {
	for _, p := range sent {
		if r := (Range{p.start, p.end()}); len(out) == 0 || out[len(out)-1] != r {
			out = append(out, r)
		}
	}
	return out
}

func TestGrowingSender(t *testing.T) {
	ms := time.Millisecond
	t.Run("closes after the delay", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms})
		for range 5 {
			require.NoError(t, g.tx.Append(g.now, randomBytes(1, 9000))) // no chunks
			g.b = g.tx.buf
			g.run(9900 * time.Microsecond)
		}
		require.Empty(t, rangesOf(g.growing()))
		g.run(20 * ms)
		sent := g.growing()
		require.Equal(t, []Range{{0, 33 * 1344}}, rangesOf(sent), "what is in packets")
		require.GreaterOrEqual(t, len(sent), 13)
		require.GreaterOrEqual(t, sent[0].at, 50*ms)
		require.LessOrEqual(t, sent[len(sent)-1].at, 62*ms)
	})
	t.Run("few packets wait longer", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms})
		g.chunk(3000, 299*ms)
		require.Empty(t, rangesOf(g.growing()))
		g.run(2 * ms)
		require.Equal(t, []Range{{0, 3000}}, rangesOf(g.growing()))
	})
	t.Run("many packets do not wait", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms, Rate: 8_000_000})
		g.chunk(80_000, 100*ms) // 50 ms are 37 packets
		sent := g.growing()
		require.NotEmpty(t, sent)
		require.Equal(t, Range{0, 37 * 1344}, rangesOf(sent)[0])
	})
	t.Run("does not wait for a chunk that comes too late", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms})
		g.chunk(40_000, 30*ms)
		g.chunk(40_000, 30*ms)
		g.growing()
		for range 10 {
			g.chunk(20_000, 30*ms)
			g.chunk(20_000, 10*ms) // the next would be here after 60 ms
			sent := g.growing()
			require.Len(t, rangesOf(sent), 1)
			require.Equal(t, Range{int64(len(g.b) - 40_000), int64(len(g.b))}, rangesOf(sent)[0])
			g.run(20 * ms)
		}
		require.Empty(t, rangesOf(g.growing()))
	})
	t.Run("leaves the end to the repair of the whole", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms})
		g.chunk(40_000, 60*ms)
		whole := g.growing()
		require.Equal(t, []Range{{0, 40_000}}, rangesOf(whole))
		require.NoError(t, g.tx.Append(g.now, make([]byte, 40_000)))
		require.NoError(t, g.tx.End(g.now))
		g.run(500 * ms)
		require.Empty(t, rangesOf(g.growing()))
		st := g.s.Stats()
		require.Greater(t, st.RepairPackets, st.GrowingPackets+20)
		require.Equal(t, uint64(len(whole)), st.GrowingPackets)

		h := newGrowingSender(t, SenderConfig{GrowingDelay: -1})
		h.chunk(80_000, ms)
		require.NoError(t, h.tx.End(h.now))
		h.run(500 * ms)
		require.Less(t, st.RepairPackets-st.GrowingPackets, h.s.Stats().RepairPackets, "which is less")
		require.Empty(t, rangesOf(h.growing()))
	})
	t.Run("whole objects do not grow", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{Rate: 20_000_000})
		require.NoError(t, g.tx.Append(g.now, make([]byte, 1<<20)))
		require.NoError(t, g.tx.End(g.now))
		g.run(time.Second)
		require.Empty(t, rangesOf(g.growing()))
		require.NotZero(t, g.s.Stats().RepairPackets)
	})
	t.Run("is turned off under way", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms})
		g.chunk(40_000, 20*ms)
		g.s.Reconfigure(SenderConfig{NoRepair: true})
		g.run(time.Second)
		require.Empty(t, rangesOf(g.growing()))
		require.Empty(t, g.s.open)
	})
	t.Run("ends with its object", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{GrowingDelay: 50 * ms})
		g.chunk(40_000, 49*ms)
		require.NoError(t, g.tx.Append(g.now, make([]byte, 10_000)))
		for _, ok := g.s.Poll(g.now, nil); ok; _, ok = g.s.Poll(g.now, nil) {
		}
		g.now = g.now.Add(2 * ms)
		_, ok := g.s.Poll(g.now, nil)
		require.False(t, ok)
		w, ok := g.s.PollWork()
		require.True(t, ok)
		g.tx.Abort()
		w.Run()
		g.s.Finish(g.now, w)
		g.s.Finish(g.now, w)
		g.run(time.Second)
		require.Empty(t, rangesOf(g.growing()))
		require.Nil(t, g.tx.buf)
		require.Zero(t, g.s.Stats().Buffered)
	})
	t.Run("is announced", func(t *testing.T) {
		g := newGrowingSender(t, SenderConfig{})
		flow := published(t, g.pkts).RS[0].LS[0].RepairFlow
		require.Equal(t, g.tx.TSI()|growingTSIBit, flow.GrowingTSI)
		require.Equal(t, uint32(180), flow.GrowingDelay)
		for _, cfg := range []SenderConfig{{GrowingDelay: -1}, {NoRepair: true}} {
			g := newGrowingSender(t, cfg)
			if flow := published(t, g.pkts).RS[0].LS[0].RepairFlow; flow != nil {
				require.Zero(t, flow.GrowingTSI)
			}
		}
	})
}

// A key frame does not hold up the repair of what was sent before for longer
// than that may take.
func TestLateRepairOvertakesSource(t *testing.T) {
	g := newGrowingSender(t, SenderConfig{Rate: 8_000_000, Burst: 10_000, GrowingDelay: 50 * time.Millisecond})
	g.chunk(40_000, 48*time.Millisecond)
	g.chunk(200_000, 100*time.Millisecond)
	sent := g.growing()
	require.NotEmpty(t, sent)
	require.Zero(t, sent[0].start)
	n := 0
	for _, p := range sent {
		if p.start == 0 && p.at < 80*time.Millisecond {
			n++
		}
	}
	require.Greater(t, n, 10)
}

func TestGrowingSenderAllocatesNothingPerPacket(t *testing.T) {
	g := newGrowingSender(t, SenderConfig{Rate: 1e12, Burst: 1 << 30, GrowingTarget: 1e-12, Loss: fec.Loss{Random: 0.9}})
	require.NoError(t, g.tx.Append(g.now, make([]byte, 60_000)))
	g.tx.Cut()
	for _, ok := g.s.Poll(g.now, nil); ok; _, ok = g.s.Poll(g.now, nil) {
	}
	g.now = g.now.Add(40 * time.Millisecond)
	g.s.RunWork(g.now)
	buf := make([]byte, 0, 1500)
	poll := func() {
		if _, ok := g.s.Poll(g.now, buf); !ok {
			panic("nothing to send")
		}
	}
	for range 4 { // signalling
		poll()
	}
	before := g.s.Stats().GrowingPackets
	require.Zero(t, testing.AllocsPerRun(200, poll))
	require.Equal(t, before+201, g.s.Stats().GrowingPackets)
}

// BenchmarkGrowingSender sends an object of 100 Mbit/s in chunks, with the repair
// packets for what was sent.
func BenchmarkGrowingSender(b *testing.B) {
	now := simStart
	s := NewSender(SenderConfig{Rate: 1e10, Burst: 1 << 20})
	chunk := make([]byte, 125_000)
	buf := make([]byte, 0, 1500)
	var tx *Transmission
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%100 == 0 {
			if tx != nil {
				tx.Abort()
			}
			var err error
			if tx, err = s.Begin(now, media(n/100+1, 1)); err != nil {
				b.Fatal(err)
			}
		}
		_ = tx.Append(now, chunk)
		tx.Cut()
		for end := now.Add(10 * time.Millisecond); now.Before(end); now = now.Add(time.Millisecond) {
			s.RunWork(now)
			for _, ok := s.Poll(now, buf); ok; _, ok = s.Poll(now, buf) {
			}
		}
	}
	st := s.Stats()
	if b.N > 10 && st.GrowingPackets == 0 {
		b.Fatal("no repair")
	}
	b.ReportMetric(float64(st.GrowingOctets)/float64(st.SourceOctets), "repair/source")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(st.Packets), "ns/packet")
}
