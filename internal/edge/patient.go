package edge

import (
	"net/http"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

// heartbeat is how often a child that waits for an answer is told that this node lives.
const heartbeat = 200 * time.Millisecond

// patient is a writer that sends interim responses (102 Processing, RFC 2518 section 10.1) until the answer begins. A
// child tells by them a parent that waits for an object from one that is dead.
type patient struct {
	w      http.ResponseWriter
	header http.Header // of the answer: an interim response must not carry it

	mu    sync.Mutex // guards below
	begun bool
	timer *time.Timer
}

func newPatient(w http.ResponseWriter) *patient {
	p := &patient{w: w, header: make(http.Header)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(heartbeat/2, p.beat)
	return p
}

func (p *patient) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		return
	}
	p.w.WriteHeader(http.StatusProcessing)
	p.timer.Reset(heartbeat)
}

// end ends the interim responses. The handler calls it before it returns.
func (p *patient) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		return
	}
	p.begun = true
	p.timer.Stop()
}

func (p *patient) begin() {
	p.mu.Lock()
	begun := p.begun
	p.mu.Unlock()
	if begun {
		return
	}
	p.end()
	h := p.w.Header()
	clear(h)
	for name, values := range p.header {
		h[name] = values
	}
}

func (p *patient) Header() http.Header { return p.header }

func (p *patient) WriteHeader(code int) {
	p.begin()
	p.w.WriteHeader(code)
}

func (p *patient) Write(b []byte) (int, error) {
	p.begin()
	return p.w.Write(b)
}

// FlushError is for http.ResponseController.
func (p *patient) FlushError() error {
	p.begin()
	return http.NewResponseController(p.w).Flush()
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.w }

// awaitNewer lets a child that has a manifest wait for the next one: whoever polls comes late, or asks too often.
func awaitNewer(r *http.Request, s *service.Service, name string) {
	left, waits := service.Patience(r.Context())
	have, ok := parent.ParseETag(r.Header.Get("If-None-Match"))
	if waits && ok && left > 0 {
		s.AwaitNewer(r.Context(), name, have, left)
	}
}
