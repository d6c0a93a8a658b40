package cache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func handlerOf(o *Object, opts ServeOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ServeObject(w, r, o, opts) })
}

// get does a request with header fields given in pairs.
func get(t testing.TB, method, url string, fields ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func mustGet(t testing.TB, method, url string, fields ...string) (*http.Response, []byte) {
	t.Helper()
	resp, body, err := get(t, method, url, fields...)
	require.NoError(t, err)
	return resp, body
}

func requireCommon(t testing.TB, resp *http.Response) {
	t.Helper()
	require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, resp.Header.Get("Access-Control-Expose-Headers"), "Content-Range")
	require.Equal(t, "*", resp.Header.Get("Timing-Allow-Origin"))
}

var rangeCases = []string{
	"", "bytes=0-0", "bytes=0-", "bytes=5-9", "bytes=999-", "bytes=1000-", "bytes=1000-2000", "bytes=990-2000",
	"bytes=-1", "bytes=-1000", "bytes=-5000", "bytes=-0", "bytes=0-999",
	"bytes=0-1,5-9", "bytes=0-1, 5-9 ,20-30", "bytes=0-1,2000-", "bytes=200000-,300000-", "bytes=0-9,-10",
	"bytes=0-,", "octets=0-1",
}

// TestServeLikeServeContent takes the standard library as the oracle where
// the two mean to agree: valid ranges, in order and apart.
func TestServeLikeServeContent(t *testing.T) {
	for _, size := range []int{0, 1, 1000, pageSize + 1000} {
		content := noise(3, size)
		s := openStore(t, Config{})
		o, err := s.Put(key, Meta{Generation: 9, ContentType: "video/mp4"}, content)
		require.NoError(t, err)
		ours := serve(t, handlerOf(o, ServeOptions{}))
		oracle := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", o.ETag())
			w.Header().Set("Content-Type", "video/mp4")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}))
		for _, method := range []string{"GET", "HEAD"} {
			for _, rng := range rangeCases {
				for _, cond := range [][]string{
					nil, {"If-Range", o.ETag()}, {"If-Range", "W/" + o.ETag()}, {"If-Range", `"x"`},
					{"If-Range", "Sat, 21 Nov 2026 12:00:00 GMT"},
					{"If-None-Match", o.ETag()}, {"If-None-Match", `"x", W/` + o.ETag()}, {"If-None-Match", "*"}, {"If-None-Match", `"x"`},
					{"If-Match", o.ETag()}, {"If-Match", "W/" + o.ETag()}, {"If-Match", `"x"`}, {"If-Match", "*"},
				} {
					if method == "HEAD" && rng != "" {
						continue // the oracle answers 206 to HEAD; section 14.2 defines Range for GET alone
					}
					fields := cond
					if rng != "" {
						fields = append([]string{"Range", rng}, cond...)
					}
					name := fmt.Sprint(method, size, fields)
					got, gotBody := mustGet(t, method, ours.URL, fields...)
					want, wantBody := mustGet(t, method, oracle.URL, fields...)
					requireCommon(t, got)
					if want.StatusCode == 416 && rng == "octets=0-1" {
						require.Equal(t, 200, got.StatusCode, name) // section 14.2: MUST ignore
						continue
					}
					if size == 0 && (want.StatusCode == 416 || want.StatusCode == 206) {
						require.Equal(t, 200, got.StatusCode, name) // section 14.2: nothing is a range of nothing
						continue
					}
					if rng == "bytes=-0" && want.StatusCode == 206 {
						require.Equal(t, 416, got.StatusCode, name) // section 14.1.3: not satisfiable
						continue
					}
					if size == 1 && strings.Contains(rng, ",") {
						continue // the oracle does not merge
					}
					require.Equal(t, want.StatusCode, got.StatusCode, name)
					wantType, wantParams, _ := mime.ParseMediaType(want.Header.Get("Content-Type"))
					if want.StatusCode == 206 && wantType == "multipart/byteranges" {
						_, gotParams, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
						require.NoError(t, err)
						require.Equal(t, strconv.Itoa(len(gotBody)), got.Header.Get("Content-Length"))
						require.Equal(t, parts(t, wantBody, wantParams["boundary"]), parts(t, gotBody, gotParams["boundary"]), name)
						continue
					}
					require.Equal(t, want.Header.Get("Content-Range"), got.Header.Get("Content-Range"), name)
					if want.StatusCode < 300 {
						require.Equal(t, want.Header.Get("Content-Type"), got.Header.Get("Content-Type"), name)
						require.Equal(t, want.Header.Get("Content-Length"), got.Header.Get("Content-Length"), name)
						require.True(t, bytes.Equal(wantBody, gotBody), name)
					}
					if want.StatusCode < 400 {
						require.Equal(t, want.Header.Get("Etag"), got.Header.Get("Etag"), name)
					}
				}
			}
		}
	}
}

