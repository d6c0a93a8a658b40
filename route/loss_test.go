package route

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/route/sls"
)

// live feeds a sim with a low-latency service: video segments of a second in
// chunks of 40 ms, audio segments in chunks of 100 ms, an init segment for
// each, and a manifest that changes with each segment.
type live struct {
	*sim
	want map[string][]byte
	ends map[string]time.Time
}

func (l *live) segment(n int) {
	r := rand.New(rand.NewPCG(uint64(n), 5))
	video := media(n, 77)
	audio := media(n, 77)
	audio.Name = fmt.Sprintf("a-%d.m4s", n)
	audio.Track.Stem, audio.Track.Kind = "a-$TOI$.m4s", Audio
	l.snd.SetManifest(l.now, sls.Part{
		ContentType: sls.MediaTypeDASH, Location: "live.mpd", Generation: uint64(n), Body: fmt.Appendf(nil, "<MPD n='%d'/>", n),
	})
	v, err := l.snd.Begin(l.now, video)
	require.NoError(l.t, err)
	a, err := l.snd.Begin(l.now, audio)
	require.NoError(l.t, err)
	for c := range 25 {
		b := randomBytes(r.Uint64(), 4000+r.IntN(8000))
		l.want[video.Name] = append(l.want[video.Name], b...)
		require.NoError(l.t, v.Append(l.now, b))
		v.Cut()
		if c%2 == 0 {
			b := randomBytes(r.Uint64(), 300+r.IntN(300))
			l.want[audio.Name] = append(l.want[audio.Name], b...)
			require.NoError(l.t, a.Append(l.now, b))
			a.Cut()
		}
		l.run(40 * time.Millisecond)
	}
	require.NoError(l.t, v.End(l.now))
	require.NoError(l.t, a.End(l.now))
	l.ends[video.Name], l.ends[audio.Name] = l.now, l.now
}

func newLive(t testing.TB, sc SenderConfig, rc ReceiverConfig) *live {
	l := &live{newSim(t, sc, rc), map[string][]byte{}, map[string]time.Time{}}
	for _, name := range []string{"init-v.mp4", "init-a.mp4"} {
		out := Outgoing{Name: name, Generation: 5, ContentType: "video/mp4", Carousel: true}
		l.want[name] = randomBytes(uint64(len(l.want)), 900)
		l.sendWhole(out, l.want[name])
	}
	return l
}

func (l *live) check() {
	l.t.Helper()
	require.Empty(l.t, l.lost)
	for name, b := range l.want {
		require.Contains(l.t, l.got, name)
		require.True(l.t, bytes.Equal(b, l.got[name]), name)
	}
}

// unicast answers each request for repair after a round trip.
func (l *live) unicast() {
	type answer struct {
		at time.Time
		o  *Object
		m  []Range
	}
	var queue []answer
	l.onEvent = func(ev Event) {
		if ev.Kind == NeedRepair && !ev.Growing {
			queue = append(queue, answer{l.now.Add(20 * time.Millisecond), ev.Object, ev.Missing})
		}
	}
	drop := l.drop
	l.drop = func(pkt []byte) bool { // called often enough to serve as a clock
		for len(queue) > 0 && !l.now.Before(queue[0].at) {
			q := queue[0]
			queue = queue[1:]
			b := l.want[q.o.Name()]
			total := int64(-1)
			if _, ended := l.ends[q.o.Name()]; ended {
				total = int64(len(b))
			}
			for _, m := range q.m {
				if m.End < 0 || m.End > int64(len(b)) {
					m.End = int64(len(b))
				}
				m.Start = min(m.Start, m.End)
				_ = l.rcv.Supply(l.now, q.o, m.Start, b[m.Start:m.End], total)
			}
			l.poll()
		}
		return drop != nil && drop(pkt)
	}
}

func TestLoss(t *testing.T) {
	for _, p := range []float64{0, 0.05, 0.10} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			l := newLive(t, SenderConfig{}, ReceiverConfig{})
			l.drop = lossy(uint64(p*100), p)
			for n := 1; n <= 10; n++ {
				l.segment(n)
			}
			l.run(2 * time.Second)
			l.check()
			st := l.rcv.Stats()
			t.Logf("sender %+v", l.snd.Stats())
			t.Logf("receiver %+v", st)
			require.Zero(t, st.Memory)
			require.Zero(t, st.Incomplete)
			if p == 0 {
				require.Empty(t, l.asked)
			}
		})
	}
}

func TestLossWithUnicast(t *testing.T) {
	for _, p := range []float64{0.20, 0.30} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			l := newLive(t, SenderConfig{}, ReceiverConfig{})
			l.drop = lossy(uint64(p*100), p)
			l.unicast()
			for n := 1; n <= 10; n++ {
				l.segment(n)
			}
			l.run(2 * time.Second)
			l.check()
			t.Logf("receiver %+v", l.rcv.Stats())
		})
	}
}

