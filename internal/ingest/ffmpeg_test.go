package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/manifest"
)

// needFFmpeg skips the test where there is no FFmpeg, or fails it where
// TREEDN_REQUIRE says that there must be one.
func needFFmpeg(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err == nil {
		return path
	}
	if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "ffmpeg") {
		t.Fatal("TREEDN_REQUIRE demands ffmpeg: ", err)
	}
	t.Skip("no ffmpeg on this machine: ", err)
	return ""
}

// witness remembers what was pushed, request by request, before the server under
// test sees it.
type witness struct {
	next http.Handler

	mu     sync.Mutex // guards below
	bodies map[string][][sha256.Size]byte
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	body := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(body, h), body}
	answer := &statusWriter{ResponseWriter: rw}
	w.next.ServeHTTP(answer, r)
	if r.Method == http.MethodPut && answer.code == http.StatusCreated {
		w.mu.Lock()
		defer w.mu.Unlock()
		target, _ := parsePath(r.URL.Path)
		name := target.name
		w.bodies[name] = append(w.bodies[name], [sha256.Size]byte(h.Sum(nil)))
	}
}

type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type ffmpegRun struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

// startFFmpeg pushes a test picture in real time; out are the arguments of the
// output.
func startFFmpeg(t *testing.T, seconds string, out ...string) *ffmpegRun {
	t.Helper()
	args := append([]string{
		"-nostdin", "-hide_banner", "-loglevel", "error",
		"-re", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25",
		"-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", seconds, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
		"-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-c:a", "aac",
	}, out...)
	f := &ffmpegRun{cmd: exec.Command(needFFmpeg(t), args...)}
	f.cmd.Stderr = &f.stderr
	require.NoError(t, f.cmd.Start())
	t.Cleanup(func() { _ = f.cmd.Process.Kill(); _ = f.cmd.Wait() })
	return f
}

func (f *ffmpegRun) wait(t *testing.T) {
	t.Helper()
	err := f.cmd.Wait()
	require.NoError(t, err, f.stderr.String())
}

// lowLatency are the options of a low-latency DASH push with HLS playlists.
func lowLatency(persistent, url string) []string {
	return []string{
		"-f", "dash", "-method", "PUT", "-http_persistent", persistent, "-seg_duration", "1",
		"-frag_type", "every_frame", "-streaming", "1", "-ldash", "1", "-use_timeline", "0",
		"-window_size", "2", "-extra_window_size", "1", "-hls_playlist", "1",
		"-adaptation_sets", "id=0,streams=v id=1,streams=a", url,
	}
}

func watch(t *testing.T, cfg Config) (s *Server, r *recorder, w *witness, host string) {
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, r = newServer(t, cfg)
	w = &witness{next: s, bodies: make(map[string][][sha256.Size]byte)}
	h := httptest.NewUnstartedServer(w)
	h.Config.ConnContext = s.ConnContext
	h.Start()
	t.Cleanup(h.Close)
	return s, r, w, h.Listener.Addr().String()
}

// verify compares what came out with what FFmpeg sent.
func (w *witness) verify(t *testing.T, r *recorder) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, sums := range w.bodies {
		o := r.last(t, name)
		require.True(t, o.committed, name)
		// Manifests overlap: the last answered is not always the last sent.
		require.Contains(t, sums, sha256.Sum256(o.body), name)
		if o.Kind != Manifest {
			require.Len(t, sums, 1, name)
		}
	}
}

// ended waits until the channel knows that its publisher has ended: FFmpeg does
// not wait for the answers to its last requests.
func ended(t *testing.T, s *Server, channel string) (state State) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		state, _ = s.State(channel)
		if state.Reason == "the publisher ended the presentation" {
			return state
		}
		require.True(t, time.Now().Before(deadline), "%+v", state)
		time.Sleep(10 * time.Millisecond)
	}
}

func TestFFmpegDASH(t *testing.T) {
	for _, c := range []struct{ name, persistent, prefix string }{
		{"a connection per request", "0", "ch1/"},
		{"persistent connections", "1", "ch1/"},
		{"key in the path", "1", "keyed/" + testKey + "/"},
		{"user name and password", "0", "keyed/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, r, w, host := watch(t, Config{Channels: map[string]Channel{"ch1": {}, "keyed": {Keys: []KeyHash{HashKey(testKey)}}}})
			if c.prefix == "keyed/" {
				host = "user:" + testKey + "@" + host
			}
			startFFmpeg(t, "3", lowLatency(c.persistent, "http://"+host+"/publish/"+c.prefix+"manifest.mpd")...).wait(t)
			state := ended(t, s, strings.SplitN(c.prefix, "/", 2)[0])
			w.verify(t, r)
			require.Zero(t, state.Broken)
			require.Zero(t, state.Refused, state.RefusedReason)
			require.Zero(t, state.Malformed)
			for i, kind := range []manifest.Kind{manifest.Video, manifest.Audio} {
				var run uint64
				var spread time.Duration
				for n := 1; n <= 3; n++ {
					o := r.last(t, fmt.Sprintf("chunk-stream%d-%05d.m4s", i, n))
					// On a busy machine what tells of the run may come later than a segment waits for it.
					if o.Track.Kind != manifest.Unknown || os.Getenv("TREEDN_QUIET") == "1" {
						require.Equal(t, kind, o.Track.Kind)
					}
					if o.Track.Init != "" || n == 3 {
						require.Equal(t, fmt.Sprintf("init-stream%d.m4s", i), o.Track.Init)
					}
					if run == 0 {
						run = o.Run
					}
					require.Equal(t, run, o.Run)
					require.GreaterOrEqual(t, len(o.chunks), 20, "a chunk per frame")
					spread = max(spread, o.at[len(o.at)-1].Sub(o.at[0]))
				}
				require.Greater(t, spread, 500*time.Millisecond, "handed on while it is made")
				require.Equal(t, Init, r.last(t, fmt.Sprintf("init-stream%d.m4s", i)).Kind)
			}
			require.Equal(t, Manifest, r.last(t, "master.m3u8").Kind)
			require.Contains(t, string(r.newest(t, "manifest.mpd").body), `type="static"`)
		})
	}
}

