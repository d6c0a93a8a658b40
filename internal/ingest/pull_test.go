package ingest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/manifest"
)

// A liveOrigin serves six recorded segments of two tracks as if they were made
// now, half a second each.
type liveOrigin struct {
	t     *testing.T
	began time.Time
	mux   *http.ServeMux

	mu       sync.Mutex // guards below
	requests map[string]int
}

const (
	liveSegment  = 500 * time.Millisecond
	liveSegments = 6
)

func newLiveOrigin(t *testing.T) (*liveOrigin, *httptest.Server) {
	o := &liveOrigin{t: t, began: time.Now(), mux: http.NewServeMux(), requests: make(map[string]int)}
	o.mux.HandleFunc("GET /live/master.m3u8", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"media_2.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.4d400c,mp4a.40.2\",AUDIO=\"a\"\nmedia_1.m3u8?x=1\n")
	})
	for _, track := range []int{1, 2} {
		o.mux.HandleFunc(fmt.Sprintf("GET /live/media_%d.m3u8", track), func(w http.ResponseWriter, r *http.Request) { o.playlist(w, track) })
	}
	o.mux.HandleFunc("GET /live/number.mpd", func(w http.ResponseWriter, r *http.Request) { o.mpd(w, false) })
	o.mux.HandleFunc("GET /live/timeline.mpd", func(w http.ResponseWriter, r *http.Request) { o.mpd(w, true) })
	o.mux.HandleFunc("GET /live/{file}", o.file)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.requests[r.URL.Path]++
		n := o.requests[r.URL.Path]
		o.mu.Unlock()
		switch {
		case n == 1 && strings.HasSuffix(r.URL.Path, ".mpd"), n == 1 && strings.HasSuffix(r.URL.Path, "media_1.m3u8"):
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		case n == 2 && strings.HasSuffix(r.URL.Path, "media_2.m3u8"):
			panic(http.ErrAbortHandler)
		}
		o.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return o, h
}

// made is how many segments are complete.
func (o *liveOrigin) made() int { return min(liveSegments, int(time.Since(o.began)/liveSegment)) }

func (o *liveOrigin) playlist(w http.ResponseWriter, track int) {
	made := o.made()
	first := max(1, made-2)
	fmt.Fprintf(w, "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=\"init-%d.mp4\"\n", first, track)
	for n := first; n <= made; n++ {
		fmt.Fprintf(w, "#EXTINF:0.5,\nseg-%d-%05d.m4s\n", track, n)
	}
	if made == liveSegments {
		fmt.Fprint(w, "#EXT-X-ENDLIST\n")
	}
}

func (o *liveOrigin) mpd(w http.ResponseWriter, timeline bool) {
	made := o.made()
	kind := fmt.Sprintf(`type="dynamic" minimumUpdatePeriod="PT0.3S" availabilityStartTime=%q`, o.began.UTC().Format("2006-01-02T15:04:05.000Z"))
	if made == liveSegments {
		kind = `type="static" mediaPresentationDuration="PT3S"`
	}
	fmt.Fprintf(w, `<MPD %s maxSegmentDuration="PT0.5S"><Period start="PT0S">`, kind)
	for track, contentType := range map[int]string{1: "video", 2: "audio"} {
		media, attributes := "seg-$RepresentationID$-$Number%05d$.m4s", `duration="500"`
		body := ""
		if timeline {
			first := max(1, made-2)
			attributes = fmt.Sprintf(`startNumber="%d"`, first)
			body = fmt.Sprintf(`<SegmentTimeline><S t="%d" d="500" r="%d"/></SegmentTimeline>`, (first-1)*500, max(0, made-first))
		} else {
			attributes += ` availabilityTimeOffset="0.48" availabilityTimeComplete="false"`
		}
		fmt.Fprintf(w, `<AdaptationSet contentType=%q><Representation id="%d" bandwidth="1"><SegmentTemplate timescale="1000" initialization="init-$RepresentationID$.mp4" media=%q %s>%s</SegmentTemplate></Representation></AdaptationSet>`,
			contentType, track, media, attributes, body)
	}
	fmt.Fprint(w, `</Period></MPD>`)
}

