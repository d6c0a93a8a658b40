package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHandler(t *testing.T) {
	s := openStore(t, Config{})
	put(t, s, Key{"news", "video/seg-1.m4s"}, 1, []byte("abc"))
	put(t, s, Key{"news", "a b%2f.mpd"}, 1, []byte("mpd"))
	all := serve(t, &Handler{Store: s, Options: ServeOptions{Node: "relay 1"}})
	one := serve(t, http.StripPrefix("/live", &Handler{Store: s, Service: "news"}))
	hook := serve(t, &Handler{Store: s, Key: func(r *http.Request) (Key, bool) {
		return Key{"news", r.URL.Query().Get("n")}, r.URL.Path == "/get"
	}})
	for _, tt := range []struct {
		url  string
		code int
		body string
	}{
		{all.URL + "/news/video/seg-1.m4s", 200, "abc"},
		{all.URL + "/news/video/seg-1.m4s?CMCD=x", 200, "abc"},
		{all.URL + "/news/a%20b%252f.mpd", 200, "mpd"},
		{all.URL + "/news/none.m4s", 404, "Not Found\n"},
		{all.URL + "/news/", 404, "Not Found\n"},
		{all.URL + "/news", 404, "Not Found\n"},
		{all.URL + "/", 404, "Not Found\n"},
		{all.URL + "/x/" + strings.Repeat("n", MaxName+1), 404, "Not Found\n"},
		{one.URL + "/live/video/seg-1.m4s", 200, "abc"},
		{one.URL + "/live/news/video/seg-1.m4s", 404, "Not Found\n"},
		{hook.URL + "/get?n=video/seg-1.m4s", 200, "abc"},
		{hook.URL + "/video/seg-1.m4s", 404, "Not Found\n"},
		{hook.URL + "/get", 404, "Not Found\n"},
	} {
		resp, body := mustGet(t, "GET", tt.url)
		require.Equal(t, tt.code, resp.StatusCode, tt.url)
		require.Equal(t, tt.body, string(body))
		requireCommon(t, resp)
		if tt.code == 404 {
			require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
			require.Empty(t, resp.Header.Get("Etag"))
		}
		head, body := mustGet(t, "HEAD", tt.url)
		require.Equal(t, tt.code, head.StatusCode)
		require.Empty(t, body)
		requireCommon(t, head)
		if strings.HasPrefix(tt.url, all.URL) && tt.code == 200 {
			require.Equal(t, `"relay 1"; hit`, resp.Header.Get("Cache-Status"))
		}
	}
	require.Empty(t, s.watches)
	require.Len(t, s.Services(), 1) // what was asked for in vain leaves nothing
}

type statusError int

func (e statusError) Error() string   { return "status" }
func (e statusError) StatusCode() int { return int(e) }

func TestHandlerResolve(t *testing.T) {
	s := openStore(t, Config{})
	var resolve func(context.Context, Key) (*Object, error)
	srv := serve(t, &Handler{
		Store: s, Options: ServeOptions{Node: "beacon"},
		Resolve: func(ctx context.Context, key Key) (*Object, error) { return resolve(ctx, key) },
	})
	for _, tt := range []struct {
		err  error
		code int
	}{
		{fmt.Errorf("parent: %w", ErrNotFound), 404},
		{nil, 404},
		{context.DeadlineExceeded, 503},
		{ErrClosed, 503},
		{ErrNoSpace, 503},
		{&abortError{}, 503},
		{errors.New("parent is down"), 502},
		{statusError(429), 429},
		{statusError(200), 502},
	} {
		resolve = func(context.Context, Key) (*Object, error) { return nil, tt.err }
		resp, body := mustGet(t, "GET", srv.URL+"/news/x.m3u8")
		require.Equal(t, tt.code, resp.StatusCode, tt.err)
		require.Equal(t, http.StatusText(tt.code)+"\n", string(body))
		require.Equal(t, "beacon; fwd=uri-miss", resp.Header.Get("Cache-Status"))
		require.Equal(t, tt.code == 503, resp.Header.Get("Retry-After") != "")
		requireCommon(t, resp)
	}

	// A fill that streams: the first request sees it grow, the second is a hit.
	resolve = func(ctx context.Context, key Key) (*Object, error) {
		return s.Fetch(ctx, key, func(_ context.Context, begin func(Meta) (*Writer, error)) error {
			w, err := begin(Meta{Generation: 3})
			if err != nil {
				return err
			}
			_, err = io.WriteString(w, "#EXTM3U")
			return err
		})
	}
	resp, body := mustGet(t, "GET", srv.URL+"/news/x.m3u8")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "#EXTM3U", string(body))
	require.Equal(t, "beacon; fwd=uri-miss", resp.Header.Get("Cache-Status"))
	require.Equal(t, typeHLS, resp.Header.Get("Content-Type"))
	resp, _ = mustGet(t, "GET", srv.URL+"/news/x.m3u8")
	require.Equal(t, "beacon; hit", resp.Header.Get("Cache-Status"))

	// A name that is due: the request waits for it.
	resolve = func(ctx context.Context, key Key) (*Object, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return s.Await(ctx, key, 0)
	}
	ch := make(chan []byte)
	go func() {
		_, body, _ := get(t, "GET", srv.URL+"/news/next.m4s")
		ch <- body
	}()
	waitFor(t, func() bool { s.mu.RLock(); defer s.mu.RUnlock(); return len(s.watches) == 1 })
	put(t, s, Key{"news", "next.m4s"}, 1, []byte("due"))
	require.Equal(t, "due", string(<-ch))
}

