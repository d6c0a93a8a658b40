package push

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testID = ObjectID{Session: "live-1", TSI: 3, TOI: 4294967295}

const testPath = "/ingest/v1/live-1/3/4294967295"

// memory is a sink that keeps all and checks the order of calls.
type memory struct {
	mu      sync.Mutex
	objects []*stored
	refuse  error
	came    chan int // if set, it is told of the length after each write
	hold    chan struct{}
	aborts  chan struct{} // if set, Abort waits for it
	deaf    bool          // nothing can be read back
}

type stored struct {
	m      *memory
	object Object
	data   []byte
	whole  bool
	cause  error // of Abort
	wrong  bool  // called after the end
	failAt int
}

func (m *memory) Begin(ctx context.Context, o Object) (Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return nil, m.refuse
	}
	s := &stored{m: m, object: o}
	m.objects = append(m.objects, s)
	return s, nil
}

func (m *memory) all() []*stored {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*stored(nil), m.objects...)
}

var errDisk = errors.New("the disk broke")

func (s *stored) Write(p []byte) (int, error) {
	if s.m.hold != nil {
		<-s.m.hold
	}
	s.m.mu.Lock()
	s.wrong = s.wrong || s.whole || s.cause != nil
	if s.failAt > 0 && len(s.data)+len(p) > s.failAt {
		s.m.mu.Unlock()
		return 0, errDisk
	}
	s.data = append(s.data, p...)
	n := len(s.data)
	s.m.mu.Unlock()
	if s.m.came != nil {
		s.m.came <- n
	}
	return len(p), nil
}

func (s *stored) ReadAt(p []byte, off int64) (int, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.deaf {
		return 0, errDisk
	}
	if off >= int64(len(s.data)) {
		return 0, io.EOF
	}
	n := copy(p, s.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *stored) Commit(length int64) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.wrong = s.wrong || s.whole || s.cause != nil || length != int64(len(s.data))
	s.whole = true
	return nil
}

func (s *stored) Abort(cause error) {
	if s.m.aborts != nil {
		<-s.m.aborts
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.wrong = s.wrong || s.whole || s.cause != nil
	s.cause = cause
}

func newHandler(t testing.TB, m *memory) *Handler {
	h := &Handler{Sink: m, NodeID: "relay-1"}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		for _, s := range m.all() {
			if s.wrong || !s.whole && s.cause == nil {
				t.Errorf("object %v: wrong %v, whole %v, cause %v", s.object.ID, s.wrong, s.whole, s.cause)
			}
		}
	})
	return h
}

// do makes one request without a network. Headers are pairs.
func do(h http.Handler, method string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, testPath, body)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Content-Length" {
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// pattern is content in which an octet out of place shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7>>3 ^ i>>11)
	}
	return b
}

// broken gives some octets and then fails, as a connection does.
type broken struct {
	data []byte
	err  error
}

func (b *broken) Read(p []byte) (int, error) {
	if len(b.data) == 0 {
		return 0, b.err
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

const soon = 10 * time.Second // until something that happens at once counts as lost