// file serves init segments, and media segments while they are made.
func (o *liveOrigin) file(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	body, err := os.ReadFile("testdata/cmaf/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	var track, number int
	if n, _ := fmt.Sscanf(name, "seg-%d-%d.m4s", &track, &number); n != 2 {
		_, _ = w.Write(body)
		return
	}
	start := o.began.Add(time.Duration(number-1) * liveSegment)
	if time.Now().Before(start) {
		http.NotFound(w, r)
		return
	}
	control := http.NewResponseController(w)
	const pieces = 5
	for i := range pieces {
		time.Sleep(time.Until(start.Add(time.Duration(i+1) * liveSegment / pieces)))
		if _, err := w.Write(body[len(body)*i/pieces : len(body)*(i+1)/pieces]); err != nil {
			return
		}
		_ = control.Flush()
	}
}

func TestPull(t *testing.T) {
	for _, top := range []string{"master.m3u8", "number.mpd", "timeline.mpd"} {
		t.Run(top, func(t *testing.T) {
			t.Parallel()
			_, h := newLiveOrigin(t)
			s, r := newServer(t, Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			require.NoError(t, s.Pull(ctx, "ch1", PullConfig{URL: h.URL + "/live/" + top + "?token=secret"}))
			for _, track := range []int{1, 2} {
				header := r.last(t, fmt.Sprintf("init-%d.mp4", track))
				require.Equal(t, Init, header.Kind)
				var run uint64
				for n := 1; n <= liveSegments; n++ {
					name := fmt.Sprintf("seg-%d-%05d.m4s", track, n)
					want, err := os.ReadFile("testdata/cmaf/" + name)
					require.NoError(t, err)
					all := r.named(name)
					if n == 1 && len(all) == 0 && top == "master.m3u8" {
						continue // its playlist slid on while the origin failed
					}
					require.Len(t, all, 1, name)
					o := all[0]
					require.True(t, o.committed)
					require.True(t, bytes.Equal(want, o.body), name)
					require.GreaterOrEqual(t, len(o.chunks), 20)
					require.Equal(t, fmt.Sprintf("seg-%d-$TOI%%05d$.m4s", track), o.Track.Template.String())
					require.Equal(t, header.Name, o.Track.Init)
					require.Equal(t, []manifest.Kind{manifest.Video, manifest.Audio}[track-1], o.Track.Kind)
					if run == 0 {
						run = o.Run
					}
					require.Equal(t, run, o.Run)
				}
			}
			require.Equal(t, Manifest, r.last(t, top).Kind)
			state, _ := s.State("ch1")
			require.Equal(t, "the publisher ended the presentation", state.Reason)
			require.Equal(t, "pull from "+h.URL+"/live/"+top, state.Publisher)
			require.NotContains(t, fmt.Sprint(s.States()), "secret")
		})
	}
}

// Low latency: a segment that the origin is still making arrives as it grows.
func TestPullStreams(t *testing.T) {
	t.Parallel()
	_, h := newLiveOrigin(t)
	s, r := newServer(t, Config{})
	require.NoError(t, s.Pull(context.Background(), "ch1", PullConfig{URL: h.URL + "/live/number.mpd"}))
	o := r.last(t, "seg-1-00005.m4s")
	require.Greater(t, o.at[len(o.at)-1].Sub(o.at[0]), liveSegment/2)
}

func TestPullEndsWithContextServerAndChannel(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".m3u8") {
			_, _ = w.Write(playlist(1, 1, false))
			return
		}
		if strings.HasSuffix(r.URL.Path, "init.mp4") {
			_, _ = w.Write(initOf(1))
			return
		}
		http.NotFound(w, r)
	}))
	defer h.Close()
	cfg := PullConfig{URL: h.URL + "/index.m3u8"}
	begin := func(s *Server, ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() { done <- s.Pull(ctx, "ch1", cfg) }()
		require.Eventually(t, func() bool {
			state, _ := s.State("ch1")
			return state.Publisher != ""
		}, 10*time.Second, 10*time.Millisecond)
		return done
	}
	s, _ := newServer(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := begin(s, ctx)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	s, _ = newServer(t, Config{})
	done = begin(s, context.Background())
	require.NoError(t, s.SetChannels(map[string]Channel{"ch2": {}}))
	require.ErrorIs(t, <-done, ErrRevoked)
	require.ErrorIs(t, s.Pull(context.Background(), "ch1", cfg), ErrUnknownChannel)

	s, _ = newServer(t, Config{})
	done = begin(s, context.Background())
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, ErrClosed)
}

