package flute_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/ntp"
)

// parsed returns the packets that a wire has kept.
func (w *wire) parsed() (packets []alc.Packet) {
	for _, b := range w.log {
		var p alc.Packet
		require.NoError(w.t, p.Unmarshal(b))
		packets = append(packets, p)
	}
	return packets
}

func TestSenderProfiles(t *testing.T) {
	for _, c := range []struct {
		profile  flute.Profile
		fti      bool
		version  uint8
		tsi, toi uint8
	}{{flute.Version2, true, 2, 4, 4}, {flute.Version2, false, 2, 4, 4}, {flute.Version1, true, 1, 2, 2}, {flute.MBMS, false, 1, 2, 2}} {
		w := newWire(t, flute.SenderConfig{Profile: c.profile, ObjectFTI: c.fti, TSI: 7, SenderTime: true}, flute.ReceiverConfig{})
		w.keep = true
		w.add(file("a", random(1, 5000)))
		w.run(time.Second)
		w.s.Close(w.now)
		w.run(3 * time.Second)
		require.True(t, w.s.Closed())
		packets := w.parsed()
		described := false
		for i, p := range packets {
			require.Equal(t, uint64(7), p.TSI)
			if p.CloseSession {
				// RFC 6726 section 3.1: no TOI, hence a TSI of 32 bits.
				require.False(t, p.HasTOI)
				require.False(t, p.HasID)
				require.GreaterOrEqual(t, i, len(packets)-3)
				continue
			}
			require.Equal(t, c.tsi, p.TSILen)
			require.Equal(t, c.toi, p.TOILen)
			info, ok, err := p.ObjectInfo()
			require.NoError(t, err)
			if p.TOI == 0 {
				described = true
				x, isFDT := p.Extensions.FDT()
				require.True(t, isFDT)
				require.Equal(t, c.version, x.Version)
				require.True(t, ok)
				require.Equal(t, fec.CompactNoCode, info.ID)
				tm, has := p.Extensions.Time()
				require.True(t, has)
				require.WithinDuration(t, noon, ntp.Time64(tm.SCT, noon), 2*time.Second)
				continue
			}
			require.True(t, described, "before the FDT")
			require.Equal(t, c.fti, ok)
		}
		last := packets[len(packets)-1]
		require.True(t, last.CloseSession)
		require.True(t, w.c.r.Sessions()[0].Closed())
		in := w.entry(1)
		require.Equal(t, "a", in.ContentLocation)
	}
}

// The flag B is on the last packet of a file, and only on that of its last round.
func TestSenderCloseObject(t *testing.T) {
	for _, f := range []flute.FEC{{}, {Scheme: fec.RaptorQ, MaxBlock: 10}, {Scheme: fec.ReedSolomonGF256, Overhead: 0.5}} {
		w := newWire(t, flute.SenderConfig{FEC: f}, flute.ReceiverConfig{})
		w.keep = true
		x := file("a", random(1, 50_000))
		x.Rounds, x.Interval = 3, time.Second
		w.add(x)
		w.run(5 * time.Second)
		closing, last := 0, -1
		for i, p := range w.parsed() {
			if p.TOI == 1 {
				last = i
			}
			if p.CloseObject {
				closing++
				require.Equal(t, i, last)
			}
		}
		require.Equal(t, 1, closing)
		p := w.parsed()[last]
		require.True(t, p.CloseObject)
		require.Equal(t, uint64(3), w.s.Stats().Rounds)
	}
}

