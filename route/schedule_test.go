package route

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/pacing"
	"github.com/treedn/treedn/route/sls"
)

// sentPacket is a source packet as it left.
type sentPacket struct {
	lct.Header
	at    time.Duration
	octet int
}

// drainSender takes all packets that leave within d.
func drainSender(t testing.TB, s *Sender, now *time.Time, d time.Duration) (out []sentPacket) {
	end := now.Add(d)
	for {
		s.RunWork(*now)
		for pkt, ok := s.Poll(*now, nil); ok; pkt, ok = s.Poll(*now, nil) {
			p := sentPacket{at: now.Sub(simStart), octet: len(pkt)}
			_, err := p.Unmarshal(pkt)
			require.NoError(t, err)
			out = append(out, p)
		}
		next := s.NextTimeout(*now)
		if next.IsZero() || next.After(end) {
			*now = end
			return out
		}
		if !next.After(*now) {
			next = now.Add(time.Microsecond)
		}
		*now = next
	}
}

func sentIn(list []sentPacket, tsi uint32) (out []sentPacket) {
	for _, p := range list {
		if p.TSI == uint64(tsi) {
			out = append(out, p)
		}
	}
	return out
}

func TestWhatIsDueFirstLeavesFirst(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true, Rate: 10_000_000, Burst: 3000})
	begin := func(name string, within time.Duration, priority, octets int) *Transmission {
		tx, err := s.Begin(now, Outgoing{
			Name: name + "-1.m4s", Track: Track{Stem: name + "-$TOI$.m4s", Number: 1, Run: 1}, Within: within, Priority: priority,
		})
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, octets)))
		tx.Cut()
		return tx
	}
	// All signalling leaves first.
	a := begin("a", 0, 0, 1)
	drainSender(t, s, &now, time.Second)
	require.NoError(t, a.Append(now, make([]byte, 200_000)))
	turn := begin("turn", 0, 0, 50_000)
	late := begin("late", 200*time.Millisecond, 0, 30_000)
	soon := begin("soon", 10*time.Millisecond, 0, 30_000)
	first := begin("first", 0, 1, 30_000)
	var order []uint64
	for _, p := range drainSender(t, s, &now, time.Second) {
		if p.TSI != 0 && (len(order) == 0 || order[len(order)-1] != p.TSI) {
			order = append(order, p.TSI)
		}
	}
	id := func(x *Transmission) uint64 { return uint64(x.TSI()) }
	require.Equal(t, []uint64{id(first), id(soon), id(late)}, order[:3])
	require.Greater(t, len(order), 60, "the others take turns")
	require.Equal(t, id(a), order[len(order)-1])
	_ = turn
}

func TestChannelRate(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{Rate: 100_000_000})
	var txs []*Transmission
	for i, rate := range []int64{1_000_000, 0} {
		tx, err := s.Begin(now, Outgoing{
			Name: fmt.Sprintf("%d-1", i), Track: Track{Stem: fmt.Sprintf("%d-$TOI$", i), Number: 1, Run: 1}, ChannelRate: rate,
		})
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, 1_000_000)))
		require.NoError(t, tx.End(now))
		txs = append(txs, tx)
	}
	sent := drainSender(t, s, &now, 4*time.Second)
	octets := 0
	for _, p := range sentIn(sent, txs[0].TSI()) {
		octets += p.octet + pacing.UDPOverhead
	}
	require.InDelta(t, 4*1_000_000/8+channelBurst, octets, 2000)
	other := sentIn(sent, txs[1].TSI())
	require.Less(t, other[len(other)-1].at, 150*time.Millisecond, "others go on, their repair packets too")
	body, _ := s.STSID()
	doc, err := sls.ParseSTSID(body)
	require.NoError(t, err)
	require.Equal(t, uint32(1000), doc.RS[0].LS[0].Bandwidth)
	require.Zero(t, doc.RS[0].LS[1].Bandwidth)

	// Repair packets of growing objects are no exception.
	now = simStart
	s = NewSender(SenderConfig{Rate: 100_000_000})
	tx, err := s.Begin(now, Outgoing{Name: "x-1", Track: Track{Stem: "x-$TOI$", Number: 1, Run: 1}, ChannelRate: 800_000})
	require.NoError(t, err)
	octets = 0
	for range 200 {
		require.NoError(t, tx.Append(now, make([]byte, 2000)))
		tx.Cut()
		for _, p := range drainSender(t, s, &now, 20*time.Millisecond) {
			if p.TSI != 0 {
				octets += p.octet + pacing.UDPOverhead
			}
		}
	}
	require.InDelta(t, 4*800_000/8, octets, channelBurst+2000)
}

