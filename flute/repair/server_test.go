package repair

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, target, header...)
}

func do(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestServeOctets(t *testing.T) {
	o := newFakeObject(5000)
	h := &Handler{Backend: serving(o)}
	for _, target := range []string{testPath, "/live/seg-1.m4s", "/live/seg-1.m4s?tok=1", "/live/seg%2D1.m4s"} {
		w := get(h, target)
		require.Equal(t, 200, w.Code, target)
		require.Equal(t, o.data, w.Body.Bytes())
		require.Equal(t, "5000", w.Header().Get("Content-Length"))
		require.Equal(t, o.etag, w.Header().Get("ETag"))
		require.Equal(t, "video/mp4", w.Header().Get("Content-Type"))
		require.Equal(t, "/live/seg-1.m4s", w.Header().Get("Content-Location"))

		w = get(h, target, "Range", "bytes=100-299")
		require.Equal(t, 206, w.Code)
		require.Equal(t, "bytes 100-299/5000", w.Header().Get("Content-Range"))
		require.Equal(t, "200", w.Header().Get("Content-Length"))
		require.Equal(t, o.data[100:300], w.Body.Bytes())

		w = do(h, http.MethodHead, target, "Range", "bytes=0-1")
		require.Equal(t, 200, w.Code)
		require.Equal(t, "5000", w.Header().Get("Content-Length"))
		require.Empty(t, w.Body.Bytes())
	}
	require.EqualValues(t, 12, o.closed.Load(), "each object is released")
	require.Equal(t, HandlerStats{Requests: 12, Octets: 4 * 5200}, h.Stats())
}

func TestServeSeveralRanges(t *testing.T) {
	o := newFakeObject(5000)
	w := get(&Handler{Backend: serving(o)}, testPath, "Range", "bytes=4990-,0-9,5-19")
	require.Equal(t, 206, w.Code)
	require.Equal(t, strconv.Itoa(w.Body.Len()), w.Header().Get("Content-Length"))
	mediaType, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/byteranges", mediaType)
	reader := multipart.NewReader(w.Body, params["boundary"])
	for _, want := range []struct {
		contentRange string
		data         []byte
	}{{"bytes 0-19/5000", o.data[:20]}, {"bytes 4990-4999/5000", o.data[4990:]}} {
		p, err := reader.NextPart()
		require.NoError(t, err)
		require.Equal(t, want.contentRange, p.Header.Get("Content-Range"))
		require.Equal(t, "video/mp4", p.Header.Get("Content-Type"))
		data, err := io.ReadAll(p)
		require.NoError(t, err)
		require.Equal(t, want.data, data)
	}
	_, err = reader.NextPart()
	require.Equal(t, io.EOF, err)
}

func TestServeStatus(t *testing.T) {
	growing := newFakeObject(5000)
	growing.growing, growing.prefix, growing.name = true, 2500, "growing"
	whole := newFakeObject(5000)
	octetsOnly := newFakeObject(10)
	backend := &fakeBackend{
		byID:   map[ObjectID]Object{testID: symbolObject{whole}},
		byName: map[string]Object{"whole": whole, "growing": growing},
	}
	id := testID
	id.TOI = 2
	backend.byID[id] = octetsOnly
	octetsOnlyPath := id.String()
	id.TOI = 3
	backend.byID[id] = symbolObject{growing}
	growingPath := id.String()
	id.TOI = 4
	backend.byID[id] = newFakeObject(0)
	h := &Handler{Backend: backend, NodeID: "relay-1", MaxRanges: 3, MaxSymbols: 20, MaxHops: 3}

	for _, c := range []struct {
		name, target string
		header       []string
		status       int
	}{
		{"unknown id", "/repair/v1/192.0.2.10/232.1.1.10/5000/3/99", nil, 404},
		{"unknown name", "/nothing", nil, 404},
		{"malformed path", "/repair/v1/192.0.2.10", nil, 400},
		{"name with escaped slash", "/a%2fb", nil, 400},
		{"name with ..", "/a/../../b", nil, 400},
		{"name with escaped ..", "/a/%2e%2e/%2E%2E/b", nil, 400},
		{"no name", "/", nil, 400},
		{"malformed query", testPath + "?SBN=x", nil, 400},
		{"malformed range", "/whole", []string{"Range", "bytes=x"}, 400},
		{"other range unit", "/whole", []string{"Range", "seconds=1-2"}, 200},
		{"too many ranges", "/whole", []string{"Range", "bytes=1-1,3-3,5-5,7-7"}, 413},
		{"range beyond the end", "/whole", []string{"Range", "bytes=5000-"}, 416},
		{"If-Match of this version", "/whole", []string{"If-Match", `"x", ` + whole.etag}, 200},
		{"If-Match of another version", "/whole", []string{"If-Match", `"0000000000000002"`}, 412},
		{"If-Range of this version", "/whole", []string{"If-Range", whole.etag, "Range", "bytes=0-1"}, 206},
		{"If-Range of another version", "/whole", []string{"If-Range", `"0"`, "Range", "bytes=0-1"}, 200},
		{"inside the prefix", "/growing", []string{"Range", "bytes=2400-9999"}, 206},
		{"beyond the prefix", "/growing", []string{"Range", "bytes=2500-"}, 425},
		{"all of a growing object", "/growing", nil, 425},
		{"empty object", id.String(), nil, 200},
		{"range of an empty object", id.String(), []string{"Range", "bytes=0-"}, 416},
		{"symbols", testPath + "?SBN=0;ESI=1", nil, 200},
		{"symbols of another version", testPath + "?SBN=0;ESI=1", []string{"If-Match", `"0"`}, 412},
		{"too many symbols", testPath + "?SBN=0&count=21", nil, 413},
		{"too many blocks", testPath + "?SBN=0-2", nil, 413},
		{"unknown block", testPath + "?SBN=5", nil, 404},
		{"closed block", growingPath + "?SBN=1;ESI=1", nil, 200},
		{"open block", growingPath + "?SBN=2;ESI=1", nil, 425},
		{"object without symbols", octetsOnlyPath + "?SBN=0;ESI=1", nil, 422},
		{"passed other nodes", "/whole", []string{"Via", "1.1 a, HTTP/1.1 b (x, 1.1 relay-1)"}, 200},
		{"passed this node", "/whole", []string{"Via", "1.1 a", "Via", "1.0 b, 1.1 Relay-1"}, 508},
		{"passed too many nodes", "/whole", []string{"Via", "1.1 a, 1.1 b, 1.1 c, 1.1 d"}, 508},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := get(h, c.target, c.header...)
			require.Equal(t, c.status, w.Code, w.Body)
			switch c.status {
			case 425:
				require.Equal(t, "1", w.Header().Get("Retry-After"))
			case 416:
				require.Regexp(t, `^bytes \*/\d+$`, w.Header().Get("Content-Range"))
			}
			if c.status >= 400 {
				require.Empty(t, w.Header().Get("ETag"))
				require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			}
		})
	}
	w := get(h, "/growing", "Range", "bytes=2400-9999")
	require.Equal(t, "bytes 2400-2499/*", w.Header().Get("Content-Range"))

	for err, status := range map[error]int{
		fmt.Errorf("wrapped: %w", ErrExpired): 410, ErrNotReady: 425, ErrUnknown: 404, errFake: 500,
	} {
		backend.fail(err)
		w := get(h, "/whole")
		require.Equal(t, status, w.Code)
		require.Equal(t, status != 500, strings.Contains(w.Body.String(), err.Error()), "causes of 500 stay here")
	}
	for _, method := range []string{"PUT", "POST", "DELETE", "OPTIONS"} {
		w := do(h, method, "/whole")
		require.Equal(t, 405, w.Code)
		require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
	}
}

