package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sample has something in every field.
func sample() Status {
	var l Latency
	l.Observe(3 * time.Millisecond)
	l.Observe(7 * time.Millisecond)
	return Status{
		Node:      NewNode("n1", "relay", t0, t0.Add(90*time.Second)),
		Readiness: NotReadyFor([]string{"live: nothing has come yet"}),
		Services: []Service{{
			Name: "live", State: StateRunning,
			Source:  Source{Kind: SourceMulticast, Address: "(127.0.0.1,232.1.1.1):6000", Since: t0, Why: "multicast is back"},
			Way:     &Way{Kind: WayTunnel, Relay: "192.0.2.7:2268", Since: t0, Why: "nothing came natively", Switches: 61, RelaysLost: 62, TunnelPackets: 63, Dropped: 64, Rejected: 65, Truncated: 66},
			Objects: 11, Octets: 12, ObjectsFEC: 13, ObjectsRepair: 14, ObjectsFallback: 15, ObjectsLost: 16, ObjectsLostBy: map[string]uint64{"incomplete": 16}, ObjectsUnsealed: 18, ObjectsMissing: 17,
			Packets: 21, PacketsLost: 22, SourceOctets: 23, FECOctets: 24, RepairOctets: 25, FallbackOctets: 26,
			RejectedOctets: map[string]uint64{"parse": 27, "seal": 28},
			PacketsSent:    31, OctetsSent: 32, FECOctetsSent: 33, PacketsUnsent: map[string]uint64{"unreachable": 34}, SealsUnsent: map[string]uint64{"forbidden": 35},
			Unsigned: true, SealsReceived: 51, SealConflicts: 52, SealsSent: 53, SealOctetsSent: 54,
			Latency: l.Quantiles(), RateIn: 41, RateOut: 42,
			Limits: []Limit{{Name: "memory", Used: 51, Max: 52, Hits: 53}},
		}},
		Cache:   &Cache{Objects: 61, MemoryOctets: 62, MemoryLimit: 63, DiskOctets: 64, DiskLimit: 65, DiskOK: true, Hits: 66, Misses: 67, Evictions: 68},
		HTTP:    &Server{Requests: map[string]uint64{"2xx": 71, "aborted": 72}, Active: 73, OctetsIn: 74, OctetsOut: 75, Limits: []Limit{{Name: "connections", Used: 76, Max: 77, Hits: 78}}},
		Repair:  &Server{Requests: map[string]uint64{"2xx": 81}, Symbols: 82},
		Ingest:  &Server{Requests: map[string]uint64{"2xx": 91}},
		Sockets: []Socket{{Service: "live", Source: netip.MustParseAddr("127.0.0.1"), Group: netip.MustParseAddr("232.1.1.1"), Port: 6000, Drops: 101, Buffer: 102}},
		AMT: &AMT{
			Listen: []string{"192.0.2.1:2268"}, Upstream: "relay", UpstreamRelay: "192.0.2.9:2268", Draining: true,
			Tunnels: 111, MaxTunnels: 112, Channels: 113, Messages: map[string]uint64{"request": 114}, Rejected: map[string]uint64{"bad_mac": 115},
			Unjoined: 123, JoinErrors: 124, Unreachable: 125, Fragmented: 126,
			Opened: 116, Closed: 117, Expired: 118, Packets: 119, Copies: 120, CopyOctets: 121, Dropped: map[string]uint64{"too_big": 122},
			Bridge: &AMTBridge{
				Interface: "eth1", Relay: "192.0.2.8:2268", Channels: 131, StandingBy: 132, Packets: 133, Octets: 134,
				Dropped: map[string]uint64{"loop": 135},
			},
		},
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

func TestMetricsAreTheStatus(t *testing.T) {
	code, text := get(t, NewHandler(Config{Status: sample}), "/metrics")
	require.Equal(t, 200, code)
	for _, line := range []string{
		`treedn_node_info{name="n1",role="relay",version="` + Version() + `"} 1`,
		`treedn_node_start_time_seconds ` + "1.79526", `treedn_node_ready 0`,
		`treedn_service_state{service="live",state="running"} 1`, `treedn_service_state{service="live",state="silent"} 0`,
		`treedn_service_source{service="live",source="multicast"} 1`,
		`treedn_service_way_rejected_packets_total{service="live"} 65`, `treedn_service_way_truncated_messages_total{service="live"} 66`,
		`treedn_service_objects_total{service="live"} 11`, `treedn_service_octets_total{service="live"} 12`,
		`treedn_service_recovered_objects_total{by="fec",service="live"} 13`,
		`treedn_service_recovered_objects_total{by="repair",service="live"} 14`,
		`treedn_service_recovered_objects_total{by="fallback",service="live"} 15`,
		`treedn_service_objects_lost_total{reason="incomplete",service="live"} 16`, `treedn_service_objects_unsealed_total{service="live"} 18`, `treedn_service_objects_missing{service="live"} 17`,
		`treedn_service_packets_total{service="live"} 21`, `treedn_service_packets_lost_total{service="live"} 22`,
		`treedn_service_received_octets_total{by="source",service="live"} 23`, `treedn_service_received_octets_total{by="fec",service="live"} 24`,
		`treedn_service_received_octets_total{by="repair",service="live"} 25`, `treedn_service_received_octets_total{by="fallback",service="live"} 26`,
		`treedn_service_rejected_octets_total{reason="parse",service="live"} 27`, `treedn_service_rejected_octets_total{reason="seal",service="live"} 28`,
		`treedn_service_packets_sent_total{service="live"} 31`, `treedn_service_octets_sent_total{service="live"} 32`, `treedn_service_fec_octets_sent_total{service="live"} 33`,
		`treedn_service_packets_unsent_total{reason="unreachable",service="live"} 34`, `treedn_service_seals_unsent_total{reason="forbidden",service="live"} 35`,
		`treedn_service_rate_bits_per_second{direction="in",service="live"} 41`, `treedn_service_rate_bits_per_second{direction="out",service="live"} 42`,
		`treedn_service_latency_seconds_bucket{service="live",le="0.005"} 1`, `treedn_service_latency_seconds_bucket{service="live",le="0.01"} 2`,
		`treedn_service_latency_seconds_sum{service="live"} 0.01`, `treedn_service_latency_max_seconds{service="live"} 0.007`,
		`treedn_service_limit_used{limit="memory",service="live"} 51`, `treedn_service_limit{limit="memory",service="live"} 52`, `treedn_service_limit_hits_total{limit="memory",service="live"} 53`,
		`treedn_cache_objects 61`, `treedn_cache_octets{tier="memory"} 62`, `treedn_cache_limit_octets{tier="memory"} 63`, `treedn_cache_octets{tier="disk"} 64`, `treedn_cache_limit_octets{tier="disk"} 65`,
		`treedn_cache_disk_ok 1`, `treedn_cache_hits_total 66`, `treedn_cache_misses_total 67`, `treedn_cache_evictions_total 68`,
		`treedn_http_requests_total{code="2xx",server="http"} 71`, `treedn_http_requests_total{code="aborted",server="http"} 72`, `treedn_http_active_requests{server="http"} 73`,
		`treedn_http_octets_in_total{server="http"} 74`, `treedn_http_octets_out_total{server="http"} 75`,
		`treedn_http_limit_used{limit="connections",server="http"} 76`, `treedn_http_limit{limit="connections",server="http"} 77`, `treedn_http_limit_hits_total{limit="connections",server="http"} 78`,
		`treedn_http_requests_total{code="2xx",server="repair"} 81`, `treedn_repair_symbols_total 82`, `treedn_http_requests_total{code="2xx",server="ingest"} 91`,
		`treedn_socket_drops_total{group="232.1.1.1:6000",service="live",source="127.0.0.1"} 101`, `treedn_socket_buffer_octets{group="232.1.1.1:6000",service="live",source="127.0.0.1"} 102`,
		`treedn_amt_tunnels 111`, `treedn_amt_tunnels_limit 112`, `treedn_amt_channels 113`, `treedn_amt_unjoined_channels 123`, `treedn_amt_join_errors_total 124`, `treedn_amt_tunnels_unreachable_total 125`, `treedn_amt_fragmented_packets_total 126`, `treedn_amt_draining 1`,
		`treedn_amt_messages_total{type="request"} 114`, `treedn_amt_rejected_messages_total{reason="bad_mac"} 115`,
		`treedn_amt_tunnels_opened_total 116`, `treedn_amt_tunnels_closed_total 117`, `treedn_amt_tunnels_expired_total 118`,
		`treedn_amt_packets_total 119`, `treedn_amt_copies_total 120`, `treedn_amt_copy_octets_total 121`, `treedn_amt_dropped_packets_total{reason="too_big"} 122`,
		`treedn_amt_bridge_standing_by 132`, `treedn_amt_bridge_packets_total 133`, `treedn_amt_bridge_octets_total 134`, `treedn_amt_bridge_dropped_packets_total{reason="loop"} 135`,
		`go_goroutines `,
	} {
		require.Contains(t, text, "\n"+line, line)
	}
	// Every family has a sample here, so that none is forgotten above.
	for _, f := range families() {
		require.Contains(t, text, "\n# TYPE "+f.name+" ")
	}
}

func TestANodeWithoutPartsHasNoSuchMetrics(t *testing.T) {
	_, text := get(t, NewHandler(Config{Status: func() Status { return Status{Node: Node{Name: "c", Role: "cast"}} }}), "/metrics")
	require.Contains(t, text, "treedn_node_info{")
	for _, prefix := range []string{"treedn_cache", "treedn_http", "treedn_socket", "treedn_repair", "treedn_service", "treedn_amt"} {
		require.NotContains(t, text, prefix)
	}
}

// Two sockets of a service may have the same membership for a time, as when a configuration changes the port of its seals.
func TestSocketsOfOneMembership(t *testing.T) {
	st := Status{Node: Node{Name: "b", Role: "beacon"}}
	for _, drops := range []uint64{3, 4} {
		st.Sockets = append(st.Sockets, Socket{
			Service: "live", Source: netip.MustParseAddr("192.0.2.1"), Group: netip.MustParseAddr("232.1.1.1"), Port: 6000, Drops: drops,
		})
	}
	code, text := get(t, NewHandler(Config{Status: func() Status { return st }}), "/metrics")
	require.Equal(t, http.StatusOK, code, text)
	require.Contains(t, text, `treedn_socket_drops_total{group="232.1.1.1:6000",service="live",source="192.0.2.1"} 7`)
}

func TestMetricNamesFollowTheRules(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(sample))
	mfs, err := reg.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(mfs).Lint()
	require.NoError(t, err)
	for _, p := range problems {
		// Rates of networks are in bits per second everywhere.
		require.Equal(t, "treedn_service_rate_bits_per_second", p.Metric, p.Text)
	}
}

func TestMetricsAndStatusAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(treedn_[a-z_]+)` \\| (\\w+) \\|([^|]*)\\|").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1]+" "+m[2]+" "+strings.Trim(strings.ReplaceAll(m[3], "`", ""), " "))
	}
	exported := []string{latencyName + " histogram service"}
	for _, f := range families() {
		kind := "gauge"
		if f.kind == counter {
			kind = "counter"
		}
		exported = append(exported, f.name+" "+kind+" "+strings.Join(f.labels, ", "))
	}
	for i, e := range exported {
		exported[i] = strings.TrimSpace(e)
	}
	for i, e := range documented {
		documented[i] = strings.TrimSpace(e)
	}
	require.ElementsMatch(t, exported, documented)

	var keys []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		if !strings.HasPrefix(m[1], "treedn_") {
			keys = append(keys, m[1])
		}
	}
	b, err := json.Marshal(sample())
	require.NoError(t, err)
	var tree any
	require.NoError(t, json.Unmarshal(b, &tree))
	var have []string
	walk(tree, "", func(path string) {
		// The three servers are documented once.
		path = regexp.MustCompile(`^(repair|ingest)\.`).ReplaceAllString(path, "http.")
		path = regexp.MustCompile(`^(.*\.(requests|rejected_octets|packets_unsent|seals_unsent|objects_lost_by|messages|rejected|dropped))\..*`).ReplaceAllString(path, "$1")
		if !slices.Contains(have, path) {
			have = append(have, path)
		}
	})
	require.ElementsMatch(t, have, keys)
}

