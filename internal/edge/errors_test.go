package edge_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/memnet"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

// behind runs f with a node that has a playlist, which announces a segment that is here and one that is about to come, and
// has one parent.
func behind(t *testing.T, h http.HandlerFunc, f func(ask func(method, path string, fields ...string) (*http.Response, time.Duration))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		host := network.Host("parent:80")
		if h != nil {
			srv := &http.Server{Handler: h}
			go srv.Serve(host.Listen())
			defer func() { srv.Close(); host.Kill() }()
		}
		c := parent.New(parent.Config{Node: "leaf", Dial: network.DialContext})
		defer c.Close()
		require.NoError(t, c.SetParents([]*url.URL{{Scheme: "http", Host: "parent:80"}}))
		store, err := cache.Open(cache.Config{Now: time.Now})
		require.NoError(t, err)
		defer store.Close()
		svc := service.New(service.Config{Name: "live", Store: store, Parents: c})
		players := edge.New(edge.Config{Store: store, Services: func(string) *service.Service { return svc }, Node: "leaf", Via: "leaf"})
		require.NoError(t, svc.PutManifest(service.Meta{Name: "v.m3u8", Generation: 1},
			[]byte("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\nv-1.m4s\n")))
		o, err := svc.Begin(service.Meta{Name: "v-1.m4s", Generation: 1, Kind: service.Media})
		require.NoError(t, err)
		require.NoError(t, o.Write([]byte("octets"), true))
		require.NoError(t, o.Commit())
		f(func(method, path string, fields ...string) (*http.Response, time.Duration) {
			r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
			for i := 0; i < len(fields); i += 2 {
				r.Header.Set(fields[i], fields[i+1])
			}
			begun := time.Now()
			w := httptest.NewRecorder()
			players.ServeHTTP(w, r)
			return w.Result(), time.Since(begun)
		})
	})
}

// What a player sees of parents in trouble: what is here stays, and the answers to all else say whether it is worth to ask
// again, which a cache may do in its place (stale-if-error is for 500, 502, 503 and 504, RFC 5861).
func TestParentsInTrouble(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, c := range map[string]struct {
		parent http.HandlerFunc
		code   int
	}{
		"gone":                 {nil, http.StatusGatewayTimeout},
		"without a word":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, http.StatusGatewayTimeout},
		"without the object":   {http.NotFound, http.StatusNotFound},
		"busy":                 {status(http.StatusServiceUnavailable), http.StatusServiceUnavailable},
		"too early":            {status(http.StatusTooEarly), http.StatusServiceUnavailable},
		"broken":               {status(http.StatusInternalServerError), http.StatusBadGateway},
		"no parent of a child": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			behind(t, c.parent, func(ask func(string, string, ...string) (*http.Response, time.Duration)) {
				for _, path := range []string{"/live/v-2.m4s", "/live/other.m4s"} {
					resp, took := ask("GET", path)
					require.Equal(t, c.code, resp.StatusCode, path)
					require.LessOrEqual(t, took, 4*time.Second)
					require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
					require.Equal(t, c.code == http.StatusServiceUnavailable, resp.Header.Get("Retry-After") != "")
					require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
				}
				time.Sleep(time.Minute) // the playlist is overdue, and cannot be had anew
				for _, path := range []string{"/live/v.m3u8", "/live/v-1.m4s"} {
					resp, took := ask("GET", path)
					require.Equal(t, http.StatusOK, resp.StatusCode, path)
					require.LessOrEqual(t, took, time.Second)
				}
			})
		})
	}
}

// A preflight is answered at once, whatever it is for.
func TestPreflightWaitsForNothing(t *testing.T) {
	asked := 0
	behind(t, func(w http.ResponseWriter, r *http.Request) { asked++; <-r.Context().Done() },
		func(ask func(string, string, ...string) (*http.Response, time.Duration)) {
			time.Sleep(time.Minute)
			for _, path := range []string{"/live/v.m3u8", "/live/v-2.m4s", "/live/v.m3u8?_HLS_msn=2"} {
				for _, method := range []string{"OPTIONS", "POST"} {
					resp, took := ask(method, path, "Origin", "https://player.example", "Access-Control-Request-Headers", "range,cmcd-request")
					require.Zero(t, took)
					require.NotEqual(t, http.StatusOK, resp.StatusCode)
				}
			}
			require.Zero(t, asked)
		})
}

// An object that has been here for longer than it may be kept for can be kept for that long from now on, since its name
// stands for it now: a cache in front would otherwise ask for each of its readers.
func TestFreshForACacheInFront(t *testing.T) {
	behind(t, nil, func(ask func(string, string, ...string) (*http.Response, time.Duration)) {
		resp, _ := ask("GET", "/live/v-1.m4s")
		require.Equal(t, "0", resp.Header.Get("Age"))
		require.Equal(t, "max-age=2", resp.Header.Get("Cache-Control"))
		time.Sleep(30 * time.Second)
		for _, fields := range [][]string{nil, {"If-None-Match", resp.Header.Get("Etag")}, {"Range", "bytes=1-2"}} {
			again, _ := ask("GET", "/live/v-1.m4s", fields...)
			require.Equal(t, "30", again.Header.Get("Age"))
			require.Equal(t, "max-age=32", again.Header.Get("Cache-Control"))
		}
		resp, _ = ask("GET", "/live/v.m3u8")
		require.Equal(t, "no-cache", resp.Header.Get("Cache-Control"))
	})
}
