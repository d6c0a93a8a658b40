package clip_test

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/cmaf"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

// run polls s from one instant to another and collects whole objects.
type recording struct {
	names  []string
	bodies map[string][]byte
	open   map[string]bool
	latest map[string]time.Time // of the last part
}

func record(tb testing.TB, s *clip.Source, from, to time.Time) *recording {
	tb.Helper()
	r := &recording{bodies: map[string][]byte{}, open: map[string]bool{}, latest: map[string]time.Time{}}
	r.poll(tb, s, from, to)
	return r
}

func (r *recording) poll(tb testing.TB, s *clip.Source, from, to time.Time) {
	tb.Helper()
	for now := from; !now.After(to); {
		p, ok := s.Poll(now)
		if !ok {
			next := s.NextTimeout()
			require.True(tb, next.After(now))
			now = next
			continue
		}
		r.latest[p.Name] = now
		if p.Abort {
			require.True(tb, r.open[p.Name])
			delete(r.open, p.Name)
			continue
		}
		require.NotEmpty(tb, p.Body)
		if p.First {
			require.False(tb, r.open[p.Name])
			r.names = append(r.names, p.Name)
			r.bodies[p.Name] = nil
		} else {
			require.True(tb, r.open[p.Name])
		}
		r.open[p.Name] = true
		r.bodies[p.Name] = append(r.bodies[p.Name], p.Body...)
		if p.Last {
			delete(r.open, p.Name)
		}
	}
}

// chunks splits the segments from to to of a stream.
func (r *recording) chunks(tb testing.TB, stream, from, to int) (events []cmaf.Event, timescale uint64) {
	tb.Helper()
	in, err := cmaf.ParseInit(r.bodies[fmt.Sprintf("init-stream%d.m4s", stream)])
	require.NoError(tb, err)
	for n := from; n <= to; n++ {
		var s cmaf.Splitter
		b := r.bodies[fmt.Sprintf("chunk-stream%d-%05d.m4s", stream, n)]
		require.NotEmpty(tb, b)
		for len(b) > 0 {
			n, ev, err := s.Next(b)
			require.NoError(tb, err)
			if ev.Kind == cmaf.ChunkEnd {
				events = append(events, ev)
			}
			b = b[n:]
		}
		_, err := s.Finish()
		require.NoError(tb, err)
	}
	return events, uint64(in.Tracks[0].Timescale)
}

func TestSourceTimeline(t *testing.T) {
	for _, first := range []int{1, 880_000_001} {
		at := start.Add(time.Duration(first-1) * 2 * time.Second)
		r := record(t, clip.NewSource(clip.Config{Start: start}), at, at.Add(20200*time.Millisecond))
		for stream, step := range []uint64{512, 512, 5 * 1024} {
			chunks, timescale := r.chunks(t, stream, first, first+9)
			require.True(t, chunks[0].Chunk.Sync)
			at := chunks[0].Chunk.BaseDecodeTime
			require.InDelta(t, uint64(first-1)*2*timescale, at, 0.02*float64(timescale))
			for i, ev := range chunks {
				require.Equal(t, ev.Chunk.Prefix&cmaf.Styp != 0, ev.Start == 0)
				require.Equal(t, chunks[0].Chunk.Sequence+uint32(i), ev.Chunk.Sequence)
				if stream < 2 {
					require.Equal(t, at+uint64(i)*step, ev.Chunk.BaseDecodeTime)
					require.Equal(t, i%50 == 0, ev.Chunk.Sync)
				} else if i > 0 {
					require.LessOrEqual(t, ev.Chunk.BaseDecodeTime-chunks[i-1].Chunk.BaseDecodeTime, step)
				}
			}
		}
	}
}

func TestSourceOrder(t *testing.T) {
	r := record(t, clip.NewSource(clip.Config{}), start, start.Add(2020*time.Millisecond))
	require.Equal(t, []string{
		"init-stream0.m4s", "init-stream1.m4s", "init-stream2.m4s", "master.m3u8", "manifest.mpd",
		"chunk-stream0-00001.m4s", "chunk-stream1-00001.m4s", "chunk-stream2-00001.m4s",
		"manifest.mpd", "master.m3u8", "media_0.m3u8",
		"chunk-stream0-00002.m4s", "media_1.m3u8",
		"chunk-stream1-00002.m4s", "media_2.m3u8",
		"chunk-stream2-00002.m4s",
	}, r.names)
	// Complete at the very instant that the MPD promises.
	require.Equal(t, start.Add(2*time.Second), r.latest["chunk-stream0-00001.m4s"])
}

