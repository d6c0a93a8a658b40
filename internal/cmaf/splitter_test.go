package cmaf_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/cmaf"
)

func TestSplitterSegment(t *testing.T) {
	b := read(t, "seg-1-00001.m4s")
	events, err := whole(b)
	require.NoError(t, err)
	require.Equal(t, cmaf.Event{Kind: cmaf.SegmentStart, Start: 0, End: 8}, events[0])

	chunks := ofKind(events, cmaf.ChunkEnd)
	require.Len(t, chunks, 50)
	require.Len(t, ofKind(events, cmaf.MoofEnd), 50)
	end := uint64(0)
	for i, ev := range chunks {
		require.Equal(t, end, ev.Start)
		end = ev.End
		prefix := cmaf.Sidx
		if i == 0 {
			prefix |= cmaf.Styp
		}
		require.Equal(t, cmaf.Chunk{
			Prefix: prefix, Sequence: uint32(i + 1), Tracks: 1, TrackID: 1,
			BaseDecodeTime: uint64(i * 512), HasDecodeTime: true, Sync: i == 0,
		}, ev.Chunk)
	}
	require.EqualValues(t, len(b), end)
}

func TestSplitterAudioIsSync(t *testing.T) {
	events, err := whole(read(t, "seg-2-00002.m4s"))
	require.NoError(t, err)
	chunks := ofKind(events, cmaf.ChunkEnd)
	require.EqualValues(t, 0x17800, chunks[0].Chunk.BaseDecodeTime)
	for _, ev := range chunks {
		require.True(t, ev.Chunk.Sync)
	}
}

func TestSplitterMuxedFile(t *testing.T) {
	b := read(t, "muxed.mp4")
	events, err := whole(b)
	require.NoError(t, err)
	require.Equal(t, cmaf.Event{Kind: cmaf.InitEnd, Start: 0, End: 28 + 1244}, events[0])
	chunks := ofKind(events, cmaf.ChunkEnd)
	require.Len(t, chunks, 2)
	require.Equal(t, 2, chunks[0].Chunk.Tracks)
	require.EqualValues(t, 12800, chunks[1].Chunk.BaseDecodeTime)
	require.True(t, chunks[0].Chunk.Sync)
	require.True(t, chunks[1].Chunk.Sync)
	require.EqualValues(t, 1272, chunks[0].Start)
	require.EqualValues(t, len(b), chunks[1].End)
}

// Keyframes come every 2 s, fragments of one track every 0.5 s.
func TestSplitterFragmentsWithoutKeyframe(t *testing.T) {
	events, err := whole(read(t, "bframes-opus.mp4"))
	require.NoError(t, err)
	var sync []bool
	for _, ev := range ofKind(events, cmaf.ChunkEnd) {
		sync = append(sync, ev.Chunk.Sync)
	}
	require.Equal(t, []bool{true, false, false, false, true, false}, sync)
}

func TestSplitterAnySplit(t *testing.T) {
	for _, name := range []string{"init-0.mp4", "seg-1-00001.m4s", "seg-2-00002.m4s", "muxed.mp4", "bframes-opus.mp4"} {
		b := read(t, name)
		want, err := whole(b)
		require.NoError(t, err)
		for _, sizes := range [][]int{{1}, {2}, {3}, {7}, {1, 15, 2}, {1316}, {4096}} {
			got, err := split(&cmaf.Splitter{}, b, sizes...)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s in portions of %v", name, sizes)
		}
	}
}

