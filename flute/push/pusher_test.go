package push

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/internal/via"
	"github.com/treedn/treedn/flute/repair"
)

var quick = repair.Retry{Wait: time.Millisecond, Max: time.Millisecond}

func newTestPusher(t testing.TB, config Config) *Pusher {
	if config.Retry == (repair.Retry{}) {
		config.Retry = quick
	}
	p, err := NewPusher(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// protocols starts a server for each version of HTTP.
func protocols(t *testing.T, test func(t *testing.T, start func(http.Handler) (string, http.RoundTripper))) {
	for name, configure := range map[string]func(*httptest.Server, *http.Transport){
		"HTTP/1.1": func(s *httptest.Server, _ *http.Transport) { s.Start() },
		"h2": func(s *httptest.Server, tr *http.Transport) {
			s.EnableHTTP2 = true
			s.StartTLS()
			tr.TLSClientConfig = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
			tr.ForceAttemptHTTP2 = true
		},
		"h2c": func(s *httptest.Server, tr *http.Transport) {
			s.Config.Protocols, tr.Protocols = new(http.Protocols), new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			tr.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, func(h http.Handler) (string, http.RoundTripper) {
				server := httptest.NewUnstartedServer(h)
				transport := &http.Transport{}
				configure(server, transport)
				t.Cleanup(server.Close)
				t.Cleanup(transport.CloseIdleConnections)
				return server.URL, transport
			})
		})
	}
}

func TestPush(t *testing.T) {
	data := pattern(3_000_000)
	protocols(t, func(t *testing.T, start func(http.Handler) (string, http.RoundTripper)) {
		m := &memory{}
		h := newHandler(t, m)
		major := map[string]int{"HTTP/1.1": 1}[t.Name()[len("TestPush/"):]]
		url, transport := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if major != 1 && r.ProtoMajor != 2 {
				t.Errorf("version %s", r.Proto)
			}
			if r.Header.Get("Authorization") != "Bearer x" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		}))
		config := Config{URL: url + "/", NodeID: "cast 1", Transport: transport, Authorize: func(r *http.Request) error {
			r.Header.Set("Authorization", "Bearer x")
			return nil
		}}
		p := newTestPusher(t, config)
		for i, o := range []Object{
			{Length: -1}, {Length: int64(len(data))}, {Length: -1, SHA256: sha256Of(data)},
			{Length: int64(len(data)), SHA256: sha256Of(data), ContentLocation: "http://a/b", ContentType: "video/mp4", Header: http.Header{"Seal": {"x"}}},
		} {
			o.ID = testID
			o.ID.TOI = uint64(i)
			require.NoError(t, p.Push(context.Background(), o, ReaderAt(bytes.NewReader(data), int64(len(data)))))
			s := m.all()[i]
			require.True(t, s.whole)
			require.True(t, bytes.Equal(data, s.data))
			require.Equal(t, o.ContentLocation, s.object.ContentLocation)
			require.Equal(t, o.Length, s.object.Length)
			require.Equal(t, "1.1 cast_1", s.object.Header.Get("Via"))
			require.Equal(t, o.Header["Seal"], s.object.Header["Seal"])
		}
		require.NoError(t, p.Push(context.Background(), Object{ID: ObjectID{Session: "empty"}, Length: -1}, ReaderAt(bytes.NewReader(nil), 0)))
		require.NoError(t, p.Push(context.Background(), Object{ID: ObjectID{Session: "empty2"}, SHA256: sha256Of(nil)}, ReaderAt(bytes.NewReader(nil), 0)))
		require.EqualValues(t, 6, h.Stats().Requests, "one request each")

		// What is refused for good is not tried again.
		config.Authorize = nil
		err := newTestPusher(t, config).Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(nil), 0))
		var status *StatusError
		require.ErrorAs(t, err, &status)
		require.Equal(t, 401, status.Status)
		config.Authorize = func(*http.Request) error { return errDisk }
		require.ErrorIs(t, newTestPusher(t, config).Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(nil), 0)), errDisk)
	})
}

