package clip_test

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/clip/cliptest"
)

// tool finds an external program. Without it the test is skipped, or fails if
// TREEDN_REQUIRE lists it.
func tool(t *testing.T, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), name) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return file
}

// serve makes the recorded channel a finished one and serves it.
func serve(t *testing.T, r *recording) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name := strings.TrimPrefix(req.URL.Path, "/")
		body, ok := r.bodies[name]
		if !ok {
			http.NotFound(w, req)
			return
		}
		if strings.HasPrefix(name, "media_") {
			body = append(slices.Clip(body), "#EXT-X-ENDLIST\n"...)
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// Across two ends of the loop FFmpeg decodes every frame and finds nothing to
// complain of, and time stamps rise without a gap.
func TestFFmpegDecodesLoops(t *testing.T) {
	ffmpeg := tool(t, "ffmpeg")
	r := record(t, clip.NewSource(clip.Config{Window: 20}), start, start.Add(20500*time.Millisecond))
	base := serve(t, r)
	for _, c := range []struct {
		url    string
		frames int
		step   string // duration of a frame in its time base
	}{
		{"media_0.m3u8", 500, "512"},
		{"media_1.m3u8", 500, "512"},
		{"media_2.m3u8", 2*375 + 2*94, "1024"},
	} {
		out, errs := run(t, ffmpeg, "-nostdin", "-v", "warning", "-i", base+c.url, "-f", "null", "-")
		require.Empty(t, errs, c.url)
		require.Empty(t, out)

		out, errs = run(t, ffmpeg, "-nostdin", "-v", "warning", "-i", base+c.url, "-c", "copy", "-copyts", "-f", "framecrc", "-")
		require.Empty(t, errs, c.url)
		frames := 0
		last := ""
		for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
			line := lines.Text()
			if strings.HasPrefix(line, "#") {
				continue
			}
			f := strings.Split(line, ",")
			require.Equal(t, f[1], f[2], "no reordering")
			if last != "" {
				require.Equal(t, c.step, minus(t, f[1], last))
			}
			require.Equal(t, c.step, strings.TrimSpace(f[3]))
			last = f[1]
			frames++
		}
		require.Equal(t, c.frames, frames, c.url)
	}
	out, errs := run(t, ffmpeg, "-nostdin", "-v", "warning", "-i", base+"master.m3u8", "-map", "0", "-f", "null", "-")
	require.Empty(t, errs)
	require.Empty(t, out)
}

// FFmpeg plays the MPD of a stream that has just begun at the pace of the stream.
func TestFFmpegPlaysTheFirstSeconds(t *testing.T) {
	t.Parallel()
	ffmpeg := tool(t, "ffmpeg")
	var origin cliptest.Origin
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A segment that is about to come is waited for, as in the tree.
		name := path.Base(r.URL.Path)
		for range 1500 {
			if _, whole := origin.Body(name); whole || len(origin.Arrivals(name)) > 0 || r.Method != http.MethodGet || r.Context().Err() != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		origin.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	begin := time.Now().Truncate(time.Millisecond)
	push(t, server.URL+"/", clip.PushConfig{Source: clip.Config{Start: begin}})
	viewers := []time.Duration{500 * time.Millisecond, 2500 * time.Millisecond, 4100 * time.Millisecond}
	seen := make([]view, len(viewers))
	var all sync.WaitGroup
	for i, after := range viewers {
		all.Go(func() {
			time.Sleep(time.Until(begin.Add(after)))
			seen[i] = play(t.Context(), ffmpeg, server.URL+"/manifest.mpd")
		})
	}
	all.Wait()
	for i, v := range seen {
		require.NoError(t, v.err, v.errs)
		t.Logf("from %v on: %d frames in %v", viewers[i], v.frames, v.passed)
		// It may begin with a segment that is under way.
		require.LessOrEqual(t, v.frames, framesIn(v.passed+2*time.Second), "from %v on", viewers[i])
		require.GreaterOrEqual(t, v.frames, framesIn(watched/2), "from %v on", viewers[i])
	}
}

// framesIn is how many the clip has in some time.
func framesIn(d time.Duration) int { return int(d.Seconds() * 25) }

// view is what FFmpeg has shown.
type view struct {
	frames int
	passed time.Duration
	errs   string
	err    error
}

// play has FFmpeg play until it has shown half of what time brings, for which a busy machine may take longer.
func play(ctx context.Context, ffmpeg, url string) (v view) {
	ctx, cancel := context.WithTimeout(ctx, watched+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, ffmpeg, "-v", "error", "-i", url, "-map", "0:v:0", "-progress", "pipe:1", "-f", "null", "-")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return view{err: err}
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return view{err: err}
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return view{err: err}
	}
	for progress, asked := bufio.NewScanner(stdout), false; progress.Scan(); {
		if n, ok := strings.CutPrefix(progress.Text(), "frame="); ok {
			v.frames, _ = strconv.Atoi(strings.TrimSpace(n))
		}
		if !asked && time.Since(begin) >= watched && v.frames >= framesIn(watched/2) {
			asked = true
			_, _ = stdin.Write([]byte("q"))
		}
	}
	v.err = cmd.Wait()
	v.errs, v.passed = errs.String(), time.Since(begin)
	return v
}

// watched is how long FFmpeg plays at least.
const watched = 8 * time.Second

func run(t *testing.T, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	return out.String(), errs.String()
}

// minus returns a-b of two decimal numbers.
func minus(t *testing.T, a, b string) string {
	t.Helper()
	x, err := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
	require.NoError(t, err)
	y, err := strconv.ParseInt(strings.TrimSpace(b), 10, 64)
	require.NoError(t, err)
	return strconv.FormatInt(x-y, 10)
}
