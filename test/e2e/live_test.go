package e2e

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An encoder's low-latency CMAF goes through the tree to an HLS player, who decodes it from the first frame to the last,
// and to a DASH player, who joins at the live edge. Neither has a word of complaint, and the octets are the encoder's.
func TestFFmpegLiveToPlayers(t *testing.T) {
	tool(t, "ffmpeg")
	t.Parallel()
	const (
		length   = 20 * time.Second // at least
		dashTime = 9                // seconds
	)
	x := newTree(t, treeOptions{})
	dir := t.TempDir()
	begun := time.Now()
	encoder := encode(t, picture, 0, dashTee(x.publish("manifest.mpd"), dir))
	c := newClient(t)
	for _, name := range []string{"master.m3u8", "media_0.m3u8", "media_1.m3u8", "manifest.mpd"} {
		waitFor(t, c, x.beaconURL(0, name))
	}
	hls := play(t, x.beaconURL(0, "master.m3u8"), "-live_start_index", "0")
	// Before a stream is older than its window of three segments, FFmpeg's DASH player skips segments: it takes the
	// difference for a huge number.
	waitFor(t, c, x.beaconURL(0, videoName(4)))
	dash := play(t, x.beaconURL(0, "manifest.mpd"), "-t", strconv.Itoa(dashTime))

	// The DASH player begins near the live edge, wherever that is by then.
	dash.finishQuietly(t, "DASH player", length+patience)
	time.Sleep(time.Until(begun.Add(length)))
	encoder.interrupt(t, "encoder")
	hls.finishQuietly(t, "HLS player", patience)
	requireSegments(t, func(name string) string { return x.beaconURL(0, name) }, dir)

	witness := reference(t, dir, []string{"init-stream0.m4s", "chunk-stream0-*"}, []string{"init-stream1.m4s", "chunk-stream1-*"})
	require.Greater(t, len(frames(t, witness, "0")), (dashTime+2)*frameRate)
	require.Equal(t, frames(t, witness, "0"), frames(t, hls, "0"), "HLS, video")
	require.Equal(t, frames(t, witness, "1"), frames(t, hls, "1"), "HLS, audio")
	requireStretch(t, frames(t, witness, "0"), frames(t, dash, "0"), dashTime*frameRate)
	require.InDelta(t, dashTime*48000/1024, len(frames(t, dash, "1")), 3, "DASH, audio")
	x.printCounters(t)
	requireMulticast(t, x)
}

// The hls muxer sends segments of both streams in one file, and whole at their end.
func TestFFmpegHLSMuxerToPlayer(t *testing.T) {
	tool(t, "ffmpeg")
	t.Parallel()
	const length = 16 * time.Second
	x := newTree(t, treeOptions{})
	dir := t.TempDir()
	encoder := encode(t, picture, length, hlsTee(x.publish("index.m3u8"), dir))
	waitFor(t, newClient(t), x.beaconURL(0, "index.m3u8"))
	hls := play(t, x.beaconURL(0, "index.m3u8"), "-live_start_index", "0")

	encoder.finish(t, "encoder", length+patience)
	hls.finishQuietly(t, "HLS player", patience)
	requireSegments(t, func(name string) string { return x.beaconURL(0, name) }, dir)

	witness := reference(t, dir, []string{"init.mp4", "seg_*"})
	require.Len(t, frames(t, witness, "0"), int(length.Seconds()*frameRate))
	require.Equal(t, frames(t, witness, "0"), frames(t, hls, "0"), "video")
	require.Equal(t, frames(t, witness, "1"), frames(t, hls, "1"), "audio")
	x.printCounters(t)
	requireMulticast(t, x)
}

// requireStretch demands that got are n successive frames out of all, or a few less: at the limit of time, sound may have
// begun a little before the picture.
func requireStretch(t testing.TB, all, got []string, n int) {
	t.Helper()
	require.InDelta(t, n, len(got), 2, "number of frames")
	first := slices.Index(all, got[0])
	require.GreaterOrEqual(t, first, 0, "the first frame is none of the encoder's")
	require.LessOrEqual(t, first+len(got), len(all))
	require.Equal(t, all[first:first+len(got)], got)
}

// requireMulticast demands that, without loss, next to nothing came by unicast: at most a manifest that a reader asked
// for before it had come. On a busy machine packets may be so late that parents are asked before.
func requireMulticast(t testing.TB, x *tree) {
	t.Helper()
	most := 0.5
	if promisedQuiet() {
		most = 0.01
	}
	for i := range x.beacons {
		s := serviceOf(t, x.beacons[i].Status())
		require.LessOrEqual(t, float64(s.RepairOctets+s.FallbackOctets), most*float64(s.Octets), "%s: octets by unicast", x.names[i])
		require.Zero(t, s.ObjectsLost)
	}
}