func parts(t testing.TB, body []byte, boundary string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	mr := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			return m
		}
		require.NoError(t, err)
		data, err := io.ReadAll(p)
		require.NoError(t, err)
		m[p.Header.Get("Content-Type")+" "+p.Header.Get("Content-Range")] = string(data)
	}
}

func TestServeRefusesTooManyRanges(t *testing.T) {
	s := openStore(t, Config{})
	o := put(t, s, key, 1, noise(4, 1000))
	srv := serve(t, handlerOf(o, ServeOptions{}))
	many := func(n, step int) string {
		var b strings.Builder
		b.WriteString("bytes=")
		for i := range n {
			fmt.Fprintf(&b, "%d-%d,", i*step, i*step+1)
		}
		return b.String()
	}
	for _, c := range []struct {
		rng  string
		code int
	}{
		{many(16, 10), 206}, {many(17, 10), 200}, {many(60, 2), 206}, {many(65, 1), 200},
		{"bytes=0-5,3-9,8-20", 206}, {"bytes=9-5", 200}, {"bytes=a-b", 200}, {"bytes=", 200}, {"bytes", 200}, {"bytes=-", 200},
		{"BYTES=0-1", 206}, {"bytes=1-2-3", 200}, {"bytes=+1-2", 200},
	} {
		resp, body := mustGet(t, "GET", srv.URL, "Range", c.rng)
		require.Equal(t, c.code, resp.StatusCode, c.rng)
		if c.code == 200 {
			require.Len(t, body, 1000)
		}
	}
	resp, body := mustGet(t, "GET", srv.URL, "Range", "bytes=0-5,3-9,8-20")
	require.Equal(t, "bytes 0-20/1000", resp.Header.Get("Content-Range"))
	require.Len(t, body, 21)
}

