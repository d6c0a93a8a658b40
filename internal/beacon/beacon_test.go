package beacon_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/beacon"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/internal/treetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// leaf is a BEACON right below a CAST.
type leaf struct {
	*beacon.Node
	cfg    config.Beacon
	source *service.Service // at CAST
	url    string           // of the service
}

func newLeaf(t *testing.T, loss lossy.Config, parents ...string) *leaf {
	session := treetest.Session(t)
	c := treetest.Cast(t, treetest.CastConfig(treetest.Channel("live", session)))
	s := treetest.Service(t, "live", session, c.RepairURL())
	if len(parents) > 0 {
		s = treetest.Unsigned(treetest.Service(t, "live", session, parents...)) // these parents have no seals
	}
	l := &leaf{source: c.Service("live"), cfg: treetest.BeaconConfig(s)}
	l.Node = treetest.Beacon(t, l.cfg, loss)
	l.url = l.URL() + "/live/"
	return l
}

// await waits for an object without asking the parents for it.
func (l *leaf) await(t *testing.T, objects uint64) {
	t.Helper()
	treetest.Eventually(t, 5*time.Second, func() bool { return l.Status().Services[0].Objects >= objects }, "objects do not come")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	l := newLeaf(t, lossy.Config{})
	treetest.Manifest(t, l.source, "manifest.mpd", `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic"/>`)
	treetest.Manifest(t, l.source, "media.m3u8", treetest.Playlist(1))
	treetest.Put(t, l.source, "init.mp4", "\x00\x00\x00\x08ftypmoov")
	treetest.Put(t, l.source, "1.m4s", "0123456789")
	l.await(t, 2)
	whole, _ := treetest.Get(t, l.url+"1.m4s")
	etag := whole.Header.Get("Etag")
	require.Regexp(t, `^"[0-9a-f]{16}"$`, etag)
	treetest.Eventually(t, 5*time.Second, func() bool {
		resp, _ := treetest.Get(t, l.url+"manifest.mpd")
		return resp.StatusCode == http.StatusOK
	}, "no manifest")

	header := func(kv ...string) http.Header {
		h := http.Header{"Origin": {"https://player.example"}}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	const repair = "/repair/v1/127.0.0.1/232.1.1.1/6000/1/1"
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		status             int
		body               string // "-": any
		want               map[string]string
	}{
		{"object", "GET", "/live/1.m4s", nil, 200, "0123456789", map[string]string{"Content-Type": "video/mp4", "Content-Length": "10", "Accept-Ranges": "bytes", "Etag": etag}},
		{"init segment", "GET", "/live/init.mp4", nil, 200, "-", map[string]string{"Content-Type": "video/mp4"}},
		{"DASH", "GET", "/live/manifest.mpd", nil, 200, "-", map[string]string{"Content-Type": "application/dash+xml", "Cache-Control": "no-cache"}},
		{"HLS", "GET", "/live/media.m3u8", nil, 200, treetest.Playlist(1), map[string]string{"Content-Type": "application/vnd.apple.mpegurl", "Cache-Control": "no-cache"}},
		{"HEAD", "HEAD", "/live/1.m4s", nil, 200, "", map[string]string{"Content-Length": "10", "Etag": etag}},
		{"range", "GET", "/live/1.m4s", header("Range", "bytes=2-4"), 206, "234", map[string]string{"Content-Range": "bytes 2-4/10"}},
		{"suffix", "GET", "/live/1.m4s", header("Range", "bytes=-2"), 206, "89", map[string]string{"Content-Range": "bytes 8-9/10"}},
		{"ranges", "GET", "/live/1.m4s", header("Range", "bytes=0-0,8-9"), 206, "-", nil},
		{"range of this version", "GET", "/live/1.m4s", header("Range", "bytes=2-4", "If-Range", etag), 206, "234", nil},
		{"range of another version", "GET", "/live/1.m4s", header("Range", "bytes=2-4", "If-Range", `"0000000000000001"`), 200, "0123456789", nil},
		{"range behind the end", "GET", "/live/1.m4s", header("Range", "bytes=10-"), 416, "", map[string]string{"Content-Range": "bytes */10"}},
		{"known version", "GET", "/live/1.m4s", header("If-None-Match", etag), 304, "", nil},
		{"preflight", "OPTIONS", "/live/1.m4s", header("Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "range"), 204, "", map[string]string{"Access-Control-Allow-Methods": "GET, HEAD, OPTIONS"}},
		{"unknown object", "GET", "/live/none.m4s", nil, 404, "-", map[string]string{"Cache-Control": "no-store"}},
		{"unknown service", "GET", "/dead/1.m4s", nil, 404, "-", nil},
		{"PUT", "PUT", "/live/1.m4s", nil, 405, "-", map[string]string{"Allow": "GET, HEAD, OPTIONS"}},
		{"POST", "POST", "/live/1.m4s", nil, 405, "-", nil},
		{"DELETE", "DELETE", "/live/1.m4s", nil, 405, "-", nil},
		{"repair", "GET", repair, nil, 405, "-", nil},
		{"repair of symbols", "GET", repair + "?SBN=0&count=3", nil, 405, "-", nil},
		{"push of repair", "POST", repair, nil, 405, "-", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := treetest.Do(t, c.method, l.URL()+c.path, c.header)
			require.Equal(t, c.status, resp.StatusCode)
			if c.body != "-" {
				require.Equal(t, c.body, string(body))
			}
			for k, v := range c.want {
				require.Equal(t, v, resp.Header.Get(k), k)
			}
			require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"), "pages must be able to read errors, too")
			require.Contains(t, resp.Header.Get("Access-Control-Expose-Headers"), "Content-Range")
		})
	}
}

// A leaf has a server for players and one for operators, and no third.
func TestNothingElseListens(t *testing.T) {
	if _, err := os.Stat("/proc/self/net/tcp"); err != nil {
		t.Skip("needs Linux to find the listeners of a process")
	}
	before := listeners(t)
	b := treetest.Beacon(t, treetest.BeaconConfig(treetest.Service(t, "live", treetest.Session(t))), lossy.Config{})
	require.NotEmpty(t, b.URL())
	require.Equal(t, before+2, listeners(t))
}

// listeners counts the TCP sockets on which this process listens.
func listeners(t *testing.T) (n int) {
	own := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && own[f[9]] {
				n++
			}
		}
	}
	return n
}