func TestFFmpegHLS(t *testing.T) {
	t.Parallel()
	s, r, w, host := watch(t, Config{})
	base := "http://" + host + "/publish/ch1/"
	startFFmpeg(t, "3",
		"-f", "hls", "-method", "PUT", "-hls_segment_type", "fmp4", "-hls_time", "1", "-hls_list_size", "2",
		"-hls_flags", "delete_segments+independent_segments", "-hls_fmp4_init_filename", "init.mp4",
		"-hls_segment_filename", base+"v/seg_%05d.m4s", base+"v/index.m3u8").wait(t)
	state := ended(t, s, "ch1")
	w.verify(t, r)
	require.Zero(t, state.Broken)
	require.Zero(t, state.Refused, state.RefusedReason)
	require.Equal(t, time.Second, state.TargetDuration)
	require.Equal(t, Init, r.last(t, "v/init.mp4").Kind)
	var run uint64
	for n := range 3 {
		o := r.last(t, fmt.Sprintf("v/seg_%05d.m4s", n))
		require.Equal(t, manifest.Video, o.Track.Kind, "by the init segment: no playlist says it")
		if run == 0 {
			run = o.Run
		}
		require.Equal(t, run, o.Run)
	}
}

// FFmpeg is killed and started again on the same names while a second one tries
// to push beside it.
func TestFFmpegRestartAndIntruder(t *testing.T) {
	t.Parallel()
	s, r, _, host := watch(t, Config{})
	url := "http://" + host + "/publish/ch1/manifest.mpd"
	first := startFFmpeg(t, "20", lowLatency("1", url)...)
	third := "chunk-stream0-00003.m4s"
	r.wait(t, "third segment", func() bool { o := r.named(third); return len(o) > 0 && len(o[0].chunks) > 3 })

	// FFmpeg does not even stop when its connections are closed; what matters is
	// that nothing of it gets through.
	intruder := startFFmpeg(t, "2", lowLatency("0", url)...)
	_ = intruder.cmd.Wait()
	state, _ := s.State("ch1")
	require.NotZero(t, state.Refused)
	require.Zero(t, state.Broken)
	starts := make(map[string]bool)
	for _, o := range r.named("manifest.mpd") {
		if _, after, ok := strings.Cut(string(o.body), "availabilityStartTime="); ok {
			starts[after[:26]] = true
		}
	}
	require.Len(t, starts, 1, "one presentation")
	require.Len(t, r.named("chunk-stream0-00001.m4s"), 1)
	r.wait(t, "fifth segment", func() bool { return len(r.named("chunk-stream0-00005.m4s")) > 0 })

	require.NoError(t, first.cmd.Process.Kill())
	_ = first.cmd.Wait()
	killed := time.Now()
	again := startFFmpeg(t, "2.5", lowLatency("1", url)...)
	r.wait(t, "first segment of the second run", func() bool { return len(r.named("chunk-stream0-00001.m4s")) == 2 })
	t.Log("restart to the first segment:", time.Since(killed))
	again.wait(t)
	for i := range 2 {
		all := r.named(fmt.Sprintf("chunk-stream%d-00001.m4s", i))
		require.Len(t, all, 2)
		require.Greater(t, all[1].Run, all[0].Run)
		require.Equal(t, all[1].Run, r.last(t, fmt.Sprintf("chunk-stream%d-00002.m4s", i)).Run)
	}
	// FFmpeg does not wait for the answers to its last requests.
	r.wait(t, "the end of all objects", func() bool {
		return !slices.ContainsFunc(r.all(), func(o recorded) bool { return !o.committed && o.aborted == nil })
	})
	state, _ = s.State("ch1")
	require.NotZero(t, state.Broken)
}

// The server goes away and comes back; FFmpeg goes on and does not send its init
// segments again.
func TestFFmpegOutlivesServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, r := newServer(t, Config{StateDir: dir})
	h := httptest.NewServer(first)
	addr := h.Listener.Addr().String()
	ff := startFFmpeg(t, "7", append([]string{"-ignore_io_errors", "1"}, lowLatency("1", "http://"+addr+"/publish/ch1/manifest.mpd")...)...)
	r.wait(t, "second segment", func() bool { return len(r.named("chunk-stream0-00002.m4s")) > 0 })
	h.CloseClientConnections()
	require.NoError(t, first.Close())
	h.Close()

	second, r2 := newServer(t, Config{StateDir: dir})
	require.Len(t, r2.all(), 2, "both init segments")
	srv := &http.Server{Addr: addr, Handler: second}
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	defer func() {
		require.NoError(t, srv.Shutdown(context.Background()))
		require.ErrorIs(t, <-failed, http.ErrServerClosed)
	}()
	_ = ff.cmd.Wait()
	manifests := r2.named("manifest.mpd")
	require.NotEmpty(t, manifests)
	media := 0
	for _, o := range r2.all() {
		if o.Kind == Media && o.committed {
			media++
			require.Greater(t, o.Run, r.last(t, "chunk-stream0-00002.m4s").Run)
		}
		require.False(t, o.Kind == Init && o.Name != "init-stream0.m4s" && o.Name != "init-stream1.m4s")
	}
	require.Greater(t, media, 2)
	require.Len(t, r2.named("init-stream0.m4s"), 1, "sent once, kept")
}
