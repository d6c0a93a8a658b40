package page_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/demo/page"
)

func get(t *testing.T, h http.Handler, method, url string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

func TestHandlerServesThePage(t *testing.T) {
	h := page.Handler(func() page.State {
		return page.State{Beacons: []page.Beacon{
			{Name: "1", URL: "http://127.0.0.1:8080/live/"},
			{Name: "2", URL: "https://[::1]:1/"},
			{Name: "3", URL: "http://a;script-src%20*/"},
			{Name: "4", URL: "javascript:alert(1)"},
		}}
	})
	r := get(t, h, "GET", "/?beacon=2")
	require.Equal(t, 200, r.StatusCode)
	require.Contains(t, r.Header.Get("Content-Type"), "text/html")
	policy := r.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "script-src 'self';")
	require.Contains(t, policy, "connect-src 'self' http://127.0.0.1:8080 https://[::1]:1;")
	require.NotContains(t, policy, "*")
	html := body(t, r)
	require.NotContains(t, html, " style=", "the policy forbids the attribute")

	// Everything that the page loads is here and comes with its type.
	types := map[string]string{".js": "javascript", "css": "text/css", "svg": "image/svg"}
	refs := regexp.MustCompile(`(?:href|src|from) ?[='" ]+(?:\./)?([a-z.]+\.(?:js|css|svg))['"]`)
	seen := map[string]bool{}
	todo := []string{html}
	for len(todo) > 0 {
		text := todo[0]
		todo = todo[1:]
		for _, m := range refs.FindAllStringSubmatch(text, -1) {
			if name := m[1]; !seen[name] {
				seen[name] = true
				r := get(t, h, "GET", "/"+name)
				require.Equal(t, 200, r.StatusCode, name)
				require.Contains(t, r.Header.Get("Content-Type"), types[name[len(name)-3:]])
				todo = append(todo, body(t, r))
			}
		}
	}
	for _, name := range []string{"page.css", "page.js", "player.js", "hls.js", "tree.js", "format.js", "favicon.svg"} {
		require.True(t, seen[name], name)
	}

	etag := get(t, h, "HEAD", "/page.js").Header.Get("ETag")
	req := httptest.NewRequest("GET", "/page.js", nil)
	req.Header.Set("If-None-Match", etag)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	require.Equal(t, http.StatusNotModified, w.Code)
}

func TestHandlerRefuses(t *testing.T) {
	h := page.Handler(func() page.State { return page.State{} })
	for _, name := range []string{"/web/index.html", "/../page.go", "/api", "/api/state/x"} {
		require.Equal(t, 404, get(t, h, "GET", name).StatusCode, name)
	}
	require.Equal(t, 405, get(t, h, "POST", "/api/state").StatusCode)
	require.Equal(t, 200, get(t, h, "GET", "/favicon.ico").StatusCode)
}

// Every field of a node is in the document under the name that the page uses.
func TestStateDocument(t *testing.T) {
	h := page.Handler(func() page.State {
		return page.State{Nodes: []page.NodeState{{Name: "n", Latency: page.Latency{P50: 1}}}}
	})
	r := get(t, h, "GET", "/api/state")
	require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
	var doc map[string]any
	require.NoError(t, json.Unmarshal([]byte(body(t, r)), &doc))
	require.NotEmpty(t, doc["time"])
	require.NotNil(t, doc["beacons"])
	require.NotNil(t, doc["channels"])
	node := doc["nodes"].([]any)[0].(map[string]any)

	var scripts strings.Builder
	for _, name := range []string{"/page.js", "/tree.js"} {
		scripts.WriteString(body(t, get(t, h, "GET", name)))
	}
	used := regexp.MustCompile(`\bn\.([a-z]+_[a-z]+)|'([a-z]+_(?:octets|in|out|lost))'`).FindAllStringSubmatch(scripts.String(), -1)
	require.Greater(t, len(used), 10)
	for _, m := range used {
		if name := m[1] + m[2]; name != "injected_loss" { // left out when zero
			require.Contains(t, node, name)
		}
	}
}

func BenchmarkState(b *testing.B) {
	h := page.Handler(func() page.State { return page.State{Nodes: make([]page.NodeState, 20)} })
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/state", nil))
	}
}

func ExampleHandler() {
	handler := page.Handler(func() page.State {
		return page.State{
			Time:   time.Date(2026, 3, 1, 12, 0, 9, 0, time.UTC),
			Source: page.SourceState{Kind: page.NoSource, Since: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Reason: "FFmpeg has closed its connection"},
		}
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/api/state", nil))
	fmt.Println(w.Body)
	// Output: {"time":"2026-03-01T12:00:09Z","source":{"kind":"none","since":"2026-03-01T12:00:00Z","reason":"FFmpeg has closed its connection"},"channels":[],"beacons":[],"nodes":[]}
}
