package ingest

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/manifest"
)

// startDASH pushes what FFmpeg pushes first.
func (p *pusher) startDASH(start string) {
	p.t.Helper()
	p.mustPut("manifest.mpd", mpd(""))
	p.mustPut("init-stream0.m4s", initOf(1))
	p.mustPut("init-stream1.m4s", initOf(2))
	p.mustPut("manifest.mpd", mpd(start))
}

const (
	startA = "2026-01-01T00:00:00Z"
	startB = "2026-01-01T01:00:00Z"
)

func TestMediaJoinsTrackAndRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		body := segmentOf(3)
		p.mustPut("chunk-stream0-00001.m4s", body)
		p.mustPut("chunk-stream1-00001.m4s", segmentOf(1))
		p.mustPut("chunk-stream0-00002.m4s", segmentOf(2))

		first := r.last(t, "chunk-stream0-00001.m4s")
		require.Equal(t, Media, first.Kind)
		require.Equal(t, "chunk-stream0-$TOI%05d$.m4s", first.Track.Template.String())
		require.Equal(t, manifest.Video, first.Track.Kind)
		require.Equal(t, "init-stream0.m4s", first.Track.Init)
		require.Equal(t, "video/mp4", first.ContentType)
		require.Equal(t, body, first.body)
		require.Equal(t, []int{124, 224, 324}, first.chunks)
		require.True(t, first.committed)
		require.Equal(t, first.Run, first.Generation)
		require.GreaterOrEqual(t, first.Generation, uint64(time.Now().UnixMicro()))

		audio := r.last(t, "chunk-stream1-00001.m4s")
		require.Equal(t, manifest.Audio, audio.Track.Kind)
		require.Equal(t, "audio/mp4", audio.ContentType)
		require.NotEqual(t, first.Run, audio.Run)
		require.Equal(t, first.Run, r.last(t, "chunk-stream0-00002.m4s").Run)

		header := r.last(t, "init-stream0.m4s")
		require.Equal(t, Init, header.Kind)
		require.Less(t, header.Generation, first.Generation)
		manifests := r.named("manifest.mpd")
		require.Len(t, manifests, 2)
		require.Less(t, manifests[0].Generation, manifests[1].Generation)
		require.Equal(t, "application/dash+xml", manifests[0].ContentType)

		state, ok := s.State("ch1")
		require.True(t, ok)
		require.True(t, state.Live)
		require.EqualValues(t, 7, state.Objects)
		require.Len(t, state.Tracks, 2)
	})
}

// A segment whose kind no manifest has told yet waits for one, briefly.
func TestFirstSegmentWaitsForItsKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		done := make(chan error)
		go func() { done <- p.put("chunk-stream1-00001.m4s", segmentOf(1)) }()
		synctest.Wait()
		require.Empty(t, r.all())
		p.mustPut("manifest.mpd", mpd(startA))
		synctest.Wait()
		require.NoError(t, <-done)
		require.Equal(t, manifest.Audio, r.last(t, "chunk-stream1-00001.m4s").Track.Kind)

		began := time.Now()
		p.mustPut("other-00001.ts", []byte("G transport stream"))
		require.Equal(t, kindWait, time.Since(began))
		o := r.last(t, "other-00001.ts")
		require.Equal(t, Media, o.Kind)
		require.Equal(t, "video/mp2t", o.ContentType)
		require.NotZero(t, o.Run)
	})
}

