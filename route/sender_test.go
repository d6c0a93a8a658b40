package route

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/sls"
)

// parsed is a packet taken apart.
type parsed struct {
	lct.Header
	at      time.Time
	id      uint32
	payload []byte
	tol     int64
}

func parse(t testing.TB, at time.Time, pkt []byte) parsed {
	p := parsed{at: at, tol: -1}
	n, err := p.Unmarshal(pkt)
	require.NoError(t, err)
	p.id, p.payload = binary.BigEndian.Uint32(pkt[n:]), pkt[n+4:]
	if tol, ok := p.Extensions.TOL(); ok {
		p.tol = int64(tol)
	}
	return p
}

// drain sends everything until d has passed.
func drain(t testing.TB, s *Sender, now *time.Time, d time.Duration) (out []parsed) {
	for end := now.Add(d); ; {
		s.RunWork(*now)
		for {
			pkt, ok := s.Poll(*now, nil)
			if !ok {
				break
			}
			require.LessOrEqual(t, len(pkt), s.cfg.MaxPayload)
			out = append(out, parse(t, *now, pkt))
		}
		if len(s.blockWorks) > 0 {
			continue // a block was closed
		}
		next := s.NextTimeout(*now)
		if next.IsZero() || next.After(end) {
			*now = end
			return out
		}
		require.True(t, next.After(*now), "NextTimeout stands still")
		*now = next
	}
}

func ofTSI(ps []parsed, tsi uint64) (out []parsed) {
	for _, p := range ps {
		if p.TSI == tsi {
			out = append(out, p)
		}
	}
	return out
}

func isRepair(p parsed) bool { return p.PSI == psiRepair }

// published returns the S-TSID of the last complete package among packets.
func published(t testing.TB, ps []parsed) *sls.STSID {
	bodies := map[uint64][]byte{}
	var last []byte
	for _, p := range ofTSI(ps, 0) {
		b := bodies[p.TOI]
		if b == nil {
			b = make([]byte, p.tol)
			bodies[p.TOI] = b
		}
		copy(b[p.id:], p.payload)
		if p.CloseObject {
			last = b
		}
	}
	require.NotNil(t, last)
	pkg, err := sls.ParsePackage(last)
	require.NoError(t, err)
	for _, part := range pkg.Parts {
		if part.Kind() == sls.KindSTSID {
			doc, err := sls.ParseSTSID(part.Body)
			require.NoError(t, err)
			return doc
		}
	}
	t.Fatal("no S-TSID")
	return nil
}

func TestSenderWire(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true})
	b := randomBytes(1, 3000)
	out := media(7, 1000)
	out.Length = 3000
	tx, err := s.Begin(now, out)
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, b))
	require.NoError(t, tx.End(now))
	ps := ofTSI(drain(t, s, &now, 10*time.Millisecond), 1)
	require.Len(t, ps, 3)
	for i, p := range ps {
		require.Equal(t, uint8(2), p.PSI)
		require.Equal(t, uint8(8), p.Codepoint)
		require.Equal(t, uint64(7), p.TOI)
		require.Equal(t, int64(3000), p.tol, "a length known beforehand is in every packet")
		require.Equal(t, uint32(i*1344), p.id)
		require.Equal(t, b[p.id:][:len(p.payload)], p.payload)
		require.Equal(t, i == 2, p.CloseObject)
		require.Equal(t, uint8(4), p.TSILen)
		require.Equal(t, uint8(4), p.TOILen)
	}
}