func TestHandlerResolvesWhatWasEvictedUnderItsHands(t *testing.T) {
	s := openStore(t, Config{Memory: Limit{Objects: 1}, LiveWindow: -1})
	old := put(t, s, key, 1, []byte("old"))
	put(t, s, Key{"news", "other"}, 1, nil) // evicts it
	calls := 0
	srv := serve(t, &Handler{Store: s, Resolve: func(context.Context, Key) (*Object, error) {
		if calls++; calls == 1 {
			return old, nil
		}
		return put(t, s, key, 2, []byte("new")), nil
	}})
	_, body := mustGet(t, "GET", srv.URL+"/"+key.String())
	require.Equal(t, "new", string(body))
	require.Equal(t, 2, calls)

	resp, _ := mustGet(t, "GET", serve(t, handlerOf(old, ServeOptions{})).URL)
	require.Equal(t, 503, resp.StatusCode)
}

func TestServeHTTP2(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	write(t, w, []byte("abc"))
	srv := httptest.NewUnstartedServer(&Handler{Store: s})
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	client := srv.Client()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	resp, err := client.Get(srv.URL + "/" + key.String())
	require.NoError(t, err)
	require.Equal(t, 2, resp.ProtoMajor)
	p := make([]byte, 3)
	_, err = io.ReadFull(resp.Body, p)
	require.NoError(t, err)
	write(t, w, []byte("def"))
	_, err = io.ReadFull(resp.Body, p)
	require.NoError(t, err)
	require.Equal(t, "def", string(p))
	w.Abort(nil)
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err) // the stream is reset, not ended
	resp.Body.Close()
}

func TestStructuredNames(t *testing.T) {
	for in, want := range map[string]string{
		"relay": "relay", "relay-1.example": "relay-1.example", "1relay": `"1relay"`, "a b": `"a b"`, `a"\`: `"a\"\\"`, "é\n": `""`, "": "",
	} {
		require.Equal(t, want, sfName(in))
	}
}

func TestETagLists(t *testing.T) {
	const tag = `"0000000000000001"`
	for _, tt := range []struct {
		field        string
		weak, strong bool
	}{
		{tag, true, true}, {"W/" + tag, true, false}, {"*", true, true}, {` "a" , ` + tag, true, true},
		{`"a,` + tag, false, false}, {`"a", W/"b",,` + tag + ",", true, true}, {"0000000000000001", false, false},
		{`"0000000000000001`, false, false}, {"", false, false}, {`x, ` + tag, false, false}, {"W/", false, false}, {"w/" + tag, false, false},
	} {
		require.Equal(t, tt.weak, matchETag([]string{tt.field}, tag, true), tt.field)
		require.Equal(t, tt.strong, matchETag([]string{tt.field}, tag, false), tt.field)
	}
}
