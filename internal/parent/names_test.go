package parent_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

// Names come as they are, whatever they would mean in a URL, also from a parent whose base has a path of its own. Those that
// lead elsewhere are not asked for.
func TestOddNames(t *testing.T) {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	defer store.Close()
	svc := service.New(service.Config{Name: "live", Store: store})
	requests := 0
	objects := edge.New(edge.Config{Store: store, Services: func(name string) *service.Service {
		if name == "live" {
			return svc
		}
		return nil
	}})
	for _, prefix := range []string{"", "/base"} {
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			requests++
			if prefix == "" {
				objects.ServeHTTP(w, r)
				return
			}
			http.StripPrefix("/base", objects).ServeHTTP(w, r)
		})
		server := httptest.NewServer(mux)
		c := parent.New(parent.Config{Node: "child"})
		base, err := url.Parse(server.URL + prefix)
		require.NoError(t, err)
		require.NoError(t, c.SetParents([]*url.URL{base}))
		ask := func(name string) (string, error) {
			s := &sink{}
			err := c.Fetch(t.Context(), service.Request{Service: "live", Name: name}, s.begin)
			return s.String(), err
		}
		for i, name := range []string{
			"plain.m4s", "a b.m4s", "a?b=c.m4s", "a#b.m4s", "100%.m4s", "50%41.m4s", "%2e%2e/x.m4s", "a%2Fb.m4s", "ü/ñ 你好.m4s",
			"a+b.m4s", "a;b,c.m4s", "a:b.m4s", "a&b='\"<>.m4s", "...", "..x/x..", "*", "~", "a=b/c@d.m4s",
		} {
			body := "the octets of " + name
			o, err := svc.Begin(service.Meta{Name: name, Generation: uint64(i + 1), Kind: service.Other})
			if prefix == "" {
				require.NoError(t, err)
				require.NoError(t, o.Write([]byte(body), true))
				require.NoError(t, o.Commit())
			}
			got, err := ask(name)
			require.NoError(t, err, "%q at %q", name, prefix)
			require.Equal(t, body, got)
		}
		before := requests
		for _, name := range []string{"", ".", "..", "../live/plain.m4s", "a/../plain.m4s", "./plain.m4s", "a//b", "/plain.m4s", "a/", "a\\b", "a\nb", "\xff"} {
			got, err := ask(name)
			require.ErrorIs(t, err, service.ErrNotFound, "%q", name)
			require.Empty(t, got)
		}
		require.Equal(t, before, requests, "nobody is asked for them")
		c.Close()
		server.Close()
	}
}
