package ingest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testKey = "sk_live_0123456789abcdef0123456789abcdef"

// serve runs the server on a loopback listener and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	h := httptest.NewUnstartedServer(s)
	h.Config.ConnContext = s.ConnContext
	h.Start()
	t.Cleanup(h.Close)
	return h.Listener.Addr().String()
}

type response struct {
	code   int
	header http.Header
	close  bool
}

func send(t *testing.T, method, url string, body io.Reader, header map[string]string) (response, error) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: false}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return response{res.StatusCode, res.Header, res.Close}, nil
}

func put(t *testing.T, url string, body []byte, header map[string]string) response {
	t.Helper()
	r, err := send(t, http.MethodPut, url, bytes.NewReader(body), header)
	require.NoError(t, err)
	return r
}

func TestKeysOverHTTP(t *testing.T) {
	var logs syncBuffer
	require.Equal(t, "0dd9d97a3da0cbadcbce40a79d539c8a79745dae25b2c85bdefc9a44b219663e", fmt.Sprintf("%x", [32]byte(HashKey(testKey))))
	s, r := newServer(t, Config{
		Channels: map[string]Channel{"ch1": {Keys: []KeyHash{HashKey("sk_live_old"), HashKey(testKey), HashKey("secret of my own")}}, "open": {}},
		Logger:   slog.New(slog.NewTextHandler(&logs, nil)),
	})
	base := "http://" + serve(t, s) + "/publish/"
	basic := func(user, password string) map[string]string {
		req, _ := http.NewRequest("PUT", base, nil)
		req.SetBasicAuth(user, password)
		return map[string]string{"Authorization": req.Header.Get("Authorization")}
	}
	for i, c := range []struct {
		path   string
		header map[string]string
		code   int
	}{
		{"ch1/" + testKey + "/v/%d.txt", nil, 201},
		{"ch1/sk_live_old/v/%d.txt", nil, 201},
		{"ch1/v/%d.txt", map[string]string{"Authorization": "Bearer " + testKey}, 201},
		{"ch1/v/%d.txt", map[string]string{"Authorization": "bearer " + testKey}, 201},
		{"ch1/v/%d.txt", basic("any", testKey), 201},
		{"ch1/v/%d.txt", basic(testKey, ""), 201},
		{"ch1/v/%d.txt", map[string]string{"X-Stream-Key": testKey}, 201},
		{"ch1/v/%d.txt?sk=" + testKey, nil, 201},
		{"ch1/secret of my own/v/%d.txt", nil, 201},
		{"ch1/secret of my own/v/%d.txt", map[string]string{"X-Stream-Key": testKey}, 201},
		{"open/v/%d.txt", nil, 201},
		{"open/" + testKey + "/v/%d.txt", nil, 201},

		{"ch1/v/%d.txt", nil, 401},
		{"ch1/sk_live_wrong/v/%d.txt", nil, 401},
		{"ch1/secret of yours/v/%d.txt", nil, 401},
		{"ch1/v/%d.txt", map[string]string{"Authorization": "Bearer"}, 401},
		{"ch1/v/%d.txt", map[string]string{"Authorization": "Bearer " + testKey + "x"}, 401},
		{"none/v/%d.txt", map[string]string{"Authorization": "Bearer " + testKey}, 401},
		{"none/v/%d.txt", nil, 401},
		{"ch1/v/%d.txt", basic("any", "wrong"), 401},
		{"open/v/%d.txt", map[string]string{"Origin": "http://evil.example"}, 403},
		{"open/v/%d.txt", map[string]string{"X-Forwarded-For": "192.0.2.1"}, 401},
		{"ch1/x/" + testKey + "/%d.txt", map[string]string{"X-Stream-Key": testKey}, 400},
	} {
		res := put(t, base+fmt.Sprintf(c.path, i), []byte("x"), c.header)
		require.Equal(t, c.code, res.code, "%d: %s", i, c.path)
		if c.code == 401 {
			require.Equal(t, `Basic realm="treedn", charset="UTF-8"`, res.header.Get("Www-Authenticate"))
		}
		if c.code != 201 {
			require.True(t, res.close, "a refusal closes the connection")
			require.Empty(t, r.named(fmt.Sprintf("v/%d.txt", i)))
		} else {
			require.Len(t, r.named(fmt.Sprintf("v/%d.txt", i)), 1)
		}
	}
	require.NotContains(t, logs.String(), "sk_live_")
	require.NotContains(t, fmt.Sprintf("%+v", s.States()), "sk_live_")

	strict, _ := newServer(t, Config{RequireKey: true})
	require.Equal(t, 401, put(t, "http://"+serve(t, strict)+"/publish/ch1/a.txt", nil, nil).code)
	loose, _ := newServer(t, Config{})
	require.Equal(t, 404, put(t, "http://"+serve(t, loose)+"/publish/none/a.txt", nil, nil).code)
	require.Equal(t, 201, put(t, "http://"+serve(t, loose)+"/publish/ch1/a.txt", nil, nil).code)
}

