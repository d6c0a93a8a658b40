package cmaf_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/cmaf"
)

func TestParseInit(t *testing.T) {
	const nonSync = 0x01010000
	avc := cmaf.Track{ID: 1, Kind: cmaf.Video, Timescale: 12800, Codec: "avc1.4d401e", Width: 640, Height: 360}
	aac := cmaf.Track{ID: 1, Kind: cmaf.Audio, Timescale: 48000, Codec: "mp4a.40.2", Channels: 2, SampleRate: 48000}
	aac2 := aac
	aac2.ID = 2
	for _, c := range []struct {
		name   string
		tracks []cmaf.Track
	}{
		{"init-0.mp4", []cmaf.Track{avc}},
		{"init-2.mp4", []cmaf.Track{aac}},
		{"muxed.mp4", []cmaf.Track{avc, aac2}},
		{"bframes-opus.mp4", []cmaf.Track{
			{ID: 1, Kind: cmaf.Video, Timescale: 15360, Codec: "avc1.64000d", Width: 320, Height: 180},
			{ID: 2, Kind: cmaf.Audio, Timescale: 48000, Codec: "opus", Channels: 2, SampleRate: 48000},
		}},
	} {
		in, err := cmaf.ParseInit(read(t, c.name))
		require.NoError(t, err)
		require.Equal(t, c.tracks, in.Tracks, c.name)
	}

	in, err := cmaf.ParseInit(initOf("text", mp4("wvtt")))
	require.NoError(t, err)
	require.EqualValues(t, nonSync, in.Tracks[0].DefaultSampleFlags)
}

// initOf makes an initialization segment with one sample entry.
func initOf(handler string, entry []byte) []byte {
	return cat(mp4("ftyp"), mp4("moov",
		mp4("trak",
			mp4("tkhd", words(1<<24, 0, 0, 0, 0, 9)),
			mp4("mdia",
				mp4("mdhd", words(1<<24, 0, 0, 0, 0, 90000)),
				mp4("hdlr", words(0, 0), []byte(handler)),
				mp4("minf", mp4("stbl", mp4("stsd", words(0, 1), entry))))),
		mp4("mvex", mp4("trex", words(0, 9, 1, 0, 0, 0x01010000))),
	))
}

func TestParseInitCodecs(t *testing.T) {
	video := func(typ string, config ...[]byte) []byte {
		return mp4(typ, append([][]byte{make([]byte, 78)}, config...)...)
	}
	audio := func(typ string, config ...[]byte) []byte {
		return mp4(typ, append([][]byte{make([]byte, 28)}, config...)...)
	}
	// An ES descriptor with a stream dependence, a URL and an OCR stream, whose
	// lengths are in the long form.
	es := []byte{0, 0, 0, 0,
		3, 0x80, 0x80, 0x80, 31, 0, 1, 0xe0, 0, 2, 1, 'u', 0, 3,
		4, 20, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		5, 5, 0xf8, 0x80, 0, 0, 0}
	for _, c := range []struct {
		kind  string
		entry []byte
		want  string
	}{
		{"vide", video("avc3", mp4("avcC", []byte{1, 0x64, 0, 0x28})), "avc3.640028"},
		{"vide", video("hvc1", mp4("hvcC", []byte{1, 1, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93})), "hvc1.1.6.L93.b0"},
		{"vide", video("hev1", mp4("hvcC", []byte{1, 0x62, 0x20, 0, 0, 0, 0x90, 1, 0, 0, 0, 0, 120})), "hev1.A2.4.H120.90.1"},
		{"vide", video("av01", mp4("av1C", []byte{0x81, 0x04, 0x0c, 0})), "av01.0.04M.08"},
		{"vide", video("av01", mp4("av1C", []byte{0x81, 0x4d, 0xe0, 0})), "av01.2.13H.12"},
		{"vide", video("vp09", mp4("vpcC", []byte{1, 0, 0, 0, 2, 31, 0xa0})), "vp09.02.31.10"},
		{"vide", video("xyz1"), "xyz1"},
		{"soun", audio("mp4a", mp4("esds", es)), "mp4a.40.36"},
		{"soun", audio("mp4a", mp4("esds", []byte{0, 0, 0, 0, 3, 18, 0, 1, 0, 4, 13, 0x6b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})), "mp4a.6b"},
		{"soun", audio("fLaC", mp4("dfLa", words(0))), "flac"},
		{"soun", audio("ac-3", mp4("dac3", words(0))), "ac-3"},
		{"text", mp4("wvtt"), "wvtt"},
	} {
		in, err := cmaf.ParseInit(initOf(c.kind, c.entry))
		require.NoError(t, err, c.want)
		require.Equal(t, c.want, in.Tracks[0].Codec)
		require.EqualValues(t, 9, in.Tracks[0].ID)
		require.EqualValues(t, 90000, in.Tracks[0].Timescale)
	}
	for _, entry := range [][]byte{
		video("avc1", mp4("avcC", []byte{1})),
		video("hvc1", mp4("hvcC", words(1, 1, 1))),
		video("av01", mp4("av1C")),
		video("vp09", mp4("vpcC")),
		mp4("avc1", make([]byte, 77)),
		video("avc1", words(9, 0)),
	} {
		_, err := cmaf.ParseInit(initOf("vide", entry))
		require.ErrorIs(t, err, cmaf.ErrSize)
	}
	for n := range es {
		_, err := cmaf.ParseInit(initOf("soun", audio("mp4a", mp4("esds", es[:n]))))
		require.ErrorIs(t, err, cmaf.ErrSize, n)
	}
}

