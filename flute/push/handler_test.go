package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/internal/via"
)

func sha256Of(data []byte) []byte {
	h := newHash("sha-256")
	h.Write(data)
	return h.Sum(nil)
}

func reprDigest(algorithm string, data []byte) string {
	h := newHash(algorithm)
	h.Write(data)
	return digest{algorithm, h.Sum(nil)}.String()
}

func TestPut(t *testing.T) {
	data := pattern(200_000)
	for name, header := range map[string][]string{
		"plain":                {},
		"SHA-256":              {ReprDigest, reprDigest("sha-256", data)},
		"SHA-512":              {ReprDigest, reprDigest("sha-512", data)},
		"both and one unknown": {ReprDigest, reprDigest("sha-256", data) + ", md5=:AAAA:", ReprDigest, reprDigest("sha-512", data)},
		"range of all":         {"Content-Range", "bytes 0-199999/200000"},
		"range to the end":     {"Content-Range", "bytes 0-*/*"},
		"length":               {UploadLength, "200000"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			h := newHandler(t, m)
			w := do(h, http.MethodPut, bytes.NewReader(data),
				append(header, "Content-Location", "http://a/seg-1.m4s", "Content-Type", "video/mp4", "Via", "1.1 cast-1", "Seal", "x")...)
			require.Equal(t, 201, w.Code, w.Body.String())
			require.Equal(t, "200000", w.Header().Get(UploadOffset))
			require.Equal(t, "?1", w.Header().Get(UploadComplete))
			s := m.all()[0]
			require.True(t, s.whole)
			require.True(t, bytes.Equal(data, s.data))
			require.Equal(t, testID, s.object.ID)
			require.Equal(t, "http://a/seg-1.m4s", s.object.ContentLocation)
			require.Equal(t, "video/mp4", s.object.ContentType)
			require.Equal(t, "x", s.object.Header.Get("Seal"))
			w = do(h, http.MethodHead, nil)
			require.Equal(t, 204, w.Code)
			require.Equal(t, "200000", w.Header().Get(UploadOffset))
			require.Equal(t, "?1", w.Header().Get(UploadComplete))
			require.Equal(t, Stats{Requests: 2, Resumed: h.Stats().Resumed, Octets: 200_000, Complete: 1}, h.Stats())
		})
	}
}

func TestEmptyObject(t *testing.T) {
	m := &memory{}
	w := do(newHandler(t, m), http.MethodPut, http.NoBody, ReprDigest, reprDigest("sha-256", nil))
	require.Equal(t, 201, w.Code)
	require.True(t, m.all()[0].whole)
}