func walk(v any, path string, leaf func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			walk(e, strings.TrimPrefix(path+"."+k, "."), leaf)
		}
	case []any:
		for _, e := range v {
			if _, ok := e.(map[string]any); !ok {
				leaf(path)
				return
			}
			walk(e, path+"[]", leaf)
		}
	default:
		leaf(path)
	}
}

func TestStatusRoundTrip(t *testing.T) {
	code, text := get(t, NewHandler(Config{Status: sample}), "/status")
	require.Equal(t, 200, code)
	var back Status
	require.NoError(t, json.Unmarshal([]byte(text), &back))
	want := sample()
	want.Services[0].Latency.Cumulative = back.Services[0].Latency.Cumulative
	require.Equal(t, want, back)
	require.Contains(t, text, `"max": 7`)
}

func TestHealthAndReadiness(t *testing.T) {
	ready, sick := NotReadyFor(nil), error(nil)
	h := NewHandler(Config{Status: func() Status { return Status{Readiness: ready} }, Healthy: func() error { return sick }})
	code, text := get(t, h, "/readyz")
	require.Equal(t, "200 ready\n", fmt.Sprint(code, " ", text))
	code, text = get(t, h, "/healthz")
	require.Equal(t, "200 ok\n", fmt.Sprint(code, " ", text))
	ready, sick = NotReadyFor([]string{"a", "b"}), errors.New("stuck")
	code, text = get(t, h, "/readyz")
	require.Equal(t, "503 not ready\na\nb\n", fmt.Sprint(code, " ", text))
	code, text = get(t, h, "/healthz")
	require.Equal(t, "503 stuck\n", fmt.Sprint(code, " ", text))
	code, _ = get(t, h, "/debug/pprof/")
	require.Equal(t, 404, code)
	code, _ = get(t, NewHandler(Config{Status: sample, Pprof: true}), "/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, code)
}

func TestLatencyBuckets(t *testing.T) {
	next := uint64(0)
	for b := range buckets {
		low, high := boundsOf(b)
		require.Equal(t, next, low, b)
		next = high
		require.Equal(t, b, bucketOf(time.Duration(low)*time.Microsecond))
		require.Equal(t, b, bucketOf(time.Duration(high)*time.Microsecond-1))
		if low >= subs {
			require.LessOrEqual(t, float64(high-low)/float64(low), 1.0/subs)
		}
	}
	require.Equal(t, uint64(1)<<32, next)
	require.Equal(t, buckets-1, bucketOf(1<<62))
	require.Equal(t, 0, bucketOf(-time.Second))
}

func TestLatencyQuantiles(t *testing.T) {
	var l Latency
	require.Zero(t, l.Quantiles())
	rng := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	var sum time.Duration
	for range 10_000 {
		d := time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))
		all, sum = append(all, d), sum+d
		l.Observe(d)
	}
	slices.Sort(all)
	q := l.Quantiles()
	require.EqualValues(t, len(all), q.Count)
	require.Equal(t, sum, q.Sum)
	require.Equal(t, all[len(all)-1], q.Max)
	require.InEpsilon(t, all[4999], q.P50, 0.017)
	require.InEpsilon(t, all[9899], q.P99, 0.017)
	i, _ := slices.BinarySearch(all, 20*time.Millisecond)
	require.InDelta(t, i, q.Cumulative[4], 200)

	var one Latency
	one.Observe(5 * time.Millisecond)
	require.Equal(t, 5*time.Millisecond, one.Quantiles().Max)
	require.LessOrEqual(t, one.Quantiles().P99, 5*time.Millisecond)
}

