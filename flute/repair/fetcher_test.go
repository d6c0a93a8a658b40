package repair

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// contentServer is the standard library's server of files, which knows nothing of us.
func contentServer(t *testing.T, o *fakeObject, headers func(http.Header)) *testServer {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", o.etag)
		if headers != nil {
			headers(w.Header())
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	}))
}

func newPlan(t *testing.T, config PlanConfig, urls ...string) *Plan {
	t.Helper()
	for i, u := range urls {
		config.Procedure.Sources = append(config.Procedure.Sources, Source{URL: u, Tier: i})
	}
	config.Start = time.Now()
	if config.Retry.Wait == 0 {
		config.Retry = Retry{time.Millisecond, time.Millisecond}
	}
	p, err := NewPlan(config)
	require.NoError(t, err)
	return p
}

func TestFetcher(t *testing.T) {
	o := newFakeObject(100_000)
	other := newFakeObject(100_000)
	other.etag = `"other"`
	right, changed := contentServer(t, o, nil), contentServer(t, other, nil)
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	var f Fetcher
	defer f.Close()

	for _, c := range []struct {
		name   string
		config PlanConfig
		want   []Range
	}{
		{"one range", PlanConfig{Missing: []Range{{100, 200}}}, []Range{{100, 200}}},
		{"several ranges", PlanConfig{Missing: []Range{{100, 200}, {20_000, 20_001}, {99_000, ToEnd}}}, []Range{{100, 200}, {20_000, 20_001}, {99_000, 100_000}}},
		{"all", PlanConfig{}, []Range{{0, 100_000}}},
		{"only the end is not known", PlanConfig{Missing: []Range{{100_000, ToEnd}}}, nil},
		{"a chunk", PlanConfig{Missing: []Range{{0, 10}, {50, ToEnd}}, MergeGap: -1, Procedure: Procedure{Offset: 99_900}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Procedure.ETag = o.etag
			plan := newPlan(t, c.config, missing.URL, changed.URL, right.URL)
			var parts []Part
			got, err := f.Fetch(context.Background(), plan, func(p Part) { parts = append(parts, p) })
			require.NoError(t, err)
			if c.name == "a chunk" {
				requireParts(t, o.data[99_900:], &got.Answer, Range{0, 10}, Range{50, 100})
				require.EqualValues(t, 100, got.Length)
				return
			}
			requireParts(t, o.data, &got.Answer, c.want...)
			require.EqualValues(t, 100_000, got.Length)
			if len(got.Parts) > 0 {
				require.Equal(t, o.etag, got.ETag)
				for _, p := range got.Parts {
					require.Equal(t, right.URL, p.Parent, "nothing of the other version")
				}
			}
			require.Len(t, parts, len(got.Parts))
		})
	}

	// A server that ignores ranges brings all of it.
	ignorant := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(o.data) }))
	got, err := f.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{5, 9}}}, ignorant.URL), nil)
	require.NoError(t, err)
	requireParts(t, o.data, &got.Answer, Range{5, 9})
	got, err = f.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{5, 9}}, Procedure: Procedure{Offset: 500}}, ignorant.URL), nil)
	require.NoError(t, err)
	requireParts(t, o.data[500:], &got.Answer, Range{5, 9})
	plan := newPlan(t, PlanConfig{Missing: []Range{{5, 9}}, Procedure: Procedure{ETag: o.etag}}, ignorant.URL)
	_, err = f.Fetch(context.Background(), plan, nil)
	require.ErrorIs(t, err, ErrChanged, "without a tag it may be anything")
}

// A server may join ranges that lie close together.
func TestFetcherTakesJoinedRanges(t *testing.T) {
	o := newFakeObject(1000)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "bytes=10-19,30-39", r.Header.Get("Range"))
		r.Header.Set("Range", "bytes=10-39")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	}))
	var f Fetcher
	defer f.Close()
	got, err := f.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{10, 20}, {30, 40}}, MergeGap: -1}, server.URL), nil)
	require.NoError(t, err)
	requireParts(t, o.data, &got.Answer, Range{10, 40})
}

// But what was not asked for is not taken: memory is bounded by that.
func TestFetcherTakesNoMoreThanGaps(t *testing.T) {
	o := newFakeObject(100_000)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Range", "bytes=10-99999")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	}))
	var f Fetcher
	defer f.Close()
	_, err := f.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{10, 20}, {99_990, 100_000}}}, server.URL), nil)
	require.ErrorIs(t, err, ErrAnswer)
}

func TestFetcherWaitsForOverload(t *testing.T) {
	o := newFakeObject(1000)
	refusals := 2
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusals--; refusals >= 0 {
			w.Header().Set("Retry-After-Ms", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	}))
	var f Fetcher
	defer f.Close()
	got, err := f.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{1, 3}}}, server.URL), nil)
	require.NoError(t, err)
	requireParts(t, o.data, &got.Answer, Range{1, 3})
	refusals = 3
	_, err = f.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{1, 3}}}, server.URL), nil)
	var status *StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, 503, status.Status)
}