// What is wrong is refused with a status that says why, and does not get far.
func TestRefusals(t *testing.T) {
	data := "0123456789"
	for _, c := range []struct {
		name   string
		body   string
		header []string
		status int
		cause  error // of Abort, if the object was begun and is not kept
	}{
		{"other unit", data, []string{"Content-Range", "octets 0-9/10"}, 400, nil},
		{"no range", data, []string{"Content-Range", "bytes */10"}, 400, nil},
		{"two ranges", data, []string{"Content-Range", "bytes 0-4/10", "Content-Range", "bytes 5-9/10"}, 400, nil},
		{"range backwards", data, []string{"Content-Range", "bytes 9-0/10"}, 400, nil},
		{"range beyond the length", data, []string{"Content-Range", "bytes 0-9/9"}, 400, nil},
		{"range of another size", data, []string{"Content-Range", "bytes 0-8/10"}, 400, nil},
		{"range too short for the body, chunked", data, []string{"Content-Range", "bytes 0-8/10", "chunked", ""}, 400, ErrIncomplete},
		{"range too long for the body, chunked", data, []string{"Content-Range", "bytes 0-10/12", "chunked", ""}, 400, ErrIncomplete},
		{"range that begins later", data, []string{"Content-Range", "bytes 1-10/*"}, 409, nil},
		{"largest numbers", data, []string{"Content-Range", "bytes 9223372036854775807-*/*"}, 400, nil},
		{"longer than allowed", data, []string{"Content-Range", "bytes 0-9/1001"}, 413, nil},
		{"range longer than allowed", data, []string{"Content-Range", "bytes 0-2000/*", "chunked", ""}, 413, nil},
		{"body longer than allowed", strings.Repeat("x", 1001), []string{"chunked", ""}, 413, ErrLimit},
		{"body longer than the length", data, []string{UploadLength, "9", "chunked", ""}, 422, ErrIncomplete},
		{"body shorter than the length", data, []string{UploadLength, "11", "chunked", ""}, 422, ErrIncomplete},
		{"two lengths", data, []string{UploadLength, "9"}, 400, nil},
		{"malformed length", data, []string{UploadLength, "-1"}, 400, nil},
		{"wrong digest", data, []string{ReprDigest, reprDigest("sha-256", []byte("x"))}, 422, ErrDigest},
		{"wrong second digest", data, []string{ReprDigest, reprDigest("sha-256", []byte(data)) + "," + reprDigest("sha-512", nil)}, 422, ErrDigest},
		{"malformed digest", data, []string{ReprDigest, "sha-256=x"}, 400, nil},
		{"short digest", data, []string{ReprDigest, "sha-256=:AAAA:"}, 400, nil},
		{"content coding", data, []string{"Content-Encoding", "gzip"}, 415, nil},
		{"long location", data, []string{"Content-Location", strings.Repeat("x", maxText+1)}, 400, nil},
		{"location with a control character", data, []string{"Content-Location", "a\x01"}, 400, nil},
		{"passed this node", data, []string{"Via", "1.1 a, 1.1 relay-1"}, 508, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &memory{}
			h := newHandler(t, m)
			h.MaxObject = 1000
			var body io.Reader = strings.NewReader(c.body)
			if n := len(c.header); c.header[n-2] == "chunked" {
				body, c.header = io.MultiReader(body), c.header[:n-2] // hides the length
			}
			w := do(h, http.MethodPut, body, c.header...)
			require.Equal(t, c.status, w.Code, w.Body.String())
			require.NoError(t, h.Close())
			if c.cause == nil {
				require.Empty(t, m.all())
			} else {
				require.ErrorIs(t, m.all()[0].cause, c.cause)
			}
		})
	}
	for _, path := range []string{
		"/", "/ingest/v1/a/1", "/ingest/v1/a/1/2/3", "/ingest/v1//1/2", "/ingest/v1/../1/2", "/ingest/v1/a%2Fb/1/2", "/ingest/v1/a/01/2",
		"/ingest/v1/a/1/18446744073709551616", "/ingest/v1/" + strings.Repeat("a", 129) + "/1/2",
	} {
		r := httptest.NewRequest(http.MethodPut, "http://x/", strings.NewReader(data))
		r.URL.Path, r.URL.RawPath = path, ""
		if strings.Contains(path, "%") {
			r.URL.Path, r.URL.RawPath = strings.ReplaceAll(path, "%2F", "/"), path
		}
		w := httptest.NewRecorder()
		(&Handler{Sink: &memory{}}).ServeHTTP(w, r)
		require.Equal(t, 400, w.Code, path)
	}
	w := do(&Handler{Sink: &memory{}}, http.MethodPost, nil)
	require.Equal(t, 405, w.Code)
	require.Equal(t, "HEAD, PUT", w.Header().Get("Allow"))
	require.Equal(t, 404, do(&Handler{Sink: &memory{}}, http.MethodHead, nil).Code)
}

func TestSinkRefuses(t *testing.T) {
	for err, status := range map[error]int{
		ErrUnknown: 404, ErrForbidden: 403, ErrLimit: 413, ErrOverload: 503, errDisk: 500, ErrLoop: 508,
	} {
		m := &memory{refuse: err}
		h := newHandler(t, m)
		w := do(h, http.MethodPut, strings.NewReader("x"))
		require.Equal(t, status, w.Code)
		require.NotContains(t, w.Body.String(), "disk")
		if status == 503 {
			require.NotEmpty(t, w.Header().Get("Retry-After-Ms"))
		}
		m.refuse = nil
		require.Equal(t, 201, do(h, http.MethodPut, strings.NewReader("x")).Code, "nothing stays behind")
	}
}

func TestSinkFails(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m)
	h.Sink = beginFunc(func(ctx context.Context, o Object) (Upload, error) {
		require.Equal(t, "1.1 cast-1", via.Of(ctx), "what is pushed on goes on with the way")
		u, err := m.Begin(ctx, o)
		u.(*stored).failAt = 5
		return u, err
	})
	require.Equal(t, 500, do(h, http.MethodPut, strings.NewReader("0123456789"), "Via", "1.1 cast-1").Code)
	require.ErrorIs(t, m.all()[0].cause, errDisk)

	h.Sink = beginFunc(func(context.Context, Object) (Upload, error) { panic("sink") })
	require.Panics(t, func() { do(h, http.MethodPut, strings.NewReader("x")) })
	h.Sink = m
	require.Equal(t, 201, do(h, http.MethodPut, strings.NewReader("x")).Code, "the panic left no claim")
}

