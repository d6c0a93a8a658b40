package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noSleep is a clock on which waiting takes no time; it notes what was asked.
type noSleep struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (s *noSleep) sleep(ctx context.Context, d time.Duration) error {
	s.mu.Lock()
	s.waits = append(s.waits, d)
	s.mu.Unlock()
	return context.Cause(ctx)
}

func newTestClient(t testing.TB, config Config, parents ...string) *Client {
	for _, p := range parents {
		config.Parents = append(config.Parents, Parent{URL: p})
	}
	if config.Sleep == nil {
		config.Sleep = (&noSleep{}).sleep
	}
	c, err := NewClient(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// serve starts a server and notes the header of each request.
type testServer struct {
	*httptest.Server
	mu     sync.Mutex
	ranges []string
}

func serve(t testing.TB, h http.Handler) *testServer {
	s := &testServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// requireParts checks that the answer has all of ranges and no wrong octet.
func requireParts(t *testing.T, data []byte, a *Answer, ranges ...Range) {
	t.Helper()
	require.NotNil(t, a)
	var end int64
	for _, p := range a.Parts {
		require.GreaterOrEqual(t, p.Offset, end)
		end = p.Offset + int64(len(p.Data))
		require.True(t, bytes.Equal(data[p.Offset:end], p.Data))
	}
	require.Empty(t, subtract(ranges, a.covered()))
}

func TestFetch(t *testing.T) {
	o := newFakeObject(200_000)
	server := serve(t, &Handler{Backend: serving(o)})
	client := newTestClient(t, Config{MaxRanges: 2}, server.URL)
	for _, c := range []struct {
		name     string
		ranges   []Range
		requests []string
	}{
		{"whole", nil, []string{""}},
		{"one range", []Range{{5, 1000}}, []string{"bytes=5-999"}},
		{"close ranges", []Range{{30_000, 30_010}, {20_500, 20_510}, {0, 10}}, []string{"bytes=0-9,20500-30009"}},
		{"more ranges than a request takes", []Range{{0, 10}, {20_000, 20_010}, {40_000, 40_010}},
			[]string{"bytes=0-9,20000-20009", "bytes=40000-40009"}},
	} {
		for _, r := range []Request{{ID: testID}, {Name: o.name}, {ID: testID, ETag: o.etag}} {
			t.Run(c.name+" "+r.Name+r.ETag, func(t *testing.T) {
				server.mu.Lock()
				server.ranges = nil
				server.mu.Unlock()
				r.Ranges = c.ranges
				a, err := client.Fetch(context.Background(), r)
				require.NoError(t, err)
				requireParts(t, o.data, a, c.ranges...)
				require.EqualValues(t, len(o.data), a.Length)
				require.Equal(t, o.etag, a.ETag)
				require.Equal(t, o.name, a.Name)
				require.Equal(t, c.requests, server.ranges)
				if c.ranges == nil {
					require.Len(t, a.Parts, 1)
					require.Len(t, a.Parts[0].Data, len(o.data))
				}
			})
		}
	}
	require.EqualValues(t, 15, client.Stats().Requests)
	require.Zero(t, client.Stats().Failures)
	require.EqualValues(t, 3*(200_000+995+10+9510+30), client.Stats().Octets)
}

func TestFetchSymbols(t *testing.T) {
	o := newFakeObject(3050)
	server := serve(t, &Handler{Backend: serving(o)})
	client := newTestClient(t, Config{}, server.URL)
	a, err := client.FetchSymbols(context.Background(), SymbolRequest{ID: testID, Blocks: []BlockSymbols{
		{SBN: 0, ESIs: []ESIRange{{3, 4}}}, {SBN: 2, Count: 3},
	}})
	require.NoError(t, err)
	require.Equal(t, o.etag, a.ETag)
	require.Equal(t, fakeSymbol, a.OTI.SymbolSize())
	require.Equal(t, []Symbol{
		{0, 3, fakeSymbolData(0, 3)}, {0, 4, fakeSymbolData(0, 4)},
		{2, 1000, fakeSymbolData(2, 1000)}, {2, 1001, fakeSymbolData(2, 1001)}, {2, 1002, fakeSymbolData(2, 1002)},
	}, a.Symbols)
	a, err = client.FetchSymbols(context.Background(), SymbolRequest{ID: testID, Blocks: []BlockSymbols{{SBN: 1}}})
	require.NoError(t, err)
	require.Len(t, a.Symbols, fakeBlock)
	require.EqualValues(t, 15, client.Stats().Symbols)

	_, err = client.FetchSymbols(context.Background(), SymbolRequest{ID: testID})
	require.ErrorIs(t, err, ErrRequest)
	_, err = client.FetchSymbols(context.Background(), SymbolRequest{ID: testID, ETag: `"0"`, Blocks: []BlockSymbols{{SBN: 1}}})
	require.ErrorIs(t, err, ErrChanged)
}

func TestFetchErrors(t *testing.T) {
	backend := serving(newFakeObject(100))
	backend.byID[ObjectID{Session: testID.Session}] = newFakeObject(100)
	server := serve(t, &Handler{Backend: backend, MaxRanges: 2})
	client := newTestClient(t, Config{MaxOctets: 1000}, server.URL)
	ctx := context.Background()

	for _, c := range []struct {
		name  string
		serve error
		r     Request
		want  error
	}{
		{"unknown", ErrUnknown, Request{ID: testID}, ErrUnknown},
		{"expired", ErrExpired, Request{ID: testID}, ErrExpired},
		{"not ready", ErrNotReady, Request{ID: testID}, ErrNotReady},
		{"another version", nil, Request{ID: testID, ETag: `"2"`}, ErrChanged},
		{"beyond the end", nil, Request{ID: testID, Ranges: []Range{{90, 110}}}, ErrChanged},
		{"empty range", nil, Request{ID: testID, Ranges: []Range{{5, 5}}}, ErrRequest},
		{"negative range", nil, Request{ID: testID, Ranges: []Range{{-5, 5}}}, ErrRequest},
		{"bad name", nil, Request{Name: "../x"}, ErrRequest},
		{"too much", nil, Request{ID: testID, Ranges: []Range{{0, 1001}}}, ErrLimit},
		{"largest numbers", nil, Request{ID: testID, Ranges: []Range{{0, 1 << 62}, {1<<62 + 20_000, 1<<63 - 2}}}, ErrLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend.fail(c.serve)
			_, err := client.Fetch(ctx, c.r)
			require.ErrorIs(t, err, c.want)
		})
	}
	backend.fail(nil)

	_, err := client.FetchSymbols(ctx, SymbolRequest{Blocks: []BlockSymbols{{}}, ID: ObjectID{Session: testID.Session}})
	require.ErrorIs(t, err, ErrNoSymbols)

	backend.fail(errFake)
	_, err = client.Fetch(ctx, Request{ID: testID})
	var status *StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, 500, status.Status)
	var parent *ParentError
	require.ErrorAs(t, err, &parent)
	require.Equal(t, server.URL, parent.Parent)

	for _, config := range []Config{
		{}, {Parents: []Parent{{URL: "192.0.2.1:8081"}}}, {Parents: []Parent{{URL: "ftp://a/"}}},
		{Parents: []Parent{{URL: "http://a/?x"}}}, {Parents: []Parent{{URL: "http://a", Names: "b"}}},
	} {
		_, err := NewClient(config)
		require.Error(t, err, "%+v", config)
	}
}

func TestParentsInOrder(t *testing.T) {
	whole := newFakeObject(50_000)
	half := newFakeObject(50_000)
	half.growing, half.prefix = true, 25_000
	other := newFakeObject(50_000)
	other.etag = `"0000000000000002"`
	dead := httptest.NewServer(nil)
	dead.Close()
	start := func(o *fakeObject) *testServer {
		backend := &fakeBackend{}
		if o != nil {
			backend = serving(o)
		}
		return serve(t, &Handler{Backend: backend})
	}
	unknown, first, changed, last := start(nil), start(half), start(other), start(whole)
	client := newTestClient(t, Config{}, dead.URL, unknown.URL, first.URL, changed.URL, last.URL)

	a, err := client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{10, 20}}})
	require.NoError(t, err)
	requireParts(t, whole.data, a, Range{10, 20})
	require.Empty(t, changed.ranges, "the one before had all")

	a, err = client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{24_000, 26_000}, {40_000, 40_010}}})
	require.NoError(t, err)
	requireParts(t, whole.data, a, Range{24_000, 26_000}, Range{40_000, 40_010})
	require.Equal(t, []string{"bytes=25000-25999,40000-40009"}, last.ranges, "only what was still missing")
	require.EqualValues(t, len(whole.data), a.Length)

	client = newTestClient(t, Config{}, unknown.URL, first.URL, unknown.URL)
	a, err = client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{24_000, 26_000}}})
	require.ErrorIs(t, err, ErrNotReady, "which says more than 404")
	requireParts(t, whole.data, a, Range{24_000, 25_000})
}

