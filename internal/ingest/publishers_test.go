package ingest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSecondPublisherRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		first, second := newPusher(t, s, "ch1", "Lavf/59"), newPusher(t, s, "ch1", "Lavf/61")
		first.startDASH(startA)
		require.ErrorIs(t, second.put("manifest.mpd", mpd(startB)), ErrBusy)
		require.ErrorIs(t, second.c.remove(second.who, "manifest.mpd"), ErrBusy)
		time.Sleep(9 * time.Second)
		require.ErrorIs(t, second.put("init-stream0.m4s", initOf(1)), ErrBusy)
		state, _ := s.State("ch1")
		require.EqualValues(t, 3, state.Refused)
		require.Equal(t, "127.0.0.1 (Lavf/59)", state.Publisher)
		require.Contains(t, state.RefusedReason, "Lavf/61")
		// The first has been silent for long enough.
		time.Sleep(time.Second)
		second.mustPut("manifest.mpd", mpd(startB))
		require.ErrorIs(t, first.put("manifest.mpd", mpd(startA)), ErrBusy)
		require.Len(t, r.named("manifest.mpd"), 3)
	})
}

// live pushes segments from number n on as FFmpeg does with -streaming 1: chunk
// by chunk, the next one opened when the last one ends. It returns at the first
// error or after count segments.
func (p *pusher) live(track, n, count int) error {
	for ; count > 0; count-- {
		tr, err := p.open(fmt.Sprintf("chunk-stream%d-%05d.m4s", track, n))
		if err != nil {
			return err
		}
		err = tr.write(box("styp", 24))
		for range 4 {
			if err == nil {
				time.Sleep(500 * time.Millisecond)
				err = tr.write(chunk(1000))
			}
		}
		if err = tr.finish(err); err != nil {
			return err
		}
		n++
	}
	return nil
}

// Two encoders of one kind on one host, low latency: the second one pushes names
// that the first one has pushed while that has a segment open.
func TestSecondEncoderRefusedBesideOpenSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		first := newPusher(t, s, "ch1", "Lavf")
		second := newPusher(t, s, "ch1", "Lavf")
		first.startDASH(startA)
		done := make(chan error, 2)
		for track := range 2 {
			go func() { done <- first.live(track, 1, 10) }()
		}
		for range 5 {
			time.Sleep(2900 * time.Millisecond)
			require.ErrorIs(t, second.put("manifest.mpd", mpd("")), ErrBusy)
			second.mustPut("init-stream0.m4s", initOf(1)) // equal: harmless, and not handed on
			require.ErrorIs(t, second.put("init-stream1.m4s", initOf(7)), ErrBusy)
			require.ErrorIs(t, second.live(0, 1, 1), ErrBusy)
		}
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		for _, name := range []string{"init-stream0.m4s", "init-stream1.m4s", "chunk-stream0-00001.m4s"} {
			require.Len(t, r.named(name), 1, name)
		}
		for _, o := range r.all() {
			require.True(t, o.committed, o.Name)
			if o.Track.Number > 0 {
				require.Equal(t, r.named(o.Track.Template.Name(1))[0].Run, o.Run)
			}
		}
	})
}

// The same with an encoder that sends whole segments: between two of them only
// the time that has passed tells a dead encoder from a living one.
func TestSecondEncoderRefusedBetweenSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		first := newPusher(t, s, "ch1", "Lavf")
		second := newPusher(t, s, "ch1", "Lavf")
		first.mustPut("init.mp4", initOf(1))
		refused := make(chan error)
		for n := range 8 {
			first.mustPut(fmt.Sprintf("seg_%05d.m4s", n), segmentOf(2))
			first.mustPut("index.m3u8", playlist(max(0, n-2), min(3, n+1), false))
			if n == 4 {
				go func() {
					time.Sleep(700 * time.Millisecond)
					refused <- second.put("seg_00000.m4s", segmentOf(1))
				}()
				go func() {
					time.Sleep(700 * time.Millisecond)
					refused <- second.put("index.m3u8", playlist(0, 1, false))
				}()
			}
			time.Sleep(2 * time.Second)
		}
		require.ErrorIs(t, <-refused, ErrBusy)
		require.ErrorIs(t, <-refused, ErrBusy)
		require.Len(t, r.named("seg_00000.m4s"), 1)
		require.Len(t, r.named("index.m3u8"), 8)

		// Killed, and started again at once: it waits for what could have been
		// the next segment of the first one, no longer.
		began := time.Now()
		second.mustPut("init.mp4", initOf(1))
		second.mustPut("seg_00000.m4s", segmentOf(1))
		require.LessOrEqual(t, time.Since(began), 500*time.Millisecond)
		second.mustPut("index.m3u8", playlist(0, 1, false))
		all := r.named("seg_00000.m4s")
		require.Len(t, all, 2)
		require.Greater(t, all[1].Run, all[0].Run)
	})
}