// A connection to an address beyond loopback needs a key even if no channel has
// one.
func TestKeyIsMandatoryBeyondLoopback(t *testing.T) {
	s, r := newServer(t, Config{Channels: map[string]Channel{"ch1": {}, "ch2": {Keys: []KeyHash{HashKey(testKey)}}}})
	request := func(path, local, remote string) int {
		req := httptest.NewRequest(http.MethodPut, path, strings.NewReader("x"))
		addr, err := net.ResolveTCPAddr("tcp", local)
		require.NoError(t, err)
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, net.Addr(addr)))
		req.RemoteAddr = remote
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		return w.Code
	}
	require.Equal(t, 201, request("/publish/ch1/a.txt", "127.0.0.1:80", "127.0.0.1:999"))
	require.Equal(t, 201, request("/publish/ch1/a.txt", "[::1]:80", "[::1]:999"))
	require.Equal(t, 401, request("/publish/ch1/a.txt", "192.0.2.1:80", "127.0.0.1:999"))
	require.Equal(t, 401, request("/publish/ch1/a.txt", "127.0.0.1:80", "192.0.2.1:999"))
	require.Equal(t, 401, request("/publish/ch1/a.txt", "192.0.2.1:80", "192.0.2.1:999"))
	require.Equal(t, 201, request("/publish/ch2/"+testKey+"/a.txt", "192.0.2.1:80", "192.0.2.1:999"))
	require.Len(t, r.all(), 3)
}

func TestNamesOverHTTP(t *testing.T) {
	s, r := newServer(t, Config{})
	base := "http://" + serve(t, s) + "/publish/ch1/"
	for _, path := range []string{"../x", "a/../../x", "%2e%2e/x", "a//b", "/a", "a/", "", ".", "%00", "a%0ab", "a%5cb", "a%ff", strings.Repeat("n", 513), "sk_live_x"} {
		require.Contains(t, []int{400, 404}, rawPut(t, base, path), path)
	}
	require.Equal(t, 404, rawPut(t, base[:len(base)-5], "")) // /publish/
	require.Empty(t, r.all())
	require.Equal(t, 201, rawPut(t, base, "v-0/seg%20%25.txt"))
	require.Len(t, r.named("v-0/seg %.txt"), 1)
	res, err := send(t, http.MethodGet, base+"x", nil, nil)
	require.NoError(t, err)
	require.Equal(t, 405, res.code)
}

// rawPut sends a path that a client would clean up.
func rawPut(t *testing.T, base, path string) int {
	t.Helper()
	addr, prefix, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PUT /%s%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", prefix, path)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	res.Body.Close()
	return res.StatusCode
}

// FFmpeg with a user name in its URL asks with Expect and without credentials
// first.
func TestChallengeBeforeBody(t *testing.T) {
	s, _ := newServer(t, Config{Channels: map[string]Channel{"ch1": {Keys: []KeyHash{HashKey(testKey)}}}})
	conn, err := net.Dial("tcp", serve(t, s))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PUT /publish/ch1/a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 401, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Www-Authenticate"))
	res.Body.Close()
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err, "closed")
}

