package manifest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIndexLowLatencyDASH(t *testing.T) {
	var x Index
	require.False(t, x.Expects("manifest.mpd"))
	require.NoError(t, x.Update("manifest.mpd", read(t, "ffmpeg-ldash-first.mpd")))
	require.NoError(t, x.Update("manifest.mpd", read(t, "ffmpeg-ldash.mpd")))
	require.Equal(t, 2*time.Second, x.TargetDuration())

	// Nothing observed yet: the template is all there is.
	require.True(t, x.Expects("chunk-stream0-01234.m4s"))
	require.False(t, x.Expects("chunk-stream0-1234.m4s"))
	require.False(t, x.Expects("chunk-stream2-00001.m4s"))
	require.False(t, x.Expects("chunk-stream0-00000.m4s"))

	x.Observe("chunk-stream0-00100.m4s", 0)
	for n, want := range map[int]bool{94: false, 95: true, 100: true, 102: true, 103: false} {
		require.Equal(t, want, x.Expects(fmt.Sprintf("chunk-stream0-%05d.m4s", n)), n)
	}
	require.True(t, x.Expects("init-stream1.m4s"))
	require.True(t, x.IsInit("init-stream1.m4s"))
	require.False(t, x.IsInit("chunk-stream0-00100.m4s"))

	x.Observe("chunk-stream0-00098.m4s", 0) // a late one moves nothing
	require.True(t, x.Expects("chunk-stream0-00102.m4s"))
	x.Observe("chunk-stream0-00001.m4s", 0) // the encoder began again
	require.True(t, x.Expects("chunk-stream0-00003.m4s"))
	require.False(t, x.Expects("chunk-stream0-00101.m4s"))

	track, ok := x.TrackOf("chunk-stream1-00007.m4s")
	require.True(t, ok)
	require.Equal(t, Track{
		Template: Template{"chunk-stream1-", ".m4s", 5}, Number: 7,
		Kind: Audio, Init: "init-stream1.m4s", Manifest: "manifest.mpd",
	}, track)
	track, _ = x.TrackOf("chunk-stream1-100000.m4s")
	require.Equal(t, 5, track.Template.Width, "the manifest knows the padding, the name does not show it")
	require.Equal(t, "init-stream0.m4s", x.InitOf("chunk-stream0-00001.m4s"))

	require.NoError(t, x.Update("manifest.mpd", read(t, "ffmpeg-ldash-end.mpd")))
	require.True(t, x.Expects("chunk-stream0-00004.m4s"))
	require.False(t, x.Expects("chunk-stream0-00005.m4s"), "the end is known")
}

// What a playlist lists is complete, what came before the newest that was seen
// has been missed, and what comes next has not.
func TestIndexPast(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("media_0.m3u8", []byte("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init-0.mp4\"\n"+
		"#EXTINF:2,\nseg-7.m4s\n#EXTINF:2,\nseg-8.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-9.m4s\"\n")))
	require.NoError(t, x.Update("master.m3u8", []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmedia_0.m3u8\n")))
	for _, name := range []string{"media_0.m3u8", "init-0.mp4", "seg-7.m4s", "seg-8.m4s"} {
		require.True(t, x.Expects(name) && x.Past(name), name)
	}
	for _, name := range []string{"seg-9.m4s", "part-9.m4s"} {
		require.True(t, x.Expects(name) && !x.Past(name), name)
	}

	require.NoError(t, x.Update("manifest.mpd", read(t, "ffmpeg-ldash.mpd")))
	require.True(t, x.Past("init-stream0.m4s"))
	require.False(t, x.Past("chunk-stream0-00099.m4s"))
	x.Observe("chunk-stream0-00100.m4s", 0)
	for n, want := range map[int]bool{1: false, 99: true, 100: false, 101: false} {
		require.Equal(t, want, x.Past(fmt.Sprintf("chunk-stream0-%05d.m4s", n)), n)
	}
	require.False(t, x.Past("chunk-stream1-00099.m4s"))
}

func TestIndexTimeline(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("live/manifest.mpd", read(t, "ffmpeg-timeline.mpd")))
	for time, want := range map[int]bool{12799: false, 12800: true, 38400: true, 64000: true, 76800: false, 12801: false, 0: false} {
		require.Equal(t, want, x.Expects(fmt.Sprintf("live/v0/seg-%d.m4s", time)), time)
	}
	track, ok := x.TrackOf("live/v1/seg-95232.m4s")
	require.True(t, ok)
	require.Equal(t, Template{"live/v1/seg-", ".m4s", 1}, track.Template)
	require.EqualValues(t, 95232, track.Number)
	// The first audio segment of FFmpeg begins before zero: of the track, but
	// not of its template.
	track, ok = x.TrackOf("live/v1/seg--1024.m4s")
	require.True(t, ok)
	require.True(t, track.Template.IsZero())
	require.Equal(t, Audio, track.Kind)
	require.Equal(t, "live/v1/init.mp4", track.Init)
}