// The digest comes after the octets and is computed on the way: nothing is read again.
func TestDigestInTrailer(t *testing.T) {
	m := &memory{deaf: true}
	var trailer atomic.Value
	h := newHandler(t, m)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		trailer.Store(r.Trailer.Get(ReprDigest))
	}))
	data := pattern(300_000)
	p := newTestPusher(t, Config{URL: server.URL})
	require.NoError(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(data), int64(len(data)))))
	server.Close()
	require.Equal(t, reprDigest("sha-256", data), trailer.Load())

	wrong := httptest.NewRequest(http.MethodPut, testPath, bytes.NewReader(data))
	wrong.Trailer = http.Header{ReprDigest: {reprDigest("sha-256", data[1:])}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, wrong)
	require.Equal(t, 422, w.Code)
	require.ErrorIs(t, m.all()[1].cause, ErrDigest)
}

// pipe is a body that is made while it is sent; it can be opened again.
type pipe struct {
	mu   sync.Mutex
	cond *sync.Cond
	data []byte
	end  bool
	err  error
}

func newPipe() *pipe {
	p := &pipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) add(b []byte, end bool, err error) {
	p.mu.Lock()
	p.data, p.end, p.err = append(p.data, b...), end, err
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *pipe) open(_ context.Context, offset int64) (io.ReadCloser, error) {
	return &pipeReader{p: p, at: int(offset)}, nil
}

type pipeReader struct {
	p      *pipe
	at     int
	closed bool
}

func (r *pipeReader) Read(b []byte) (int, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	for {
		switch {
		case r.closed:
			return 0, io.ErrClosedPipe
		case r.at < len(r.p.data):
			n := copy(b, r.p.data[r.at:])
			r.at += n
			return n, nil
		case r.p.err != nil:
			return 0, r.p.err
		case r.p.end:
			return 0, io.EOF
		}
		r.p.cond.Wait()
	}
}

func (r *pipeReader) Close() error {
	r.p.mu.Lock()
	r.closed = true
	r.p.mu.Unlock()
	r.p.cond.Broadcast()
	return nil
}

// Octets are at the sink before those after them are made.
func TestPushWhileItIsMade(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) (string, http.RoundTripper)) {
		m := &memory{came: make(chan int)}
		url, transport := start(newHandler(t, m))
		p := newTestPusher(t, Config{URL: url, Transport: transport})
		body := newPipe()
		done := make(chan error)
		go func() { done <- p.Push(context.Background(), Object{ID: testID, Length: -1}, body.open) }()
		for i := range 5 {
			body.add([]byte("chunk"), false, nil)
			require.Equal(t, 5*(i+1), <-m.came)
		}
		require.False(t, m.all()[0].whole)
		body.add(nil, true, nil)
		require.NoError(t, <-done)
		require.True(t, m.all()[0].whole)
	})
}

// flaky cuts each connection after some octets have gone to the server.
type flaky struct {
	net.Listener
	after func() int64
}

func (f *flaky) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &flakyConn{Conn: c, left: f.after()}, nil
}

type flakyConn struct {
	net.Conn
	left int64
}

func (c *flakyConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

func TestPushOverABadNetwork(t *testing.T) {
	data := pattern(2_000_000)
	for name, o := range map[string]Object{
		"nothing known": {Length: -1}, "all known": {Length: int64(len(data)), SHA256: sha256Of(data)}, "length known": {Length: int64(len(data))},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			h := newHandler(t, m)
			random := rand.New(rand.NewPCG(1, 2))
			server := httptest.NewUnstartedServer(h)
			server.Listener = &flaky{server.Listener, func() int64 { return 20_000 + random.Int64N(300_000) }}
			server.Start()
			defer server.Close()
			p := newTestPusher(t, Config{URL: server.URL})
			o.ID = testID
			require.NoError(t, p.Push(context.Background(), o, ReaderAt(bytes.NewReader(data), int64(len(data)))))
			s := m.all()
			require.Len(t, s, 1, "one object, whatever the network does")
			require.True(t, bytes.Equal(data, s[0].data))
			require.True(t, s[0].whole)
			require.Greater(t, h.Stats().Resumed, uint64(3))
		})
	}
}