func TestServeSymbols(t *testing.T) {
	o := newFakeObject(3050)
	h := &Handler{Backend: serving(o)}
	for _, c := range []struct {
		query string
		want  [][2]int // block, first symbol of ...
		cache string
	}{
		{"SBN=0;ESI=3", [][2]int{{0, 3}}, ""},
		{"SBN=2;ESI=4-5,9+2&SBN=0;ESI=77777", [][2]int{{2, 4}, {2, 5}, {2, 9}, {2, 10}, {0, 77777}}, ""},
		{"SBN=1&count=2", [][2]int{{1, 1000}, {1, 1001}}, "no-store"},
		{"SBN=1&count=1&SBN=0;ESI=1", [][2]int{{1, 1002}, {0, 1}}, "no-store"},
		{"SBN=3", [][2]int{{3, 0}}, ""},
	} {
		w := get(h, testPath+"?"+c.query)
		require.Equal(t, 200, w.Code, c.query)
		require.Equal(t, SymbolsType, w.Header().Get("Content-Type"))
		require.Equal(t, symbolObject{o}.OTI().String(), w.Header().Get("FEC-OTI"))
		require.Equal(t, o.etag, w.Header().Get("ETag"))
		require.Equal(t, c.cache, w.Header().Get("Cache-Control"))
		require.Equal(t, strconv.Itoa(w.Body.Len()), w.Header().Get("Content-Length"))
		var want []byte
		for _, s := range c.want {
			data := fakeSymbolData(uint16(s[0]), uint32(s[1]))
			want = Symbol{uint16(s[0]), uint32(s[1]), data}.Append(want)
		}
		require.Equal(t, want, w.Body.Bytes(), c.query)
	}
	require.EqualValues(t, 11, h.Stats().Symbols)

	w := do(h, http.MethodHead, testPath+"?SBN=0")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "1060", w.Header().Get("Content-Length"))
	require.Empty(t, w.Body.Bytes())

	w = get(h, testPath+"?SBN=0;ESI=0-2047")
	require.Equal(t, 2048*106, w.Body.Len(), "more than is gathered before a write")

	o.nextFresh.Store(1<<24 - 1)
	require.Equal(t, 413, get(h, testPath+"?SBN=0&count=2").Code, "no ESI left")
}