// Without entity tags nothing says that two answers are of one version.
func TestAnswersWithoutTagAreNotMixed(t *testing.T) {
	half, whole := newFakeObject(50_000), newFakeObject(50_000)
	half.growing, half.prefix, half.etag = true, 25_000, ""
	whole.etag = `W/"1"`
	first, second := serve(t, &Handler{Backend: serving(half)}), serve(t, &Handler{Backend: serving(whole)})
	client := newTestClient(t, Config{}, first.URL, second.URL)
	a, err := client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{24_000, 26_000}}})
	require.NoError(t, err)
	requireParts(t, whole.data, a, Range{24_000, 26_000})
	require.Equal(t, []string{"bytes=24000-25999"}, second.ranges)
}

func TestFetchToEnd(t *testing.T) {
	o := newFakeObject(3 << 20)
	size := int64(len(o.data))
	server := serve(t, &Handler{Backend: serving(o)})
	client := newTestClient(t, Config{Rounds: 1, MaxOctets: 5 << 19}, server.URL)
	ctx := context.Background()
	for _, ranges := range [][]Range{
		{{size - 10, ToEnd}},
		{{size / 2, ToEnd}}, // larger than what is reserved at once
		{{5, 10}, {size - 10, ToEnd}},
		{{5, 10}, {100_000, 100_010}, {size - 10, ToEnd}},
	} {
		a, err := client.Fetch(ctx, Request{ID: testID, Ranges: ranges})
		require.NoError(t, err)
		requireParts(t, o.data, a, bounded(ranges, size)...)
		require.Equal(t, size, a.Length)
	}
	a, err := client.Fetch(ctx, Request{ID: testID, Ranges: []Range{{size, ToEnd}}})
	require.NoError(t, err, "nothing is missing, which was not known")
	require.Empty(t, a.Parts)
	require.Equal(t, size, a.Length)
	_, err = client.Fetch(ctx, Request{ID: testID, Ranges: []Range{{size + 1, ToEnd}}})
	require.ErrorIs(t, err, ErrChanged)
	_, err = client.Fetch(ctx, Request{ID: testID, Ranges: []Range{{5, 10}, {size + 1, ToEnd}}})
	require.ErrorIs(t, err, ErrChanged)
	_, err = client.Fetch(ctx, Request{ID: testID, Ranges: []Range{{0, ToEnd}}})
	require.ErrorIs(t, err, ErrLimit)

	// Parents that give a little of an endless object each time.
	endless := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		specs, _, err := parseRange(r.Header.Get("Range"), 1)
		require.NoError(t, err)
		some := Range{specs[0].first, specs[0].first + 1000}
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Range", string(appendContentRange(nil, some, -1)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, some.Len()))
	}))
	client = newTestClient(t, Config{Rounds: 100, MaxOctets: 5000}, endless.URL)
	a, err = client.Fetch(ctx, Request{ID: testID, Ranges: []Range{{0, ToEnd}}})
	require.ErrorIs(t, err, ErrLimit)
	require.Len(t, a.Parts, 5)

	o = newFakeObject(1000)
	o.growing, o.prefix = true, 500
	client = newTestClient(t, Config{Rounds: 2}, serve(t, &Handler{Backend: serving(o)}).URL)
	a, err = client.Fetch(ctx, Request{ID: testID, Ranges: []Range{{100, ToEnd}}})
	require.ErrorIs(t, err, ErrNotReady)
	requireParts(t, o.data, a, Range{100, 500})
	require.EqualValues(t, -1, a.Length)
}