func TestLowLatencyChunkLeavesAtOnce(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true})
	tx, err := s.Begin(now, media(1, 1000))
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, make([]byte, 2000)))
	ps := ofTSI(drain(t, s, &now, time.Millisecond), 1)
	require.Len(t, ps, 1, "the full packet leaves, the rest waits for more")
	tx.Cut()
	tx.Cut()
	ps = ofTSI(drain(t, s, &now, time.Millisecond), 1)
	require.Len(t, ps, 1)
	require.Equal(t, 2000-1344, len(ps[0].payload))
	require.Equal(t, int64(-1), ps[0].tol)

	// The next chunk's packets end at multiples of the unit again.
	require.NoError(t, tx.Append(now, make([]byte, 3000)))
	tx.Cut()
	ps = ofTSI(drain(t, s, &now, time.Millisecond), 1)
	require.Len(t, ps, 3)
	require.Equal(t, uint32(2000), ps[0].id)
	require.Equal(t, uint32(2*1344), ps[1].id)
	require.Equal(t, uint32(3*1344), ps[2].id)

	// Everything has left without a length: one more packet tells it.
	require.NoError(t, tx.End(now))
	ps = ofTSI(drain(t, s, &now, time.Millisecond), 1)
	require.Len(t, ps, 1)
	require.Equal(t, uint32(5000), ps[0].id)
	require.Empty(t, ps[0].payload)
	require.Equal(t, int64(5000), ps[0].tol)
	require.True(t, ps[0].CloseObject)

	require.ErrorIs(t, tx.Append(now, []byte{1}), ErrClosed)
	require.ErrorIs(t, tx.End(now), ErrClosed)
}

func TestLengthRidesOnTheLastPacketIfItHasNotLeft(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true})
	tx, err := s.Begin(now, media(1, 1000))
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, make([]byte, 2000)))
	require.NoError(t, tx.End(now))
	ps := ofTSI(drain(t, s, &now, time.Millisecond), 1)
	require.Len(t, ps, 2)
	require.True(t, ps[1].CloseObject)
	require.Equal(t, int64(2000), ps[1].tol)
}

func TestLongLengthTakesTheLongForm(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true, Rate: 1e9})
	out := media(1, 1000)
	out.Length = 1 << 24
	tx, err := s.Begin(now, out)
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, make([]byte, 1<<20)))
	ps := ofTSI(drain(t, s, &now, time.Millisecond), 1)
	require.Equal(t, int64(1<<24), ps[0].tol)
	_, ok := ps[0].Extensions.Find(lct.ExtTOL48)
	require.True(t, ok)
}

func TestNothingLeavesBeforeItsAnnouncement(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	send := func(out Outgoing) []parsed {
		tx, err := s.Begin(now, out)
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, 100)))
		require.NoError(t, tx.End(now))
		return drain(t, s, &now, 10*time.Millisecond)
	}
	var all []parsed
	check := func(ps []parsed, tsi uint64, file string) {
		t.Helper()
		i := len(all)
		all = append(all, ps...)
		for all[i].TSI == 0 {
			i++
		}
		ps = all
		require.Equal(t, tsi, ps[i].TSI)
		doc := published(t, ps[:i])
		for _, ls := range doc.RS[0].LS {
			if uint64(ls.TSI) != tsi {
				continue
			}
			if file == "" {
				require.Equal(t, stem, ls.SrcFlow.EFDT.FileTemplate)
				return
			}
			for _, f := range ls.SrcFlow.EFDT.Files {
				if f.TOI == ps[i].TOI {
					require.Equal(t, file, f.ContentLocation)
					return
				}
			}
		}
		t.Fatalf("TSI %d is not announced", tsi)
	}
	check(send(media(1, 1000)), 1, "")
	check(send(Outgoing{Name: "poster.jpg"}), 2, "poster.jpg")
	check(send(Outgoing{Name: "poster2.jpg"}), 2, "poster2.jpg")
	check(send(media(1, 2000)), 3, "") // a new run
	out := media(5, 2000)
	out.Name = "odd.m4s" // not what the template makes of number 5
	check(send(out), 2, "odd.m4s")
	check(send(media(0, 2000)), 2, media(0, 0).Name) // TOI 0 is the EFDT's
	check(send(media(2, 2000)), 3, "")
	check(send(media(2, 2000)), 2, media(2, 0).Name) // the same name again
	require.Equal(t, uint32(4), s.NextTSI())
}