func TestPullRefuses(t *testing.T) {
	s, _ := newServer(t, Config{MaxManifest: 1000})
	for _, u := range []string{"", "file:///etc/passwd", "ftp://x/y", "/relative", "http://", "://"} {
		require.ErrorIs(t, s.Pull(context.Background(), "ch1", PullConfig{URL: u}), ErrPull, u)
	}
	mux := http.NewServeMux()
	h := httptest.NewServer(mux)
	defer h.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(h.URL, "http://"), ":")
	redirect := func(path, to string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	}
	redirect("/file", "file:///etc/passwd")
	redirect("/loop", "/loop")
	redirect("/neighbour", "http://localhost:"+port+"/ok")
	var got http.Header
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = w.Write(playlist(1, 1, true))
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte{'#'}, 5000))
	})
	mux.HandleFunc("/html", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>no</html>") })
	mux.HandleFunc("/outside", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://elsewhere.example/seg.ts\n")
	})
	mux.HandleFunc("/vod.mpd", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(mpd("static")) })
	load := func(path string, cfg PullConfig) error {
		cfg.URL = h.URL + path
		cfg.Header = http.Header{"X-Token": {"secret"}}
		p, err := newPuller(s.channel("ch1"), cfg)
		require.NoError(t, err)
		defer p.client.CloseIdleConnections()
		_, err = p.load(context.Background(), p.url, p.topName())
		if err == nil {
			err = p.run(context.Background())
		}
		if err != nil {
			require.NotContains(t, err.Error(), "secret")
		}
		return err
	}
	require.ErrorIs(t, load("/file", PullConfig{}), errForbidden)
	require.ErrorIs(t, load("/loop", PullConfig{}), errForbidden)
	require.ErrorIs(t, load("/neighbour", PullConfig{}), errForbidden)
	require.Nil(t, got)
	require.ErrorIs(t, load("/huge", PullConfig{}), ErrLimit)
	require.ErrorIs(t, load("/html", PullConfig{}), manifest.ErrFormat)
	require.ErrorIs(t, load("/outside", PullConfig{}), ErrPull)
	require.ErrorIs(t, load("/vod.mpd", PullConfig{}), ErrPull)
	require.ErrorIs(t, load("/none", PullConfig{}), ErrUpstream)
	require.Error(t, load("/neighbour", PullConfig{AllowPrivate: true})) // its segment is missing
	require.NotNil(t, got)
	require.Empty(t, got.Get("X-Token"), "headers stay with their host")
}

func TestSkew(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 700e6, time.UTC)
	require.Zero(t, skew(now.Truncate(time.Second), now, now.Add(10*time.Millisecond)))
	require.Equal(t, time.Hour-700*time.Millisecond, skew(now.Truncate(time.Second).Add(time.Hour), now, now))
	require.Less(t, skew(now.Truncate(time.Second).Add(-time.Hour), now, now), -59*time.Minute)
}

func TestBackoff(t *testing.T) {
	var b backoff
	last := time.Duration(0)
	for range 20 {
		d := b.next()
		require.Greater(t, d, last/2)
		require.LessOrEqual(t, d, backoffLast)
		last = d
	}
	require.Greater(t, last, backoffLast/2)
}