func TestRounds(t *testing.T) {
	o := newFakeObject(1000)
	o.growing, o.prefix = true, 500
	backend := serving(o)
	var requests int // one at a time
	backend.hook = func(context.Context) error {
		if requests++; requests == 3 {
			o.prefix = 1000
		}
		return nil
	}
	server := serve(t, &Handler{Backend: backend, RetryAfter: 1500 * time.Millisecond})
	clock := &noSleep{}
	config := Config{
		BackOff: 50 * time.Millisecond, BackOffWindow: 100 * time.Millisecond, Rand: func() float64 { return 0.25 },
		RoundWait: 400 * time.Millisecond, RoundWaitMax: 1200 * time.Millisecond, MergeGap: -1, Sleep: clock.sleep,
	}
	client := newTestClient(t, config, server.URL)
	a, err := client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{0, 1}, {499, 501}}})
	require.NoError(t, err)
	requireParts(t, o.data, a, Range{0, 1}, Range{499, 501})
	require.Equal(t, []string{"bytes=0-0,499-500", "bytes=500-500", "bytes=500-500"}, server.ranges)
	// The second wait is for a part that came, the third follows a 425.
	require.Equal(t, []time.Duration{75 * time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond}, clock.waits)

	backend.fail(ErrNotReady)
	clock.waits = nil
	_, err = client.Fetch(context.Background(), Request{ID: testID, Urgent: true})
	require.ErrorIs(t, err, ErrNotReady)
	var parent *ParentError
	require.ErrorAs(t, err, &parent)
	require.Equal(t, 1500*time.Millisecond, parent.RetryAfter)
	require.Len(t, clock.waits, 2, "three rounds and no back-off")
}