func TestOldRunStaysAnnouncedForAWhile(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	tsis := func(d time.Duration) (out []uint32) {
		for _, ls := range published(t, drain(t, s, &now, d)).RS[0].LS {
			out = append(out, ls.TSI)
		}
		return out
	}
	for run := range uint64(2) {
		tx, err := s.Begin(now, media(1, 1000+run))
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, []byte{1}))
		require.NoError(t, tx.End(now))
	}
	require.Equal(t, []uint32{1, 2}, tsis(time.Second))
	require.Equal(t, []uint32{1, 2}, tsis(8*time.Second))
	require.Equal(t, []uint32{2}, tsis(2*time.Second))
	drain(t, s, &now, time.Minute)
	require.Empty(t, s.flows, "a track that fell silent is withdrawn")
}

// A receiver that knows the packages of one run must not take those of the next
// one for repeats: their TOIs differ.
func TestSignallingOfTheNextRun(t *testing.T) {
	const runs, seconds = 3, 10
	seen := make(map[uint64]int)
	for run := range runs {
		now := simStart
		s := NewSender(SenderConfig{FirstTSI: uint32(59573536 + run*seconds)})
		part := sls.Part{ContentType: sls.MediaTypeDASH, Location: "a.mpd", Body: []byte("<MPD/>")}
		for range 2 * seconds {
			part.Generation++
			require.NoError(t, s.SetManifest(now, part))
			for _, p := range drain(t, s, &now, time.Second/2) {
				require.NotZero(t, uint8(p.TOI), "GPAC takes version 0 for none")
				first, known := seen[p.TOI]
				require.True(t, !known || first == run, "TOI %#x of run %d in run %d", p.TOI, first, run)
				seen[p.TOI] = run
			}
		}
	}
	require.Len(t, seen, runs*2*seconds)
}

func TestSignallingSchedule(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	part := sls.Part{ContentType: sls.MediaTypeDASH, Location: "a.mpd", Generation: 1, Body: []byte("<MPD/>")}
	require.NoError(t, s.SetManifest(now, part))
	part.Location = "b.m3u8"
	part.ContentType = sls.MediaTypeHLS
	require.NoError(t, s.SetManifest(now, part))
	require.NoError(t, s.SetManifest(now, part), "no change")
	ps := drain(t, s, &now, 2*time.Second)
	var at []time.Duration
	for _, p := range ps {
		require.Equal(t, uint8(3), p.Codepoint)
		require.Equal(t, uint32(1), uint32(p.TOI)&0xff, "one version")
		require.NotZero(t, sls.TOI(p.TOI)&sls.TOIGzip)
		require.NotZero(t, sls.TOI(p.TOI)&sls.TOIMPD)
		at = append(at, p.at.Sub(simStart))
	}
	ms := time.Millisecond
	require.Equal(t, []time.Duration{5 * ms, 25 * ms, 45 * ms, 545 * ms, 1045 * ms, 1545 * ms}, at)

	for range 300 {
		part.Generation++
		require.NoError(t, s.SetManifest(now, part))
		for _, p := range drain(t, s, &now, 10*time.Millisecond) {
			require.NotZero(t, uint8(p.TOI), "GPAC takes version 0 for none")
		}
	}
	s.RemoveManifest(now, "a.mpd")
	s.RemoveManifest(now, "b.m3u8")
	require.Empty(t, drain(t, s, &now, time.Second))

	require.Error(t, s.SetManifest(now, sls.Part{ContentType: "x/y", Location: "a\nb"}))
	require.ErrorIs(t, s.SetManifest(now, sls.Part{ContentType: sls.MediaTypeSTSID, Location: "x"}), ErrName)
}