func TestSenderCarousel(t *testing.T) {
	w := newWire(t, flute.SenderConfig{FDTLifetime: 4 * time.Second}, flute.ReceiverConfig{})
	forever := file("a", random(1, 3000))
	forever.Rounds, forever.Interval = -1, 2*time.Second
	toi := w.add(forever)
	later := file("b", random(2, 3000))
	later.Start = noon.Add(5 * time.Second)
	w.add(later)
	w.run(4900 * time.Millisecond)
	require.Equal(t, uint64(3), w.s.Stats().Rounds)
	require.Len(t, w.c.locations, 1)
	w.run(20 * time.Second)
	require.Equal(t, uint64(14), w.s.Stats().Rounds, "13 of a, one of b")
	require.Equal(t, sum(random(2, 3000)), w.got(2))
	require.Greater(t, w.s.Stats().FDTInstances, uint64(10), "renewed every 2 s")
	require.Equal(t, "a", w.entry(toi).ContentLocation, "still described")
	_, ok := w.c.r.Sessions()[0].FDT().File(w.now, 2)
	require.False(t, ok, "b is over, and its description has expired")
	require.False(t, w.s.Idle())

	w.s.Remove(w.now, toi)
	before := w.s.Stats()
	w.run(10 * time.Second)
	require.Equal(t, before.Packets, w.s.Stats().Packets, "nothing to describe")
	require.True(t, w.s.Idle())
	require.Zero(t, w.s.NextTimeout(w.now))
	require.Zero(t, w.c.r.Sessions()[0].FDT().Len())
	require.Empty(t, w.c.faults)
}

// Files with a deadline go first, the earliest before all, and then those of higher priority.
func TestSenderOrder(t *testing.T) {
	w := newWire(t, flute.SenderConfig{Rate: 1_000_000}, flute.ReceiverConfig{})
	w.keep = true
	for i, f := range []flute.File{
		{}, {Priority: 1}, {Deadline: noon.Add(time.Minute)}, {Deadline: noon.Add(time.Second)}, {Priority: 1}, {},
	} {
		x := file(fmt.Sprint(i+1), random(uint64(i), 20_000))
		x.Priority, x.Deadline = f.Priority, f.Deadline
		w.add(x)
	}
	w.run(3 * time.Second)
	var order []uint64
	for _, p := range w.parsed() {
		if p.TOI != 0 && !slices.Contains(order, p.TOI) {
			order = append(order, p.TOI)
		}
	}
	require.Equal(t, []uint64{4, 3, 2, 5, 1, 6}, order)
}

// An urgent file goes ahead of one that is being sent.
func TestSenderPreempts(t *testing.T) {
	w := newWire(t, flute.SenderConfig{Rate: 1_000_000}, flute.ReceiverConfig{})
	w.add(file("bulk", random(1, 500_000)))
	w.run(time.Second)
	urgent := file("urgent", random(2, 10_000))
	urgent.Deadline = w.now.Add(time.Second)
	toi := w.add(urgent)
	w.run(time.Second)
	require.NotEmpty(t, w.got(toi))
	require.Empty(t, w.got(1))
	w.run(5 * time.Second)
	require.Equal(t, sum(random(1, 500_000)), w.got(1))
}

func TestSenderTakesTurns(t *testing.T) {
	w := newWire(t, flute.SenderConfig{Parallel: 3}, flute.ReceiverConfig{})
	w.keep = true
	for i := range 5 {
		w.add(file(fmt.Sprint(i), random(uint64(i), 10*1400)))
	}
	w.run(time.Second)
	var first []uint64
	for _, p := range w.parsed() {
		if p.TOI != 0 && len(first) < 6 {
			first = append(first, p.TOI)
		}
	}
	require.Equal(t, []uint64{1, 2, 3, 1, 2, 3}, first)
}

func TestSenderRate(t *testing.T) {
	w := newWire(t, flute.SenderConfig{Rate: 2_000_000, Burst: 10_000}, flute.ReceiverConfig{})
	w.add(file("a", random(1, 1_000_000)))
	w.run(time.Second)
	st := w.s.Stats()
	require.InDelta(t, 2_000_000, float64(8*(st.Octets+28*st.Packets)), 8*(10_000+1500))
	w.run(4 * time.Second)
	require.NotEmpty(t, w.got(1))
}

// Many files are described by several instances, which a receiver puts together.
func TestSenderManyFiles(t *testing.T) {
	w := newWire(t, flute.SenderConfig{Rate: 200_000_000, FDTFiles: 100, FDTGzip: true}, flute.ReceiverConfig{})
	for i := range 1000 {
		w.add(file(fmt.Sprint(i), []byte{byte(i)}))
	}
	w.run(2 * time.Second)
	require.Len(t, w.c.locations, 1000)
	require.Equal(t, 1000, w.c.r.Sessions()[0].FDT().Len())
	require.Equal(t, uint64(10), w.s.Stats().FDTInstances)
	require.Empty(t, w.c.faults)
}