// An answer that breaks in the middle must not look complete.
func TestServeBreaksConnection(t *testing.T) {
	o := newFakeObject(500_000)
	o.failAt, o.failESI = 400_000, 2000
	server := httptest.NewServer(&Handler{Backend: serving(o)})
	defer server.Close()
	for _, c := range []struct{ query, ranges string }{
		{"", ""}, {"", "bytes=0-450000"}, {"", "bytes=0-9,300000-450000"}, {"?SBN=0;ESI=0-2500", ""},
	} {
		req, err := http.NewRequest(http.MethodGet, server.URL+testPath+c.query, nil)
		require.NoError(t, err)
		if c.ranges != "" {
			req.Header.Set("Range", c.ranges)
		}
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%+v", c)
		require.NoError(t, resp.Body.Close())
	}
	server.Close()
	o.failESI = 1
	require.Equal(t, 500, get(&Handler{Backend: serving(o)}, testPath+"?SBN=0;ESI=1").Code, "refused before the first octet")
}

func TestOverload(t *testing.T) {
	backend := serving(newFakeObject(100))
	entered, release := make(chan struct{}), make(chan struct{})
	backend.hook = func(context.Context) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	h := &Handler{Backend: backend, MaxConcurrent: 3, MaxPerPeer: 2, RetryAfter: 300 * time.Millisecond}
	from := func(addr string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, testPath, nil)
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	served := make(chan int)
	for _, addr := range []string{"192.0.2.1:1", "192.0.2.1:2"} {
		go func() { served <- from(addr).Code }()
		<-entered
	}
	refused := func(addr string) {
		w := from(addr)
		require.Equal(t, 503, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		ms, err := strconv.Atoi(w.Header().Get("Retry-After-Ms"))
		require.NoError(t, err)
		require.GreaterOrEqual(t, ms, 300)
		require.LessOrEqual(t, ms, 600)
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
	refused("192.0.2.1:3") // the share of one peer
	go func() { served <- from("192.0.2.2:1").Code }()
	<-entered
	refused("192.0.2.3:1") // all places
	close(release)
	for range 3 {
		require.Equal(t, 200, <-served)
	}
	go func() { served <- from("192.0.2.1:3").Code }()
	<-entered
	require.Equal(t, 200, <-served)
	require.Equal(t, HandlerStats{Requests: 6, Refused: 2, Octets: 400}, h.Stats())

	unbounded := &Handler{Backend: serving(newFakeObject(100)), MaxConcurrent: -1, MaxPerPeer: -1}
	require.Equal(t, 200, get(unbounded, testPath).Code)
}

// Asking how large an answer would be uses no symbols up.
func TestHeadOfFreshSymbols(t *testing.T) {
	o := newFakeObject(1000)
	h := &Handler{Backend: serving(o)}
	w := do(h, http.MethodHead, testPath+"?SBN=0&count=7")
	require.Equal(t, 200, w.Code)
	require.Equal(t, strconv.Itoa(7*(fakeSymbol+symbolHeader)), w.Header().Get("Content-Length"))
	require.EqualValues(t, 1000, o.nextFresh.Load())
	require.Equal(t, 7*(fakeSymbol+symbolHeader), get(h, testPath+"?SBN=0&count=7").Body.Len())
	require.EqualValues(t, 1007, o.nextFresh.Load())
}

func TestNotModified(t *testing.T) {
	o := newFakeObject(100)
	h := &Handler{Backend: serving(o)}
	for condition, status := range map[string]int{
		o.etag: 304, "W/" + o.etag: 304, `"x", ` + o.etag: 304, "*": 304, `"x"`: 200, "": 200,
	} {
		w := get(h, testPath, "If-None-Match", condition)
		require.Equal(t, status, w.Code, condition)
		require.Equal(t, o.etag, w.Header().Get("ETag"))
		if status == 304 {
			require.Zero(t, w.Body.Len())
		}
	}
}

func FuzzHandler(f *testing.F) {
	f.Add(testPath, "", "bytes=1-2,5-", `"0"`, "1.1 a")
	f.Add(testPath, "SBN=0;ESI=1-5&SBN=1&count=3", "", "", "")
	f.Add("/live/seg-1.m4s", "", "bytes=-5", "", "1.1 (\\")
	f.Add("/repair", "fileURI=http://a/live/seg-1.m4s&Content-MD5=eA%3D%3D&SBN=0;ESI=1+5&SBN=2-3", "", "", "")
	f.Fuzz(func(t *testing.T, path, query, ranges, ifMatch, via string) {
		o := newFakeObject(3050)
		h := &Handler{Backend: serving(o), NodeID: "n", MaxSymbols: 50}
		r := httptest.NewRequest(http.MethodGet, testPath, nil)
		r.URL.Path, r.URL.RawQuery = path, query
		for name, value := range map[string]string{"Range": ranges, "If-Match": ifMatch, "Via": via} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch contentType := w.Header().Get("Content-Type"); {
		case w.Code == 200 && contentType == SymbolsType:
			require.LessOrEqual(t, w.Body.Len(), 50*(fakeSymbol+symbolHeader))
		case w.Code == 200 && contentType == ContainerType:
			require.LessOrEqual(t, w.Body.Len(), 50*(fakeSymbol+groupHeader))
		case w.Code == 200:
			require.True(t, bytes.Equal(o.data, w.Body.Bytes()))
		case w.Code == 206 && !strings.HasPrefix(contentType, "multipart/"):
			rg, length, err := parseContentRange(w.Header().Get("Content-Range"))
			require.NoError(t, err)
			require.EqualValues(t, 3050, length)
			require.True(t, bytes.Equal(o.data[rg.Start:rg.End], w.Body.Bytes()))
		case w.Code == 206:
		default:
			require.Contains(t, []int{400, 404, 412, 413, 416, 422, 508}, w.Code)
			require.LessOrEqual(t, w.Body.Len(), 512+len("...\n"))
		}
		if w.Code < 300 {
			require.Equal(t, w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()))
		}
	})
}
