package node

import (
	"net/http"
	"slices"
	"sync/atomic"
)

// Origins says which web pages may read a server's answers. The zero value says all. It is safe for concurrent use.
type Origins struct {
	some atomic.Pointer[[]string] // nil: all
}

// Set replaces the origins; "*" stands for all.
func (o *Origins) Set(list []string) {
	if len(list) == 0 || slices.Contains(list, "*") {
		o.some.Store(nil)
		return
	}
	list = slices.Clone(list)
	o.some.Store(&list)
}

// Wrap returns next, which lets all pages read its answers, restricted to the origins.
func (o *Origins) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if some := o.some.Load(); some != nil {
			w = &originWriter{ResponseWriter: w, origin: r.Header.Get("Origin"), some: *some}
		}
		next.ServeHTTP(w, r)
	})
}

// originWriter corrects the header at the moment at which it leaves.
type originWriter struct {
	http.ResponseWriter
	origin string
	some   []string
	begun  bool
}

func (w *originWriter) correct() {
	if w.begun {
		return
	}
	w.begun = true
	h := w.Header()
	h.Add("Vary", "Origin")
	for _, field := range []string{"Access-Control-Allow-Origin", "Timing-Allow-Origin"} {
		if h.Get(field) == "" {
			continue
		}
		if slices.Contains(w.some, w.origin) {
			h.Set(field, w.origin)
		} else {
			h.Del(field)
		}
	}
}

func (w *originWriter) WriteHeader(code int) {
	if code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		w.correct() // an interim response has another header
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *originWriter) Write(p []byte) (int, error) {
	w.correct()
	return w.ResponseWriter.Write(p)
}

func (w *originWriter) Flush() {
	w.correct()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController, whose Flush finds the method above first.
func (w *originWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