// A chunk is due when its last frame has passed, and not in a burst.
func TestSourcePace(t *testing.T) {
	s := clip.NewSource(clip.Config{})
	parts := 0
	for now := start; now.Before(start.Add(time.Second)); now = now.Add(time.Millisecond) {
		for {
			p, ok := s.Poll(now)
			if !ok {
				break
			}
			if p.Stream == 0 && p.Number == 1 && !p.First {
				parts++
				require.Equal(t, start.Add(time.Duration(parts)*40*time.Millisecond), now)
			}
		}
	}
	require.Equal(t, 24, parts)
}

func TestSourceSkips(t *testing.T) {
	s := clip.NewSource(clip.Config{})
	r := record(t, s, start, start.Add(5*time.Second))
	require.Len(t, r.open, 3)
	late := start.Add(time.Hour + 30*time.Millisecond)
	r.poll(t, s, late, late.Add(3*time.Second))
	require.Contains(t, r.names, "chunk-stream0-01801.m4s")
	require.NotContains(t, r.names, "chunk-stream0-00004.m4s")
	chunks, timescale := r.chunks(t, 0, 1801, 1801)
	require.EqualValues(t, 3600*timescale, chunks[0].Chunk.BaseDecodeTime)
	require.Contains(t, string(r.bodies["media_0.m3u8"]), "#EXT-X-MEDIA-SEQUENCE:1801\n")
	require.NotContains(t, string(r.bodies["media_0.m3u8"]), "00002")

	// The clock is set back: media time goes on, its start moves.
	early := late.Add(-30 * time.Minute)
	names := len(r.names)
	r.poll(t, s, early, early.Add(4*time.Second))
	require.Contains(t, r.names[names:], "chunk-stream0-01803.m4s")
	require.NotContains(t, r.names[names:], "chunk-stream0-01801.m4s")
}

func TestSourceWaitsForItsStart(t *testing.T) {
	s := clip.NewSource(clip.Config{Start: start})
	r := record(t, s, start.Add(-time.Hour), start.Add(-time.Millisecond))
	require.Equal(t, []string{"init-stream0.m4s", "init-stream1.m4s", "init-stream2.m4s", "master.m3u8", "manifest.mpd"}, r.names)
	require.Equal(t, start, s.NextTimeout())
}

func TestSourceLostSegment(t *testing.T) {
	s := clip.NewSource(clip.Config{})
	r := record(t, s, start, start.Add(5*time.Second))
	require.Contains(t, string(r.bodies["media_1.m3u8"]), "chunk-stream1-00002.m4s")
	s.Lost(1, 2)
	s.Lost(7, 2)
	r.poll(t, s, start.Add(5*time.Second), start.Add(6500*time.Millisecond))
	require.NotContains(t, string(r.bodies["media_1.m3u8"]), "chunk-stream1-00002.m4s")
	require.Contains(t, string(r.bodies["media_1.m3u8"]), "#EXT-X-MEDIA-SEQUENCE:3\n")
	require.Contains(t, string(r.bodies["media_0.m3u8"]), "#EXT-X-MEDIA-SEQUENCE:1\n")
}

func TestSourceAnnounce(t *testing.T) {
	s := clip.NewSource(clip.Config{})
	r := record(t, s, start, start.Add(3*time.Second))
	r.names = nil
	s.Announce(start.Add(3 * time.Second))
	require.Zero(t, s.NextTimeout())
	r.poll(t, s, start.Add(3*time.Second), start.Add(3*time.Second))
	require.Equal(t, []string{"init-stream0.m4s", "init-stream1.m4s", "init-stream2.m4s", "master.m3u8", "manifest.mpd",
		"media_0.m3u8", "media_1.m3u8", "media_2.m3u8"}, r.names)
}