func TestParseInitErrors(t *testing.T) {
	deep := mp4("stbl")
	for range 4 {
		deep = mp4("mdia", deep)
	}
	var many [][]byte
	for range 65 {
		many = append(many, mp4("trak"))
	}
	whole := read(t, "init-0.mp4")
	for _, c := range []struct {
		name string
		in   []byte
		err  error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"no moov", mp4("ftyp"), io.ErrUnexpectedEOF},
		{"cut", whole[:len(whole)-1], io.ErrUnexpectedEOF},
		{"cut in header", whole[:30], io.ErrUnexpectedEOF},
		{"size below header", words(3, 0), cmaf.ErrSize},
		{"box beyond its parent", mp4("moov", words(9, 0)), cmaf.ErrSize},
		{"box without size in another", mp4("moov", words(0, 0)), cmaf.ErrSize},
		{"short tkhd", mp4("moov", mp4("trak", mp4("tkhd"))), cmaf.ErrSize},
		{"short hdlr", mp4("moov", mp4("trak", mp4("hdlr"))), cmaf.ErrSize},
		{"short trex", mp4("moov", mp4("mvex", mp4("trex"))), cmaf.ErrSize},
		{"short stsd", mp4("moov", mp4("trak", mp4("stsd"))), cmaf.ErrSize},
		{"stsd without entry", mp4("moov", mp4("trak", mp4("stsd", words(0, 1)))), cmaf.ErrSize},
		{"deep", mp4("moov", mp4("trak", deep)), cmaf.ErrLimit},
		{"many tracks", mp4("moov", many...), cmaf.ErrLimit},
	} {
		_, err := cmaf.ParseInit(c.in)
		require.ErrorIs(t, err, c.err, c.name)
	}
}

// FuzzParseInit: a moov that parses does so behind other boxes, too, and errors
// point into the input.
func FuzzParseInit(f *testing.F) {
	f.Add(read(f, "init-0.mp4"))
	f.Add(read(f, "init-2.mp4"))
	f.Add(initOf("soun", mp4("fLaC", make([]byte, 28), mp4("dfLa"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := cmaf.ParseInit(b)
		if err != nil {
			var e *cmaf.Error
			require.ErrorAs(t, err, &e)
			require.LessOrEqual(t, e.Offset, uint64(len(b)))
			return
		}
		require.LessOrEqual(t, len(in.Tracks), 64)
		again, err := cmaf.ParseInit(cat(mp4("free"), b))
		require.NoError(t, err)
		require.Equal(t, in, again)
	})
}

func BenchmarkParseInit(b *testing.B) {
	in := read(b, "init-0.mp4")
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cmaf.ParseInit(in); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleParseInit() {
	in, err := cmaf.ParseInit(initOf("text", mp4("wvtt")))
	if err != nil {
		fmt.Println(err)
		return
	}
	tr := in.Tracks[0]
	fmt.Println(tr.ID, tr.Kind, tr.Codec, tr.Timescale)
	// Output: 9 text wvtt 90000
}
