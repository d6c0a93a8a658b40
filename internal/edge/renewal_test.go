package edge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// A reader that has seen the manifest of a new run does not get what its segments' names stood for before.
func TestSegmentOfTheRunBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := cache.Open(cache.Config{})
		require.NoError(t, err)
		defer store.Close()
		svc := service.New(service.Config{Name: "live", Store: store, Runs: true})
		h := edge.New(edge.Config{Store: store, Services: func(string) *service.Service { return svc }})
		put := func(run uint64, number uint32, body string) {
			o, err := svc.Begin(service.Meta{
				Name: fmt.Sprintf("v-%d.m4s", number), Generation: run, Kind: service.Media,
				Track: route.Track{Stem: "v-$TOI$.m4s", Number: number, Run: run},
			})
			require.NoError(t, err)
			require.NoError(t, o.Write([]byte(body), true))
			require.NoError(t, o.Commit())
		}
		list := func(generation uint64, first int) {
			body := fmt.Appendf(nil, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXTINF:2,\nv-%d.m4s\n", first, first)
			require.NoError(t, svc.PutManifest(service.Meta{Name: "v.m3u8", Generation: generation, Kind: service.Manifest}, body))
		}
		get := func(name string) (int, string) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live/"+name, nil))
			return w.Code, w.Body.String()
		}
		for n := uint32(1); n <= 9; n++ {
			put(100, n, "old")
		}
		list(150, 9)
		list(250, 1)
		begun := time.Now()
		time.AfterFunc(time.Second, func() { put(200, 1, "new") })
		code, body := get("v-1.m4s")
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, "new", body)
		require.Equal(t, time.Second, time.Since(begun))
		code, body = get("v-9.m4s")
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, "old", body, "who is behind goes on with the old run")
		require.Equal(t, time.Second, time.Since(begun))
	})
}