func TestSplitterBoxForms(t *testing.T) {
	init := cat(mp4("ftyp", []byte("cmfc")), mp4("moov", mp4("mvhd")))
	mdat := mp4("mdat", make([]byte, 100))
	for _, c := range []struct {
		name  string
		in    []byte
		kinds []cmaf.Kind
	}{
		{"init", init, []cmaf.Kind{cmaf.InitEnd}},
		{"moov without ftyp", mp4("moov"), []cmaf.Kind{cmaf.InitEnd}},
		{"moov to the end", open("moov", mp4("mvhd", words(0))), []cmaf.Kind{cmaf.InitEnd}},
		{"64-bit sizes", cat(wide("styp", words(0)), wide("moof", moof(1)[8:]), wide("mdat", make([]byte, 5))),
			[]cmaf.Kind{cmaf.SegmentStart, cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"mdat to the end", cat(moof(1), open("mdat", make([]byte, 70))), []cmaf.Kind{cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"empty mdat to the end", cat(moof(1), open("mdat", nil)), []cmaf.Kind{cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"all prefix boxes", cat(mp4("styp"), mp4("prft", words(0)), mp4("emsg"), mp4("emsg"), mp4("sidx"), mp4("uuid", make([]byte, 16)), moof(1), mp4("free"), mdat),
			[]cmaf.Kind{cmaf.SegmentStart, cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"init between chunks", cat(moof(1), mdat, init, moof(2), mdat),
			[]cmaf.Kind{cmaf.MoofEnd, cmaf.ChunkEnd, cmaf.InitEnd, cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"index at the end", cat(moof(1), mdat, mp4("mfra", words(1, 2, 3))), []cmaf.Kind{cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"unknown box to the end", cat(moof(1), mdat, open("skip", words(1))), []cmaf.Kind{cmaf.MoofEnd, cmaf.ChunkEnd}},
		{"nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 5, 1 << 20} {
				events, err := split(&cmaf.Splitter{}, c.in, size)
				require.NoError(t, err)
				var kinds []cmaf.Kind
				for _, ev := range events {
					kinds = append(kinds, ev.Kind)
				}
				require.Equal(t, c.kinds, kinds)
			}
		})
	}
}

func TestSplitterPrefix(t *testing.T) {
	b := cat(mp4("styp"), mp4("prft", words(0)), mp4("emsg"), mp4("sidx"), mp4("free"), moof(1), mp4("mdat"))
	events, err := whole(b)
	require.NoError(t, err)
	last := events[len(events)-1]
	require.Equal(t, cmaf.Styp|cmaf.Prft|cmaf.Emsg|cmaf.Sidx|cmaf.Other, last.Chunk.Prefix)
	require.Zero(t, last.Start)
}

func TestSplitterErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     []byte
		err    error
		offset uint64
	}{
		{"size below header", words(7, 0x66747970), cmaf.ErrSize, 0},
		{"64-bit size below header", cat(words(1), []byte("ftyp"), words(0, 15)), cmaf.ErrSize, 0},
		{"64-bit size wraps", cat(moof(1), words(1), []byte("mdat"), words(math.MaxUint32, math.MaxUint32-3)), cmaf.ErrLimit, 24},
		{"child beyond parent", mp4("moof", words(100), []byte("mfhd")), cmaf.ErrSize, 8},
		{"child to the end", mp4("moof", open("traf", nil)), cmaf.ErrSize, 8},
		{"grandchild beyond parent", mp4("moof", mp4("traf", words(17), []byte("tfhd"), words(0, 1)), mp4("free")), cmaf.ErrSize, 16},
		{"short mfhd", mp4("moof", mp4("mfhd", words(0))), cmaf.ErrSize, 8},
		{"empty mfhd", mp4("moof", mp4("mfhd"), mp4("free")), cmaf.ErrSize, 8},
		{"short wide tfdt", moof(1, mp4("traf", mp4("tfdt", words(1<<24, 0)))), cmaf.ErrSize, 32},
		{"tfhd without its flags", moof(1, mp4("traf", mp4("tfhd", words(0x3a, 1, 2, 3)))), cmaf.ErrSize, 32},
		{"trun without its sample", moof(1, mp4("traf", mp4("trun", words(0x701, 1, 0, 0, 0)))), cmaf.ErrSize, 32},
		{"short trex", mp4("moov", mp4("mvex", mp4("trex", words(0, 1)))), cmaf.ErrSize, 16},
		{"init beyond limit", cat(mp4("ftyp"), words(1<<20), []byte("moov")), cmaf.ErrLimit, 8},
		{"chunk beyond limit", cat(moof(1), words(16<<20), []byte("mdat")), cmaf.ErrLimit, 24},
		{"prefix beyond limit", cat(mp4("styp"), words(16<<20), []byte("free")), cmaf.ErrLimit, 8},
		{"unlimited box beyond limit", open("ftyp", make([]byte, 1<<20)), cmaf.ErrLimit, 0},
		{"mdat without moof", mp4("mdat"), cmaf.ErrOrder, 0},
		{"mdat after init", cat(mp4("ftyp"), mp4("moov"), mp4("mdat")), cmaf.ErrOrder, 16},
		{"moof before moov", cat(mp4("ftyp"), moof(1)), cmaf.ErrOrder, 8},
		{"moof after moof", cat(moof(1), moof(2)), cmaf.ErrOrder, 24},
		{"styp after moof", cat(moof(1), mp4("styp")), cmaf.ErrOrder, 24},
		{"styp twice", cat(mp4("styp"), mp4("styp")), cmaf.ErrOrder, 8},
		{"sidx before moov", cat(mp4("ftyp"), mp4("sidx")), cmaf.ErrOrder, 8},
		{"ftyp after styp", cat(mp4("styp"), mp4("ftyp")), cmaf.ErrOrder, 8},
		{"cut in header", mp4("styp")[:5], io.ErrUnexpectedEOF, 0},
		{"cut in box", cat(mp4("styp"), moof(1)[:20]), io.ErrUnexpectedEOF, 8},
		{"cut before mdat", moof(1), io.ErrUnexpectedEOF, 24},
		{"cut in mdat", cat(moof(1), mp4("mdat", words(1, 2))[:12]), io.ErrUnexpectedEOF, 24},
		{"cut in a moov to the end", open("moov", words(8)), io.ErrUnexpectedEOF, 0},
		{"cut before moov", mp4("ftyp"), io.ErrUnexpectedEOF, 8},
		{"not MP4", []byte("#EXTM3U\n#EXT-X-VERSION:7\n"), cmaf.ErrLimit, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 1 << 21} {
				s := &cmaf.Splitter{}
				_, err := split(s, c.in, size)
				require.ErrorIs(t, err, c.err)
				var e *cmaf.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.offset, e.Offset)

				n, ev, again := s.Next([]byte("more"))
				require.Zero(t, n)
				require.Zero(t, ev)
				require.Equal(t, err, again)
				s.Reset()
				_, err = split(s, cat(moof(1), mp4("mdat")), size)
				require.NoError(t, err)
			}
		})
	}
}