// A live body has no end: the refusal must not wait for it.
func TestRefusalClosesConnection(t *testing.T) {
	s, _ := newServer(t, Config{})
	addr := serve(t, s)
	require.Equal(t, 201, put(t, "http://"+addr+"/publish/ch1/manifest.mpd", mpd(startA), map[string]string{"User-Agent": "first"}).code)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	began := time.Now()
	_, err = io.WriteString(conn, "PUT /publish/ch1/chunk-stream0-00001.m4s HTTP/1.1\r\nHost: x\r\nUser-Agent: second\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 409, res.StatusCode)
	for err == nil {
		_, err = io.WriteString(conn, "4\r\nabcd\r\n")
		time.Sleep(10 * time.Millisecond)
	}
	require.Less(t, time.Since(began), 5*time.Second)
}

// openPut is a PUT that a test feeds by hand.
type openPut struct {
	t    *testing.T
	conn net.Conn
}

func startPut(t *testing.T, addr, name string) *openPut {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT /publish/ch1/%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", name)
	require.NoError(t, err)
	return &openPut{t, conn}
}

func (p *openPut) write(b []byte) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.conn, "%x\r\n%s\r\n", len(b), b)
	require.NoError(p.t, err)
}

func TestChunksArriveWhileSegmentIsOpen(t *testing.T) {
	s, r := newServer(t, Config{})
	addr := serve(t, s)
	put(t, "http://"+addr+"/publish/ch1/manifest.mpd", mpd(startA), map[string]string{"User-Agent": ""})
	p := startPut(t, addr, "chunk-stream0-00001.m4s")
	p.write(box("styp", 24))
	for i := range 3 {
		p.write(chunk(70000))
		r.wait(t, "chunk", func() bool {
			o := r.named("chunk-stream0-00001.m4s")
			return len(o) == 1 && len(o[0].chunks) == i+1
		})
	}
	// The push breaks off.
	p.write(chunk(1000)[:500])
	require.NoError(t, p.conn.Close())
	r.wait(t, "abort", func() bool { return r.named("chunk-stream0-00001.m4s")[0].aborted != nil })
	o := r.last(t, "chunk-stream0-00001.m4s")
	require.ErrorIs(t, o.aborted, io.ErrUnexpectedEOF)
	require.False(t, o.committed)
	require.Len(t, o.chunks, 3)
}

func TestRotationCutsPublisher(t *testing.T) {
	s, r := newServer(t, Config{})
	addr := serve(t, s)
	p := startPut(t, addr, "live.txt")
	p.write([]byte("0123456789"))
	r.wait(t, "begin", func() bool { return len(r.named("live.txt")) == 1 })
	require.NoError(t, s.SetChannels(map[string]Channel{"ch1": {Keys: []KeyHash{HashKey(testKey)}}, "ch2": {}}))
	r.wait(t, "abort", func() bool { return r.named("live.txt")[0].aborted != nil })
	require.ErrorIs(t, r.last(t, "live.txt").aborted, ErrRevoked)

	keyed := map[string]string{"X-Stream-Key": testKey, "User-Agent": ""}
	require.Equal(t, 201, put(t, "http://"+addr+"/publish/ch1/a.txt", nil, keyed).code)
	// Adding a key and a channel touches nobody.
	body, w := io.Pipe()
	done := make(chan response)
	go func() {
		res, _ := send(t, http.MethodPut, "http://"+addr+"/publish/ch1/b.txt", body, keyed)
		done <- res
	}()
	_, _ = w.Write([]byte("0123456789"))
	r.wait(t, "begin", func() bool { return len(r.named("b.txt")) == 1 })
	require.NoError(t, s.SetChannels(map[string]Channel{"ch1": {Keys: []KeyHash{HashKey(testKey), HashKey("sk_live_next")}}, "ch3": {}}))
	w.Close()
	require.Equal(t, 201, (<-done).code)
	require.Error(t, s.SetChannels(map[string]Channel{"bad/name": {}}))
	require.Error(t, s.SetChannels(map[string]Channel{"ch1": {Keys: make([]KeyHash, maxKeys+1)}}))
	_, ok := s.State("ch2")
	require.False(t, ok)
}