func TestUrgentEndsBackOff(t *testing.T) {
	o := newFakeObject(1000)
	server := serve(t, &Handler{Backend: serving(o)})
	asleep := make(chan struct{})
	client := newTestClient(t, Config{BackOff: time.Hour, Sleep: func(ctx context.Context, d time.Duration) error {
		require.Equal(t, time.Hour, d)
		close(asleep)
		<-ctx.Done()
		return context.Cause(ctx)
	}}, server.URL)
	calm := make(chan error)
	go func() {
		_, err := client.Fetch(context.Background(), Request{ID: testID})
		calm <- err
	}()
	<-asleep
	_, err := client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{3, 4}}, Urgent: true})
	require.NoError(t, err)
	require.NoError(t, <-calm)
	require.Len(t, server.ranges, 1)
	require.EqualValues(t, 1, client.Stats().Coalesced)
}

func TestCallsShareRequests(t *testing.T) {
	o := newFakeObject(100_000)
	backend := serving(o)
	started, release := make(chan struct{}, 10), make(chan struct{})
	backend.hook = func(context.Context) error {
		started <- struct{}{}
		<-release
		return nil
	}
	server := serve(t, &Handler{Backend: backend})
	client := newTestClient(t, Config{MergeGap: -1}, server.URL)

	type result struct {
		a      *Answer
		err    error
		ranges []Range
	}
	results := make(chan result)
	fetch := func(ctx context.Context, ranges ...Range) {
		a, err := client.Fetch(ctx, Request{ID: testID, Ranges: ranges})
		results <- result{a, err, ranges}
	}
	go fetch(context.Background(), Range{0, 1000}, Range{5000, 6000})
	<-started
	go fetch(context.Background(), Range{500, 2000}) // needs 1000 to 2000 in addition
	<-started
	const more = 5
	for i := range more {
		go fetch(context.Background(), Range{int64(100 * i), int64(1000 + 100*i + 1)}) // all under way
	}
	require.Eventually(t, func() bool { return client.Stats().Coalesced == more }, 10*time.Second, time.Millisecond)
	close(release)
	for range 2 + more {
		r := <-results
		require.NoError(t, r.err)
		requireParts(t, o.data, r.a, r.ranges...)
	}
	require.Equal(t, []string{"bytes=0-999,5000-5999", "bytes=1000-1999"}, server.ranges)
	require.Empty(t, client.flights)
}