func TestSplitterLimits(t *testing.T) {
	b := cat(mp4("styp"), moof(1), mp4("mdat", make([]byte, 60)))
	_, err := split(cmaf.NewSplitter(cmaf.Config{MaxFragment: uint64(len(b))}), b, len(b))
	require.NoError(t, err)
	_, err = split(cmaf.NewSplitter(cmaf.Config{MaxFragment: uint64(len(b)) - 1}), b, len(b))
	require.ErrorIs(t, err, cmaf.ErrLimit)

	b = cat(mp4("ftyp"), open("moov", mp4("free", make([]byte, 60))))
	_, err = split(cmaf.NewSplitter(cmaf.Config{MaxInit: uint64(len(b))}), b, 1)
	require.NoError(t, err)
	_, err = split(cmaf.NewSplitter(cmaf.Config{MaxInit: uint64(len(b)) - 1}), b, 1)
	require.ErrorIs(t, err, cmaf.ErrLimit)
}

func TestSplitterSync(t *testing.T) {
	const sync, nonSync = 0x02000000, 0x01010000
	tfhd := func(flags uint32, fields ...uint32) []byte {
		return mp4("tfhd", words(append([]uint32{0x020000 | flags, 7}, fields...)...))
	}
	trun := func(flags uint32, fields ...uint32) []byte {
		return mp4("trun", words(append([]uint32{flags, 1}, fields...)...))
	}
	for _, c := range []struct {
		name  string
		trafs [][]byte
		want  bool
	}{
		{"first_sample_flags", [][]byte{mp4("traf", tfhd(0x20, nonSync), trun(0x004, sync))}, true},
		{"first_sample_flags, not", [][]byte{mp4("traf", tfhd(0x20, sync), trun(0x005, 9, nonSync))}, false},
		{"sample flags", [][]byte{mp4("traf", tfhd(0), trun(0xf01, 9, 512, 1000, sync, 5))}, true},
		{"sample flags, not", [][]byte{mp4("traf", tfhd(0x20, sync), trun(0x401, 9, nonSync))}, false},
		{"tfhd", [][]byte{mp4("traf", tfhd(0x3b, 0, 1, 2, 3, 4, sync), trun(0x001, 9))}, true},
		{"tfhd, not", [][]byte{mp4("traf", tfhd(0x38, 3, 4, nonSync), trun(0x001, 9))}, false},
		{"trex", [][]byte{mp4("traf", tfhd(0), trun(0x001, 9))}, false},
		{"trex of another track", [][]byte{mp4("traf", mp4("tfhd", words(0, 8)), trun(0x001, 9))}, true},
		{"first run without samples", [][]byte{mp4("traf", tfhd(0), mp4("trun", words(0x400, 0)), trun(0x400, sync))}, true},
		{"second run does not count", [][]byte{mp4("traf", tfhd(0), trun(0x400, sync), trun(0x400, nonSync))}, true},
		{"one of two tracks", [][]byte{traf(1, 0, nonSyncRun), traf(2, 0, syncRun)}, false},
		{"both tracks", [][]byte{traf(1, 0, syncRun), traf(2, 0, syncRun)}, true},
		{"no run", [][]byte{mp4("traf", tfhd(0x20, sync))}, false},
		{"no track", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			chunk := cat(moof(3, c.trafs...), mp4("mdat"))
			s := &cmaf.Splitter{}
			s.UseInit(&cmaf.Init{Tracks: []cmaf.Track{{ID: 7, DefaultSampleFlags: nonSync}}})
			events, err := split(s, chunk, len(chunk))
			require.NoError(t, err)
			require.Equal(t, c.want, events[len(events)-1].Chunk.Sync)

			init := mp4("moov", mp4("mvex", mp4("trex", words(0, 7, 1, 0, 0, nonSync))))
			events, err = split(&cmaf.Splitter{}, cat(init, chunk), 3)
			require.NoError(t, err)
			require.Equal(t, c.want, events[len(events)-1].Chunk.Sync)
		})
	}
}