// Nodes that nobody gave a name have that of their machine. One of them may still be another's parent.
func TestParentOfTheSameName(t *testing.T) {
	t.Parallel()
	session := treetest.Session(t)
	above := treetest.CastConfig(treetest.Channel("live", session))
	above.Node.Name = "vm"
	c := treetest.Cast(t, above)
	below := treetest.BeaconConfig(treetest.Service(t, "live", session, c.RepairURL()))
	below.Node.Name = "vm"
	b := treetest.Beacon(t, below, lossy.Config{Random: 0.5, Seed: 1})

	body := strings.Repeat("0123456789", 10_000)
	treetest.Put(t, c.Service("live"), "1.m4s", body)
	treetest.Eventually(t, 8*time.Second, func() bool { return b.Status().Services[0].Objects == 1 }, "it is not repaired")
	require.Positive(t, b.Status().Services[0].RepairOctets)
	_, got := treetest.Get(t, b.URL()+"/live/1.m4s")
	require.Equal(t, body, string(got))
	treetest.Put(t, c.Service("live"), "2.bin", "x")
	_, got = treetest.Get(t, b.URL()+"/live/2.bin")
	require.Equal(t, "x", string(got))
}

func TestGrowingObject(t *testing.T) {
	t.Parallel()
	l := newLeaf(t, lossy.Config{})
	o := treetest.Begin(t, l.source, "1.m4s")
	first := strings.Repeat("a", 3000)
	require.NoError(t, o.Write([]byte(first), true))

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+"1.m4s", nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var resp *http.Response
	treetest.Eventually(t, 5*time.Second, func() bool {
		resp, err = client.Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return false
		}
		return err == nil
	}, "not there")
	defer resp.Body.Close()
	require.Equal(t, int64(-1), resp.ContentLength)
	got := make([]byte, len(first))
	_, err = io.ReadFull(resp.Body, got)
	require.NoError(t, err)
	require.Equal(t, first, string(got), "it is read while the rest has not been made")

	part, body := treetest.Do(t, http.MethodGet, l.url+"1.m4s", http.Header{"Range": {"bytes=10-19"}})
	require.Equal(t, http.StatusPartialContent, part.StatusCode)
	require.Equal(t, "bytes 10-19/*", part.Header.Get("Content-Range"))
	require.Equal(t, first[10:20], string(body))
	head, _ := treetest.Do(t, http.MethodHead, l.url+"1.m4s", nil)
	require.Equal(t, http.StatusOK, head.StatusCode)
	require.Equal(t, int64(-1), head.ContentLength)

	// A push that breaks off never looks whole.
	o.Abort(errors.New("broken off"))
	_, err = io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// above is a parent that knows two objects. It counts the requests for one of them, and for one that comes by multicast.