func TestLimits(t *testing.T) {
	s, r := newServer(t, Config{
		MaxObject: 3000, MaxManifest: 2000, MaxInit: 1000, MaxTracks: 2, MaxRequests: 2, IdleTimeout: 200 * time.Millisecond,
	})
	addr := serve(t, s)
	base := "http://" + addr + "/publish/ch1/"
	agent := map[string]string{"User-Agent": ""}
	big := bytes.Repeat([]byte{'x'}, 4000)
	require.Equal(t, 413, put(t, base+"a.txt", big, agent).code)
	require.Equal(t, 413, put(t, base+"a.m3u8", append([]byte("#EXTM3U\n#"), big[:2500]...), agent).code)
	require.Equal(t, 413, put(t, base+"init.mp4", append(box("ftyp", 24), box("moov", 2000)...), agent).code)
	require.Equal(t, 201, put(t, base+"x-1.ts", big[:100], agent).code)
	require.Equal(t, 201, put(t, base+"y-1.ts", big[:100], agent).code)
	require.Equal(t, 413, put(t, base+"z-1.ts", big[:100], agent).code)

	// Silence ends a request, and requests are counted.
	one, two := startPut(t, addr, "one.txt"), startPut(t, addr, "two.txt")
	one.write(big[:10])
	two.write(big[:10])
	r.wait(t, "both", func() bool { return len(r.named("one.txt")) == 1 && len(r.named("two.txt")) == 1 })
	require.Equal(t, 413, put(t, base+"three.txt", nil, agent).code)
	r.wait(t, "timeout", func() bool { return r.named("one.txt")[0].aborted != nil && r.named("two.txt")[0].aborted != nil })
	require.ErrorIs(t, r.last(t, "one.txt").aborted, os.ErrDeadlineExceeded)
	require.Equal(t, 201, put(t, base+"three.txt", nil, agent).code)
	require.Contains(t, []int{400, 404}, rawPut(t, base, strings.Repeat("n", 60_000)))

	// The state says which of them it was.
	state, _ := s.State("ch1")
	require.Equal(t, []Limit{
		{"requests", 0, 2, 1}, {"tracks", 2, 2, 1}, {"object_octets", 0, 3000, 1}, {"object_seconds", 0, 600, 0},
		{"idle_seconds", 0, 0, 2}, {"init_octets", 0, 1000, 1}, {"manifest_octets", 0, 2000, 1}, {"name_octets", 0, 512, 1},
	}, state.Limits)
}

// A push that never ends, octet by octet, is ended, and takes nothing from others meanwhile.
func TestObjectThatNeverEnds(t *testing.T) {
	var now atomic.Int64 // seconds
	start := time.Now()
	s, r := newServer(t, Config{
		MaxObjectTime: time.Minute, Now: func() time.Time { return start.Add(time.Duration(now.Load()) * time.Second) },
	})
	addr := serve(t, s)
	endless := startPut(t, addr, "endless.txt")
	endless.write([]byte("0123456789"))
	r.wait(t, "begin", func() bool { return len(r.named("endless.txt")) == 1 })
	for now.Load() < 60 {
		now.Add(10)
		endless.write([]byte("x"))
		require.Equal(t, 201, put(t, "http://"+addr+"/publish/ch1/other.txt", []byte("0123456789"), map[string]string{"User-Agent": ""}).code)
	}
	require.Nil(t, r.last(t, "endless.txt").aborted)
	now.Add(1)
	endless.write([]byte("x"))
	r.wait(t, "end", func() bool { return r.last(t, "endless.txt").aborted != nil })
	require.ErrorIs(t, r.last(t, "endless.txt").aborted, ErrLimit)
	r.wait(t, "state", func() bool { st, _ := s.State("ch1"); return st.Open == 0 })
	state, _ := s.State("ch1")
	require.Contains(t, state.Limits, Limit{"object_seconds", 0, 60, 1})
	require.ErrorContains(t, r.last(t, "endless.txt").aborted, "object_seconds")
}