func TestPlaylists(t *testing.T) {
	r := record(t, clip.NewSource(clip.Config{Window: 3}), start, start.Add(20500*time.Millisecond))
	require.Equal(t, `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:8
#EXT-X-MAP:URI="init-stream2.m4s"
#EXTINF:1.984000,
#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:14.139Z
chunk-stream2-00008.m4s
#EXTINF:2.005333,
#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:16.123Z
chunk-stream2-00009.m4s
#EXTINF:2.005333,
#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:18.128Z
chunk-stream2-00010.m4s
`, string(r.bodies["media_2.m3u8"]))

	master := string(r.bodies["master.m3u8"])
	require.Contains(t, master, `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="group_A1",NAME="audio_2",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="media_2.m3u8"`)
	require.Contains(t, master, `RESOLUTION=640x360,FRAME-RATE=25.000,CODECS="avc1.4d401f,mp4a.40.2",AUDIO="group_A1"`+"\nmedia_0.m3u8\n")
	require.Contains(t, master, `RESOLUTION=320x180`)
}

func TestMPD(t *testing.T) {
	r := record(t, clip.NewSource(clip.Config{Window: 3, UTCTiming: "http://h/time?a&b"}), start, start.Add(20500*time.Millisecond))
	var mpd struct {
		Type                  string `xml:"type,attr"`
		AvailabilityStartTime string `xml:"availabilityStartTime,attr"`
		TimeShiftBufferDepth  string `xml:"timeShiftBufferDepth,attr"`
		UTCTiming             struct {
			Value string `xml:"value,attr"`
		}
		Sets []struct {
			ContentType     string `xml:"contentType,attr"`
			Representations []struct {
				ID       string `xml:"id,attr"`
				Codecs   string `xml:"codecs,attr"`
				Template struct {
					Offset      float64 `xml:"availabilityTimeOffset,attr"`
					Duration    int     `xml:"duration,attr"`
					Timescale   int     `xml:"timescale,attr"`
					StartNumber int     `xml:"startNumber,attr"`
					Media       string  `xml:"media,attr"`
				} `xml:"SegmentTemplate"`
			} `xml:"Representation"`
		} `xml:"Period>AdaptationSet"`
	}
	require.NoError(t, xml.Unmarshal(r.bodies["manifest.mpd"], &mpd))
	require.Equal(t, "dynamic", mpd.Type)
	require.Equal(t, "2026-03-01T12:00:00.123Z", mpd.AvailabilityStartTime)
	require.Equal(t, "PT8S", mpd.TimeShiftBufferDepth, "more than the window, for FFmpeg")
	require.Equal(t, "http://h/time?a&b", mpd.UTCTiming.Value)
	require.Len(t, mpd.Sets, 2)
	require.Len(t, mpd.Sets[0].Representations, 2)
	video := mpd.Sets[0].Representations[1]
	require.Equal(t, "1", video.ID)
	require.Equal(t, 1.71, video.Template.Offset)
	require.Equal(t, 2*video.Template.Timescale, video.Template.Duration)
	require.Equal(t, 1, video.Template.StartNumber)
	require.Equal(t, "chunk-stream$RepresentationID$-$Number%05d$.m4s", video.Template.Media)
	audio := mpd.Sets[1].Representations[0]
	require.Equal(t, "mp4a.40.2", audio.Codecs)
	require.Equal(t, 1.643, audio.Template.Offset)
}

// The MPD suggests a delay only to players that can have it: one within the
// window, with room to spare, of a channel that is old enough.
func TestMPDDepth(t *testing.T) {
	for _, c := range []struct{ window, full int }{{0, 16}, {1, 8}, {4, 8}, {20, 40}} {
		for _, age := range []int{0, 3600} {
			s := clip.NewSource(clip.Config{Window: c.window, Start: start.Add(-time.Duration(age) * time.Second)})
			r := &recording{bodies: map[string][]byte{}, open: map[string]bool{}, latest: map[string]time.Time{}}
			for second := range 50 {
				at := start.Add(time.Duration(second) * time.Second)
				r.poll(t, s, at, at.Add(time.Second-time.Millisecond))
				var mpd struct {
					Depth string `xml:"timeShiftBufferDepth,attr"`
					Delay string `xml:"suggestedPresentationDelay,attr"`
				}
				require.NoError(t, xml.Unmarshal(r.bodies["manifest.mpd"], &mpd))
				if age == 0 && second < 8 {
					require.Empty(t, mpd.Depth)
					require.Empty(t, mpd.Delay)
					continue
				}
				emitted := second / 2 * 2
				require.Equal(t, "PT4S", mpd.Delay)
				require.Equal(t, fmt.Sprintf("PT%dS", min(c.full, max(8, emitted))), mpd.Depth, "after %d s", second)
			}
		}
	}
}