func TestSenderInstanceIDsWrap(t *testing.T) {
	w := newWire(t, flute.SenderConfig{FirstInstance: 1<<20 - 2, FirstTOI: 65535, Profile: flute.MBMS}, flute.ReceiverConfig{})
	for i := range 5 {
		toi := w.add(file(fmt.Sprint(i), random(uint64(i), 100)))
		require.Equal(t, uint64((65534+i)%65535+1), toi)
		w.run(time.Second)
	}
	require.Len(t, w.c.locations, 5)
	var ids []int64
	for key := range w.c.sums {
		if key.toi == 0 {
			ids = append(ids, key.instance)
		}
	}
	slices.Sort(ids)
	require.Equal(t, []int64{0, 1, 2, 1<<20 - 2, 1<<20 - 1}, ids)
	require.Empty(t, w.c.faults)
}

func TestSenderContentEncoding(t *testing.T) {
	body := bytes.Repeat([]byte("compressible "), 1000)
	for _, encoding := range []string{"gzip", "deflate", "zlib"} {
		w := newWire(t, flute.SenderConfig{}, flute.ReceiverConfig{})
		f := file("a", body)
		f.Compress = encoding
		f.ContentType = "text/plain"
		f.Attributes = fdt.File{
			ETag: "x", Groups: []string{"g"}, CacheControl: fdt.CacheControl{NoCache: true}, IndependentUnitPositions: []uint64{0, 7},
			AlternateLocations: []fdt.AlternateLocation{{Set: 1, URLs: []string{"http://example.com/a"}}}, ContentLocation: "other",
		}
		w.add(f)
		w.run(time.Second)
		require.Equal(t, flute.DigestDecoded, w.c.digests[object{0, 1, -1}])
		e := w.entry(1)
		require.Equal(t, encoding, e.ContentEncoding)
		require.Equal(t, uint64(len(body)), e.ContentLength)
		require.Less(t, e.TransferLength, uint64(1000))
		require.Equal(t, "a", e.ContentLocation)
		require.Equal(t, "text/plain", e.ContentType)
		require.Equal(t, f.Attributes.ETag, e.ETag)
		require.Equal(t, f.Attributes.Groups, e.Groups)
		require.Equal(t, f.Attributes.CacheControl, e.CacheControl)
		require.Equal(t, f.Attributes.AlternateLocations, e.AlternateLocations)
		require.Equal(t, f.Attributes.IndependentUnitPositions, e.IndependentUnitPositions)
	}
}

func TestSenderRefuses(t *testing.T) {
	for name, cfg := range map[string]flute.SenderConfig{
		"profile":        {Profile: 9},
		"TSI of 17 bits": {Profile: flute.MBMS, TSI: 1 << 16},
		"TSI of 49 bits": {TSI: 1 << 48},
		"EXT_FTI":        {Profile: flute.MBMS, ObjectFTI: true},
		"TOI of 17 bits": {Profile: flute.Version1, FirstTOI: 1 << 16},
		"instance":       {FirstInstance: 1 << 20},
	} {
		_, err := flute.NewSender(cfg)
		require.ErrorIs(t, err, flute.ErrConfig, name)
	}
	s, err := flute.NewSender(flute.SenderConfig{Profile: flute.MBMS})
	require.NoError(t, err)
	body := bytes.NewReader([]byte("x"))
	for name, f := range map[string]flute.File{
		"no location":     {Body: body, Length: 1},
		"no body":         {Location: "a", Length: 1},
		"length":          {Location: "a", Body: body, Length: -1},
		"short body":      {Location: "a", Body: body, Length: 2, Compress: "x"},
		"encoding":        {Location: "a", Body: body, Length: 1, Compress: "br"},
		"encoded twice":   {Location: "a", Body: body, Length: 1, Compress: "gzip", ContentEncoding: "gzip"},
		"TOI":             {Location: "a", Body: body, Length: 1, TOI: 1 << 16},
		"scheme":          {Location: "a", Body: body, Length: 1, FEC: &flute.FEC{Scheme: 99}},
		"not XML":         {Location: "a\x01", Body: body, Length: 1},
		"RaptorQ too big": {Location: "a", Body: body, Length: 1 << 45, ContentEncoding: "x", FEC: &flute.FEC{Scheme: fec.RaptorQ}},
	} {
		_, err := s.Add(noon, f)
		require.ErrorIs(t, err, flute.ErrConfig, name)
	}
	require.True(t, s.Idle())
	_, ok := s.Poll(noon, nil)
	require.False(t, ok)
	s.Close(noon)
	s.Close(noon)
	_, err = s.Add(noon, file("a", nil))
	require.ErrorIs(t, err, flute.ErrConfig)
}