func TestRateLimit(t *testing.T) {
	s, r := newServer(t, Config{Channels: map[string]Channel{"ch1": {MaxRate: 100_000}}})
	began := time.Now()
	res := put(t, "http://"+serve(t, s)+"/publish/ch1/a.txt", make([]byte, 150_000), nil)
	require.Equal(t, 201, res.code)
	require.GreaterOrEqual(t, time.Since(began), 400*time.Millisecond)
	require.Len(t, r.last(t, "a.txt").body, 150_000)
	state, _ := s.State("ch1")
	i := slices.IndexFunc(state.Limits, func(l Limit) bool { return l.Name == "publish_rate" })
	require.GreaterOrEqual(t, i, 0)
	require.EqualValues(t, 100_000, state.Limits[i].Max)
	require.NotZero(t, state.Limits[i].Used)
	require.NotZero(t, state.Limits[i].Hits)
}

func TestSinkRefuses(t *testing.T) {
	s, r := newServer(t, Config{})
	r.fail = io.ErrClosedPipe
	base := "http://" + serve(t, s) + "/publish/ch1/"
	for _, name := range []string{"a.txt", "index.m3u8", "init.mp4"} {
		body := map[string][]byte{"a.txt": []byte("12345678"), "index.m3u8": playlist(0, 1, false), "init.mp4": initOf(1)}[name]
		require.Equal(t, 500, put(t, base+name, body, nil).code, name)
	}
}

func TestStateSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	clock := time.Now()
	cfg := Config{StateDir: dir, Now: func() time.Time { return clock }}
	first, r := newServer(t, cfg)
	p := newPusher(t, first, "ch1", "Lavf")
	p.startDASH(startA)
	p.mustPut("v/init.mp4", initOf(5))
	p.mustPut("chunk-stream0-00001.m4s", segmentOf(1))
	var newest uint64
	for _, o := range r.all() {
		newest = max(newest, o.Generation)
	}
	// kill -9: nothing is closed. The clock steps back by an hour meanwhile.
	cfg.Now = func() time.Time { return clock.Add(-time.Hour) }
	damaged := filepath.Join(dir, "ch1", "0000.init")
	require.NoError(t, os.WriteFile(damaged, []byte("{}\nx"), 0o600))
	second, r2 := newServer(t, cfg)
	restored := r2.all()
	require.Len(t, restored, 3)
	for _, o := range restored {
		before := r.last(t, o.Name)
		require.Equal(t, Init, o.Kind)
		require.Equal(t, before.Generation, o.Generation)
		require.Equal(t, before.body, o.body)
		require.Equal(t, before.ContentType, o.ContentType)
		require.Equal(t, before.Track, o.Track)
	}
	// FFmpeg goes on without sending them again.
	p = newPusher(t, second, "ch1", "Lavf")
	p.mustPut("manifest.mpd", mpd(startA))
	p.mustPut("chunk-stream0-00002.m4s", segmentOf(1))
	o := r2.last(t, "chunk-stream0-00002.m4s")
	require.Greater(t, o.Run, newest)
	require.Greater(t, r2.last(t, "manifest.mpd").Generation, newest)
	require.NotEqual(t, r.last(t, "chunk-stream0-00001.m4s").Run, o.Run)

	bad := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(bad, nil, 0o600))
	_, err := New(Config{Sink: newRecorder(), Channels: map[string]Channel{"a": {}}, StateDir: bad})
	require.Error(t, err)
}

func TestSequence(t *testing.T) {
	var saved []uint64
	var later []func()
	var failures int
	var fail error
	s := sequence{
		save:  func(r uint64) error { saved = append(saved, r); return fail },
		spawn: func(f func()) { later = append(later, f) },
		fail:  func(error) { failures++ },
	}
	now := time.UnixMicro(1_000_000)
	require.EqualValues(t, 1_000_000, s.next(now))
	require.EqualValues(t, 1_000_001, s.next(now))
	require.EqualValues(t, 1_000_002, s.next(now.Add(-time.Hour)), "a clock that steps back")
	require.Equal(t, []uint64{11_000_000}, saved)
	s.next(now.Add(6 * time.Second))
	s.next(now.Add(6 * time.Second))
	require.Len(t, later, 1, "saved ahead of need, once, beside the caller")
	later[0]()
	require.Equal(t, []uint64{11_000_000, 17_000_000}, saved)
	fail = io.ErrShortWrite
	s.next(now.Add(time.Minute))
	require.Equal(t, 1, failures)
	fail = nil
	s.next(now.Add(time.Minute))
	require.EqualValues(t, 71_000_001, saved[len(saved)-1])
}