// Whoever restarts has no memory of what it has sent.
func TestPusherThatStartsAnew(t *testing.T) {
	data := pattern(500_000)
	m := &memory{}
	h := newHandler(t, m)
	require.Equal(t, 408, do(h, http.MethodPut, &broken{data[:200_000], io.ErrUnexpectedEOF}).Code)
	server := httptest.NewServer(h)
	defer server.Close()
	p := newTestPusher(t, Config{URL: server.URL})
	require.NoError(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(data), int64(len(data)))))
	require.Len(t, m.all(), 1)
	require.True(t, bytes.Equal(data, m.all()[0].data))

	// And another object under the ID of one that is half here is not joined to it.
	require.Equal(t, 408, do(h, http.MethodPut, &broken{data[:200_000], io.ErrUnexpectedEOF}).Code)
	other := bytes.Clone(data)
	other[1000] ^= 1
	err := p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(other), int64(len(other))))
	require.ErrorIs(t, err, ErrMismatch)
}

// The answer of a complete object may be lost.
func TestLostAnswer(t *testing.T) {
	data := pattern(100_000)
	m := &memory{}
	h := newHandler(t, m)
	lose := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && lose {
			lose = false
			h.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	p := newTestPusher(t, Config{URL: server.URL})
	require.NoError(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(data), int64(len(data)))))
	require.Len(t, m.all(), 1)
	require.False(t, lose)
}

// A connection that is dead for the sender alone: the receiver still waits for octets when the next request comes.
func TestTakeover(t *testing.T) {
	data := pattern(100_000)
	protocols(t, func(t *testing.T, start func(http.Handler) (string, http.RoundTripper)) {
		m := &memory{came: make(chan int, 100)}
		h := newHandler(t, m)
		h.IdleTimeout = time.Hour
		url, transport := start(h)
		reader, writer := io.Pipe()
		old, err := http.NewRequest(http.MethodPut, url+testPath, reader)
		require.NoError(t, err)
		gone := make(chan int)
		go func() {
			resp, err := transport.RoundTrip(old)
			if err != nil {
				gone <- 0
				return
			}
			resp.Body.Close()
			gone <- resp.StatusCode
		}()
		_, err = writer.Write(data[:30_000])
		require.NoError(t, err)
		require.Equal(t, 30_000, await(m.came, 30_000))
		rest, err := http.NewRequest(http.MethodPut, url+testPath, bytes.NewReader(data[20_000:]))
		require.NoError(t, err)
		rest.Header.Set("Content-Range", "bytes 20000-*/100000")
		resp, err := transport.RoundTrip(rest)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 201, resp.StatusCode)
		require.NoError(t, writer.Close())
		require.Contains(t, []int{0, 409}, <-gone)
		require.True(t, bytes.Equal(data, m.all()[0].data))
	})
}

func await(c chan int, want int) (n int) {
	for n < want {
		n = <-c
	}
	return n
}

// Two senders of one object do not break each other: one waits, and finds that all is there.
func TestTwoSenders(t *testing.T) {
	m := &memory{came: make(chan int, 100)}
	h := newHandler(t, m)
	h.RetryAfter = time.Millisecond
	server := httptest.NewServer(h)
	defer server.Close()
	body := newPipe()
	body.add(pattern(50_000), false, nil)
	results := make(chan error)
	push := func() {
		p := newTestPusher(t, Config{URL: server.URL, Attempts: 1 << 30})
		go func() { results <- p.Push(context.Background(), Object{ID: testID, Length: -1}, body.open) }()
	}
	push()
	await(m.came, 50_000)
	push()
	before := h.Stats().Requests
	require.Eventually(t, func() bool { return h.Stats().Requests > before+4 }, soon, time.Millisecond)
	body.add(pattern(10_000), true, nil)
	require.NoError(t, <-results)
	require.NoError(t, <-results)
	require.Len(t, m.all(), 1)
	require.Len(t, m.all()[0].data, 60_000)
}