// A body that fails while it is sent ends its file, and no other.
func TestSenderBodyFails(t *testing.T) {
	w := newWire(t, flute.SenderConfig{NoDigests: true, FEC: flute.FEC{Scheme: fec.RaptorQ}}, flute.ReceiverConfig{})
	_, err := w.s.Add(w.now, flute.File{Location: "short", Body: bytes.NewReader([]byte("x")), Length: 5000})
	require.NoError(t, err)
	plain := flute.FEC{}
	_, err = w.s.Add(w.now, flute.File{Location: "short too", Body: bytes.NewReader([]byte("x")), Length: 5000, FEC: &plain})
	require.NoError(t, err)
	toi := w.add(file("good", random(1, 5000)))
	w.run(time.Second)
	require.NotEmpty(t, w.got(toi))
	require.True(t, w.s.Idle())
}

func TestSenderPacketsAllocateLittle(t *testing.T) {
	s, err := flute.NewSender(flute.SenderConfig{Rate: 1 << 40, FDTInterval: time.Hour, FDTLifetime: 4 * time.Hour})
	require.NoError(t, err)
	_, err = s.Add(noon, file("a", make([]byte, 50<<20)))
	require.NoError(t, err)
	buf, now := make([]byte, 0, 1500), noon
	poll := func() {
		now = now.Add(time.Millisecond)
		if _, ok := s.Poll(now, buf); !ok {
			t.Fatal("nothing to send")
		}
	}
	for range 10 {
		poll()
	}
	require.Less(t, testing.AllocsPerRun(10_000, poll), 1.0, "what a block takes is spread over its packets")
}

func TestSenderNoMore(t *testing.T) {
	w := newWire(t, flute.SenderConfig{}, flute.ReceiverConfig{})
	w.add(file("a", random(1, 100)))
	w.run(500 * time.Millisecond)
	require.False(t, w.c.r.Sessions()[0].FDT().Complete())
	w.s.NoMore()
	w.run(500 * time.Millisecond)
	require.True(t, w.c.r.Sessions()[0].FDT().Complete())
	_, err := w.s.Add(w.now, file("b", nil))
	require.ErrorIs(t, err, flute.ErrConfig)
}

// Later rounds bring other repair symbols, so that a receiver with much loss needs fewer rounds.
func TestSenderFreshRepair(t *testing.T) {
	w := newWire(t, flute.SenderConfig{FEC: flute.FEC{Scheme: fec.RaptorQ, Overhead: 0.5}}, flute.ReceiverConfig{})
	w.keep = true
	f := file("a", random(1, 13_000))
	f.Rounds, f.Interval = 3, time.Second
	w.add(f)
	w.run(4 * time.Second)
	seen := map[uint32]int{}
	for _, p := range w.parsed() {
		if p.TOI == 1 {
			seen[p.ID.ESI]++
		}
	}
	k := 10
	require.Len(t, seen, k+3*(k/2))
	for esi, n := range seen {
		if int(esi) < k {
			require.Equal(t, 3, n)
		} else {
			require.Equal(t, 1, n)
		}
	}
}

// BenchmarkSendManyFiles is what a packet takes while very many files wait.
func BenchmarkSendManyFiles(b *testing.B) {
	s, err := flute.NewSender(flute.SenderConfig{Rate: 1e12, NoDigests: true, Parallel: 4})
	require.NoError(b, err)
	body := make([]byte, 14_000)
	for i := range 50_000 {
		f := file(fmt.Sprint(i), body)
		f.Rounds = -1
		_, err = s.Add(noon, f)
		require.NoError(b, err)
	}
	buf, now := make([]byte, 0, 1500), noon
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		if _, ok := s.Poll(now, buf); !ok {
			b.Fatal("nothing to send")
		}
	}
}