func TestCarousel(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	send := func(generation uint64, b []byte) {
		tx, err := s.Begin(now, Outgoing{Name: "init.mp4", Generation: generation, Carousel: true, ContentType: "video/mp4"})
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, b))
		require.NoError(t, tx.End(now))
	}
	send(1, make([]byte, 2000))
	ps := drain(t, s, &now, 3500*time.Millisecond)
	var source []parsed
	for _, p := range ofTSI(ps, 1) {
		if !isRepair(p) {
			source = append(source, p)
		}
	}
	require.Len(t, source, 4*2)
	for _, p := range source {
		require.Equal(t, uint64(1), p.TOI)
		require.Equal(t, uint8(5), p.Codepoint)
		require.Equal(t, int64(2000), p.tol)
	}
	require.Equal(t, int64(0), s.Stats().Buffered)

	send(2, make([]byte, 100)) // replaces it
	ps = drain(t, s, &now, 2500*time.Millisecond)
	for _, p := range ofTSI(ps, 1) {
		require.Equal(t, uint64(2), p.TOI)
	}
	files := published(t, ps).RS[0].LS[0].SrcFlow.EFDT.Files
	require.Len(t, files, 1)
	require.Equal(t, uint64(2), files[0].Generation)

	l, ok := s.Lookup(1, 2)
	require.True(t, ok)
	require.Equal(t, "init.mp4", l.Name)
	s.RemoveFile(now, "init.mp4")
	require.Empty(t, ofTSI(drain(t, s, &now, 2*time.Second), 1))
	drain(t, s, &now, 2*time.Minute)
}

func TestPacing(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true, Rate: 8_000_000, Burst: 10_000})
	tx, err := s.Begin(now, media(1, 1))
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, make([]byte, 500_000)))
	require.NoError(t, tx.End(now))
	ps := drain(t, s, &now, 10*time.Second)
	octets := map[time.Duration]int{}
	for _, p := range ps {
		octets[p.at.Sub(simStart)/(100*time.Millisecond)] += len(p.payload) + 24 + 28
	}
	require.InDelta(t, 110_000, octets[0], 2000, "burst and a tenth of a second")
	for i := time.Duration(1); i < 4; i++ {
		require.InDelta(t, 100_000, octets[i], 3000)
	}
}

func TestAutomaticRate(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{NoRepair: true})
	require.Equal(t, int64(20_000_000), s.Stats().Rate)
	for n := range 20 {
		tx, err := s.Begin(now, media(n+1, 1))
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, 500_000))) // two a second
		require.NoError(t, tx.End(now))
		drain(t, s, &now, 500*time.Millisecond)
	}
	require.Equal(t, int64(4*8*1_000_000), s.Stats().Rate)
	drain(t, s, &now, 3*time.Minute)
	tx, err := s.Begin(now, media(100, 1))
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, make([]byte, 1000)))
	now = now.Add(time.Minute)
	require.NoError(t, tx.Append(now, make([]byte, 1000)))
	require.Equal(t, int64(20_000_000), s.Stats().Rate)
}

// A large segment of one track must not hold up the chunks of another.
func TestTracksTakeTurns(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	v, err := s.Begin(now, media(1, 1))
	require.NoError(t, err)
	require.NoError(t, v.Append(now, make([]byte, 2_000_000)))
	drain(t, s, &now, 50*time.Millisecond)
	out := media(1, 1)
	out.Track.Stem, out.Name = "a-$TOI$", "a-1"
	a, err := s.Begin(now, out)
	require.NoError(t, err)
	require.NoError(t, a.Append(now, make([]byte, 300)))
	a.Cut()
	for _, p := range drain(t, s, &now, 10*time.Millisecond) {
		if p.TSI == uint64(a.TSI()) {
			return
		}
	}
	t.Fatal("audio waits for video")
}