func TestIndexHLS(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("media_0.m3u8", read(t, "ffmpeg-media_0.m3u8")))
	track, ok := x.TrackOf("chunk-stream0-00004.m4s")
	require.True(t, ok)
	require.Equal(t, Unknown, track.Kind)
	require.NoError(t, x.Update("master.m3u8", read(t, "ffmpeg-master.m3u8")))
	track, ok = x.TrackOf("chunk-stream0-00004.m4s")
	require.True(t, ok)
	require.Equal(t, Track{
		Template: Template{"chunk-stream0-", ".m4s", 5}, Number: 4,
		Kind: Video, Init: "init-stream0.m4s", Manifest: "media_0.m3u8",
	}, track)
	for name, want := range map[string]bool{
		"media_1.m3u8": true, "media_2.m3u8": false, "init-stream0.m4s": true,
		"chunk-stream0-00001.m4s": true, "chunk-stream0-00005.m4s": true, "chunk-stream0-00006.m4s": false,
	} {
		require.Equal(t, want, x.Expects(name), name)
	}
	x.Observe("chunk-stream0-00004.m4s", 0)
	require.True(t, x.Expects("chunk-stream0-00006.m4s"))

	ended := strings.Replace(string(read(t, "ffmpeg-media_0.m3u8")), "#EXT-X-VERSION:6", "#EXT-X-ENDLIST", 1)
	require.NoError(t, x.Update("media_0.m3u8", []byte(ended)))
	require.False(t, x.Expects("chunk-stream0-00005.m4s"))
	x.Remove("media_0.m3u8")
	require.False(t, x.Expects("chunk-stream0-00003.m4s"))
}

func TestIndexLowLatencyHLS(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("2M/index.m3u8", read(t, "ll-hls.m3u8")))
	for _, name := range []string{"2M/filePart268.1.mp4", "2M/filePart269.0.mp4", "2M/filePart269.1.mp4", "1M/waitForMSN.php", "2M/fileSequence269.mp4"} {
		require.True(t, x.Expects(name), name)
	}
	require.Equal(t, "2M/init.mp4", x.InitOf("2M/fileSequence270.mp4"))
}

// A playlist whose window crosses from padded to full numbers, and one whose
// encoder changes name and init segment in the middle.
func TestIndexPlaylistFamilies(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("a.m3u8", []byte("#EXTM3U\n#EXTINF:1,\ns09999.m4s\n#EXTINF:1,\ns10000.m4s\n")))
	track, _ := x.TrackOf("s10001.m4s")
	require.Equal(t, 5, track.Template.Width)
	require.NoError(t, x.Update("a.m3u8", []byte("#EXTM3U\n#EXT-X-MAP:URI=\"i0.mp4\"\na8.m4s\n#EXT-X-MAP:URI=\"i1.mp4\"\nb1.m4s\nb2.m4s\nend.m4s\n")))
	require.Equal(t, "i0.mp4", x.InitOf("a8.m4s"))
	require.Equal(t, "i1.mp4", x.InitOf("b3.m4s"))
	require.False(t, x.Expects("b3.m4s"), "the newest segment is of another family")
	require.Equal(t, "i1.mp4", x.InitOf("end.m4s"))
}

