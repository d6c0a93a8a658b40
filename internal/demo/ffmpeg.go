package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/ingest"
)

func newKey() string {
	key, _ := ingest.NewKey()
	return key
}

// ingestPath is the URL of the manifest at the ingest. The key stands in the path, since FFmpeg sends a query with the
// manifest only.
func ingestPath(base, key string) string {
	if key != "" {
		return base + "/publish/" + channel + "/" + key + "/manifest.mpd"
	}
	return base + "/publish/" + channel + "/manifest.mpd"
}

// ffmpegArgs makes a test picture with a clock and a tone, as low-latency CMAF for DASH and HLS.
func ffmpegArgs(target string) []string {
	return strings.Fields("-nostdin -hide_banner -loglevel warning -re -f lavfi -i testsrc2=size=640x360:rate=25 " +
		"-re -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000 " +
		"-c:v libx264 -preset veryfast -tune zerolatency -profile:v main -pix_fmt yuv420p -g 50 -keyint_min 50 -sc_threshold 0 " +
		"-b:v 800k -maxrate 1M -bufsize 1M -c:a aac -b:a 96k -ac 2 " +
		"-f dash -method PUT -http_persistent 1 -ignore_io_errors 1 -seg_duration 2 -frag_type every_frame -streaming 1 -ldash 1 " +
		"-use_template 1 -use_timeline 0 -window_size 8 -extra_window_size 4 -hls_playlist 1 " + target)
}

// FFmpegCommand is the line to copy for a publisher of one's own.
func FFmpegCommand(base, key string) string {
	return "ffmpeg " + strings.Join(ffmpegArgs(ingestPath(base, key))[1:], " ")
}

// runFFmpeg runs FFmpeg until ctx ends, and starts it again when it ends by itself.
func runFFmpeg(ctx context.Context, base, key string, log *slog.Logger) error {
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		return errors.New("there is no ffmpeg on this machine; without -ffmpeg the built-in clip is played")
	}
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		var text strings.Builder
		cmd := exec.CommandContext(ctx, path, ffmpegArgs(ingestPath(base, key))...)
		cmd.Stderr = &text
		cmd.WaitDelay = 3 * time.Second
		begun := time.Now()
		err := cmd.Run()
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("ffmpeg has ended", "error", fmt.Sprint(err), "output", tail(text.String()))
		if time.Since(begun) > time.Minute {
			wait = 500 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func tail(s string) string {
	if len(s) > 2000 {
		s = s[len(s)-2000:]
	}
	return s
}