func TestRepairPackets(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{BlockSymbols: 64})
	b := randomBytes(1, 200_000)
	tx, err := s.Begin(now, media(3, 1))
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, b))
	require.NoError(t, tx.End(now))
	l, ok := s.Lookup(1, 3)
	require.True(t, ok)
	require.False(t, l.Repair)
	ps := drain(t, s, &now, time.Second)
	l, ok = s.Lookup(1, 3)
	require.True(t, ok)
	require.True(t, l.Repair)
	require.Equal(t, int64(200_000), l.Length)
	require.Equal(t, uint8(3), l.OTI.SourceBlocks)
	require.Equal(t, uint64(149*1344), l.OTI.TransferLength)
	next := map[uint32]uint32{}
	for sbn := range uint8(3) {
		k, _, _ := l.OTI.Block(sbn)
		next[uint32(sbn)] = uint32(k)
	}
	n := 0
	for _, p := range ofTSI(ps, 1) {
		if !isRepair(p) {
			require.Zero(t, n, "repair before source")
			continue
		}
		n++
		require.Equal(t, uint64(3), p.TOI)
		fti, ok := p.Extensions.FTI()
		require.True(t, ok)
		oti, err := fec.ParseFTI(fti)
		require.NoError(t, err)
		require.Equal(t, l.OTI, oti)
		require.Equal(t, next[p.id>>24], p.id&0xffffff, "consecutive ESIs")
		next[p.id>>24] += uint32(len(p.payload) / 1344)
	}
	for _, esi := range next {
		require.LessOrEqual(t, esi, l.NextESI)
	}
	require.InDelta(t, 3*fec.Loss{}.Repair(50), n, 3)
	drain(t, s, &now, time.Minute)
	_, ok = s.Lookup(1, 3)
	require.False(t, ok)
	require.Zero(t, s.Stats().Buffered)
}

func TestSymbolSize(t *testing.T) {
	even := func(n, size int) (out []span) {
		for i := range n {
			out = append(out, span{uint32(i * size), uint32(size)})
		}
		return out
	}
	y, g := symbolSize(1344*100, even(100, 1344), 1344, 0.1)
	require.Equal(t, []int{1344, 1}, []int{y, g}, "packets along symbols")
	y, g = symbolSize(200, even(1, 200), 1344, 0.1)
	require.Equal(t, []int{208, 1}, []int{y, g}, "a small object is one symbol")
	y, g = symbolSize(200*90, even(90, 200), 1344, 0.1)
	require.Equal(t, 1344, y*g)
	require.Less(t, y, 400, "many small packets")
	require.Zero(t, y%8)
}

func TestSenderRefuses(t *testing.T) {
	s := NewSender(SenderConfig{MaxObject: 1000, MaxBuffered: 1500})
	for _, out := range []Outgoing{
		{},
		{Name: strings.Repeat("x", 513)},
		{Name: "a\x00b"},
		{Name: "a\xff"},
		{Name: "a", ContentType: "x\n"},
		{Name: "a", Track: Track{Stem: "\x01"}},
	} {
		_, err := s.Begin(simStart, out)
		require.ErrorIs(t, err, ErrName, "%q", out.Name)
	}
	_, err := s.Begin(simStart, Outgoing{Name: "a", Length: 1001})
	require.ErrorIs(t, err, ErrTooLarge)
	a, err := s.Begin(simStart, Outgoing{Name: "a"})
	require.NoError(t, err)
	require.ErrorIs(t, a.Append(simStart, make([]byte, 1001)), ErrTooLarge)
	require.NoError(t, a.Append(simStart, make([]byte, 1000)))
	b, err := s.Begin(simStart, Outgoing{Name: "b", Length: 600})
	require.NoError(t, err)
	require.ErrorIs(t, b.Append(simStart, make([]byte, 501)), ErrBacklog)
	require.NoError(t, b.Append(simStart, make([]byte, 100)))
	require.Error(t, b.End(simStart), "fewer octets than announced")
	require.Error(t, b.Append(simStart, nil))
	a.Abort()
	a.Abort()
	require.Zero(t, s.Stats().Buffered)
	now := simStart
	for _, p := range drain(t, s, &now, time.Second) {
		require.Zero(t, p.TSI, "an aborted object is sent no further")
	}
}

