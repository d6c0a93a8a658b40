package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrigins(t *testing.T) {
	var o Origins
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Timing-Allow-Origin", "*")
		switch r.URL.Path {
		case "/error":
			w.WriteHeader(http.StatusNotFound)
		case "/flushed":
			require.NoError(t, http.NewResponseController(w).Flush())
		default:
			_, _ = io.WriteString(w, "x")
		}
	}))
	get := func(path, origin string) http.Header {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result().Header
	}
	for _, all := range [][]string{nil, {"*"}, {"https://tv.example", "*"}} {
		o.Set(all)
		require.Equal(t, "*", get("/", "https://x.example").Get("Access-Control-Allow-Origin"))
		require.Empty(t, get("/", "https://x.example").Get("Vary"))
	}
	o.Set([]string{"https://tv.example", "https://www.example"})
	for _, path := range []string{"/", "/error", "/flushed"} {
		for origin, want := range map[string]string{
			"https://tv.example": "https://tv.example", "https://www.example": "https://www.example",
			"https://x.example": "", "https://tv.example.org": "", "null": "", "": "",
		} {
			got := get(path, origin)
			require.Equal(t, want, got.Get("Access-Control-Allow-Origin"), path+" "+origin)
			require.Equal(t, want, got.Get("Timing-Allow-Origin"))
			require.Equal(t, "Origin", got.Get("Vary"))
		}
	}
}