func TestLastCallerEndsTheRequest(t *testing.T) {
	backend := serving(newFakeObject(1000))
	started, ended := make(chan struct{}, 2), make(chan error, 2)
	backend.hook = func(ctx context.Context) error {
		started <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	server := serve(t, &Handler{Backend: backend})
	client := newTestClient(t, Config{}, server.URL)
	cause := errors.New("the player has gone")
	first, cancelFirst := context.WithCancelCause(context.Background())
	second, cancelSecond := context.WithCancelCause(context.Background())
	results := make(chan error)
	for i, ctx := range []context.Context{first, second} {
		go func() {
			_, err := client.Fetch(ctx, Request{ID: testID})
			results <- err
		}()
		if i == 0 {
			<-started
		}
	}
	require.Eventually(t, func() bool { return client.Stats().Coalesced == 1 }, 10*time.Second, time.Millisecond)
	cancelFirst(cause)
	require.ErrorIs(t, <-results, cause)
	select {
	case <-ended:
		t.Fatal("the request ended with the first of two callers")
	default:
	}
	cancelSecond(cause)
	require.ErrorIs(t, <-results, cause)
	<-ended
	require.EqualValues(t, 1, client.Stats().Requests)
}

func TestCloseEndsCalls(t *testing.T) {
	backend := serving(newFakeObject(1000))
	started := make(chan struct{}, 1)
	backend.hook = func(ctx context.Context) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	server := serve(t, &Handler{Backend: backend})
	client := newTestClient(t, Config{}, server.URL)
	result := make(chan error)
	go func() {
		_, err := client.Fetch(context.Background(), Request{ID: testID})
		result <- err
	}()
	<-started
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-result, net.ErrClosed)
	require.NoError(t, client.Close())
	_, err := client.Fetch(context.Background(), Request{ID: testID})
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestTimeout(t *testing.T) {
	backend := serving(newFakeObject(1000))
	backend.hook = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	server := serve(t, &Handler{Backend: backend})
	client := newTestClient(t, Config{Timeout: 10 * time.Millisecond, Rounds: 2}, server.URL)
	_, err := client.Fetch(context.Background(), Request{ID: testID})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 2, client.Stats().Requests)
}

