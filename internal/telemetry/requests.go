package telemetry

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

var codeClasses = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

const aborted = "aborted"

// Requests counts the requests of one server. The zero value is ready.
type Requests struct {
	classes [len(codeClasses)]atomic.Uint64
	aborted atomic.Uint64
	active  atomic.Int64
	in, out atomic.Uint64
}

// Wrap returns next with counting. The writer that next gets takes the place of
// the server's also for http.ResponseController, Flush and Hijack.
func (c *Requests) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.active.Add(1)
		cw := &countingWriter{ResponseWriter: w, out: &c.out}
		if r.Body != nil && r.Body != http.NoBody {
			// The server's own request is not to be changed; the copy is
			// shallow.
			r2 := *r
			r2.Body = &countingBody{r.Body, &c.in}
			r = &r2
		}
		done := false
		defer func() {
			c.active.Add(-1)
			switch class := cw.code/100 - 1; {
			case !done:
				// A panic, with http.ErrAbortHandler in general: whatever
				// code was sent, the client did not get the whole answer.
				c.aborted.Add(1)
			case class < 0, class == 0 && cw.code != http.StatusSwitchingProtocols:
				c.classes[1].Add(1) // no final code written: the server sends 200
			case class >= len(c.classes):
				c.classes[4].Add(1)
			default:
				c.classes[class].Add(1)
			}
		}()
		next.ServeHTTP(cw, r)
		done = true
	})
}

// Server is the state of the counters.
func (c *Requests) Server() *Server {
	s := &Server{
		Requests: make(map[string]uint64, len(codeClasses)+1),
		Active:   uint64(max(c.active.Load(), 0)),
		OctetsIn: c.in.Load(), OctetsOut: c.out.Load(),
	}
	for i, class := range codeClasses {
		s.Requests[class] = c.classes[i].Load()
	}
	s.Requests[aborted] = c.aborted.Load()
	return s
}

type countingWriter struct {
	http.ResponseWriter
	out  *atomic.Uint64
	code int
}

func (w *countingWriter) WriteHeader(code int) {
	// Informational answers may come before the one that counts.
	if w.code < 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *countingWriter) Write(b []byte) (int, error) {
	if w.code < 200 {
		w.code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.out.Add(uint64(n))
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *countingWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *countingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

type countingBody struct {
	io.ReadCloser
	in *atomic.Uint64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.in.Add(uint64(n))
	return n, err
}
