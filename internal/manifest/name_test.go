package manifest

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResolve(t *testing.T) {
	for _, c := range []struct{ base, ref, name string }{
		{"index.m3u8", "seg_00000.m4s", "seg_00000.m4s"},
		{"v/index.m3u8", "seg.m4s", "v/seg.m4s"},
		{"v/index.m3u8", "../a/seg.m4s?sk=1#t", "a/seg.m4s"},
		{"v/index.m3u8", "./seg%201.m4s", "v/seg 1.m4s"},
		{"v/index.m3u8", "a//b", "v/a/b"},
		{"index.m3u8", "...", "..."},
	} {
		name, ok := Resolve(c.base, c.ref)
		require.True(t, ok, c.ref)
		require.Equal(t, c.name, name)
	}
	for _, ref := range []string{"../x", "v/../../x", "/x", "//h/x", "http://h/x", "data:x", "%2e%2e/x", "a%00", "%zz", "a%5cb", "..", strings.Repeat("a", 513)} {
		_, ok := Resolve("index.m3u8", ref)
		require.False(t, ok, ref)
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("a/b.mpd", "../c")
	f.Add("b.mpd", "%2e%2e/./c//d?x")
	f.Fuzz(func(t *testing.T, base, ref string) {
		if !ValidName(base) {
			return
		}
		name, ok := Resolve(base, ref)
		if !ok {
			return
		}
		require.True(t, ValidName(name))
		require.Equal(t, name, path.Clean(name))
		require.True(t, strings.HasPrefix(path.Join("/channel", name), "/channel/"))
	})
}

func TestJoinURL(t *testing.T) {
	for _, c := range []struct{ base, name, want string }{
		{"http://h:8081", "a.m4s", "http://h:8081/live/a.m4s"},
		{"http://h:8081/", "v/a b?c#d%.m4s", "http://h:8081/live/v/a%20b%3Fc%23d%25.m4s"},
		{"http://h/x%2Fy/", "ü", "http://h/x%2Fy/live/%C3%BC"},
		{"http://h/x", "", "http://h/x/live"},
		{"http://h", "%2e%2e", "http://h/live/%252e%252e"},
	} {
		base, err := url.Parse(c.base)
		require.NoError(t, err)
		u := JoinURL(base, "/live/", c.name)
		require.Equal(t, c.want, u.String())
		require.True(t, strings.HasSuffix(u.Path, c.name))
		require.Equal(t, c.base, base.String(), "the base stays")
	}
}