func TestSplitterDecodeTimes(t *testing.T) {
	b := cat(
		moof(1, traf(3, 1<<40, syncRun), traf(4, 5, syncRun)), mp4("mdat"),
		moof(2, mp4("traf", mp4("tfdt", words(0, 77)))), mp4("mdat"),
		moof(3, mp4("traf")), mp4("mdat"),
	)
	events, err := whole(b)
	require.NoError(t, err)
	chunks := ofKind(events, cmaf.ChunkEnd)
	require.Equal(t, cmaf.Chunk{Sequence: 1, Tracks: 2, TrackID: 3, BaseDecodeTime: 1 << 40, HasDecodeTime: true, Sync: true}, chunks[0].Chunk)
	require.Equal(t, cmaf.Chunk{Sequence: 2, Tracks: 1, BaseDecodeTime: 77, HasDecodeTime: true}, chunks[1].Chunk)
	require.Equal(t, cmaf.Chunk{Sequence: 3, Tracks: 1}, chunks[2].Chunk)
}

func TestSplitterAllocatesNothing(t *testing.T) {
	b := read(t, "seg-1-00001.m4s")
	s := &cmaf.Splitter{}
	require.Zero(t, testing.AllocsPerRun(20, func() {
		s.Reset()
		for rest := b; len(rest) > 0; {
			part := rest[:min(1316, len(rest))]
			rest = rest[len(part):]
			for len(part) > 0 {
				n, _, err := s.Next(part)
				if err != nil {
					panic(err)
				}
				part = part[n:]
			}
		}
		if _, err := s.Finish(); err != nil {
			panic(err)
		}
	}))
}

