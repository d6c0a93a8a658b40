package e2e

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These make moving test pictures of 25 frames a second and a tone. No two frames of the first are alike.
const (
	picture      = "-re -f lavfi -i testsrc2=size=640x360:rate=25 -re -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000"
	otherPicture = "-re -f lavfi -i testsrc=size=480x270:rate=25 -re -f lavfi -i sine=frequency=660:beep_factor=4:sample_rate=48000"
)

// frameRate is that of the picture.
const frameRate = 25

// coding makes H.264 with a key frame every two seconds, and AAC. One thread is enough for pictures so small, and does not
// wait for others on a busy machine.
const coding = "-map 0:v -map 1:a -c:v libx264 -threads 1 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 50 -keyint_min 50 -sc_threshold 0 " +
	"-b:v 800k -maxrate 1M -bufsize 1M -c:a aac -b:a 96k -ac 2 -flags +global_header"

// dashMuxer writes low-latency DASH, a fragment for each frame, with HLS playlists beside it. No file is removed from
// the disk while a test runs.
const dashMuxer = "f=dash:use_template=1:use_timeline=0:seg_duration=2:frag_type=every_frame:streaming=1:ldash=1:" +
	"hls_playlist=1:window_size=3:extra_window_size=50"

// dashTee pushes to a manifest's URL and writes the same to disk.
func dashTee(url, dir string) []string {
	return []string{"-f", "tee", "[" + dashMuxer + ":method=PUT:http_persistent=1]" + url +
		"|[" + dashMuxer + "]" + filepath.Join(dir, "manifest.mpd")}
}

// hlsTee pushes segments of both streams in one file, whole at their end, and writes the same to disk.
func hlsTee(url, dir string) []string {
	const muxer = "f=hls:hls_time=2:hls_list_size=30:hls_segment_type=fmp4:hls_fmp4_init_filename=init.mp4:hls_segment_filename="
	base := strings.ReplaceAll(strings.TrimSuffix(url, "index.m3u8"), ":", `\\:`)
	return []string{"-f", "tee", "[" + muxer + base + "seg_%05d.m4s:method=PUT]" + url +
		"|[" + muxer + filepath.Join(dir, "seg_%05d.m4s") + "]" + filepath.Join(dir, "index.m3u8")}
}

// process is a running FFmpeg.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan struct{}
	err            error // once it is done
}

// ffmpeg starts FFmpeg. It is killed at the end of the test if it still runs then.
func ffmpeg(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command(tool(t, "ffmpeg"), append([]string{"-nostdin", "-hide_banner", "-v", "error"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process at once, as SIGKILL does, and waits for that.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// interrupt asks the process to end, as Ctrl-C does: it finishes what it writes.
func (p *process) interrupt(t testing.TB, who string) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	select {
	case <-p.done:
	case <-time.After(patience):
		p.kill()
		t.Fatalf("%s does not end; it says: %s", who, p.stderr.String())
	}
	const interrupted = 255 // FFmpeg's exit code for a good end that a signal brought
	require.Equal(t, interrupted, p.cmd.ProcessState.ExitCode(), "%s: %s", who, p.stderr.String())
}

// finish waits for the end of the process, which has to come in time and in good order.
func (p *process) finish(t testing.TB, who string, limit time.Duration) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.kill()
		t.Fatalf("%s has not ended after %v; it says: %s", who, limit, p.stderr.String())
	}
	require.NoError(t, p.err, "%s: %s", who, p.stderr.String())
}

// finishQuietly demands in addition that the process had no word of complaint.
func (p *process) finishQuietly(t testing.TB, who string, limit time.Duration) {
	t.Helper()
	p.finish(t, who, limit)
	require.Empty(t, p.stderr.String(), who)
}

// encode starts an encoder; without a duration it runs until it is killed. What it says is not held
// against it: the dash muxer warns of HTTP in the tone of an error.
func encode(t testing.TB, picture string, d time.Duration, muxer []string) *process {
	args := append(strings.Fields(picture), strings.Fields(coding)...)
	if d > 0 {
		args = append(args, "-t", strconv.FormatFloat(d.Seconds(), 'f', 3, 64))
	}
	return ffmpeg(t, append(args, muxer...)...)
}

// play starts a player that decodes video and sound and notes the MD5 of each frame.
func play(t testing.TB, url string, options ...string) *process {
	args := append(options, "-threads", "1", "-i", url, "-map", "0:v:0", "-map", "0:a:0", "-f", "framemd5", "-")
	return ffmpeg(t, args...)
}

// frames are the MD5 of the decoded frames of one stream, as framemd5 tells of them. Streams are numbered as they are
// mapped: 0 is video, 1 sound. Each frame has to begin where the one before it ended.
func frames(t testing.TB, p *process, stream string) (list []string) {
	t.Helper()
	next := int64(-1)
	for s := bufio.NewScanner(bytes.NewReader(p.stdout.Bytes())); s.Scan(); {
		f := strings.Split(s.Text(), ",")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if strings.HasPrefix(f[0], "#") || f[0] != stream {
			continue
		}
		require.Len(t, f, 6)
		pts, err := strconv.ParseInt(f[2], 10, 64)
		require.NoError(t, err)
		duration, err := strconv.ParseInt(f[3], 10, 64)
		require.NoError(t, err)
		if next >= 0 {
			require.Equal(t, next, pts, "stream %s: time stamp of frame %d", stream, len(list))
		}
		next = pts + duration
		list = append(list, f[5])
	}
	return list
}

// reference decodes what the witness has: all files of each pattern in a row are one stream.
func reference(t testing.TB, dir string, patterns ...[]string) *process {
	t.Helper()
	var args []string
	for i, list := range patterns {
		var all []byte
		for _, pattern := range list {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			require.NoError(t, err)
			for _, f := range files {
				b, err := os.ReadFile(f)
				require.NoError(t, err)
				all = append(all, b...)
			}
		}
		name := filepath.Join(t.TempDir(), strconv.Itoa(i)+".mp4")
		require.NoError(t, os.WriteFile(name, all, 0o666))
		args = append(args, "-i", name)
	}
	p := ffmpeg(t, append(args, "-map", "0:v", "-map", strconv.Itoa(len(patterns)-1)+":a", "-f", "framemd5", "-")...)
	p.finishQuietly(t, "decoder of the witness", 20*time.Second)
	return p
}

// requireSegments compares every segment that the encoder made with what a node serves.
func requireSegments(t testing.TB, url func(name string) string, dir string) {
	t.Helper()
	c := newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want := witnessed(t, dir)
	require.NotEmpty(t, want)
	for name, sha := range want {
		b, err := get(ctx, c, url(name))
		require.NoError(t, err)
		require.Equal(t, sha, sum(b), name)
	}
}