func TestServeStreamsGrowth(t *testing.T) {
	for _, declared := range []bool{false, true} {
		s := openStore(t, Config{})
		meta := Meta{Generation: 3}
		content := noise(5, 200_000)
		if declared {
			meta.Length = int64(len(content))
		}
		w := create(t, s, key, meta)
		srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
		write(t, w, content[:1])
		resp, err := http.Get(srv.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		requireCommon(t, resp)
		if declared {
			require.Equal(t, meta.Length, resp.ContentLength)
		} else {
			require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
		}
		// Each append arrives although nothing more is written.
		got := make([]byte, len(content))
		at := 0
		for _, n := range []int{1, 2, 700, 5000, 100_000, len(content)} {
			write(t, w, content[max(at, 1):n])
			_, err := io.ReadFull(resp.Body, got[at:n])
			require.NoError(t, err)
			at = n
			if n == 1 {
				at = 1
			}
		}
		require.NoError(t, w.Finish())
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.True(t, bytes.Equal(content, got))
	}
}

func TestServeBreaksOnAbort(t *testing.T) {
	for _, meta := range []Meta{{}, {Length: 100}} {
		for _, rng := range []string{"", "bytes=0-", "bytes=2-50"} {
			s := openStore(t, Config{})
			w := create(t, s, key, meta)
			srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
			write(t, w, []byte("abcd"))
			req, _ := http.NewRequest("GET", srv.URL, nil)
			if rng != "" {
				req.Header.Set("Range", rng)
			}
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			w.Abort(nil)
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if rng == "bytes=2-50" && meta.Length == 0 {
				require.NoError(t, err) // was answered with what was there
				require.Equal(t, "bytes 2-3/*", resp.Header.Get("Content-Range"))
			} else {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			// Who comes later gets a status.
			for _, method := range []string{"GET", "HEAD"} {
				late, _ := mustGet(t, method, srv.URL)
				require.Equal(t, 503, late.StatusCode)
				require.Equal(t, "no-store", late.Header.Get("Cache-Control"))
				requireCommon(t, late)
			}
		}
	}
}

func TestServeAbortBeforeTheFirstOctet(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
	done := make(chan int)
	go func() {
		resp, _, err := get(t, "GET", srv.URL)
		if err != nil {
			done <- 0
			return
		}
		done <- resp.StatusCode
	}()
	w.Abort(nil)
	require.Equal(t, 503, <-done)
}

func TestServeRangesOfGrowing(t *testing.T) {
	content := noise(6, 1000)
	type want struct {
		code  int
		rng   string
		first int
		n     int
	}
	for _, c := range []struct {
		length int64
		rng    string
		want   want
	}{
		{0, "bytes=0-9", want{206, "bytes 0-9/*", 0, 10}},
		{0, "bytes=100-199", want{206, "bytes 100-199/*", 100, 100}},
		{0, "bytes=100-5000", want{206, "bytes 100-599/*", 100, 500}},
		{0, "bytes=100-", want{206, "bytes 100-599/*", 100, 500}},
		{0, "bytes=0-", want{200, "", 0, 1000}},
		{0, "bytes=-10", want{200, "", 0, 1000}},
		{0, "bytes=700-", want{206, "bytes 700-999/1000", 700, 300}}, // waits, and sees the end
		{0, "bytes=1000-", want{416, "bytes */1000", 0, 0}},          // waits for the end
		{1000, "bytes=100-5000", want{206, "bytes 100-999/1000", 100, 900}},
		{1000, "bytes=-10", want{206, "bytes 990-999/1000", 990, 10}},
		{1000, "bytes=0-", want{200, "", 0, 1000}},
		{1000, "bytes=1000-", want{416, "bytes */1000", 0, 0}},
	} {
		t.Run(fmt.Sprint(c.length, c.rng), func(t *testing.T) {
			s := openStore(t, Config{})
			w := create(t, s, key, Meta{Length: c.length})
			srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
			write(t, w, content[:600])
			type answer struct {
				resp *http.Response
				body []byte
				err  error
			}
			ch := make(chan answer)
			go func() {
				resp, body, err := get(t, "GET", srv.URL, "Range", c.rng)
				ch <- answer{resp, body, err}
			}()
			waits := c.want.code != 206 || c.want.first+c.want.n > 600
			var a answer
			if waits {
				select {
				case a = <-ch:
					require.Equal(t, 416, a.resp.StatusCode)
				case <-time.After(30 * time.Millisecond):
				}
			} else {
				a = <-ch
			}
			write(t, w, content[600:])
			require.NoError(t, w.Finish())
			if a.resp == nil {
				a = <-ch
			}
			require.NoError(t, a.err)
			require.Equal(t, c.want.code, a.resp.StatusCode)
			if c.want.code == 206 && strings.HasSuffix(a.resp.Header.Get("Content-Range"), "/*") && waits {
				// The wait ended with the append, before Finish.
				require.Equal(t, "bytes 700-999/*", a.resp.Header.Get("Content-Range"))
			} else {
				require.Equal(t, c.want.rng, a.resp.Header.Get("Content-Range"))
			}
			require.True(t, bytes.Equal(content[c.want.first:c.want.first+c.want.n], a.body))
		})
	}
}

// What a reader that was cut off asks for (RFC 8673): the rest, as it grows.
func TestServeLiveRange(t *testing.T) {
	const rng = "bytes=%d-9007199254740991"
	content := noise(7, 1000)
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
	write(t, w, content[:600])
	open := func(first int) *http.Response {
		req, err := http.NewRequest("GET", srv.URL, nil)
		require.NoError(t, err)
		req.Header.Set("Range", fmt.Sprintf(rng, first))
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	first := []int{0, 100, 599}
	var bodies []io.Reader
	for _, n := range first {
		resp := open(n)
		require.Equal(t, 206, resp.StatusCode)
		require.Equal(t, fmt.Sprintf("bytes %d-9007199254740991/*", n), resp.Header.Get("Content-Range"))
		require.Equal(t, w.Object().ETag(), resp.Header.Get("Etag"))
		require.EqualValues(t, -1, resp.ContentLength)
		got := make([]byte, 600-n)
		_, err := io.ReadFull(resp.Body, got)
		require.NoError(t, err)
		require.Equal(t, content[n:600], got)
		bodies = append(bodies, resp.Body)
	}
	// One that is ahead of the object waits, and then gets its first octet on.
	ahead := make(chan []byte)
	go func() {
		resp, body, _ := get(t, "GET", srv.URL, "Range", fmt.Sprintf(rng, 700))
		if resp == nil || resp.StatusCode != 206 {
			body = nil
		}
		ahead <- body
	}()
	for at := 600; at < 1000; at += 200 {
		write(t, w, content[at:at+200])
		for _, b := range bodies {
			got := make([]byte, 200)
			_, err := io.ReadFull(b, got)
			require.NoError(t, err)
			require.Equal(t, content[at:at+200], got)
		}
	}
	require.NoError(t, w.Finish())
	for _, b := range bodies {
		rest, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Empty(t, rest)
	}
	require.Equal(t, content[700:], <-ahead)

	// Of what is complete it is a range like any other.
	resp := open(100)
	require.Equal(t, "bytes 100-999/1000", resp.Header.Get("Content-Range"))
	resp = open(1000)
	require.Equal(t, 416, resp.StatusCode)
	require.Equal(t, "bytes */1000", resp.Header.Get("Content-Range"))
}

func TestServeLiveRangeBreaksOnAbort(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
	write(t, w, []byte("abcd"))
	req, _ := http.NewRequest("GET", srv.URL, nil)
	req.Header.Set("Range", "bytes=2-9007199254740991")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	w.Abort(nil)
	_, err = io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestServeMultipartOfGrowing(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{ContentType: "video/mp4"})
	write(t, w, []byte("0123456789"))
	srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
	resp, body := mustGet(t, "GET", srv.URL, "Range", "bytes=1-2,5-6,8-40,60-")
	require.Equal(t, 206, resp.StatusCode)
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"video/mp4 bytes 1-2/*": "12", "video/mp4 bytes 5-6/*": "56", "video/mp4 bytes 8-9/*": "89",
	}, parts(t, body, params["boundary"]))
}

func TestServeHead(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{Generation: 1})
	srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
	resp, _ := mustGet(t, "HEAD", srv.URL)
	require.Equal(t, 200, resp.StatusCode)
	require.EqualValues(t, -1, resp.ContentLength)
	require.Equal(t, `"0000000000000001"`, resp.Header.Get("Etag"))
	write(t, w, []byte("abc"))
	require.NoError(t, w.Finish())
	resp, _ = mustGet(t, "HEAD", srv.URL)
	require.EqualValues(t, 3, resp.ContentLength)
	require.Equal(t, "bytes", resp.Header.Get("Accept-Ranges"))
	require.Equal(t, "video/mp4", resp.Header.Get("Content-Type"))
}