// bursty loses everything for a while, now and then.
func (l *live) bursty(every, length time.Duration) {
	l.drop = func([]byte) bool { return l.now.Sub(simStart)%every < length && l.now.Sub(simStart) > every }
}

func TestBursts(t *testing.T) {
	l := newLive(t, SenderConfig{}, ReceiverConfig{})
	l.bursty(1700*time.Millisecond, 200*time.Millisecond)
	l.unicast()
	for n := 1; n <= 10; n++ {
		l.segment(n)
	}
	l.run(3 * time.Second)
	l.check()
	t.Logf("receiver %+v", l.rcv.Stats())
}

func TestReorderingAndDuplicates(t *testing.T) {
	l := newLive(t, SenderConfig{}, ReceiverConfig{})
	r := rand.New(rand.NewPCG(8, 8))
	l.delay = func() time.Duration { return time.Duration(r.IntN(20)) * time.Millisecond }
	l.double = 0.1
	for n := 1; n <= 5; n++ {
		l.segment(n)
	}
	l.run(3 * time.Second)
	l.check()
	for name, n := range l.asked {
		t.Errorf("%d requests for %s", n, name)
	}
	require.Zero(t, l.rcv.Stats().Rejected)
}

func TestLateStart(t *testing.T) {
	l := newLive(t, SenderConfig{}, ReceiverConfig{})
	deaf := true
	l.drop = func([]byte) bool { return deaf }
	l.segment(1)
	l.segment(2)
	l.run(330 * time.Millisecond)
	// In the middle of segment 3:
	v, err := l.snd.Begin(l.now, media(3, 77))
	require.NoError(t, err)
	require.NoError(t, v.Append(l.now, make([]byte, 50_000)))
	l.run(50 * time.Millisecond)
	deaf = false
	require.NoError(t, v.Append(l.now, make([]byte, 50_000)))
	l.run(50 * time.Millisecond)
	require.NoError(t, v.End(l.now))
	l.segment(4)
	l.segment(5)
	l.run(6 * time.Second)
	for name, b := range l.want {
		if name == media(1, 0).Name || name == media(2, 0).Name || name == "a-1.m4s" || name == "a-2.m4s" {
			require.NotContains(t, l.got, name)
			continue
		}
		require.True(t, bytes.Equal(b, l.got[name]), name)
	}
	require.Len(t, l.lost, 1)
	require.True(t, l.lost[0].LateStart())
	require.Equal(t, media(3, 0).Name, l.lost[0].Name())
	require.Zero(t, l.rcv.Stats().ObjectsLost)
}

func TestRestart(t *testing.T) {
	l := newLive(t, SenderConfig{}, ReceiverConfig{})
	l.segment(1)
	l.run(time.Second)
	// The encoder starts again with all names.
	for _, run := range []uint64{78, 79} {
		b := randomBytes(run, 30_000)
		l.sendWhole(media(1, run), b)
		l.run(300 * time.Millisecond)
		require.True(t, bytes.Equal(b, l.got[media(1, 0).Name]))
		require.Equal(t, run, l.generated[media(1, 0).Name])
	}
	// The sender does, with the TSIs that follow.
	l.snd = NewSender(SenderConfig{Session: l.snd.cfg.Session, FirstTSI: l.snd.NextTSI()})
	b := randomBytes(1, 40_000)
	l.sendWhole(media(1, 80), b)
	l.run(300 * time.Millisecond)
	require.True(t, bytes.Equal(b, l.got[media(1, 0).Name]))
	require.Equal(t, uint64(80), l.generated[media(1, 0).Name])
}

func TestLargeObject(t *testing.T) {
	l := newLive(t, SenderConfig{Rate: 200_000_000}, ReceiverConfig{})
	l.drop = lossy(4, 0.1)
	b := randomBytes(1, 20_000_000)
	l.want["big.bin"] = b
	l.sendWhole(Outgoing{Name: "big.bin", Generation: 1}, b)
	l.run(3 * time.Second)
	l.check()
	require.Greater(t, l.rcv.Stats().Decodes, uint64(10))
}

func TestSmallObjectsAtTenPercent(t *testing.T) {
	l := newLive(t, SenderConfig{}, ReceiverConfig{})
	l.drop = lossy(12, 0.1)
	for n := 1; n <= 300; n++ {
		out := media(n, 77)
		b := randomBytes(uint64(n), 50+n*10)
		l.want[out.Name] = b
		l.sendWhole(out, b)
		l.run(100 * time.Millisecond)
	}
	l.run(2 * time.Second)
	l.check()
	st := l.snd.Stats()
	t.Logf("%d source octets, %d repair octets", st.SourceOctets, st.RepairOctets)
}
