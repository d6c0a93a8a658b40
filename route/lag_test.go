package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
)

// lagTrack is one track of a low-latency service: segments in chunks, of which
// the first is a key frame.
type lagTrack struct {
	kind     TrackKind
	rate     int // bit/s
	chunk    time.Duration
	segment  time.Duration
	keyframe int // times the mean of the others
}

func (c *lagTrack) name(n int) string { return fmt.Sprintf("%v-%d.m4s", c.kind, n) }

// lagService is what a service sends, and how.
type lagService struct {
	name   string
	cfg    SenderConfig
	tracks []lagTrack
	length time.Duration
}

func video(rate int) lagTrack {
	return lagTrack{kind: Video, rate: rate, chunk: 40 * time.Millisecond, segment: 2 * time.Second, keyframe: 5}
}

func audio(rate int) lagTrack {
	return lagTrack{kind: Audio, rate: rate, chunk: 64 * time.Millisecond, segment: 2 * 64 * 16 * time.Millisecond, keyframe: 1}
}

// point is when a prefix was reached.
type point struct {
	at     time.Time
	prefix int64
}

// lagReceiver receives what a lossy way leaves over, and asks for what it lacks
// if there is a round-trip time to somebody who has it.
type lagReceiver struct {
	name   string
	drop   func() bool
	rtt    time.Duration
	r      *Receiver
	points map[string][]point
	sent   int
	lost   int
	asked  []lagAnswer
	asks   int
	octets int64 // of the answers
}

// lagAnswer brings octets of an object.
type lagAnswer struct {
	at      time.Time
	o       *Object
	missing []Range
}

// gilbert loses all packets in bursts of a mean length, a share of all.
func gilbert(seed uint64, share float64, burst float64) func() bool {
	r := rand.New(rand.NewPCG(seed, 17))
	out := 1 / burst
	in := out * share / (1 - share)
	bad := false
	return func() bool {
		if bad {
			bad = r.Float64() >= out
		} else {
			bad = r.Float64() < in
		}
		return bad
	}
}

func independent(seed uint64, share float64) func() bool {
	r := rand.New(rand.NewPCG(seed, 16))
	return func() bool { return r.Float64() < share }
}

func lagReceivers() (list []*lagReceiver) {
	add := func(name string, drop func() bool) {
		list = append(list, &lagReceiver{name: name, drop: drop})
	}
	for i, p := range []float64{0, 0.05, 0.1, 0.2, 0.3} {
		add(fmt.Sprintf("%.0f %%", 100*p), independent(uint64(i), p))
	}
	add("5 %, bursts of 4", gilbert(1, 0.05, 4))
	add("10 %, bursts of 4", gilbert(2, 0.1, 4))
	add("10 %, bursts of 15", gilbert(3, 0.1, 15))
	add("30 %, bursts of 8", gilbert(4, 0.3, 8))
	add("the same, unicast", gilbert(4, 0.3, 8))
	list[len(list)-1].rtt = 60 * time.Millisecond
	for i, p := range []float64{0.1, 0.2, 0.3} {
		add(fmt.Sprintf("%.0f %%, unicast", 100*p), independent(uint64(i+20), p))
		list[len(list)-1].rtt = 60 * time.Millisecond
	}
	return list
}

// lagFigures are those of one receiver. Lags are of octets, behind those of the
// receiver that loses nothing.
type lagFigures struct {
	p50, p90, p99, p999, max time.Duration
	incomplete               int
	decoded                  uint64
}