func TestIndexErrors(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("a.mpd", read(t, "ffmpeg-vod.mpd")))
	require.ErrorIs(t, x.Update("a.mpd", []byte("<MPD")), ErrFormat)
	require.ErrorIs(t, x.Update("a.mpd", []byte("half")), ErrFormat)
	require.ErrorIs(t, x.Update("../a.mpd", nil), ErrName)
	require.True(t, x.Expects("seg-2-00006.m4s"), "the last good one stays")
	require.False(t, x.Expects("seg-2-00007.m4s"))
	for i := range 3 * maxDocuments {
		require.NoError(t, x.Update(fmt.Sprintf("%d.m3u8", i), []byte("#EXTM3U\na.ts\n")))
	}
	require.LessOrEqual(t, len(x.documents), maxDocuments)
	for i := range 3 * maxFamilies {
		x.Observe(fmt.Sprintf("%da1.ts", i), 0)
	}
	require.LessOrEqual(t, len(x.newest), maxFamilies)
}

func TestInspect(t *testing.T) {
	s, err := Inspect(read(t, "ffmpeg-ldash.mpd"), Limits{})
	require.NoError(t, err)
	require.False(t, s.Ended)
	require.False(t, s.Start.IsZero())
	s, err = Inspect(read(t, "ffmpeg-ldash-end.mpd"), Limits{})
	require.NoError(t, err)
	require.True(t, s.Ended)
	s, err = Inspect(read(t, "ffmpeg-hls.m3u8"), Limits{})
	require.NoError(t, err)
	require.Equal(t, Summary{Sequence: 1, Next: 3, Target: 2 * time.Second}, s)
}

// What an index accepts it must answer for: every name that a manifest yields is
// valid, expected, and of the track that yields it.
func FuzzIndex(f *testing.F) {
	for _, name := range []string{"ffmpeg-ldash.mpd", "ffmpeg-ldash-end.mpd", "ffmpeg-timeline.mpd", "ffmpeg-vod.mpd", "ffmpeg-master.m3u8", "ffmpeg-media_0.m3u8", "ffmpeg-hls.m3u8", "ll-hls.m3u8"} {
		f.Add(read(f, name), "seg-1.m4s")
	}
	f.Add([]byte(nestedMPD), "live/p0/a/005.m4s")
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		var x Index
		if x.Update("live/m", body) != nil {
			require.Empty(t, x.documents)
			return
		}
		d := x.documents["live/m"]
		for n := range d.names {
			require.True(t, ValidName(n), "%q", n)
			require.True(t, x.Expects(n))
		}
		for _, track := range d.tracks {
			if track.Template.IsZero() {
				continue
			}
			n := track.Template.Name(7)
			got, ok := x.TrackOf(n)
			require.True(t, ok, "%q", n)
			require.NotEmpty(t, got.Manifest)
		}
		x.Observe(name, 0)
		x.Expects(name)
		x.TrackOf(name)
		require.LessOrEqual(t, x.TargetDuration(), time.Minute)
		require.GreaterOrEqual(t, x.TargetDuration(), time.Duration(0))
	})
}

func ExampleIndex() {
	var x Index
	_ = x.Update("index.m3u8", []byte("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\nseg_00041.m4s\n"))
	track, _ := x.TrackOf("seg_00042.m4s")
	fmt.Println(x.Expects("seg_00042.m4s"), x.Expects("seg_00099.m4s"))
	fmt.Println(track.Template, track.Init, x.TargetDuration())
	// Output:
	// true false
	// seg_$TOI%05d$.m4s init.mp4 2s
}

func BenchmarkIndexUpdate(b *testing.B) {
	body := read(b, "ffmpeg-ldash.mpd")
	b.SetBytes(int64(len(body)))
	var x Index
	for b.Loop() {
		_ = x.Update("manifest.mpd", body)
	}
}

func BenchmarkIndexExpects(b *testing.B) {
	var x Index
	_ = x.Update("manifest.mpd", read(b, "ffmpeg-ldash.mpd"))
	x.Observe("chunk-stream0-00041.m4s", 0)
	b.ReportAllocs()
	for b.Loop() {
		x.Expects("chunk-stream0-00042.m4s")
	}
}
