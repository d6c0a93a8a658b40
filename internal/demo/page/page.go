package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed web
var web embed.FS

// Handler serves the page at "/", with its parts and api/state below. state is
// called for each request and must be safe for concurrent use.
func Handler(state func() State) http.Handler {
	h := &handler{state: state, files: make(map[string]file)}
	entries, err := fs.ReadDir(web, "web")
	for _, e := range entries {
		var b []byte
		if b, err = web.ReadFile("web/" + e.Name()); err != nil {
			break
		}
		sum := sha256.Sum256(b)
		h.files["/"+e.Name()] = file{
			body:        string(b),
			contentType: mime.TypeByExtension(path.Ext(e.Name())),
			etag:        `"` + hex.EncodeToString(sum[:8]) + `"`,
		}
	}
	if err != nil {
		panic(err) // an embedded file is always there
	}
	return h
}

type handler struct {
	state func() State
	files map[string]file
}

type file struct{ body, contentType, etag string }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	name := r.URL.Path
	switch name {
	case "/api/state":
		h.serveState(w)
		return
	case "/":
		name = "/index.html"
		head.Set("Content-Security-Policy", policy(h.state().Beacons))
	case "/favicon.ico":
		name = "/favicon.svg"
	}
	f, ok := h.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	head.Set("Content-Type", f.contentType)
	head.Set("Cache-Control", "no-cache")
	head.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(f.body))
}

func (h *handler) serveState(w http.ResponseWriter) {
	s := h.state()
	if s.Time.IsZero() {
		s.Time = time.Now()
	}
	// The page iterates over all of them.
	if s.Channels == nil {
		s.Channels = []Channel{}
	}
	if s.Beacons == nil {
		s.Beacons = []Beacon{}
	}
	if s.Nodes == nil {
		s.Nodes = []NodeState{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s) // an error is the reader's going away
}

// policy allows what the page needs: its own parts, and media from the BEACONs.
// The style attribute is never used, so styles need no exception.
func policy(beacons []Beacon) string {
	var origins strings.Builder
	for _, b := range beacons {
		if u, err := url.Parse(b.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && plainHost(u.Host) {
			origins.WriteString(" " + u.Scheme + "://" + u.Host)
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src 'self'" + origins.String() + "; media-src blob:" + origins.String() + "; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// plainHost reports whether a host can stand in the policy without changing it.
func plainHost(host string) bool {
	return host != "" && !strings.ContainsAny(host, " ;,'\"*")
}