func TestCloseEndsRequests(t *testing.T) {
	s, r := newServer(t, Config{})
	addr := serve(t, s)
	p := startPut(t, addr, "live.txt")
	p.write([]byte("0123456789"))
	r.wait(t, "begin", func() bool { return len(r.named("live.txt")) == 1 })
	require.NoError(t, s.Close())
	r.wait(t, "abort", func() bool { return r.named("live.txt")[0].aborted != nil })
	require.ErrorIs(t, r.last(t, "live.txt").aborted, net.ErrClosed)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.SetChannels(nil), net.ErrClosed)
	require.Equal(t, 404, put(t, "http://"+addr+"/publish/ch1/a", nil, nil).code)
}

func TestNewKey(t *testing.T) {
	key, hash := NewKey()
	require.True(t, strings.HasPrefix(key, KeyPrefix))
	require.Len(t, key, len(KeyPrefix)+43)
	require.Equal(t, HashKey(key), hash)
	text, err := hash.MarshalText()
	require.NoError(t, err)
	var again KeyHash
	require.NoError(t, again.UnmarshalText(text))
	require.Equal(t, hash, again)
	err = again.UnmarshalText([]byte(key))
	require.Error(t, err)
	require.NotContains(t, err.Error(), key)
	require.Error(t, again.UnmarshalText(bytes.Repeat([]byte{'x'}, 64)))
	_, err = New(Config{})
	require.Error(t, err)
}

// What a path names stays below its channel, and a key never becomes a name.
func FuzzParsePath(f *testing.F) {
	for _, p := range []string{"/publish/ch1/manifest.mpd", "/publish/ch1/sk_live_x/v/seg.m4s", "/publish/../x", "/publish/ch1/../x", "/publish/sk_live_a/b"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, ok := parsePath(path)
		if !ok {
			return
		}
		require.True(t, ValidChannel(p.channel))
		require.NotContains(t, p.name, KeyPrefix)
		require.NotContains(t, p.channel, KeyPrefix)
		require.True(t, filepath.IsLocal(filepath.FromSlash(p.name)))
		want := pathPrefix + p.channel + "/" + p.name
		if p.key != "" {
			want = pathPrefix + p.channel + "/" + p.key + "/" + p.name
		}
		require.Equal(t, path, want)
	})
}

// The octets that come out are the octets that went in, whatever they are and
// however they were cut.
func FuzzTransfer(f *testing.F) {
	f.Add("a.m4s", segmentOf(2), uint8(10))
	f.Add("init.mp4", append(initOf(1), segmentOf(1)...), uint8(3))
	f.Add("m.mpd", mpd(startA), uint8(200))
	f.Add("seg-1", []byte("#EXTM3U\n"), uint8(1))
	f.Fuzz(func(t *testing.T, name string, body []byte, cut uint8) {
		target, ok := parsePath(pathPrefix + "ch1/" + name)
		if !ok {
			return
		}
		s, r := newServer(t, Config{Now: func() time.Time { return time.Unix(1, 0) }})
		// The kind is known at once, so that nothing waits.
		s.channel("ch1").inits["init"] = &initSegment{kind: 1}
		p := newPusher(t, s, "ch1", "fuzz")
		tr, err := p.open(target.name)
		require.NoError(t, err)
		for rest := body; len(rest) > 0 && err == nil; {
			n := min(len(rest), int(cut)+1)
			err = tr.write(rest[:n])
			rest = rest[n:]
		}
		err = tr.finish(err)
		all := r.named(target.name)
		if err != nil || len(all) == 0 {
			return
		}
		require.Len(t, all, 1)
		require.True(t, bytes.Equal(body, all[0].body))
		require.True(t, all[0].committed)
		for _, end := range all[0].chunks {
			require.LessOrEqual(t, end, len(body))
		}
	})
}

type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
