package edge

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

func TestHandler(t *testing.T) {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	defer store.Close()
	live := service.New(service.Config{Name: "live", Store: store})
	o, err := live.Begin(service.Meta{Name: "v/1.m4s", Generation: 1, Kind: service.Media})
	require.NoError(t, err)
	require.NoError(t, o.Write([]byte("octets"), true))
	require.NoError(t, o.Commit())
	// A service that the node no longer carries has left an object behind.
	_, err = store.Put(cache.Key{Service: "gone", Name: "1.m4s"}, cache.Meta{Generation: 1}, []byte("x"))
	require.NoError(t, err)
	h := New(Config{Store: store, Node: "leaf", Via: "leaf", Services: func(name string) *service.Service {
		if name == "live" {
			return live
		}
		return nil
	}})
	for _, c := range []struct {
		name, method, path, via string
		status                  int
		body                    string
	}{
		{"an object", "GET", "/live/v/1.m4s", "", 200, "octets"},
		{"another node before", "GET", "/live/v/1.m4s", "1.1 other", 200, "octets"},
		{"this node before", "GET", "/live/v/1.m4s", "1.1 other, 1.1 leaf", 508, ""},
		{"unknown object", "GET", "/live/v/2.m4s", "", 404, ""},
		{"unknown service", "GET", "/dead/v/1.m4s", "", 404, ""},
		{"service that is gone", "GET", "/gone/1.m4s", "", 404, ""},
		{"no object", "GET", "/live/", "", 404, ""},
		{"no service", "GET", "/", "", 404, ""},
		{"path that is not clean", "GET", "/live/v/../v/1.m4s", "", 404, ""},
		{"double slash", "GET", "/live//v/1.m4s", "", 404, ""},
		{"push", "PUT", "/live/v/1.m4s", "", 405, ""},
		{"repair", "GET", "/repair/v1/127.0.0.1/232.1.1.1/6000/1/1", "", 405, ""},
		{"preflight", "OPTIONS", "/live/v/1.m4s", "", 204, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, nil)
			if c.via != "" {
				r.Header.Set("Via", c.via)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code)
			require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
			if c.status == http.StatusOK {
				require.Equal(t, c.body, w.Body.String())
			}
		})
	}
}

// A child whose reader has waited already is answered at once.
func TestChildThatHasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := cache.Open(cache.Config{})
		require.NoError(t, err)
		defer store.Close()
		live := service.New(service.Config{Name: "live", Store: store})
		require.NoError(t, live.PutManifest(service.Meta{Name: "v.m3u8", Generation: 1},
			[]byte("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:1.0,\nseg-00001.m4s\n")))
		h := New(Config{Store: store, Node: "relay", Services: func(string) *service.Service { return live }})
		ask := func(via, wait string) time.Duration {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/live/seg-00002.m4s", nil)
			r.Header.Set("Via", via)
			r.Header.Set(parent.WaitHeader, wait)
			w := &final{ResponseRecorder: httptest.NewRecorder()}
			begun := time.Now()
			h.ServeHTTP(w, r)
			require.Equal(t, http.StatusNotFound, w.Code)
			require.Equal(t, wait == "9999", w.interim > 0, "interim responses tell that the node lives")
			return time.Since(begun)
		}
		require.Zero(t, ask("1.1 leaf", "0"))
		require.Equal(t, time.Second, ask("1.1 leaf", "-1"))
		require.Equal(t, time.Second, ask("1.1 leaf", "9999"))
	})
}

// final is a recorder of the answer that counts.
type final struct {
	*httptest.ResponseRecorder
	interim int
}

func (w *final) WriteHeader(code int) {
	if code < 200 {
		w.interim++
		return
	}
	w.ResponseRecorder.WriteHeader(code)
}