// A body that fails must not look complete.
func TestBodyFails(t *testing.T) {
	for name, o := range map[string]Object{"chunked": {Length: -1}, "length": {Length: 10_000, SHA256: make([]byte, 32)}} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			h := newHandler(t, m)
			server := httptest.NewServer(h)
			p := newTestPusher(t, Config{URL: server.URL})
			body := newPipe()
			body.add(make([]byte, 1000), false, errDisk)
			o.ID = testID
			err := p.Push(context.Background(), o, body.open)
			require.ErrorIs(t, err, ErrBody)
			require.ErrorIs(t, err, errDisk)
			server.Close()
			require.NoError(t, h.Close())
			for _, s := range m.all() { // none if the octets were still on the way
				require.ErrorIs(t, s.cause, ErrIncomplete)
			}

			err = p.Push(context.Background(), o, func(context.Context, int64) (io.ReadCloser, error) { return nil, errDisk })
			require.ErrorIs(t, err, ErrBody)
		})
	}
	server := httptest.NewServer(newHandler(t, &memory{}))
	defer server.Close()
	p := newTestPusher(t, Config{URL: server.URL})
	for _, length := range []int64{9, 11} {
		err := p.Push(context.Background(), Object{ID: testID, Length: length}, ReaderAt(bytes.NewReader(pattern(10)), 10))
		require.ErrorIs(t, err, ErrBody, "the length is not that of the body")
	}
}

// A receiver that takes nothing any more, or does not answer, holds nobody for ever.
func TestStalledReceiver(t *testing.T) {
	for name, read := range map[string]bool{"takes nothing": false, "does not answer": true} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if read {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				<-release
			}))
			defer server.Close()
			defer close(release)
			p := newTestPusher(t, Config{URL: server.URL, StallTimeout: 20 * time.Millisecond, Attempts: 1})
			err := p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(make([]byte, 64<<20)), 64<<20))
			require.ErrorIs(t, err, ErrStalled)
		})
	}
}

// A sender that sends nothing any more does not hold the receiver; an endless one reaches a limit.
func TestSlowAndEndlessSenders(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) (string, http.RoundTripper)) {
		m := &memory{}
		patient, h := newHandler(t, m), newHandler(t, m)
		h.IdleTimeout, patient.MaxObject = 20*time.Millisecond, 1_000_000
		url, transport := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Patient") != "" {
				patient.ServeHTTP(w, r)
			} else {
				h.ServeHTTP(w, r)
			}
		}))
		send := func(body io.Reader, header string) int {
			r, err := http.NewRequest(http.MethodPut, url+testPath, body)
			require.NoError(t, err)
			if header != "" {
				r.Header.Set(header, "1")
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				return 0 // it was still writing
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		reader, writer := io.Pipe()
		go func() { _, _ = writer.Write([]byte("slow")) }()
		require.Contains(t, []int{0, 408}, send(reader, ""))
		require.NoError(t, reader.Close())
		require.True(t, strings.HasPrefix("slow", string(m.all()[0].data)))

		require.Contains(t, []int{0, 413}, send(endless{}, "Patient"))
		require.Eventually(t, func() bool { return patient.Stats().Aborted == 1 }, soon, time.Millisecond)
		for _, s := range m.all() {
			require.LessOrEqual(t, len(s.data), 1_000_000)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "slow and on"), nil }

// A refusal, which comes before the body has ended, leaves what else is on the connection alone.
func TestRefusalsLeaveOthersAlone(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) (string, http.RoundTripper)) {
		m := &memory{came: make(chan int, 1000)}
		h := newHandler(t, m)
		h.Sink = beginFunc(func(ctx context.Context, o Object) (Upload, error) {
			if o.ID.Session == "refused" {
				return nil, ErrForbidden
			}
			return m.Begin(ctx, o)
		})
		url, transport := start(h)
		p := newTestPusher(t, Config{URL: url, Transport: transport})
		body := newPipe()
		body.add([]byte("one"), false, nil)
		done := make(chan error)
		go func() { done <- p.Push(context.Background(), Object{ID: testID, Length: -1}, body.open) }()
		await(m.came, 3)
		var wg sync.WaitGroup
		for toi := range uint64(20) {
			wg.Go(func() {
				// As large as what a server reads before it gives up on a connection of HTTP/1.1.
				err := p.Push(context.Background(), Object{ID: ObjectID{Session: "refused", TOI: toi}, Length: -1}, ReaderAt(bytes.NewReader(pattern(100_000)), 100_000))
				if !errors.Is(err, ErrForbidden) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		body.add([]byte("two"), true, nil)
		require.NoError(t, <-done)
		require.Zero(t, h.Stats().Resumed)
		require.Equal(t, "onetwo", string(m.all()[0].data))
	})
}

func TestMaxDuration(t *testing.T) {
	m := &memory{came: make(chan int, 1000)}
	h := newHandler(t, m)
	h.MaxDuration = time.Millisecond
	w := do(h, http.MethodPut, &paced{left: 100})
	require.Equal(t, 413, w.Code)
	require.ErrorIs(t, m.all()[0].cause, ErrLimit)
}

// paced gives an octet every now and then.
type paced struct{ left int }

func (p *paced) Read(b []byte) (int, error) {
	if p.left--; p.left < 0 {
		return 0, io.EOF
	}
	time.Sleep(100 * time.Microsecond)
	return copy(b, "x"), nil
}

func TestPushEndsWithContext(t *testing.T) {
	m := &memory{came: make(chan int, 10)}
	server := httptest.NewServer(newHandler(t, m))
	defer server.Close()
	p := newTestPusher(t, Config{URL: server.URL})
	cause := errors.New("the channel has ended")
	ctx, cancel := context.WithCancelCause(context.Background())
	body := newPipe()
	body.add([]byte("one"), false, nil)
	go func() {
		<-m.came
		cancel(cause)
	}()
	require.ErrorIs(t, p.Push(ctx, Object{ID: testID, Length: -1}, body.open), cause)

	gone := httptest.NewServer(nil)
	gone.Close()
	p = newTestPusher(t, Config{URL: gone.URL, Retry: repair.Retry{Wait: time.Hour, Max: time.Hour}})
	ctx, cancel = context.WithCancelCause(context.Background())
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	require.ErrorIs(t, p.Push(ctx, Object{ID: testID, Length: -1}, body.open), cause, "while it waits")
	p = newTestPusher(t, Config{URL: gone.URL, Attempts: 2})
	require.Error(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, body.open))
}