// A Stem that is no template, or a track without one, is served by File
// entries, and never breaks the S-TSID.
func TestIllegalStem(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{})
	out := Outgoing{Name: "x-1.m4s", Track: Track{Stem: "x-$Number$.m4s", Number: 1, Run: 1}}
	tx, err := s.Begin(now, out)
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, []byte("abc")))
	require.NoError(t, tx.End(now))
	ps := drain(t, s, &now, 5*time.Second)
	require.NotEmpty(t, ofTSI(ps, uint64(tx.TSI())))
	require.Len(t, published(t, ps).RS[0].LS[0].SrcFlow.EFDT.Files, 1)
	drain(t, s, &now, 20*time.Second) // the entry expires, the channel describes nothing
	out.Name, out.Track.Stem = "y-1", "y-$TOI$"
	_, err = s.Begin(now, out)
	require.NoError(t, err)
	require.Len(t, published(t, drain(t, s, &now, time.Second)).RS[0].LS, 1)
}

func TestNumbers(t *testing.T) {
	var u numbers
	for _, n := range []uint32{100, 102, 101, 40, 165} {
		require.True(t, u.use(n), n)
		require.False(t, u.use(n), n)
	}
	require.False(t, u.use(100))
	require.True(t, u.use(103))
	require.False(t, u.use(2))
}

func TestSenderAllocatesNothingPerPacket(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{Rate: 1e12, Burst: 1 << 30})
	tx, err := s.Begin(now, media(1, 1))
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, make([]byte, 10_000_000)))
	buf := make([]byte, 0, 1500)
	for range 10 {
		s.Poll(now, buf)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, ok := s.Poll(now, buf); !ok {
			panic("nothing to send")
		}
	}))
}

func BenchmarkSender(b *testing.B) {
	now := simStart
	s := NewSender(SenderConfig{Rate: 1e12, Burst: 1 << 30, NoRepair: true})
	chunk := make([]byte, 50_000)
	buf := make([]byte, 0, 1500)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		now = now.Add(10 * time.Millisecond)
		tx, err := s.Begin(now, media(n+1, 1))
		if err != nil {
			b.Fatal(err)
		}
		_ = tx.Append(now, chunk)
		_ = tx.End(now)
		for {
			if _, ok := s.Poll(now, buf); !ok {
				break
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{25_000, 250_000, 2_500_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var packets []span
			for off := 0; off < size; off += 1344 {
				packets = append(packets, span{uint32(off), uint32(min(1344, size-off))})
			}
			object := append(make([]byte, 0, size+2000), randomBytes(1, size)...)
			b.SetBytes(int64(size))
			var codec raptorq.Codec
			for b.Loop() {
				j := encodeJob{object: object, packets: packets, unit: 1344, block: 1024, codec: &codec}
				j.run()
				if j.err != nil {
					b.Fatal(j.err)
				}
			}
		})
	}
}

// What a run carries may become known after its first object was sent: it is announced then, and counts for the objects
// behind it.
func TestKindOfARunIsKnownLate(t *testing.T) {
	s := newSim(t, SenderConfig{}, ReceiverConfig{})
	kinds := map[string]TrackKind{}
	s.onEvent = func(e Event) {
		if e.Kind == Complete {
			kinds[e.Object.Name()] = e.Object.Track().Kind
		}
	}
	for i, kind := range []TrackKind{Unknown, Unknown, Audio, Audio, Unknown} {
		out := media(i+1, 1000)
		out.Track.Kind = kind
		s.sendWhole(out, randomBytes(uint64(i), 5000))
		s.run(500 * time.Millisecond)
		require.Len(t, s.snd.flows, 1, "one channel")
	}
	require.Equal(t, map[string]TrackKind{
		"chunk-stream0-00001.m4s": Unknown, "chunk-stream0-00002.m4s": Unknown, "chunk-stream0-00003.m4s": Audio,
		"chunk-stream0-00004.m4s": Audio, "chunk-stream0-00005.m4s": Audio,
	}, kinds)
}
