package edge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/service"
)

// lowLatency is a playlist of segments 10 to last with four parts each, and of the first parts of the one behind.
func lowLatency(last, parts int, control string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:%s\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:10\n", control)
	part := func(n, p int) { fmt.Fprintf(&b, "#EXT-X-PART:DURATION=0.5,URI=\"p-%d-%d.m4s\"\n", n, p) }
	for n := 10; n <= last; n++ {
		for p := range 4 {
			part(n, p)
		}
		fmt.Fprintf(&b, "#EXTINF:2,\ns-%d.m4s\n", n)
	}
	for p := range parts {
		part(last+1, p)
	}
	return []byte(b.String())
}

const blocks = "CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5"

// reloading runs f with a service and a way to ask for its playlist.
func reloading(t *testing.T, f func(t *testing.T, put func(body []byte), ask func(query string) (code int, body string, took time.Duration))) {
	synctest.Test(t, func(t *testing.T) {
		store, err := cache.Open(cache.Config{})
		require.NoError(t, err)
		defer store.Close()
		live := service.New(service.Config{Name: "live", Store: store})
		h := New(Config{Store: store, Node: "leaf", Services: func(string) *service.Service { return live }})
		var generation atomic.Uint64
		f(t, func(body []byte) {
			require.NoError(t, live.PutManifest(service.Meta{Name: "v.m3u8", Generation: generation.Add(1)}, body))
		}, func(query string) (int, string, time.Duration) {
			begun := time.Now()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live/v.m3u8"+query, nil))
			require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
			return w.Code, w.Body.String(), time.Since(begun)
		})
	})
}

func TestPlaylistReloadBlocks(t *testing.T) {
	reloading(t, func(t *testing.T, put func([]byte), ask func(string) (int, string, time.Duration)) {
		put(lowLatency(12, 2, blocks))
		for _, c := range []struct {
			query string
			code  int
		}{
			{"", 200},
			{"?_HLS_msn=9", 200}, {"?_HLS_msn=12", 200}, {"?_HLS_msn=12&_HLS_part=3", 200}, {"?_HLS_msn=13&_HLS_part=1", 200},
			{"?_HLS_msn=12&_HLS_part=4", 200}, // that is the first part of the next
			{"?CMCD=bl%3D1000&_HLS_msn=12&_HLS_skip=YES", 200},
			{"?_HLS_msn=15", 400}, {"?_HLS_part=1", 400}, {"?_HLS_msn=x", 400}, {"?_HLS_msn=12&_HLS_part=-1", 400},
		} {
			code, _, took := ask(c.query)
			require.Equal(t, c.code, code, c.query)
			require.Zero(t, took, c.query)
		}
		for _, c := range []struct {
			query       string
			last, parts int
		}{
			{"?_HLS_msn=13&_HLS_part=2", 12, 3}, {"?_HLS_msn=13&_HLS_part=3", 13, 0},
			{"?_HLS_msn=13&_HLS_part=4", 13, 1}, {"?_HLS_msn=14", 14, 0}, {"?_HLS_msn=16&_HLS_part=0", 16, 0},
		} {
			time.AfterFunc(500*time.Millisecond, func() { put(lowLatency(c.last, c.parts, blocks)) })
			code, body, took := ask(c.query)
			require.Equal(t, http.StatusOK, code, c.query)
			require.Equal(t, string(lowLatency(c.last, c.parts, blocks)), body, c.query)
			require.Equal(t, 500*time.Millisecond, took, c.query)
		}
		// One that comes and does not have it is waited through; then there is no more patience.
		for i := range 4 {
			time.AfterFunc(time.Duration(i+1)*time.Second, func() { put(lowLatency(16, i, blocks)) })
		}
		code, _, took := ask("?_HLS_msn=17")
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.Equal(t, 6*time.Second, took)
		time.AfterFunc(time.Second, func() { put(append(lowLatency(16, 3, blocks), "#EXT-X-ENDLIST\n"...)) })
		code, body, took := ask("?_HLS_msn=17")
		require.Equal(t, http.StatusOK, code)
		require.Contains(t, body, "ENDLIST")
		require.Equal(t, time.Second, took)
	})
}

// Where nothing was promised the directives are none.
func TestPlaylistReloadThatDoesNotBlock(t *testing.T) {
	reloading(t, func(t *testing.T, put func([]byte), ask func(string) (int, string, time.Duration)) {
		put(lowLatency(12, 2, "PART-HOLD-BACK=1.5"))
		for _, query := range []string{"?_HLS_msn=13", "?_HLS_msn=99", "?_HLS_part=1", "?_HLS_msn=x"} {
			code, _, took := ask(query)
			require.Equal(t, http.StatusOK, code, query)
			require.Zero(t, took, query)
		}
	})
}