func TestMaxConcurrent(t *testing.T) {
	o := newFakeObject(1000)
	backend := &fakeBackend{byID: map[ObjectID]Object{}}
	id := testID
	for id.TOI = 0; id.TOI < 20; id.TOI++ {
		backend.byID[id] = o
	}
	var now, most atomic.Int32
	backend.hook = func(context.Context) error {
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		time.Sleep(time.Millisecond) // so that requests meet; too short never fails the test
		now.Add(-1)
		return nil
	}
	server := serve(t, &Handler{Backend: backend})
	client := newTestClient(t, Config{MaxConcurrent: 3}, server.URL)
	var wg sync.WaitGroup
	for toi := range uint64(20) {
		wg.Go(func() {
			id := testID
			id.TOI = toi
			_, err := client.Fetch(context.Background(), Request{ID: id})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int32(3))
}

// Two nodes that name each other as parent: the request of a third goes round
// once and ends, also when both want the object for themselves.
func TestLoop(t *testing.T) {
	nodes := make([]*Client, 2)
	var servers []*testServer
	for i := range nodes {
		backend := &fakeBackend{hook: func(ctx context.Context) error {
			_, err := nodes[i].Fetch(ctx, Request{ID: testID})
			return err
		}}
		servers = append(servers, serve(t, &Handler{Backend: backend, NodeID: fmt.Sprint("node ", i)}))
	}
	for i := range nodes {
		nodes[i] = newTestClient(t, Config{NodeID: fmt.Sprint("node ", i), Rounds: 1}, servers[1-i].URL)
	}
	third := newTestClient(t, Config{NodeID: "third", Rounds: 1}, servers[0].URL)
	var wg sync.WaitGroup
	for _, c := range []*Client{nodes[0], nodes[1], third} {
		wg.Go(func() {
			_, err := c.Fetch(context.Background(), Request{ID: testID})
			require.ErrorIs(t, err, ErrLoop)
		})
	}
	wg.Wait()
	for _, s := range servers {
		require.LessOrEqual(t, len(s.ranges), 4)
	}
}

func TestWrongAnswers(t *testing.T) {
	const boundary = "multipart/byteranges; boundary=x"
	part := func(contentRange, data string) string {
		return "--x\r\nContent-Range: " + contentRange + "\r\n\r\n" + data + "\r\n"
	}
	goodOTI := symbolObject{}.OTI().String()
	symbol := string(Symbol{ESI: 1, Data: make([]byte, fakeSymbol)}.Append(nil))
	for _, c := range []struct {
		name    string
		symbols bool
		status  int
		header  map[string]string
		body    string
		want    error
	}{
		{"206 without Content-Range", false, 206, nil, "0123456789", ErrAnswer},
		{"range not asked for", false, 206, map[string]string{"Content-Range": "bytes 10-19/40"}, "0123456789", ErrAnswer},
		{"more than Content-Range says", false, 206, map[string]string{"Content-Range": "bytes 0-8/20"}, "0123456789", ErrAnswer},
		{"less than Content-Range says", false, 206, map[string]string{"Content-Range": "bytes 0-9/20"}, "01234", nil},
		{"multipart without boundary", false, 206, map[string]string{"Content-Type": "multipart/byteranges"}, part("bytes 0-9/20", "0123456789") + "--x--", ErrAnswer},
		{"multipart that ends early", false, 206, map[string]string{"Content-Type": boundary}, part("bytes 0-4/20", "01234"), ErrAnswer},
		{"multipart with a foreign range", false, 206, map[string]string{"Content-Type": boundary}, part("bytes 21-30/40", "0123456789") + "--x--", ErrAnswer},
		{"multipart with too many parts", false, 206, map[string]string{"Content-Type": boundary},
			part("bytes 0-4/20", "01234") + part("bytes 0-4/20", "01234") + part("bytes 20-24/30", "01234") + "--x--", ErrAnswer},
		{"multipart with two lengths", false, 206, map[string]string{"Content-Type": boundary},
			part("bytes 0-4/20", "01234") + part("bytes 20-24/30", "01234") + "--x--", ErrAnswer},
		{"compressed", false, 206, map[string]string{"Content-Encoding": "gzip", "Content-Range": "bytes 0-9/20"}, "0123456789", ErrAnswer},
		{"whole and too large", false, 200, nil, strings.Repeat("x", 5001), ErrLimit},
		{"redirect", false, 302, map[string]string{"Location": "/elsewhere"}, "", nil},
		{"symbols without OTI", true, 200, map[string]string{"Content-Type": SymbolsType}, symbol, ErrAnswer},
		{"symbols of another type", true, 200, map[string]string{"Content-Type": "text/plain", "FEC-OTI": goodOTI}, symbol, ErrAnswer},
		{"symbols of another block", true, 200, map[string]string{"Content-Type": SymbolsType, "FEC-OTI": goodOTI}, "\x09" + symbol[1:], ErrAnswer},
		{"symbols of another size", true, 200, map[string]string{"Content-Type": SymbolsType, "FEC-OTI": goodOTI}, "\x00\x00\x00\x01\x00\x01a", ErrAnswer},
		{"symbol that ends early", true, 200, map[string]string{"Content-Type": SymbolsType, "FEC-OTI": goodOTI}, symbol[:50], ErrAnswer},
		{"more symbols than asked for", true, 200, map[string]string{"Content-Type": SymbolsType, "FEC-OTI": goodOTI}, symbol + symbol, ErrLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			client := newTestClient(t, Config{MaxOctets: 5000, MergeGap: -1, Rounds: 1}, server.URL)
			var err error
			if c.symbols {
				_, err = client.FetchSymbols(context.Background(), SymbolRequest{ID: testID,
					Blocks: []BlockSymbols{{ESIs: []ESIRange{{1, 1}}}}})
			} else {
				_, err = client.Fetch(context.Background(), Request{ID: testID, Ranges: []Range{{0, 10}, {20, 30}}})
			}
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.Equal(t, Stats{Requests: 1, Failures: 1, Octets: client.Stats().Octets}, client.Stats())
		})
	}
}
