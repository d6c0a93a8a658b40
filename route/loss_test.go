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
			for _, m := range q.m {
				if m.End < 0 {
					m.End = int64(len(b))
				}
				if m.Start < int64(len(b)) {
					_ = l.rcv.Supply(l.now, q.o, m.Start, b[m.Start:m.End], int64(len(b)))
				}
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