func TestSourceSize(t *testing.T) {
	r := record(t, clip.NewSource(clip.Config{}), start, start.Add(8500*time.Millisecond))
	total := 0
	for n := 1; n <= 4; n++ {
		for stream := range 3 {
			total += len(r.bodies[fmt.Sprintf("chunk-stream%d-%05d.m4s", stream, n)])
		}
	}
	require.Less(t, total, 800_000, "the clip is part of every binary")
}

func TestSourceMediaAllocatesNothing(t *testing.T) {
	s := clip.NewSource(clip.Config{})
	record(t, s, start, start.Add(10*time.Second+10*time.Millisecond))
	now := start.Add(10*time.Second + 10*time.Millisecond)
	require.Zero(t, testing.AllocsPerRun(40, func() {
		now = now.Add(40 * time.Millisecond)
		for {
			if _, ok := s.Poll(now); !ok {
				return
			}
		}
	}))
}

func BenchmarkSource(b *testing.B) {
	s := clip.NewSource(clip.Config{})
	now := start
	b.ReportAllocs()
	for b.Loop() { // one second of the channel
		for end := now.Add(time.Second); now.Before(end); {
			if _, ok := s.Poll(now); !ok {
				now = s.NextTimeout()
			}
		}
	}
}

// FuzzSource reads the input as time steps. Objects stay well formed and parts
// never come early, whatever the clock does.
func FuzzSource(f *testing.F) {
	f.Add([]byte{40, 40, 255, 1, 250, 3})
	f.Fuzz(func(t *testing.T, steps []byte) {
		s := clip.NewSource(clip.Config{Start: start})
		open := map[string]bool{}
		times := map[int]uint64{}
		now := start
		for _, step := range steps[:min(len(steps), 64)] {
			switch {
			case step > 240:
				now = now.Add(-time.Duration(step-240) * time.Second)
			case step > 200:
				now = now.Add(time.Duration(step-200) * time.Second)
			default:
				now = now.Add(time.Duration(step) * time.Millisecond)
			}
			for parts := 0; ; parts++ {
				p, ok := s.Poll(now)
				if !ok {
					require.True(t, s.NextTimeout().After(now))
					break
				}
				require.Less(t, parts, 1000)
				require.Equal(t, p.First, !open[p.Name], p.Name)
				open[p.Name] = !p.Last && !p.Abort
				if p.Number == 0 || p.First || p.Abort {
					continue
				}
				var split cmaf.Splitter
				_, ev, err := split.Next(p.Body)
				require.NoError(t, err)
				require.Equal(t, cmaf.MoofEnd, ev.Kind)
				if was, ok := times[p.Stream]; ok {
					require.Greater(t, ev.Chunk.BaseDecodeTime, was)
				}
				times[p.Stream] = ev.Chunk.BaseDecodeTime
			}
		}
	})
}

func ExampleSource() {
	s := clip.NewSource(clip.Config{})
	for now := start; now.Before(start.Add(90 * time.Millisecond)); {
		p, ok := s.Poll(now)
		if !ok {
			now = s.NextTimeout()
			continue
		}
		if strings.HasPrefix(p.Name, "chunk-stream0") {
			fmt.Println(now.Sub(start), p.Name, p.First, p.Last)
		}
	}
	// Output:
	// 0s chunk-stream0-00001.m4s true false
	// 40ms chunk-stream0-00001.m4s false false
	// 80ms chunk-stream0-00001.m4s false false
}
