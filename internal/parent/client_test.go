package parent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/service"
)

const body = "0123456789abcdefghij"

// answer serves body with a generation, whole or broken off after cut octets.
func answer(t *testing.T, generation uint64, cut int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/live/a/1.m4s", r.URL.Path)
		w.Header().Set("Etag", ETag(generation))
		b := body
		if rg := r.Header.Get("Range"); rg != "" && r.Header.Get("If-Match") == ETag(generation) {
			var from int
			_, err := fmt.Sscanf(rg, "bytes=%d-", &from)
			require.NoError(t, err)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
			b = body[from:]
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}
		if cut > 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			_, _ = w.Write([]byte(b[:cut]))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(b))
	}
}

// fetch asks the parents through a store, as a service does.
func fetchFrom(t *testing.T, handlers ...http.HandlerFunc) (*cache.Object, *Client, error) {
	t.Helper()
	c := New(Config{Node: "child"})
	t.Cleanup(c.Close)
	var urls []*url.URL
	for _, h := range handlers {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		u, err := url.Parse(srv.URL)
		require.NoError(t, err)
		urls = append(urls, u)
	}
	require.NoError(t, c.SetParents(urls))
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	o, err := store.Fetch(t.Context(), cache.Key{Service: "live", Name: "a/1.m4s"},
		func(ctx context.Context, begin func(cache.Meta) (*cache.Writer, error)) error {
			return c.Fetch(ctx, service.Request{Service: "live", Name: "a/1.m4s"}, func(m service.Meta) (io.Writer, error) {
				return begin(cache.Meta{Generation: m.Generation, ContentType: m.ContentType})
			})
		})
	return o, c, err
}

func content(t *testing.T, o *cache.Object) (string, error) {
	t.Helper()
	err := o.WaitPrefix(t.Context(), int64(len(body)))
	b := make([]byte, len(body))
	n, _ := o.ReadAt(b, 0)
	return string(b[:n]), err
}

func TestFetchFromTheFirstThatHasIt(t *testing.T) {
	missing := func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
	broken := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	o, c, err := fetchFrom(t, missing, broken, answer(t, 5, 0))
	require.NoError(t, err)
	got, err := content(t, o)
	require.NoError(t, err)
	require.Equal(t, body, got)
	require.EqualValues(t, 5, o.Meta().Generation)
	require.EqualValues(t, len(body), c.Octets())
	require.EqualValues(t, 3, c.Requests())
}

func TestFetchGoesOnWithTheNextParent(t *testing.T) {
	o, _, err := fetchFrom(t, answer(t, 5, 7), answer(t, 5, 0))
	require.NoError(t, err)
	got, err := content(t, o)
	require.NoError(t, err)
	require.Equal(t, body, got)
}

// then answers once by first, and by rest from then on.
func then(first, rest http.HandlerFunc) http.HandlerFunc {
	var asked atomic.Bool
	return func(w http.ResponseWriter, r *http.Request) {
		if asked.Swap(true) {
			rest(w, r)
			return
		}
		first(w, r)
	}
}

func TestFetchGoesOnWithTheSameParent(t *testing.T) {
	for _, others := range [][]http.HandlerFunc{nil, {answer(t, 6, 0)}, {http.NotFound}} {
		o, c, err := fetchFrom(t, append([]http.HandlerFunc{then(answer(t, 5, 7), answer(t, 5, 0))}, others...)...)
		require.NoError(t, err)
		got, err := content(t, o)
		require.NoError(t, err)
		require.Equal(t, body, got)
		require.EqualValues(t, 2+len(others), c.Requests())
	}
}

func TestFetchNeverMixesGenerations(t *testing.T) {
	o, _, err := fetchFrom(t, then(answer(t, 5, 7), http.NotFound), answer(t, 6, 0))
	require.NoError(t, err)
	got, err := content(t, o)
	require.ErrorIs(t, err, cache.ErrAborted)
	require.Equal(t, body[:7], got)
}

func TestFetchWithoutAnswer(t *testing.T) {
	_, _, err := fetchFrom(t)
	require.ErrorIs(t, err, service.ErrNotFound)
	_, _, err = fetchFrom(t, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	require.ErrorIs(t, err, service.ErrNotFound)
	_, _, err = fetchFrom(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("no entity tag")) })
	require.Error(t, err)
}

func TestFetchNamesItself(t *testing.T) {
	var via string
	_, _, err := fetchFrom(t, func(w http.ResponseWriter, r *http.Request) {
		via = r.Header.Get("Via")
		answer(t, 1, 0)(w, r)
	})
	require.NoError(t, err)
	require.Equal(t, "1.1 child", via)
}

func TestFetchTellsHowLongItMayWait(t *testing.T) {
	ask := func(ctx context.Context) (wait string) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wait = r.Header.Get(WaitHeader)
			http.NotFound(w, r)
		}))
		defer srv.Close()
		c := New(Config{Node: "child"})
		defer c.Close()
		u, err := url.Parse(srv.URL)
		require.NoError(t, err)
		require.NoError(t, c.SetParents([]*url.URL{u}))
		require.ErrorIs(t, c.Fetch(ctx, service.Request{Service: "live", Name: "1.m4s"}, nil), service.ErrNotFound)
		return wait
	}
	require.Empty(t, ask(t.Context()))
	require.Equal(t, "0", ask(service.WithPatience(t.Context(), 0)))
	ms, err := strconv.Atoi(ask(service.WithPatience(t.Context(), time.Minute)))
	require.NoError(t, err)
	require.InDelta(t, 60_000, ms, 10_000)
}

func TestETag(t *testing.T) {
	g, ok := ParseETag(ETag(0x1234))
	require.True(t, ok)
	require.EqualValues(t, 0x1234, g)
	for _, bad := range []string{"", `"`, `W/"0000000000001234"`, `"00000000000012g4"`, `"1234"`, `"00000000000012345"`} {
		_, ok := ParseETag(bad)
		require.False(t, ok, bad)
	}
}
