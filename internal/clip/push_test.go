package clip_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/clip/cliptest"
	"github.com/treedn/treedn/internal/treetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errStop = errors.New("stop")

// push runs a push until the end of the test or until stop is called.
func push(t *testing.T, url string, cfg clip.PushConfig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- clip.Push(ctx, url, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel(errStop)
		select {
		case err := <-ended:
			require.ErrorIs(t, err, errStop)
		case <-time.After(20 * time.Second):
			t.Error("push does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestPush(t *testing.T) {
	t.Parallel()
	var origin cliptest.Origin
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || r.ContentLength != -1 || !strings.HasPrefix(r.URL.Path, "/live/ch/") || r.Header.Get("X-Key") != "k" {
			t.Errorf("unexpected request: %s %s %v", r.Method, r.URL, r.Header)
		}
		origin.ServeHTTP(w, r)
	}))
	defer server.Close()
	var mu sync.Mutex
	seen := map[string][]byte{}
	begin := time.Now()
	stop := push(t, server.URL+"/live/ch/manifest.mpd", clip.PushConfig{
		Header:  http.Header{"X-Key": {"k"}},
		Witness: func(name string, b []byte) { mu.Lock(); defer mu.Unlock(); seen[name] = b },
	})
	names := []string{"init-stream0.m4s", "chunk-stream0-00001.m4s", "chunk-stream1-00001.m4s", "chunk-stream2-00001.m4s", "media_2.m3u8"}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, name := range names {
			if seen[name] == nil {
				return false
			}
		}
		b, _ := origin.Body("chunk-stream0-00002.m4s")
		return len(b) > 0
	}, 20*time.Second, 10*time.Millisecond)
	stop()

	mu.Lock()
	defer mu.Unlock()
	for _, name := range names {
		b, whole := origin.Body(name)
		require.True(t, whole, name)
		require.True(t, bytes.Equal(b, seen[name]), name)
	}
	_, whole := origin.Body("chunk-stream0-00002.m4s")
	require.False(t, whole, "the stop has broken the segment off")
	require.NotContains(t, seen, "chunk-stream0-00002.m4s")
	// Four, but a client gives up a connection whose end of a request is late.
	require.Less(t, origin.Connections(), len(origin.Objects()))

	// The first frames came long before the end of their segment.
	arrivals := origin.Arrivals("chunk-stream0-00001.m4s")
	require.Greater(t, len(arrivals), 10)
	last := arrivals[len(arrivals)-1].Time
	require.Greater(t, last.Sub(arrivals[2].Time), 500*time.Millisecond)
	require.Greater(t, last.Sub(begin), 1900*time.Millisecond)
}

// The ingest is absent at first, comes, and is replaced by one that has lost
// everything.
func TestPushReconnects(t *testing.T) {
	t.Parallel()
	addr := treetest.Vacant(t).String()
	interrupted := make(logged, 16)
	push(t, "http://"+addr+"/ch/", clip.PushConfig{
		Source: clip.Config{Start: time.Now().Add(-1500 * time.Millisecond)},
		Logger: slog.New(interrupted),
	})
	require.Equal(t, "clip: push interrupted", <-interrupted)

	for range 2 {
		var origin cliptest.Origin
		var l net.Listener
		require.Eventually(t, func() bool { // a program that another test starts has the former one until it executes
			var err error
			l, err = net.Listen("tcp", addr)
			return err == nil
		}, 20*time.Second, time.Millisecond)
		server := &http.Server{Handler: &origin}
		go func() { _ = server.Serve(l) }()
		require.Eventually(t, func() bool {
			for _, name := range []string{"init-stream0.m4s", "init-stream1.m4s", "init-stream2.m4s", "master.m3u8", "media_0.m3u8"} {
				if _, ok := origin.Body(name); !ok {
					return false
				}
			}
			return true
		}, 20*time.Second, 10*time.Millisecond)
		playlist, _ := origin.Body("media_0.m3u8")
		for line := range strings.Lines(string(playlist)) {
			if name := strings.TrimSpace(line); strings.HasPrefix(name, "chunk-") {
				// The playlist may overtake the end of the segment on another connection.
				require.Eventually(t, func() bool {
					_, whole := origin.Body(name)
					return whole
				}, 5*time.Second, 10*time.Millisecond, "%s is in the playlist and has not been sent", name)
			}
		}
		require.NoError(t, server.Close())
	}
}

// logged is a log handler that hands out the messages.
type logged chan string

func (l logged) Enabled(context.Context, slog.Level) bool      { return true }
func (l logged) Handle(_ context.Context, r slog.Record) error { l <- r.Message; return nil }
func (l logged) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l logged) WithGroup(string) slog.Handler                 { return l }

// An ingest that accepts connections and never answers holds neither the source
// nor the end of the push.
func TestPushEndsWhenIngestHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	stop := push(t, "http://"+l.Addr().String()+"/ch/", clip.PushConfig{})
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 100))
	require.NoError(t, err)
	stop()
}

func TestPushRefusesOtherURLs(t *testing.T) {
	for _, u := range []string{"", "ftp://h/x", "/path", "http://", "http://h:x/"} {
		require.Error(t, clip.Push(t.Context(), u, clip.PushConfig{}), u)
	}
}