func TestOverloadIsWaitedFor(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m)
	var refusals atomic.Int32
	refusals.Store(3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusals.Add(-1) >= 0 {
			w.Header().Set("Retry-After-Ms", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	p := newTestPusher(t, Config{URL: server.URL})
	require.NoError(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader([]byte("x")), 1)))
	require.True(t, m.all()[0].whole)
}

// Nodes that push on to each other end a circle.
func TestLoop(t *testing.T) {
	var urls [2]string
	for i := range urls {
		node := "node-" + strconv.Itoa(i)
		h := &Handler{NodeID: node}
		h.Sink = beginFunc(func(ctx context.Context, o Object) (Upload, error) {
			p := newTestPusher(t, Config{URL: urls[1-i], NodeID: node, Attempts: 1})
			require.NotEmpty(t, via.Of(ctx))
			return nil, p.Push(ctx, Object{ID: o.ID, Length: -1}, ReaderAt(bytes.NewReader(nil), 0))
		})
		server := httptest.NewServer(h)
		defer server.Close()
		urls[i] = server.URL
	}
	p := newTestPusher(t, Config{URL: urls[0], NodeID: "cast"})
	require.ErrorIs(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(nil), 0)), ErrLoop)
}

// Through a reverse proxy, which is the standard library's and nothing of ours.
func TestPushThroughAProxy(t *testing.T) {
	data := pattern(1_000_000)
	m := &memory{}
	server := httptest.NewServer(newHandler(t, m))
	defer server.Close()
	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	defer proxy.Close()
	p := newTestPusher(t, Config{URL: proxy.URL})
	require.NoError(t, p.Push(context.Background(), Object{ID: testID, Length: -1}, ReaderAt(bytes.NewReader(data), int64(len(data)))))
	require.True(t, bytes.Equal(data, m.all()[0].data))
}

func TestNewPusher(t *testing.T) {
	for _, bad := range []string{"", "192.0.2.1:8081", "ftp://a/", "http://a/?x", "http://a/#x", "http://"} {
		_, err := NewPusher(Config{URL: bad})
		require.Error(t, err, bad)
	}
	p := newTestPusher(t, Config{URL: "http://a/base"})
	require.ErrorIs(t, p.Push(context.Background(), Object{ID: ObjectID{Session: "a/b"}}, nil), ErrRequest)
}