// FuzzSplitter: neither events nor errors depend on how the input is cut, every
// boundary lies on a box boundary, and no unit exceeds its limit.
func FuzzSplitter(f *testing.F) {
	for _, name := range []string{"init-0.mp4", "seg-2-00002.m4s"} {
		f.Add(read(f, name), []byte{1, 200, 3})
	}
	f.Add(cat(mp4("ftyp"), mp4("moov", mp4("mvex", mp4("trex", words(0, 1, 1, 0, 0, 1<<16)))), moof(1, traf(1, 9, syncRun)), mp4("mdat", words(1, 2))), []byte{5})
	f.Add(cat(wide("moof", moof(1)[8:]), open("mdat", words(1, 2))), []byte{1})
	f.Add(cat(moof(1), words(1), []byte("mdat"), words(math.MaxUint32, 7)), []byte{16, 1})
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		cfg := cmaf.Config{MaxInit: 2000, MaxFragment: 4000}
		want, wantErr := split(cmaf.NewSplitter(cfg), b, len(b))
		sizes := []int{1}
		for _, c := range cuts {
			sizes = append(sizes, int(c))
		}
		got, err := split(cmaf.NewSplitter(cfg), b, sizes...)
		require.Equal(t, want, got)
		require.Equal(t, wantErr, err)

		ends := topLevelEnds(b)
		at := uint64(0)
		for _, ev := range want {
			require.Equal(t, at, ev.Start)
			switch ev.Kind {
			case cmaf.InitEnd, cmaf.ChunkEnd:
				limit := cfg.MaxInit
				if ev.Kind == cmaf.ChunkEnd {
					limit = cfg.MaxFragment
				}
				require.LessOrEqual(t, ev.End-ev.Start, limit)
				at = ev.End
				fallthrough
			case cmaf.MoofEnd:
				require.True(t, ends[ev.End])
			}
		}
	})
}

// topLevelEnds walks whole boxes the plain way.
func topLevelEnds(b []byte) map[uint64]bool {
	ends := make(map[uint64]bool)
	at := uint64(0)
	for {
		rest := b[at:]
		if len(rest) < 8 {
			return ends
		}
		var size uint64
		for _, c := range rest[:4] {
			size = size<<8 | uint64(c)
		}
		switch {
		case size == 0:
			size = uint64(len(rest))
		case size == 1 && len(rest) >= 16:
			size = 0
			for _, c := range rest[8:16] {
				size = size<<8 | uint64(c)
			}
		}
		if size < 8 || size > uint64(len(rest)) {
			return ends
		}
		at += size
		ends[at] = true
	}
}

func BenchmarkSplitter(b *testing.B) {
	seg := read(b, "seg-1-00001.m4s")
	big := cat(moof(1, traf(1, 0, syncRun)), mp4("mdat", make([]byte, 4<<20)))
	for _, c := range []struct {
		name string
		in   []byte
		size int
	}{{"frames/1316", seg, 1316}, {"frames/32k", seg, 32 << 10}, {"mdat/1316", big, 1316}, {"mdat/32k", big, 32 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.in)))
			b.ReportAllocs()
			s := &cmaf.Splitter{}
			for b.Loop() {
				s.Reset()
				for rest := c.in; len(rest) > 0; {
					part := rest[:min(c.size, len(rest))]
					rest = rest[len(part):]
					for len(part) > 0 {
						n, _, err := s.Next(part)
						if err != nil {
							b.Fatal(err)
						}
						part = part[n:]
					}
				}
			}
		})
	}
}

func ExampleSplitter() {
	stream := cat(mp4("styp"), moof(1, traf(1, 512, syncRun)), mp4("mdat", []byte("a frame")))
	var s cmaf.Splitter
	var out bytes.Buffer // what is forwarded
	for _, part := range [][]byte{stream[:20], stream[20:]} {
		for len(part) > 0 {
			n, ev, err := s.Next(part)
			if err != nil {
				fmt.Println(err)
				return
			}
			out.Write(part[:n])
			if ev.Kind == cmaf.ChunkEnd {
				fmt.Printf("%d octets at time %d, sync %v\n", out.Len(), ev.Chunk.BaseDecodeTime, ev.Chunk.Sync)
				out.Reset()
			}
			part = part[n:]
		}
	}
	// Output: 111 octets at time 512, sync true
}