// A run that had to begin before anything said what it carries is told so with the first segment behind the evidence, and
// keeps that.
func TestKindIsToldLate(t *testing.T) {
	for name, c := range map[string]struct {
		evidence string
		body     func(t *testing.T) []byte
		kind     manifest.Kind
		mime     string
	}{
		"manifest": {"manifest.mpd", func(*testing.T) []byte { return mpd(startA) }, manifest.Audio, "audio/mp4"},
		"init": {"init-stream1.m4s", func(t *testing.T) []byte {
			b, err := os.ReadFile("../clip/media/init-stream2.m4s") // of sound
			require.NoError(t, err)
			return b
		}, manifest.Audio, "audio/mp4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, r := newServer(t, Config{})
				p := newPusher(t, s, "ch1", "Lavf")
				segment := func(n int) recorded {
					name := fmt.Sprintf("chunk-stream1-%05d.m4s", n)
					began := time.Now()
					p.mustPut(name, segmentOf(1))
					if n > 1 {
						require.Zero(t, time.Since(began), "only the first one waits")
					}
					return r.last(t, name)
				}
				first, second := segment(1), segment(2)
				require.Equal(t, manifest.Unknown, first.Track.Kind)
				require.Equal(t, manifest.Unknown, second.Track.Kind)
				p.mustPut(c.evidence, c.body(t))
				third := segment(3)
				require.Equal(t, c.kind, third.Track.Kind)
				require.Equal(t, c.mime, third.ContentType)
				require.Equal(t, first.Run, third.Run, "the run is the same")
				state, _ := s.State("ch1")
				require.Equal(t, c.kind, state.Tracks[0].Kind)
				// Another manifest does not move it any more.
				p.mustPut("manifest.mpd", bytes.ReplaceAll(mpd(startA), []byte("audio"), []byte("video")))
				require.Equal(t, c.kind, segment(4).Track.Kind)
			})
		})
	}
}

// The init segment of another track, which comes first, says nothing about a segment.
func TestInitOfAnotherTrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		video, err := os.ReadFile("../clip/media/init-stream0.m4s")
		require.NoError(t, err)
		require.Equal(t, manifest.Video, initKind(video))
		p.mustPut("init-stream0.m4s", video)
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		require.Equal(t, manifest.Video, r.last(t, "chunk-stream0-00001.m4s").Track.Kind)
		done := make(chan error)
		go func() { done <- p.put("chunk-stream1-00001.m4s", segmentOf(1)) }()
		synctest.Wait()
		require.Empty(t, r.named("chunk-stream1-00001.m4s"))
		p.mustPut("manifest.mpd", mpd(startA))
		require.NoError(t, <-done)
		o := r.last(t, "chunk-stream1-00001.m4s")
		require.Equal(t, manifest.Audio, o.Track.Kind)
		require.Equal(t, "init-stream1.m4s", o.Track.Init)
	})
}

func TestRestartBeginsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		for _, name := range []string{"chunk-stream0-00001.m4s", "chunk-stream1-00001.m4s", "chunk-stream0-00002.m4s", "chunk-stream1-00002.m4s"} {
			p.mustPut(name, segmentOf(1))
		}
		// Killed in the middle of a segment and started again after a second.
		broken := p.begin("chunk-stream0-00003.m4s", segmentOf(2)[:200])
		require.ErrorIs(t, broken.finish(errBroken), errBroken)
		time.Sleep(time.Second)

		began := time.Now()
		p.startDASH(startB)
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		p.mustPut("chunk-stream1-00001.m4s", segmentOf(1))
		p.mustPut("chunk-stream0-00002.m4s", segmentOf(1))
		require.Zero(t, time.Since(began), "nobody makes a restarted encoder wait")

		video := r.named("chunk-stream0-00001.m4s")
		audio := r.named("chunk-stream1-00001.m4s")
		require.Len(t, video, 2)
		require.Greater(t, video[1].Run, video[0].Run)
		require.Greater(t, audio[1].Run, audio[0].Run)
		require.Equal(t, video[1].Run, r.last(t, "chunk-stream0-00002.m4s").Run)
		require.Equal(t, video[0].Run, r.last(t, "chunk-stream0-00003.m4s").Run)
		require.Len(t, r.named("init-stream0.m4s"), 1, "an equal init segment is not handed on again")
		cut := r.last(t, "chunk-stream0-00003.m4s")
		require.ErrorIs(t, cut.aborted, errBroken)
		require.Equal(t, []int{124}, cut.chunks, "complete chunks keep")
	})
}

func TestNewInitSegmentBeginsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		p.mustPut("chunk-stream1-00001.m4s", segmentOf(1))
		time.Sleep(3 * time.Second)
		p.mustPut("init-stream0.m4s", initOf(9))
		p.mustPut("chunk-stream0-00002.m4s", segmentOf(1))
		p.mustPut("chunk-stream1-00002.m4s", segmentOf(1))
		p.mustPut("chunk-stream0-00003.m4s", segmentOf(1))
		require.Len(t, r.named("init-stream0.m4s"), 2)
		run := r.last(t, "chunk-stream0-00002.m4s").Run
		require.Greater(t, run, r.last(t, "chunk-stream0-00001.m4s").Run)
		require.Equal(t, run, r.last(t, "chunk-stream0-00003.m4s").Run)
		require.Equal(t, r.last(t, "chunk-stream1-00001.m4s").Run, r.last(t, "chunk-stream1-00002.m4s").Run)
	})
}

// After a restart the first segment may be open before its init segment is
// complete: that one is of the run that has begun.
func TestInitSegmentOvertakenByMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		time.Sleep(3 * time.Second)
		header := p.begin("init-stream0.m4s", initOf(9)[:30])
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		require.NoError(t, header.finish(header.write(initOf(9)[30:])))
		p.mustPut("chunk-stream0-00002.m4s", segmentOf(1))
		require.Equal(t, r.last(t, "chunk-stream0-00001.m4s").Run, r.last(t, "chunk-stream0-00002.m4s").Run)
		require.Len(t, r.named("init-stream0.m4s"), 2)
	})
}

// Uploads that overtake each other are of one run as long as they are near.
func TestOvertakingUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "packager")
		p.mustPut("manifest.mpd", mpd(startA))
		for _, n := range []string{"2", "1", "4", "3"} {
			p.mustPut("chunk-stream0-0000"+n+".m4s", segmentOf(1))
		}
		run := r.last(t, "chunk-stream0-00001.m4s").Run
		for _, n := range []string{"2", "3", "4"} {
			require.Equal(t, run, r.last(t, "chunk-stream0-0000"+n+".m4s").Run)
		}
		// A broken one may be pushed again, under a run of its own.
		broken := p.begin("chunk-stream0-00005.m4s", segmentOf(1)[:50])
		require.Error(t, broken.finish(errBroken))
		began := time.Now()
		p.mustPut("chunk-stream0-00005.m4s", segmentOf(1))
		require.Zero(t, time.Since(began))
		require.Greater(t, r.last(t, "chunk-stream0-00005.m4s").Run, run)
	})
}

// After the hold time the same publisher's segments are a new session's.
func TestNewSessionBeginsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		time.Sleep(9 * time.Second)
		p.mustPut("chunk-stream0-00002.m4s", segmentOf(1))
		require.Equal(t, r.last(t, "chunk-stream0-00001.m4s").Run, r.last(t, "chunk-stream0-00002.m4s").Run)
		time.Sleep(11 * time.Second)
		state, _ := s.State("ch1")
		require.False(t, state.Live)
		require.Equal(t, "the publisher went silent", state.Reason)
		require.Equal(t, 11*time.Second, time.Since(state.Since))
		p.mustPut("chunk-stream0-00003.m4s", segmentOf(1))
		require.Greater(t, r.last(t, "chunk-stream0-00003.m4s").Run, r.last(t, "chunk-stream0-00002.m4s").Run)
	})
}

func TestStateTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, Config{})
		state, _ := s.State("ch1")
		require.False(t, state.Live)
		require.Equal(t, "nobody has published since the start", state.Reason)
		began := time.Now()
		time.Sleep(time.Minute)
		state, _ = s.State("ch1")
		require.Equal(t, began, state.Since)

		p := newPusher(t, s, "ch1", "Lavf/59")
		p.startDASH(startA)
		broken := p.begin("chunk-stream0-00001.m4s", segmentOf(1)[:50])
		require.Error(t, broken.finish(errBroken))
		state, _ = s.State("ch1")
		require.True(t, state.Live, "it may reconnect")
		require.Equal(t, "127.0.0.1 (Lavf/59)", state.Publisher)
		time.Sleep(time.Minute)
		state, _ = s.State("ch1")
		require.False(t, state.Live)
		require.Equal(t, "the push of chunk-stream0-00001.m4s broke off: connection reset by peer", state.Reason)
		require.EqualValues(t, 1, state.Broken)

		p.mustPut("chunk-stream0-00002.m4s", segmentOf(1))
		p.mustPut("manifest.mpd", mpd("static"))
		state, _ = s.State("ch1")
		require.Equal(t, "the publisher ended the presentation", state.Reason)
		other := newPusher(t, s, "ch1", "other")
		other.mustPut("manifest.mpd", mpd(startB))

		_, ok := s.State("none")
		require.False(t, ok)
		require.Len(t, s.States(), 1)
	})
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		require.NoError(t, p.c.remove(p.who, "unknown.m4s"))
		// The DELETE of a manifest overtakes its last PUT.
		last, err := p.open("manifest.mpd")
		require.NoError(t, err)
		require.NoError(t, p.c.remove(p.who, "manifest.mpd"))
		require.NoError(t, last.finish(last.write(mpd("static"))))
		require.Equal(t, mpd("static"), r.last(t, "manifest.mpd").body)
		require.Equal(t, []string{"unknown.m4s"}, r.deleted)
		// A deleted init segment is wanted again when it is pushed again.
		require.NoError(t, p.c.remove(p.who, "init-stream0.m4s"))
		p.mustPut("init-stream0.m4s", initOf(1))
		require.Len(t, r.named("init-stream0.m4s"), 2)
	})
}

// Of two manifests that overlap, the one opened later stays.
func TestManifestsOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		first, second := p.begin("manifest.mpd", mpd(startA)), p.begin("manifest.mpd", append(mpd(startA), '\n'))
		require.NoError(t, second.finish(nil))
		require.NoError(t, first.finish(nil))
		all := r.named("manifest.mpd")
		require.Equal(t, 1, len(all))
		require.Equal(t, append(mpd(startA), '\n'), all[0].body)
		// Half a manifest is never seen.
		torn := p.begin("manifest.mpd", []byte("<?xml"))
		require.Error(t, torn.finish(errBroken))
		require.Len(t, r.named("manifest.mpd"), 1)
		// What our parser does not understand, players may.
		p.mustPut("odd.mpd", []byte("<?xml version='1.0'?><nope/>"))
		require.Len(t, r.named("odd.mpd"), 1)
		p.mustPut("empty.mpd", nil)
		require.Empty(t, r.named("empty.mpd"))
	})
}

func TestKindOfObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "curl")
		for _, c := range []struct {
			name string
			body []byte
			kind Kind
		}{
			{"live", []byte("#EXTM3U\n#EXTINF:1,\na.ts\n"), Manifest},
			{"live2", mpd(startA), Manifest},
			{"a.bin", initOf(1), Init},
			{"b1", segmentOf(1), Media},
			{"c.png", []byte("\x89PNG"), Other},
			{"d.vtt", []byte("WEBVTT\n\n"), Media},
			{"e.mp4", append(initOf(1), box("mdat", 64)...), Other},
			{"f.mp4", append(initOf(1), segmentOf(2)...), Media},
			{"g.txt", nil, Other},
			{"h.m4s", append(segmentOf(1), 0, 0, 0, 3, 1, 2, 3, 4, 5), Media},
		} {
			p.mustPut(c.name, c.body)
			o := r.last(t, c.name)
			require.Equal(t, c.kind, o.Kind, c.name)
			require.Equal(t, string(c.body), string(o.body), c.name)
			require.True(t, o.committed, c.name)
		}
		require.Equal(t, []int{212, 312}, r.last(t, "f.mp4").chunks)
		state, _ := s.State("ch1")
		require.EqualValues(t, 1, state.Malformed)
	})
}

// However the octets are cut, the object is the same.
func TestCutsDoNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		body := segmentOf(4)
		whole := []int{124, 224, 324, 424}
		for n := 1; n < 120; n += 7 {
			tr, err := p.open("x.m4s")
			require.NoError(t, err)
			for rest := body; len(rest) > 0; rest = rest[min(n, len(rest)):] {
				require.NoError(t, tr.write(rest[:min(n, len(rest))]))
			}
			require.NoError(t, tr.finish(nil))
			o := r.last(t, "x.m4s")
			require.Equal(t, body, o.body)
			require.Equal(t, whole, o.chunks)
		}
	})
}