type beginFunc func(context.Context, Object) (Upload, error)

func (f beginFunc) Begin(ctx context.Context, o Object) (Upload, error) { return f(ctx, o) }

func TestResume(t *testing.T) {
	data := pattern(300_000)
	m := &memory{}
	h := newHandler(t, m)
	at := func(want string) {
		w := do(h, http.MethodHead, nil)
		require.Equal(t, 204, w.Code)
		require.Equal(t, want, w.Header().Get(UploadOffset))
		require.Equal(t, "?0", w.Header().Get(UploadComplete))
	}
	name := []string{"Content-Location", "a"}
	put := func(from int64, body io.Reader, header ...string) int {
		return do(h, http.MethodPut, body, append(append(header, name...), "Content-Range", fmt.Sprintf("bytes %d-*/*", from))...).Code
	}
	w := do(h, http.MethodPut, &broken{data[:100_000], io.ErrUnexpectedEOF}, name...)
	require.Equal(t, 408, w.Code)
	at("100000")
	require.Equal(t, 409, put(100_001, bytes.NewReader(data[100_001:])), "a hole")
	require.Equal(t, 408, put(70_000, &broken{data[70_000:150_000], io.ErrUnexpectedEOF}), "some octets come again")
	at("150000")
	wrong := bytes.Clone(data[140_000:])
	wrong[9_999] ^= 1
	require.Equal(t, 422, put(140_000, bytes.NewReader(wrong)), "other octets")
	at("150000")
	require.Equal(t, 422, put(0, bytes.NewReader(data[:120_000])), "an end before what is here")
	at("150000")
	require.Equal(t, 422, do(h, http.MethodPut, bytes.NewReader(data), "Content-Location", "b", "Content-Range", "bytes 0-*/*").Code, "another name")
	// A part of known size, without and with the length of the object.
	require.Equal(t, 204, do(h, http.MethodPut, bytes.NewReader(data[150_000:200_000]), "Content-Range", "bytes 150000-199999/*").Code)
	require.Equal(t, 204, do(h, http.MethodPut, bytes.NewReader(data[200_000:250_000]), "Content-Range", "bytes 200000-249999/300000").Code)
	at("250000")
	require.Equal(t, 422, do(h, http.MethodPut, bytes.NewReader(data[250_000:260_000]), "Content-Range", "bytes 250000-259999/299999").Code)
	require.Equal(t, 422, put(250_000, bytes.NewReader(data[250_000:299_999])), "it has to have the length")
	require.Equal(t, 201, put(299_000, bytes.NewReader(data[299_000:]), ReprDigest, reprDigest("sha-256", data)))
	objects := m.all()
	require.Len(t, objects, 1)
	require.True(t, bytes.Equal(data, objects[0].data))
	require.True(t, objects[0].whole)
	require.EqualValues(t, 300_000, h.Stats().Octets, "each octet counts once")

	w = do(h, http.MethodPut, bytes.NewReader(data), "Content-Range", "bytes 0-*/*")
	require.Equal(t, 409, w.Code)
	require.Equal(t, "?1", w.Header().Get(UploadComplete))
}

func TestRepeats(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m)
	one, two := []byte("one"), []byte("two")
	named := func(name string, data []byte) []string {
		return []string{"Content-Location", name, ReprDigest, reprDigest("sha-256", data)}
	}
	require.Equal(t, 201, do(h, http.MethodPut, bytes.NewReader(one), named("a", one)...).Code)
	w := do(h, http.MethodPut, strings.NewReader("nobody reads this"[:3]), named("a", one)...)
	require.Equal(t, 200, w.Code, "it is here")
	require.Equal(t, "3", w.Header().Get(UploadOffset))
	require.Len(t, m.all(), 1)
	require.Equal(t, 201, do(h, http.MethodPut, bytes.NewReader(two), named("a", two)...).Code, "a new version")
	require.Equal(t, 201, do(h, http.MethodPut, bytes.NewReader(one)).Code, "nobody knows")
	require.Len(t, m.all(), 3)
	w = do(h, http.MethodPut, bytes.NewReader(one), "If-None-Match", "*")
	require.Equal(t, 412, w.Code)
	require.Equal(t, "3", w.Header().Get(UploadOffset))
	require.Len(t, m.all(), 3)

	// The ID is used again while something else waits for its sender.
	require.Equal(t, 408, do(h, http.MethodPut, &broken{one, io.ErrUnexpectedEOF}, named("b", one)...).Code)
	require.Equal(t, 201, do(h, http.MethodPut, bytes.NewReader(two), named("c", two)...).Code)
	objects := m.all()
	require.ErrorIs(t, objects[3].cause, ErrReplaced)
	require.True(t, objects[4].whole)
}

func TestHoldTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		h := newHandler(t, m)
		h.HoldTime = 5 * time.Second
		breaks := func(from int, header ...string) {
			require.Equal(t, 408, do(h, http.MethodPut, &broken{[]byte("0123"), io.ErrUnexpectedEOF}, header...).Code)
		}
		breaks(0)
		time.Sleep(4 * time.Second)
		breaks(4, "Content-Range", "bytes 4-*/*") // it came back
		time.Sleep(4 * time.Second)
		require.Equal(t, 204, do(h, http.MethodHead, nil).Code)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, 404, do(h, http.MethodHead, nil).Code)
		s := m.all()[0]
		require.ErrorIs(t, s.cause, ErrIncomplete)
		require.Equal(t, "01230123", string(s.data))
		require.EqualValues(t, 1, h.Stats().Aborted)
	})
}

// The sink is not called any more once Close has returned, even if a hold is over just then.
func TestCloseWhileExpiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{aborts: make(chan struct{})}
		h := newHandler(t, m)
		h.HoldTime = 5 * time.Second
		require.Equal(t, 408, do(h, http.MethodPut, &broken{[]byte("0123"), io.ErrUnexpectedEOF}).Code)
		time.Sleep(5 * time.Second)
		synctest.Wait() // the sink takes its time
		require.Equal(t, 404, do(h, http.MethodHead, nil).Code)
		closed := false
		go func() {
			h.Close()
			closed = true
		}()
		synctest.Wait()
		require.False(t, closed)
		close(m.aborts)
		synctest.Wait()
		require.True(t, closed)
		require.ErrorIs(t, m.all()[0].cause, ErrIncomplete)
	})
}

// Memory is bounded whatever is begun and left.
func TestManyObjects(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m)
	h.MaxUploads, h.MaxConcurrent, h.MaxPerPeer = 10, -1, -1
	for toi := range uint64(1000) {
		id := testID
		id.TOI = toi
		r := httptest.NewRequest(http.MethodPut, id.String(), &broken{[]byte("0123"), io.ErrUnexpectedEOF})
		if toi%2 == 0 {
			r = httptest.NewRequest(http.MethodPut, id.String(), strings.NewReader("0123"))
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	require.LessOrEqual(t, len(h.uploads), 20)
	require.LessOrEqual(t, len(h.past), 10)
	require.Equal(t, 10, h.open)
	aborted := 0
	for _, s := range m.all() {
		if s.cause != nil {
			aborted++
		}
	}
	require.Equal(t, 490, aborted)
}

func TestOverload(t *testing.T) {
	m := &memory{hold: make(chan struct{})}
	h := newHandler(t, m)
	h.MaxConcurrent, h.MaxPerPeer, h.RetryAfter = 2, 2, 100*time.Millisecond
	first := make(chan int)
	go func() { first <- do(h, http.MethodPut, strings.NewReader("x")).Code }()
	require.Eventually(t, func() bool { return len(m.all()) == 1 }, soon, time.Millisecond)
	w := do(h, http.MethodPut, strings.NewReader("x"))
	require.Equal(t, 409, w.Code, "one sender at a time")
	require.Equal(t, "100", w.Header().Get("Retry-After-Ms"))
	h.MaxConcurrent = 1
	w = do(h, http.MethodHead, nil)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	close(m.hold)
	require.Equal(t, 201, <-first)
	require.EqualValues(t, 1, h.Stats().Refused)
}

func TestClosed(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m)
	require.Equal(t, 408, do(h, http.MethodPut, &broken{[]byte("x"), io.ErrUnexpectedEOF}).Code)
	require.NoError(t, h.Close())
	require.ErrorIs(t, m.all()[0].cause, ErrIncomplete)
	require.Equal(t, 503, do(h, http.MethodPut, strings.NewReader("x")).Code)
	require.NoError(t, h.Close())
}