func TestSchedulesOfFiles(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true, TrackLinger: 5 * time.Second})
	send := func(out Outgoing) *Transmission {
		tx, err := s.Begin(now, out)
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, 2000)))
		require.NoError(t, tx.End(now))
		return tx
	}
	app := send(Outgoing{Name: "app", Every: 300 * time.Millisecond, Times: 4})
	init := send(Outgoing{Name: "init", Carousel: true, Every: 400 * time.Millisecond})
	slow := send(Outgoing{Name: "slow", Carousel: true})
	once := send(Outgoing{Name: "once", Every: time.Millisecond, Times: 1})
	sent := drainSender(t, s, &now, 4100*time.Millisecond)
	times := func(x *Transmission) (at []time.Duration, cp uint8) {
		for _, p := range sentIn(sent, x.TSI()) {
			if p.TOI == uint64(x.TOI()) && !p.CloseObject {
				at, cp = append(at, p.at.Truncate(10*time.Millisecond)), p.Codepoint
			}
		}
		return at, cp
	}
	at, cp := times(app)
	require.Equal(t, []time.Duration{0, 300 * time.Millisecond, 600 * time.Millisecond, 900 * time.Millisecond}, at)
	require.Equal(t, uint8(sls.CPFile), cp)
	require.Nil(t, app.buf, "it is not needed any more")
	at, cp = times(init)
	require.Len(t, at, 11)
	require.Equal(t, uint8(sls.CPInitNew), cp)
	at, _ = times(slow)
	require.Len(t, at, 5)
	at, _ = times(once)
	require.Len(t, at, 1)
	drainSender(t, s, &now, 6*time.Second)
	names := func() (out []string) {
		body, _ := s.STSID()
		doc, err := sls.ParseSTSID(body)
		require.NoError(t, err)
		for _, f := range doc.RS[0].LS[0].SrcFlow.EFDT.Files {
			out = append(out, f.ContentLocation)
		}
		return out
	}
	slices.Sort(names())
	require.ElementsMatch(t, []string{"init", "slow"}, names(), "what is over is withdrawn")
}

// Low-latency chunks take few packets more than a segment that is cut as a whole: one for each chunk at most, and none if
// a chunk fits a packet.
func TestCutsCostFewPackets(t *testing.T) {
	for _, c := range []struct{ size, chunks, packets int }{
		{300, 100, 100},
		{1344, 50, 50},
		{2000, 50, 125},
		{25_000, 50, 980}, // 931 without cuts
	} {
		now := simStart
		s := NewSender(SenderConfig{NoRepair: true, Rate: 1e9})
		tx, err := s.Begin(now, Outgoing{Name: "x-1", Track: Track{Stem: "x-$TOI$", Number: 1, Run: 1}})
		require.NoError(t, err)
		b := make([]byte, c.size)
		for range c.chunks {
			for i := 0; i < c.size; i += 1000 { // as a reader of HTTP has it
				require.NoError(t, tx.Append(now, b[i:min(i+1000, c.size)]))
			}
			tx.Cut()
			require.Equal(t, tx.cut, len(tx.buf))
			now = now.Add(40 * time.Millisecond)
			drainSender(t, s, &now, 0)
		}
		require.LessOrEqual(t, len(tx.packets), c.packets, "%d octets", c.size)
		for _, p := range tx.packets {
			require.LessOrEqual(t, int(p.n), s.unit)
		}
	}
}