// runLag sends a service to all receivers in virtual time. The first one loses
// nothing. Computations take no time.
func runLag(t testing.TB, svc lagService, list []*lagReceiver) (figures []lagFigures, st SenderStats) {
	svc.cfg.Session = Session{Source: simSrc.Addr()}
	snd := NewSender(svc.cfg)
	for _, x := range list {
		x.r = NewReceiver(ReceiverConfig{Session: svc.cfg.Session})
		x.points = map[string][]point{}
	}
	now := simStart
	contents, ended := map[string][]byte{}, map[string]bool{}
	deliver := func(pkt []byte) {
		for _, x := range list {
			if x.sent++; x.drop() {
				x.lost++
				continue
			}
			_ = x.r.Push(now, simSrc, pkt)
			x.r.RunWork(now)
			x.poll(now)
		}
	}
	buf := make([]byte, 0, 2048)
	run := func(end time.Time) {
		for {
			snd.RunWork(now)
			for pkt, ok := snd.Poll(now, buf); ok; pkt, ok = snd.Poll(now, buf) {
				deliver(pkt)
			}
			next := snd.NextTimeout(now)
			for _, x := range list {
				x.r.HandleTimeout(now)
				x.poll(now)
				next = sooner(next, x.answer(now, contents, ended))
				next = sooner(next, x.r.NextTimeout())
			}
			if next.IsZero() || next.After(end) {
				now = end
				return
			}
			now = maxTime(next, now.Add(time.Microsecond))
		}
	}
	chance := rand.New(rand.NewPCG(1, 2))
	noise := randomBytes(1, 1<<20)
	type state struct {
		tx   *Transmission
		n    int // chunks sent of the segment
		next time.Time
		seg  int
	}
	states := make([]state, len(svc.tracks))
	for i := range states {
		states[i].next = now.Add(time.Duration(i) * 7 * time.Millisecond)
	}
	for end := now.Add(svc.length); now.Before(end); {
		at := end
		for i := range states {
			if states[i].next.Before(at) {
				at = states[i].next
			}
		}
		run(at)
		for i := range states {
			s, c := &states[i], &svc.tracks[i]
			if s.next.After(now) {
				continue
			}
			chunks := int(c.segment / c.chunk)
			if s.n == 0 {
				if s.tx != nil {
					require.NoError(t, s.tx.End(now))
					ended[c.name(s.seg)] = true
				}
				s.seg++
				var err error
				s.tx, err = snd.Begin(now, Outgoing{Name: c.name(s.seg), Track: Track{
					Stem: fmt.Sprintf("%v-$TOI$.m4s", c.kind), Number: uint32(s.seg), Run: 1, Kind: c.kind,
				}})
				require.NoError(t, err)
			}
			all := float64(c.rate) / 8 * c.segment.Seconds()
			size := all / float64(chunks+c.keyframe-1)
			if s.n == 0 {
				size *= float64(c.keyframe)
			} else {
				size *= 0.7 + 0.6*chance.Float64()
			}
			at := chance.IntN(len(noise) - int(size))
			b := noise[at : at+int(size)]
			contents[c.name(s.seg)] = append(contents[c.name(s.seg)], b...)
			require.NoError(t, s.tx.Append(now, b))
			s.tx.Cut()
			s.n = (s.n + 1) % chunks
			s.next = s.next.Add(c.chunk)
		}
	}
	for i := range states {
		require.NoError(t, states[i].tx.End(now))
		ended[svc.tracks[i].name(states[i].seg)] = true
	}
	run(now.Add(8 * time.Second))
	for _, x := range list {
		figures = append(figures, x.figures(t, list[0], contents))
	}
	return figures, snd.Stats()
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (x *lagReceiver) poll(now time.Time) {
	for ev, ok := x.r.Poll(); ok; ev, ok = x.r.Poll() {
		if ev.Kind == Progress || ev.Kind == Complete {
			x.points[ev.Object.Name()] = append(x.points[ev.Object.Name()], point{now, ev.Object.Prefix()})
		}
		if ev.Kind == NeedRepair && x.rtt > 0 {
			x.asks++
			x.asked = append(x.asked, lagAnswer{now.Add(x.rtt), ev.Object, ev.Missing})
		}
		if ev.Kind == Complete {
			x.r.Release(now, ev.Object)
		}
	}
}

// answer supplies what has been asked for long enough, and returns when there is
// more.
func (x *lagReceiver) answer(now time.Time, contents map[string][]byte, ended map[string]bool) time.Time {
	for len(x.asked) > 0 && !now.Before(x.asked[0].at) {
		a := x.asked[0]
		x.asked = x.asked[1:]
		content := contents[a.o.Name()]
		for _, m := range a.missing {
			total := int64(-1)
			if ended[a.o.Name()] {
				total = int64(len(content))
			}
			if m.End < 0 {
				m.End = int64(len(content))
			}
			x.octets += m.End - m.Start
			_ = x.r.Supply(now, a.o, m.Start, content[m.Start:max(m.Start, m.End)], total)
		}
		x.r.RunWork(now)
		x.poll(now)
	}
	if len(x.asked) == 0 {
		return time.Time{}
	}
	return x.asked[0].at
}

// reached returns when the octet before off was readable.
func (x *lagReceiver) reached(name string, off int64) (time.Time, bool) {
	ps := x.points[name]
	i, _ := slices.BinarySearchFunc(ps, off, func(p point, off int64) int { return int(p.prefix - off) })
	if i == len(ps) {
		return time.Time{}, false
	}
	return ps[i].at, true
}

func (x *lagReceiver) figures(t testing.TB, lossless *lagReceiver, contents map[string][]byte) (f lagFigures) {
	const never = time.Minute
	var lags []time.Duration
	for name, content := range contents {
		whole := true
		for off := int64(300); off <= int64(len(content)); off += 300 {
			want, ok := lossless.reached(name, off)
			require.True(t, ok, "%s at %d", name, off)
			got, ok := x.reached(name, off)
			whole = whole && ok
			lag := never
			if ok {
				lag = got.Sub(want)
			}
			lags = append(lags, lag)
		}
		if !whole {
			f.incomplete++
		}
	}
	slices.Sort(lags)
	at := func(q float64) time.Duration { return lags[int(q*float64(len(lags)-1))] }
	f.p50, f.p90, f.p99, f.p999, f.max = at(.5), at(.9), at(.99), at(.999), at(1)
	f.decoded = x.r.Stats().Decodes
	return f
}

func repairShare(st SenderStats) float64 { return float64(st.RepairOctets) / float64(st.SourceOctets) }

func lagTable(svc lagService, list []*lagReceiver, figures []lagFigures, st SenderStats) string {
	var b strings.Builder
	ms := func(d time.Duration) string {
		if d >= 30*time.Second {
			return "never"
		}
		return fmt.Sprintf("%.0f", float64(d.Microseconds())/1000)
	}
	fmt.Fprintf(&b, "%s: repair octets are %.1f %% of those of source packets, %.1f %% for growing objects; %d blocks too late\n",
		svc.name, 100*repairShare(st), 100*float64(st.GrowingOctets)/float64(st.SourceOctets), st.BlocksDropped)
	fmt.Fprintf(&b, "%-20s %8s %6s %6s %6s %6s %6s %11s %9s\n", "loss", "measured", "p50", "p90", "p99", "p99.9", "max ms", "incomplete", "unicast")
	for i, f := range figures {
		fmt.Fprintf(&b, "%-20s %6.2f %% %6s %6s %6s %6s %6s %11d %7.2f %%\n", list[i].name, 100*float64(list[i].lost)/float64(list[i].sent),
			ms(f.p50), ms(f.p90), ms(f.p99), ms(f.p999), ms(f.max), f.incomplete, 100*float64(list[i].octets)/float64(st.SourceOctets))
	}
	return b.String()
}

// How far behind a receiver that loses nothing others are able to read. Of a
// video service of 5 Mbit/s, 99 of 100 octets are there within 60 ms if every
// tenth packet is lost, and repair packets add no more than half to what is sent.
func TestLag(t *testing.T) {
	reference := lagService{name: "5 Mbit/s", tracks: []lagTrack{video(5_000_000)}, length: 150 * time.Second}
	for _, svc := range []lagService{
		reference,
		{name: "5 Mbit/s, whole objects only", tracks: reference.tracks, cfg: SenderConfig{GrowingDelay: -1}},
		{name: "5 Mbit/s, GrowingDelay 100 ms", tracks: reference.tracks, cfg: SenderConfig{GrowingDelay: 100 * time.Millisecond}},
		{name: "5 Mbit/s, planned for bursts of 4", tracks: reference.tracks, cfg: SenderConfig{Loss: fec.Loss{Burst: 4}}},
		{name: "5 Mbit/s and audio", tracks: []lagTrack{video(5_000_000), audio(128_000)}},
		{name: "2 Mbit/s and audio", tracks: []lagTrack{video(2_000_000), audio(128_000)}},
		{name: "1 Mbit/s", tracks: []lagTrack{video(1_000_000)}},
		{name: "audio", tracks: []lagTrack{audio(128_000)}},
		// As a small encoder has it, with a fragment for every frame.
		{name: "clip: video", tracks: []lagTrack{video(400_000)}},
		{name: "clip: audio", tracks: []lagTrack{{kind: Audio, rate: 96_000, chunk: 64 * time.Millisecond / 3, segment: 94 * 64 * time.Millisecond / 3, keyframe: 1}}},
	} {
		if svc.length == 0 {
			svc.length = 12 * time.Second
		}
		if testing.Short() {
			svc.length /= 10
		}
		list := lagReceivers()
		figures, st := runLag(t, svc, list)
		t.Log("\n" + lagTable(svc, list, figures, st))
		require.Zero(t, figures[0].max)
		require.Zero(t, figures[1].incomplete)
		require.Zero(t, figures[2].incomplete)
		require.Zero(t, figures[len(figures)-1].incomplete)
		require.Zero(t, st.BlocksDropped)
		if svc.cfg.Loss.Burst > 0 {
			require.Equal(t, "10 %, bursts of 4", list[6].name)
			require.Zero(t, figures[6].incomplete)
		}
		if svc.name == reference.name {
			require.Equal(t, "10 %", list[2].name)
			require.LessOrEqual(t, figures[2].p99, 60*time.Millisecond)
			require.LessOrEqual(t, repairShare(st), 0.5)
			require.Equal(t, "20 %, unicast", list[11].name)
			require.LessOrEqual(t, list[11].octets, int64(st.SourceOctets/50))
		}
	}
}