// TestServeHTTP10 makes sure that a client without chunked coding never takes
// a broken object for a whole one.
func TestServeHTTP10(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	write(t, w, []byte("abc"))
	srv := serve(t, handlerOf(w.Object(), ServeOptions{}))
	ask := func(then func()) (*http.Response, []byte) {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
		go then()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, body
	}
	resp, body := ask(func() {
		time.Sleep(10 * time.Millisecond) // any time will do
		_, _ = w.Write([]byte("def"))
		_ = w.Finish()
	})
	require.Equal(t, 200, resp.StatusCode)
	require.EqualValues(t, 6, resp.ContentLength)
	require.Equal(t, "abcdef", string(body))
	w = create(t, s, key, Meta{})
	srv = serve(t, handlerOf(w.Object(), ServeOptions{Wait: time.Millisecond}))
	resp, _ = ask(func() {})
	require.Equal(t, 503, resp.StatusCode)
	w.Abort(nil)
}

func TestServeFields(t *testing.T) {
	c := newClock()
	s := openStore(t, Config{Now: c.Now})
	opts := ServeOptions{MaxAge: 2500 * time.Millisecond, Node: "beacon-1"}
	for _, tt := range []struct {
		name, contentType, cacheControl string
		opts                            ServeOptions
		wantType, wantControl           string
	}{
		{"a.m4s", "", "", opts, "video/mp4", "max-age=5"},
		{"a.m3u8", "", "", opts, "application/vnd.apple.mpegurl", "no-cache"},
		{"a.mpd", "", "", opts, "application/dash+xml", "no-cache"},
		{"a.mpd", "", "max-age=1", opts, "application/dash+xml", "max-age=1"},
		{"list", "application/x-mpegURL; charset=utf-8", "", opts, "application/x-mpegURL; charset=utf-8", "no-cache"},
		{"a.m4a", "", "", ServeOptions{}, "audio/mp4", "max-age=4"},
		{"a.bin", "", "", ServeOptions{MaxAge: time.Millisecond}, "application/octet-stream", "no-cache"},
	} {
		o, err := s.Put(Key{"s", tt.name}, Meta{ContentType: tt.contentType, CacheControl: tt.cacheControl}, []byte("x"))
		require.NoError(t, err)
		c.Advance(3700 * time.Millisecond)
		resp, _ := mustGet(t, "GET", serve(t, handlerOf(o, tt.opts)).URL)
		require.Equal(t, tt.wantType, resp.Header.Get("Content-Type"))
		require.Equal(t, tt.wantControl, resp.Header.Get("Cache-Control"))
		require.Equal(t, "3", resp.Header.Get("Age"))
		if tt.opts.Node != "" {
			require.Equal(t, "beacon-1; hit", resp.Header.Get("Cache-Status"))
		}
		requireCommon(t, resp)
	}
}