// A network that swallows packets leaves connections half open: the publisher
// that returns takes its own names over when the old request has been silent for
// the hold time.
func TestStaleRequestIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		p.startDASH(startA)
		stale := p.begin("chunk-stream0-00001.m4s", segmentOf(1)[:40])
		alone := p.begin("poster.png", []byte("\x89PNG...."))
		time.Sleep(5 * time.Second)
		require.ErrorIs(t, p.put("chunk-stream0-00001.m4s", segmentOf(1)), ErrBusy)
		require.ErrorIs(t, p.put("poster.png", []byte("\x89PNG....")), ErrBusy)
		p.mustPut("chunk-stream0-00002.m4s", segmentOf(1)) // it goes on meanwhile
		time.Sleep(11 * time.Second)
		p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
		p.mustPut("poster.png", []byte("\x89PNG...."))
		require.Error(t, stale.ctx.Err())
		require.ErrorIs(t, stale.finish(stale.write([]byte{1})), ErrSuperseded)
		require.ErrorIs(t, alone.finish(errBroken), ErrSuperseded)
		require.ErrorIs(t, r.named("chunk-stream0-00001.m4s")[0].aborted, ErrSuperseded)
		require.True(t, r.last(t, "poster.png").committed)
	})
}

// A publisher whose requests rest between octets for longer than the hold time
// keeps its session: FFmpeg's HLS muxer opens init.mp4 a segment before its end.
func TestSlowPublisherKeepsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		p := newPusher(t, s, "ch1", "Lavf")
		header, err := p.open("init.mp4")
		require.NoError(t, err)
		time.Sleep(12 * time.Second)
		require.NoError(t, header.finish(header.write(initOf(1))))
		p.mustPut("seg_00000.m4s", segmentOf(1))
		require.True(t, r.last(t, "init.mp4").committed)
	})
}

// Encoders are told apart per channel.
func TestChannelsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{Channels: map[string]Channel{"a": {}, "b": {}}})
		a, b := newPusher(t, s, "a", "x"), newPusher(t, s, "b", "y")
		a.mustPut("seg-1.m4s", segmentOf(1))
		b.mustPut("seg-1.m4s", segmentOf(1))
		all := r.named("seg-1.m4s")
		require.Len(t, all, 2)
		require.Equal(t, "a", all[0].Channel)
		require.Equal(t, "b", all[1].Channel)
	})
}

func TestStandbyGivesWayAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t, Config{})
		slate, encoder := newPusher(t, s, "ch1", "slate"), newPusher(t, s, "ch1", "Lavf/61")
		slate.who.standby = true
		slate.startDASH(startA)
		open, err := slate.open("chunk-stream0-00001.m4s")
		require.NoError(t, err)
		require.NoError(t, open.write(box("styp", 24)))
		require.NoError(t, open.write(chunk(1000)))

		encoder.startDASH(startB) // at once, with the init segments that it sends only once
		require.Error(t, open.finish(open.write(chunk(1000))))
		require.ErrorIs(t, slate.put("manifest.mpd", mpd(startA)), ErrBusy)
		require.Len(t, r.named("init-stream0.m4s"), 2)

		time.Sleep(10 * time.Second) // the encoder is silent for the hold time
		slate.mustPut("manifest.mpd", mpd(startA))
		require.ErrorIs(t, newPusher(t, s, "ch1", "another slate").put("x.bin", []byte("x")), nil)
	})
}
