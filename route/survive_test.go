package route

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
)

// With the repair that package fec plans for one failed segment in a million, a thousand segments of a hundred packets
// come through a loss of every fifth packet, and none asks for help.
func TestTwentyPercentLoss(t *testing.T) {
	segments := 1000
	if testing.Short() {
		segments = 100
	}
	s := newSim(t, SenderConfig{Loss: fec.Loss{Random: 0.2, Target: 1e-6}, GrowingDelay: -1, Rate: 1e9}, ReceiverConfig{})
	s.sendWhole(Outgoing{Name: "first"}, []byte("the signalling arrives with it"))
	s.run(2 * time.Second)
	s.drop = lossy(20, 0.2)
	unit := s.snd.unit
	source := randomBytes(1, 1<<20)
	sent := map[string][]byte{}
	s.onEvent = func(ev Event) {
		if ev.Kind == Complete && ev.Object.Templated() {
			name := ev.Object.Name()
			require.True(t, bytes.Equal(sent[name], s.got[name]), name)
			delete(sent, name)
			s.got[name] = nil
		}
	}
	before := s.snd.Stats()
	for n := 1; n <= segments; n++ {
		out := media(n, 7)
		at := n * 997 % (len(source) - 100*unit)
		sent[out.Name] = source[at : at+100*unit]
		s.sendWhole(out, sent[out.Name])
		s.run(40 * time.Millisecond)
	}
	s.run(time.Second)
	require.Empty(t, sent)
	require.Empty(t, s.asked)
	st := s.snd.Stats()
	repair := float64(st.RepairPackets-before.RepairPackets) / float64(segments)
	t.Logf("%.0f repair packets for 100 source packets; %d packets lost", repair, s.rcv.Stats().Lost)
	require.Less(t, repair, 70.0)
	require.InDelta(t, 0.2, float64(s.rcv.Stats().Lost)/float64(st.Packets-before.Packets), 0.02)
}

// rateless answers requests for repair as a repair server does, by symbols of the whole object that nobody was sent,
// once it has ended.
type rateless struct {
	*sim
	rtt     time.Duration
	content map[string][]byte
	queue   []request
	symbols int
}

type request struct {
	at time.Time
	o  *Object
	n  int64 // octets that are missing
}

func (x *rateless) ask(ev Event) {
	if ev.Kind != NeedRepair || ev.Growing {
		return // while it grows the object has no symbols
	}
	n := int64(0)
	for _, m := range ev.Missing {
		if m.End < 0 {
			m.End = int64(len(x.content[ev.Object.Name()]))
		}
		n += m.End - m.Start
	}
	x.queue = append(x.queue, request{x.now.Add(x.rtt), ev.Object, n})
}

func (x *rateless) answer() {
	for len(x.queue) > 0 && !x.now.Before(x.queue[0].at) {
		q := x.queue[0]
		x.queue = x.queue[1:]
		if q.o.Complete() || q.o.released {
			continue
		}
		l, ok := x.snd.Lookup(q.o.TSI(), q.o.TOI())
		require.True(x.t, ok && l.Repair, q.o.Name())
		y := int(l.OTI.SymbolSize)
		super := AppendSuperObject(nil, x.content[q.o.Name()], y)
		for sbn := range l.OTI.SourceBlocks {
			k, off, n := l.OTI.Block(sbn)
			enc := newEncoder(x.t, super[off:off+n], y)
			// As many as may be missing of this block, and two more for the law of failure.
			count := min(k, int(q.n/int64(y))+3)
			b := enc.AppendRepair(nil, l.NextESI, count)
			require.NoError(x.t, x.rcv.SupplySymbols(x.now, q.o, l.OTI, sbn, l.NextESI, b))
			x.symbols += count
		}
		x.rcv.RunWork(x.now)
		x.poll()
	}
}

// A burst of 200 ms in every segment is too much for repair packets that are planned for independent losses. With
// symbols from a repair server, 60 ms away, every segment is whole before the next one is.
func TestBurstsOf200ms(t *testing.T) {
	const segment = 2 * time.Second
	for _, rate := range []int{1_000_000, 5_000_000} {
		s := newSim(t, SenderConfig{}, ReceiverConfig{})
		x := &rateless{sim: s, rtt: 60 * time.Millisecond, content: map[string][]byte{}}
		ends, whole := map[string]time.Time{}, map[string]time.Time{}
		s.onEvent = func(ev Event) {
			x.ask(ev)
			if ev.Kind == Complete && ev.Object.Templated() {
				whole[ev.Object.Name()] = s.now
				require.True(t, bytes.Equal(x.content[ev.Object.Name()], s.got[ev.Object.Name()]))
			}
		}
		s.clock = x.answer
		var burst time.Time
		s.drop = func([]byte) bool { return !s.now.Before(burst) && s.now.Before(burst.Add(200*time.Millisecond)) }
		chance := rand.New(rand.NewPCG(9, uint64(rate)))
		for n := 1; n <= 20; n++ {
			// Anywhere, in the end of it and in its repair packets, too.
			burst = s.now.Add(time.Duration(chance.Int64N(int64(segment))))
			if n == 1 {
				burst = s.now.Add(time.Second)
			}
			out := media(n, 7)
			tx, err := s.snd.Begin(s.now, out)
			require.NoError(t, err)
			for range segment / (40 * time.Millisecond) {
				b := randomBytes(uint64(n), rate/8/25)
				x.content[out.Name] = append(x.content[out.Name], b...)
				require.NoError(t, tx.Append(s.now, b))
				tx.Cut()
				s.run(40 * time.Millisecond)
			}
			require.NoError(t, tx.End(s.now))
			ends[out.Name] = s.now
		}
		s.run(segment)
		require.Empty(t, s.lost)
		var worst time.Duration
		for name, end := range ends {
			at, ok := whole[name]
			require.True(t, ok, name)
			worst = max(worst, at.Sub(end))
		}
		t.Logf("%d kbit/s: the slowest segment was whole %v after its end; %d symbols by unicast", rate/1000, worst, x.symbols)
		require.Less(t, worst, segment)
	}
}