func above(t *testing.T) (url string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/live/3.m4s" || r.URL.Path == "/live/5.m4s" {
			asked.Add(1)
		}
		if r.URL.Path != "/live/2.m4s" && r.URL.Path != "/live/5.m4s" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"000000000000002a"`)
		w.Header().Set("Content-Type", "video/mp4")
		_, _ = io.WriteString(w, "from above")
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestWaitsForWhatIsAnnounced(t *testing.T) {
	t.Parallel()
	parent, asked := above(t)
	l := newLeaf(t, lossy.Config{}, parent)
	const target, soon = 3 * time.Second, 2 * time.Second
	treetest.Manifest(t, l.source, "media.m3u8", strings.Replace(treetest.Playlist(2), "TARGETDURATION:1", "TARGETDURATION:3", 1))
	treetest.Put(t, l.source, "1.m4s", "one")
	l.await(t, 1)
	treetest.Eventually(t, 5*time.Second, func() bool {
		resp, _ := treetest.Get(t, l.url+"media.m3u8")
		return resp.StatusCode == http.StatusOK
	}, "no manifest")
	asked.Store(0)

	timed := func(name string) (status int, body string, took time.Duration) {
		begun := time.Now()
		resp, b := treetest.Get(t, l.url+name)
		return resp.StatusCode, string(b), time.Since(begun)
	}
	// What comes next by its name comes while the request waits.
	time.AfterFunc(200*time.Millisecond, func() { treetest.Put(t, l.source, "3.m4s", "three") })
	status, body, took := timed("3.m4s")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "three", body)
	require.Less(t, took, target)
	require.Zero(t, asked.Load())

	// If it does not, the parent is asked after one target duration.
	status, body, took = timed("5.m4s")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "from above", body)
	require.GreaterOrEqual(t, took, target)
	require.Equal(t, int64(1), asked.Load())
	_, _, took = timed("5.m4s")
	require.Less(t, took, soon, "it is kept")
	require.Equal(t, int64(1), asked.Load())

	// What has been announced and missed does not come by itself any more: the parent is asked soon.
	status, body, took = timed("2.m4s")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "from above", body)
	require.Less(t, took, soon)

	// The parent does not have it, either.
	status, _, took = timed("4.m4s")
	require.Equal(t, http.StatusNotFound, status)
	require.GreaterOrEqual(t, took, target)
	// What nobody has heard of is not waited for.
	status, _, took = timed("other.m4s")
	require.Equal(t, http.StatusNotFound, status)
	require.Less(t, took, soon)

	st := l.Status().Services[0]
	require.Equal(t, uint64(2), st.ObjectsFallback)
	require.Equal(t, uint64(2*len("from above")), st.FallbackOctets)
}

func TestRepairsItself(t *testing.T) {
	t.Parallel()
	session := treetest.Session(t)
	cc := treetest.CastConfig(treetest.Channel("live", session))
	cc.Channels[0].Multicast.FEC = config.FEC{Off: true}
	c := treetest.Cast(t, cc)
	b := treetest.Beacon(t, treetest.BeaconConfig(treetest.Service(t, "live", session, c.RepairURL())), lossy.Config{Random: 0.1, Seed: 2})
	body := strings.Repeat("0123456789", 20_000)
	for i := range 5 {
		name := fmt.Sprintf("%d.bin", i)
		treetest.Put(t, c.Service("live"), name, body)
		treetest.Eventually(t, 5*time.Second, func() bool { return b.Status().Services[0].Objects > uint64(i) }, "objects do not come")
		resp, got := treetest.Get(t, b.URL()+"/live/"+name)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, body, string(got))
	}
	st := b.Status().Services[0]
	require.NotZero(t, st.RepairOctets)
	require.NotZero(t, st.ObjectsRepair)
	require.Zero(t, st.ObjectsFallback)
	require.Greater(t, st.SourceOctets, 5*st.RepairOctets)
	require.NotZero(t, b.Injected())
	require.NotZero(t, st.Latency.Max)
	require.NotZero(t, c.Status().Repair.OctetsOut)
}

func TestOperatorsServer(t *testing.T) {
	t.Parallel()
	l := newLeaf(t, lossy.Config{})
	resp, body := treetest.Get(t, l.AdminURL()+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, string(body), "service live: no packet has come yet")
	treetest.Put(t, l.source, "1.bin", "x")
	l.await(t, 1)
	for path, want := range map[string]string{
		"/readyz": "ready", "/healthz": "ok", "/metrics": `treedn_service_objects_total{service="live"} 1`, "/status": `"role": "beacon"`,
	} {
		resp, body := treetest.Get(t, l.AdminURL()+path)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		require.Contains(t, string(body), want, path)
	}
	resp, _ = treetest.Get(t, l.AdminURL()+"/debug/pprof/")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	st := l.Status()
	require.Nil(t, st.Repair)
	require.Equal(t, telemetry.SourceMulticast, st.Services[0].Source.Kind)
}

func TestTLSAndOrigins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, one := treetest.Certificate(t, dir)
	c := treetest.BeaconConfig(treetest.Service(t, "live", treetest.Session(t)))
	c.HTTP.TLS = cert
	b := treetest.Beacon(t, c, lossy.Config{})
	require.True(t, strings.HasPrefix(b.URL(), "https://"), b.URL())
	get := func(roots *x509.CertPool, h2 bool) (*http.Response, error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL()+"/live/none", nil)
		require.NoError(t, err)
		req.Header.Set("Origin", "https://tv.example")
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	for h2, proto := range map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"} {
		resp, err := get(one, h2)
		require.NoError(t, err)
		require.Equal(t, proto, resp.Proto)
		require.Equal(t, http.StatusNotFound, resp.StatusCode)
		require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	}

	// A reload takes a new certificate and other origins.
	_, two := treetest.Certificate(t, dir)
	c.HTTP.CORS.Origins = []string{"https://other.example"}
	require.NoError(t, b.Apply(treetest.Complete(t, c)))
	_, err := get(one, true)
	require.Error(t, err)
	resp, err := get(two, true)
	require.NoError(t, err)
	require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
	c.HTTP.TLS = config.TLS{}
	require.ErrorContains(t, b.Apply(treetest.Complete(t, c)), "a change of http.tls needs a restart")
	_, err = get(two, true)
	require.NoError(t, err)
}

func TestApply(t *testing.T) {
	t.Parallel()
	l := newLeaf(t, lossy.Config{})
	names := func() (names []string) {
		for _, s := range l.Status().Services {
			names = append(names, s.Name)
		}
		return names
	}
	// What needs a restart is named, and then nothing is changed.
	next := l.cfg
	next.Node.Name = "other"
	next.HTTP.Listen = config.Listen{}
	next.Cache.Memory = 2 << 20
	next.Admin.Pprof = true
	next.Log.Format = "json"
	next.Services = append(next.Services, treetest.Service(t, "more", treetest.Session(t)))
	err := l.Apply(treetest.Complete(t, next))
	require.EqualError(t, err, "a change of node, http.listen, admin, log.format, cache needs a restart; nothing was changed")
	require.Equal(t, []string{"live"}, names())

	// A service that cannot be joined does not keep the others away, and is tried again.
	next = l.cfg
	next.Services = append(next.Services, treetest.Service(t, "bad", treetest.Session(t)), treetest.Service(t, "more", treetest.Session(t)))
	next.Services[1].Upstream.Interface = "none0"
	var e *ssm.Error
	err = l.Apply(treetest.Complete(t, next))
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, "service bad: ssm: interface")
	require.Equal(t, []string{"live", "more"}, names())
	next.Services[1].Upstream.Interface = ""
	require.NoError(t, l.Apply(treetest.Complete(t, next)))
	require.Equal(t, []string{"bad", "live", "more"}, names())
	require.NoError(t, l.Apply(treetest.Complete(t, l.cfg)))
	require.Equal(t, []string{"live"}, names())

	require.NoError(t, l.Close(t.Context()))
	require.NoError(t, l.Close(t.Context()))
	require.Error(t, l.Apply(treetest.Complete(t, next)))
	require.Equal(t, []string{"live"}, names(), "a closed node still tells what it did")
}

func TestCannotStart(t *testing.T) {
	t.Parallel()
	new := func(change func(*config.Beacon)) error {
		c := treetest.BeaconConfig(treetest.Service(t, "live", treetest.Session(t)))
		change(&c)
		_, err := beacon.New(treetest.Complete(t, c), beacon.Options{Logger: treetest.Log(t)})
		return err
	}
	var e *ssm.Error
	err := new(func(c *config.Beacon) { c.Services[0].Upstream.Interface = "none0" })
	require.ErrorAs(t, err, &e)
	taken := treetest.Beacon(t, treetest.BeaconConfig(), lossy.Config{})
	var same config.Listen
	require.NoError(t, same.UnmarshalText([]byte(strings.TrimPrefix(taken.URL(), "http://"))))
	require.ErrorContains(t, new(func(c *config.Beacon) { c.HTTP.Listen = same }), "address already in use")
	require.ErrorContains(t, new(func(c *config.Beacon) { c.Admin.Listen = same }), "address already in use")
}

// A node that is told to end lets an answer under way end, too.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	l := newLeaf(t, lossy.Config{})
	o := treetest.Begin(t, l.source, "1.bin")
	require.NoError(t, o.Write([]byte("begin "), true))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var resp *http.Response
	treetest.Eventually(t, 5*time.Second, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+"1.bin", nil)
		require.NoError(t, err)
		tr := &http.Transport{DisableKeepAlives: true}
		if resp, err = (&http.Client{Transport: tr}).Do(req); err != nil || resp.StatusCode != http.StatusOK {
			return false
		}
		return true
	}, "no answer")
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	word, err := r.ReadString(' ')
	require.NoError(t, err)
	require.Equal(t, "begin ", word)
	cancel()
	time.AfterFunc(100*time.Millisecond, func() {
		if o.Write([]byte("end"), true) == nil {
			_ = o.Commit()
		}
	})
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "end", string(rest))
	require.NoError(t, <-done)
}

var _ node.Role[config.Beacon] = (*beacon.Node)(nil)