func TestServeMethods(t *testing.T) {
	s := openStore(t, Config{})
	put(t, s, key, 1, []byte("x"))
	srv := serve(t, &Handler{Store: s})
	url := srv.URL + "/" + key.String()
	resp, _ := mustGet(t, "OPTIONS", url, "Origin", "https://example.org", "Access-Control-Request-Method", "GET")
	require.Equal(t, 204, resp.StatusCode)
	require.Equal(t, "GET, HEAD, OPTIONS", resp.Header.Get("Access-Control-Allow-Methods"))
	require.Contains(t, resp.Header.Get("Access-Control-Allow-Headers"), "Range")
	requireCommon(t, resp)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		resp, _ = mustGet(t, method, url)
		require.Equal(t, 405, resp.StatusCode)
		require.Equal(t, "GET, HEAD, OPTIONS", resp.Header.Get("Allow"))
		requireCommon(t, resp)
	}
}

func TestServeCutsOffWhoDoesNotRead(t *testing.T) {
	s := openStore(t, Config{})
	o := put(t, s, key, 1, make([]byte, 24<<20))
	ended := make(chan any, 1)
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- recover() }()
		ServeObject(w, r, o, ServeOptions{WriteTimeout: 50 * time.Millisecond})
	}))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, http.ErrAbortHandler, <-ended)
}

// TestServeLeavesNoDeadline makes sure that a connection outlives the write
// timeout of its requests.
func TestServeLeavesNoDeadline(t *testing.T) {
	s := openStore(t, Config{})
	o := put(t, s, key, 1, []byte("x"))
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/later" {
			time.Sleep(500 * time.Millisecond) // beyond the deadline of the request before
			_, _ = io.WriteString(w, "y")
			return
		}
		ServeObject(w, r, o, ServeOptions{WriteTimeout: 400 * time.Millisecond})
	}))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	br := bufio.NewReader(c)
	for _, path := range []string{"/", "/later"} {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		resp, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
	}
}
