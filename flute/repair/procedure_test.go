package repair

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWindow(t *testing.T) {
	w := Window{5 * time.Second, 20 * time.Second}
	require.Equal(t, 5*time.Second, w.Draw(0))
	require.Equal(t, 15*time.Second, w.Draw(0.5))
	require.Less(t, w.Draw(0.9999999), 25*time.Second)
	require.Zero(t, Window{}.Draw(0.7))
	require.Zero(t, Window{-1, -1}.Draw(0.7))
}

func TestRetry(t *testing.T) {
	r := Retry{Wait: time.Second, Max: 10 * time.Second}
	for failures, want := range map[int]time.Duration{0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 10, 100: 10} {
		require.Equal(t, want*time.Second, r.Draw(failures, 0, 0), failures)
		require.Equal(t, want*1500*time.Millisecond, r.Draw(failures, 0, 0.5), failures)
	}
	require.Equal(t, 6*time.Second, r.Draw(1, 6*time.Second, 0))
	require.Equal(t, 10*time.Second, r.Draw(1, time.Hour, 0), "a server cannot put us off for ever")
	require.Equal(t, time.Second, Retry{}.Draw(1, 0, 0))
}

func TestPostFileRepair(t *testing.T) {
	until := time.Date(2026, 11, 29, 16, 0, 0, 0, time.UTC)
	p, err := PostFileRepair{
		ServiceURIs: []string{"http://mbmsrepair1.example.com/path/repair_script", "https://mbmsrepair2.example.com/r?x=1", "sip:x@y"},
		OffsetTime:  5 * time.Second, RandomTimePeriod: 10 * time.Second,
	}.Procedure(File{
		ContentLocation: "http://www.example.com/a b.3gp", ContentMD5: "1B2M2Y8AsgTpgAmY7PhCfg==", ETag: "xyz",
		BaseURL1: "http://cdn.example.com/x/y/", BaseURL2: "http://other.example.com",
		Alternates1: []Alternate{{URLs: []string{"../a.3gp", "//b.example.com/a.3gp"}, Until: until}, {}},
		Alternates2: []Alternate{{URLs: []string{"a.3gp", "ftp://c/a", " http://d/a#f", ""}}},
	})
	require.NoError(t, err)
	require.Equal(t, Procedure{
		Window: Window{5 * time.Second, 10 * time.Second},
		ETag:   `"xyz"`,
		Sources: []Source{
			{URL: "http://cdn.example.com/x/a.3gp", Until: until},
			{URL: "http://b.example.com/a.3gp", Until: until},
			{URL: "http://other.example.com/a.3gp", Tier: 1},
			{URL: "http://d/a", Tier: 1},
			{URL: "http://mbmsrepair1.example.com/path/repair_script?fileURI=http://www.example.com/a%20b.3gp&Content-MD5=1B2M2Y8AsgTpgAmY7PhCfg%3D%3D", Form: Symbols, Tier: 2},
			{URL: "https://mbmsrepair2.example.com/r?x=1&fileURI=http://www.example.com/a%20b.3gp&Content-MD5=1B2M2Y8AsgTpgAmY7PhCfg%3D%3D", Form: Symbols, Tier: 2},
		},
	}, p)
	// ATSC: no service URIs, and here nothing else.
	_, err = PostFileRepair{RandomTimePeriod: time.Second}.Procedure(File{ContentLocation: "a", Alternates1: []Alternate{{URLs: []string{"relative"}}}})
	require.ErrorIs(t, err, ErrNoSource)
}

func TestUnicastRepair(t *testing.T) {
	u := UnicastRepair{
		BaseURLs:               []WeightedURL{{"http://a.example/base/", 3}, {"http://b.example/", 0}, {"http://c.example/q?", 1}},
		TransportObjectBaseURI: "http://origin.example/live/",
		FixedBackOffPeriod:     10 * time.Millisecond, RandomBackOffPeriod: time.Second,
	}
	p, err := u.Procedure("http://origin.example/live/v1/seg-7.m4s", `"e"`)
	require.NoError(t, err)
	require.Equal(t, Procedure{
		Window: Window{10 * time.Millisecond, time.Second}, ETag: `"e"`,
		Sources: []Source{{URL: "http://a.example/base/v1/seg-7.m4s", Weight: 3}, {URL: "http://c.example/q?v1/seg-7.m4s", Weight: 1}},
	}, p)
	_, err = u.Procedure("http://elsewhere.example/live/v1/seg-7.m4s", "")
	require.ErrorIs(t, err, ErrNoSource, "it is not below the base")

	u.BaseURLs = nil
	p, err = u.Procedure("http://origin.example/live/segment1234.m4s?isLast&hasRandomAccessPoint#154360", "W/\"e\"")
	require.NoError(t, err)
	require.Equal(t, []Source{{URL: "http://origin.example/live/segment1234.m4s"}}, p.Sources)
	require.EqualValues(t, 154360, p.Offset)
	require.Empty(t, p.ETag, "a weak tag does not say that octets are the same")
	_, err = u.Procedure("tag:no.url", "")
	require.ErrorIs(t, err, ErrNoSource)
}

func TestSplitChunkURI(t *testing.T) {
	for location, want := range map[string]struct {
		uri    string
		offset int64
	}{
		"http://a/s.m4s":                            {"http://a/s.m4s", 0},
		"http://a/s.m4s?isLast":                     {"http://a/s.m4s?isLast", 0}, // no chunk
		"http://a/s.m4s#0":                          {"http://a/s.m4s", 0},
		"http://a/s.m4s?isLast#12":                  {"http://a/s.m4s", 12},
		"http://a/s.m4s?t=1&isLast&u=2#12":          {"http://a/s.m4s?t=1&u=2", 12},
		"http://a/s.m4s#x":                          {"http://a/s.m4s", 0},
		"http://a/s.m4s#99999999999999999999999999": {"http://a/s.m4s", 0},
	} {
		uri, offset := SplitChunkURI(location)
		require.Equal(t, want.uri, uri, location)
		require.Equal(t, want.offset, offset, location)
	}
}

func TestStrongTag(t *testing.T) {
	for tag, want := range map[string]string{
		"": "", `"a"`: `"a"`, "a": `"a"`, `W/"a"`: "", ` "a" `: `"a"`, `"`: "", "a b": "", "a\r\nX: y": "", `"a"b"`: "", `""`: `""`,
	} {
		require.Equal(t, want, strongTag(tag), tag)
	}
}