func TestFetcherSymbols(t *testing.T) {
	o := newFakeObject(3050)
	server := serve(t, &Handler{Backend: serving(o)})
	procedure, err := PostFileRepair{ServiceURIs: []string{server.URL + "/script"}}.Procedure(File{ContentLocation: o.name})
	require.NoError(t, err)
	config := PlanConfig{
		Procedure: procedure, Missing: []Range{{300, 500}}, Scheme: Scheme{RaptorQ, fakeSymbol},
		Blocks: []BlockSymbols{{SBN: 0, ESIs: []ESIRange{{3, 4}}}, {SBN: 1, ESIs: []ESIRange{{77, 77}}}},
	}
	var f Fetcher
	defer f.Close()
	got, err := f.Fetch(context.Background(), newPlan(t, config), nil)
	require.NoError(t, err)
	require.Equal(t, []Symbol{{0, 3, fakeSymbolData(0, 3)}, {0, 4, fakeSymbolData(0, 4)}, {1, 77, fakeSymbolData(1, 77)}}, got.Symbols)
	require.Empty(t, got.Parts)

	for body, want := range map[string]error{
		"\x00\x01\x00\x00\x00\x03short": ErrAnswer,
		strings.Repeat("x", 4*106):      ErrLimit,
	} {
		wrong := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ContainerType+"; x=y")
			_, _ = w.Write([]byte(body))
		}))
		config.Procedure.Sources[0].URL = wrong.URL + "?fileURI=a"
		_, err = f.Fetch(context.Background(), newPlan(t, config), nil)
		require.ErrorIs(t, err, want)
	}
}

// A file of MBMS without FEC: what is missing is asked for as symbols and comes as octets.
func TestFetcherNoCodeSymbols(t *testing.T) {
	o := newFakeObject(300_000)
	object, err := NoCode(o, 1436, 64)
	require.NoError(t, err)
	var queries []string
	h := &Handler{Backend: &fakeBackend{byName: map[string]Object{"news/latest.3gp": object}}}
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery)
		h.ServeHTTP(w, r)
	}))
	procedure, err := PostFileRepair{ServiceURIs: []string{server.URL + "/script"}}.Procedure(
		File{ContentLocation: "http://www.example.com/news/latest.3gp"})
	require.NoError(t, err)
	var f Fetcher
	defer f.Close()
	config := PlanConfig{
		Procedure: procedure, Partition: Partition{300_000, 1436, 64}, MergeGap: -1,
		Missing: []Range{{1436, 2872}, {53*1436 - 1, 53*1436 + 1}, {299_000, ToEnd}},
	}
	got, err := f.Fetch(context.Background(), newPlan(t, config), nil)
	require.NoError(t, err)
	requireParts(t, o.data, &got.Answer, Range{1436, 2872}, Range{52 * 1436, 54 * 1436}, Range{299_000, 300_000})
	require.Equal(t, []string{"fileURI=http://www.example.com/news/latest.3gp&SBN=0;ESI=1,52&SBN=1;ESI=0&SBN=3;ESI=51"}, queries)
	require.EqualValues(t, 300_000, got.Length)
	require.Empty(t, got.Symbols)
}

func TestFetcherStaysWhereItMay(t *testing.T) {
	o := newFakeObject(100)
	target := contentServer(t, o, nil)
	redirect := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusFound))
	defer redirect.Close()
	var free Fetcher
	defer free.Close()
	got, err := free.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{1, 2}}}, redirect.URL), nil)
	require.NoError(t, err)
	requireParts(t, o.data, &got.Answer, Range{1, 2})

	bound := Fetcher{Allow: func(u *url.URL) bool { return "http://"+u.Host != target.URL }}
	defer bound.Close()
	for _, from := range []string{redirect.URL, target.URL} {
		_, err = bound.Fetch(context.Background(), newPlan(t, PlanConfig{Missing: []Range{{1, 2}}}, from), nil)
		require.ErrorIs(t, err, errForbidden)
	}
	round := serve(t, http.RedirectHandler("/", http.StatusFound))
	_, err = free.Fetch(context.Background(), newPlan(t, PlanConfig{}, round.URL), nil)
	var status *StatusError
	require.ErrorAs(t, err, &status)
	require.Len(t, round.ranges, maxRedirects+1)
}

func TestFetcherEndsWithContext(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	started := make(chan struct{})
	server := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	}))
	go func() { <-started; cancel(cause) }()
	var f Fetcher
	defer f.Close()
	_, err := f.Fetch(ctx, newPlan(t, PlanConfig{}, server.URL), nil)
	require.ErrorIs(t, err, cause)
	_, err = f.Fetch(ctx, newPlan(t, PlanConfig{Procedure: Procedure{Window: Window{Offset: time.Hour}}}, server.URL), nil)
	require.ErrorIs(t, err, cause, "in the back-off")
}