func TestRate(t *testing.T) {
	var r Rate
	require.Zero(t, r.Bits(t0))
	// 1,250 octets each 2.5 ms are 4 Mbit/s.
	now := t0
	for range 4000 {
		now = now.Add(2500 * time.Microsecond)
		r.Add(now, 1250)
	}
	require.InEpsilon(t, 4e6, r.Bits(now), 0.01)
	require.InEpsilon(t, 4e6/2.718, r.Bits(now.Add(time.Second)), 0.01)
	r.Add(now, 0) // an earlier time changes nothing
	require.Zero(t, r.Bits(now.Add(time.Minute)))
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	var l Latency
	var r Rate
	now := t0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		l.Observe(time.Millisecond)
		now = now.Add(time.Millisecond)
		r.Add(now, 1000)
		r.Bits(now)
	}))
}

func TestConcurrentUse(t *testing.T) {
	var l Latency
	var r Rate
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				l.Observe(time.Duration(i) * time.Microsecond)
				r.Add(t0, 1)
				l.Quantiles()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 4000, l.Quantiles().Count)
	require.EqualValues(t, 32000, r.Bits(t0))
}

func TestRequests(t *testing.T) {
	var c Requests
	release, entered := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
		w.(http.Flusher).Flush()
	})
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/wait", func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})
	srv := httptest.NewServer(c.Wrap(mux))
	defer srv.Close()
	do := func(path, body string) error {
		resp, err := http.Post(srv.URL+path, "", strings.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	require.NoError(t, do("/echo", "12345"))
	require.NoError(t, do("/missing", ""))
	require.NoError(t, do("/nothing", ""))
	require.NoError(t, do("/early", ""))
	require.Error(t, do("/abort", ""))
	waited := make(chan error, 1)
	go func() { waited <- do("/wait", "") }()
	<-entered
	require.EqualValues(t, 1, c.Server().Active)
	close(release)
	require.NoError(t, <-waited)
	srv.Close()
	s := c.Server()
	require.Equal(t, map[string]uint64{"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 1, "5xx": 1, "aborted": 1}, s.Requests)
	require.Zero(t, s.Active)
	require.EqualValues(t, 5, s.OctetsIn)
	require.EqualValues(t, len("12345")+len("404 page not found\n")+len("half"), s.OctetsOut)
}

type urlError struct{ u string }

func (e *urlError) Error() string { return "get " + e.u }

func TestLoggerBlanksSecrets(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := NewLogger(&out, config.Log{Format: format, Level: slog.LevelWarn})
		log.Info("not this")
		u, _ := url.Parse("http://user:hush1@host/live/m.mpd?a=1&sk=hush2&b=2")
		var nilURL *url.URL
		var nilErr *urlError
		log.Warn("pushed to /m.mpd?sk=hush3", "Authorization", "Basic hush4", "url", u, "error", &urlError{u.String()},
			"text", `authorization: Bearer hush5, "more"`, "key", config.NewStreamKey("hush6-hush6-hush6"), "nil", nilURL, "nilerr", nilErr,
			slog.Group("g", "sk", "hush7"), "path", "http://plain.example/a?b=c", "n", 5)
		require.NotContains(t, out.String(), "hush")
		require.NotContains(t, out.String(), "not this")
		require.Contains(t, out.String(), "http://plain.example/a?b=c")
		require.Contains(t, out.String(), "host/live/m.mpd?a=1")
		require.Contains(t, out.String(), "***")
	}
}

// A field that was added to Status and is in no sample would be in no test.
func TestSampleIsFull(t *testing.T) {
	var zero func(v reflect.Value, path string)
	zero = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Pointer:
			if path == "Status.Repair" || path == "Status.Ingest" {
				return
			}
			require.False(t, v.IsNil(), path)
			zero(v.Elem(), path)
		case reflect.Struct:
			if v.Type().PkgPath() != reflect.TypeFor[Status]().PkgPath() {
				require.False(t, v.IsZero(), path)
				return
			}
			for i := range v.NumField() {
				name := path + "." + v.Type().Field(i).Name
				if name == "Status.Readiness.Ready" || name == "Status.HTTP.Symbols" {
					continue
				}
				zero(v.Field(i), name)
			}
		case reflect.Slice:
			require.NotZero(t, v.Len(), path)
			zero(v.Index(0), path)
		default:
			require.False(t, v.IsZero(), path)
		}
	}
	zero(reflect.ValueOf(sample()), "Status")
}

func BenchmarkLatencyObserve(b *testing.B) {
	var l Latency
	b.ReportAllocs()
	for b.Loop() {
		l.Observe(1234 * time.Microsecond)
	}
}

func BenchmarkRateAdd(b *testing.B) {
	var r Rate
	now := t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		r.Add(now, 1300)
	}
}

func BenchmarkScrape(b *testing.B) {
	h := NewHandler(Config{Status: sample})
	req := httptest.NewRequest("GET", "/metrics", nil)
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}

// FuzzLogger feeds the redaction with the text of an attacker's URL: the secret
// behind sk= never shows, whatever stands around it.
func FuzzLogger(f *testing.F) {
	f.Add("/live/", "&b=2")
	f.Add("http://u:p@h/?", "")
	f.Add("basic ", "\x00\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "W9kQzV7pL2xR"
		if strings.Contains(before+after, secret) {
			return
		}
		var out bytes.Buffer
		NewLogger(&out, config.Log{Format: "json"}).Info("m", "url", before+"?sk="+secret+"&"+after)
		require.NotContains(t, out.String(), secret)
	})
}
