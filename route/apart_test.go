package route

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/lct"
)

// Repair packets go to a group of their own, where a receiver gets those of whole objects and of growing ones.
func TestRepairSession(t *testing.T) {
	for _, apart := range []Session{
		{Group: netip.MustParseAddr("232.1.2.4"), Port: 5000},
		{Group: netip.MustParseAddr("232.1.2.3"), Port: 5002},
		{Source: netip.MustParseAddr("127.0.7.9"), Group: netip.MustParseAddr("232.1.2.4"), Port: 5002},
	} {
		s := newSim(t, SenderConfig{Loss: fec.Loss{Random: 0.1, Target: 1e-6}, RepairSession: apart}, ReceiverConfig{})
		lose := lossy(4, 0.1)
		s.drop = func(pkt []byte) bool {
			var h lct.Header
			_, err := h.Unmarshal(pkt)
			require.NoError(t, err)
			return h.TSI != 0 && lose(pkt) // the signalling comes
		}
		want := map[string][]byte{}
		for n := 1; n <= 10; n++ {
			out := media(n, 1000)
			b := randomBytes(uint64(n), 200_000)
			want[out.Name] = b
			if n%2 == 0 {
				s.sendWhole(out, b)
				s.run(time.Second)
				continue
			}
			tx, err := s.snd.Begin(s.now, out)
			require.NoError(t, err)
			for off := 0; off < len(b); off += 8000 {
				require.NoError(t, tx.Append(s.now, b[off:off+8000]))
				tx.Cut()
				s.run(40 * time.Millisecond)
			}
			require.NoError(t, tx.End(s.now))
			s.run(time.Second)
		}
		for _, o := range s.lost {
			t.Log(o.TSI(), o.TOI(), o.Name(), o.Length(), o.Held())
		}
		t.Logf("%+v", s.rcv.Stats())
		t.Logf("%+v", s.snd.Stats())
		require.Empty(t, s.lost)
		require.Empty(t, s.asked, "unicast is not needed")
		require.Equal(t, len(want), len(s.got))
		for name, b := range want {
			require.True(t, bytes.Equal(b, s.got[name]), name)
		}
		if !apart.Source.IsValid() {
			apart.Source = simSrc.Addr()
		}
		require.Equal(t, []Session{apart}, s.rcv.OtherSessions())
		require.Positive(t, s.snd.Stats().GrowingPackets)
		require.Greater(t, s.snd.Stats().RepairPackets, s.snd.Stats().GrowingPackets)
		require.Zero(t, s.rcv.Stats().Rejected)
	}
}

// What goes where: no repair packet to the session, nothing else to the RepairSession, and neither without one.
func TestPollRepair(t *testing.T) {
	for _, apart := range []bool{false, true} {
		sc := SenderConfig{Loss: fec.Loss{Random: 0.1, Target: 1e-6}}
		if apart {
			sc.RepairSession = Session{Group: netip.MustParseAddr("232.1.2.4"), Port: 5000}
		}
		s := NewSender(sc)
		now := simStart
		out := media(1, 7)
		tx, err := s.Begin(now, out)
		require.NoError(t, err)
		count := map[[2]bool]int{} // is repair, came by PollRepair
		for i := range 400 {
			if i < 100 {
				require.NoError(t, tx.Append(now, randomBytes(uint64(i), 3000)))
				tx.Cut()
			}
			if i == 100 {
				require.NoError(t, tx.End(now))
			}
			s.RunWork(now)
			for {
				pkt, ok := s.Poll(now, nil)
				byRepair := !ok
				if !ok {
					if pkt, ok = s.PollRepair(now, nil); !ok {
						break
					}
				}
				var h lct.Header
				_, err := h.Unmarshal(pkt)
				require.NoError(t, err)
				count[[2]bool{h.PSI&psiSource == 0, byRepair}]++
			}
			now = now.Add(10 * time.Millisecond)
		}
		require.Positive(t, count[[2]bool{false, false}])
		require.Positive(t, count[[2]bool{true, apart}])
		require.Zero(t, count[[2]bool{true, !apart}])
		require.Zero(t, count[[2]bool{false, true}])
		require.False(t, s.Waiting())
	}
}
