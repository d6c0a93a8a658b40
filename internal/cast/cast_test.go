package cast_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/internal/treetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put pushes an object as a publisher does. The error is that of the connection, which a refusal closes.
func put(t *testing.T, n *cast.Node, path, key string, body io.Reader) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.IngestURL()+"/publish/"+path, body)
	require.NoError(t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func accepted(t *testing.T, n *cast.Node, path, key, body string) bool {
	t.Helper()
	status, err := put(t, n, path, key, strings.NewReader(body))
	return err == nil && status/100 == 2
}

func TestServesChildren(t *testing.T) {
	t.Parallel()
	session := treetest.Session(t)
	n := treetest.Cast(t, treetest.CastConfig(treetest.Channel("live", session)))
	sniffer := treetest.Sniff(t, session)
	body := "the object " + strings.Repeat("0123456789", 1000)
	treetest.Put(t, n.Service("live"), "1.bin", body)
	treetest.ServesChildren(t, n.RepairURL(), n.Via(), "live", "1.bin", body, sniffer.Find(t, "the object "))
	require.NotZero(t, n.Status().Repair.Symbols)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	n := treetest.Cast(t, treetest.CastConfig(treetest.Channel("live", treetest.Session(t))))
	resp, body := treetest.Get(t, n.AdminURL()+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, string(body), "channel live has no source")
	st := n.Status().Services[0]
	require.Equal(t, telemetry.StateWaiting, st.State)
	require.NotEmpty(t, st.Source.Why)

	require.True(t, accepted(t, n, "live/text.vtt", "", "WEBVTT\n"))
	st = n.Status().Services[0]
	require.Equal(t, telemetry.StateRunning, st.State)
	require.Equal(t, telemetry.SourcePush, st.Source.Kind)
	require.Equal(t, uint64(1), st.Objects)
	require.NotZero(t, st.RateIn)
	treetest.Eventually(t, 5*time.Second, func() bool { return n.Status().Services[0].Latency.Count > 0 }, "no delay is measured")
	require.Less(t, n.Status().Services[0].Latency.Max, time.Minute)
	for path, want := range map[string]string{
		"/readyz": "ready", "/healthz": "ok", "/metrics": `treedn_service_packets_sent_total{service="live"}`, "/status": `"role": "cast"`,
	} {
		resp, body := treetest.Get(t, n.AdminURL()+path)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		require.Contains(t, string(body), want, path)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	const old, fresh = "the old stream key", "the new stream key"
	c := treetest.CastConfig(treetest.Channel("live", treetest.Session(t)))
	c.Channels[0].Keys = []config.StreamKey{config.NewStreamKey(old)}
	n := treetest.Cast(t, c)
	require.True(t, accepted(t, n, "live/1.vtt", old, "WEBVTT 1"))
	require.False(t, accepted(t, n, "live/2.vtt", fresh, "WEBVTT 2"))
	require.False(t, accepted(t, n, "more/1.vtt", old, "WEBVTT 1"))

	// What needs a restart is named, and then nothing is changed.
	next := c
	next.Channels = append([]config.Channel(nil), c.Channels...)
	next.Channels[0].Keys = []config.StreamKey{config.NewStreamKey(old), config.NewStreamKey(fresh)}
	next.Ingest.Listen, next.Node.StateDir = config.Listen{}, config.Path(t.TempDir())
	next.Ingest.TLS, _ = treetest.Certificate(t, t.TempDir())
	require.EqualError(t, n.Apply(treetest.Complete(t, next)), "a change of node, ingest.listen, ingest.tls needs a restart; nothing was changed")
	require.False(t, accepted(t, n, "live/2.vtt", fresh, "WEBVTT 2"))

	// A channel that cannot be sent is not there, and the others are changed all the same.
	next.Node, next.Ingest = c.Node, c.Ingest
	next.Channels = append(next.Channels, treetest.Channel("more", treetest.Session(t)))
	next.Channels[1].Keys = c.Channels[0].Keys
	next.Channels[1].Multicast.Interface = "none0"
	var e *ssm.Error
	require.ErrorAs(t, n.Apply(treetest.Complete(t, next)), &e)
	require.False(t, accepted(t, n, "more/1.vtt", old, "WEBVTT 1"))
	require.True(t, accepted(t, n, "live/2.vtt", old, "WEBVTT 2"))
	next.Channels[1].Multicast.Interface = ""
	require.NoError(t, n.Apply(treetest.Complete(t, next)))
	require.True(t, accepted(t, n, "more/1.vtt", old, "WEBVTT 1"))
	resp, body := treetest.Get(t, n.RepairURL()+"/more/1.vtt")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "WEBVTT 1", string(body))

	// Without its key a publisher is cut off in the middle of an object.
	r, w := io.Pipe()
	cut := make(chan bool, 1)
	go func() { cut <- !cutOff(put(t, n, "live/3.vtt", old, r)) }()
	_, err := io.WriteString(w, "WEBVTT 3")
	require.NoError(t, err)
	treetest.Eventually(t, 5*time.Second, func() bool { return n.Status().Ingest.OctetsIn >= uint64(len("WEBVTT 1")*3) }, "nothing comes in")
	next.Channels = next.Channels[:1]
	next.Channels[0].Keys = next.Channels[0].Keys[1:]
	require.NoError(t, n.Apply(treetest.Complete(t, next)))
	require.False(t, <-cut)
	w.Close()
	require.Nil(t, n.Service("more"))
	resp, _ = treetest.Get(t, n.RepairURL()+"/more/1.vtt")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)

	require.NoError(t, n.Close(t.Context()))
	require.NoError(t, n.Close(t.Context()))
	require.Error(t, n.Apply(treetest.Complete(t, next)))
}

func cutOff(status int, err error) bool { return err != nil || status/100 != 2 }

func TestInitSegmentsSurviveARestart(t *testing.T) {
	t.Parallel()
	c := treetest.CastConfig(treetest.Channel("live", treetest.Session(t)))
	c.Node.StateDir = config.Path(t.TempDir())
	first := treetest.Cast(t, c)
	p, ok := clip.NewSource(clip.Config{}).Poll(time.Now())
	require.True(t, ok)
	require.True(t, strings.HasPrefix(p.Name, "init-"), p.Name)
	body := bytes.Clone(p.Body)
	require.True(t, accepted(t, first, "live/"+p.Name, "", string(body)))
	require.NoError(t, first.Close(t.Context()))

	sniffer := treetest.Sniff(t, c.Channels[0].Multicast.Session)
	second := treetest.Cast(t, c)
	resp, got := treetest.Get(t, second.RepairURL()+"/live/"+p.Name)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, body, got)
	sniffer.Find(t, string(body[:64]))
}

// A node that is told to end takes nobody new and lets the object that is being pushed end and leave.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	session := treetest.Session(t)
	n := treetest.Cast(t, treetest.CastConfig(treetest.Channel("live", session)))
	sniffer := treetest.Sniff(t, session)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	r, w := io.Pipe()
	whole := make(chan bool, 1)
	go func() { whole <- !cutOff(put(t, n, "live/1.vtt", "", r)) }()
	_, err := io.WriteString(w, "WEBVTT\n")
	require.NoError(t, err)
	treetest.Eventually(t, 5*time.Second, func() bool { return n.Status().Ingest.Active == 1 }, "nothing comes in")
	cancel()
	treetest.Eventually(t, 5*time.Second, func() bool { return !accepted(t, n, "live/2.vtt", "", "WEBVTT\n") }, "new publishers are taken")
	_, body := treetest.Get(t, n.AdminURL()+"/status")
	require.Contains(t, string(body), `"state": "draining"`)
	_, err = io.WriteString(w, "the last words")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.True(t, <-whole)
	require.NoError(t, <-done)
	sniffer.Find(t, "the last words")
}

func TestIngestOverTLS(t *testing.T) {
	t.Parallel()
	c := treetest.CastConfig(treetest.Channel("live", treetest.Session(t)))
	cert, roots := treetest.Certificate(t, t.TempDir())
	c.Ingest.TLS = cert
	n := treetest.Cast(t, c)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.IngestURL()+"/publish/live/1.vtt", strings.NewReader("WEBVTT\n"))
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: tr}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 2, resp.StatusCode/100)
}

func TestCannotStart(t *testing.T) {
	t.Parallel()
	c := treetest.CastConfig(treetest.Channel("live", treetest.Session(t)))
	c.Channels[0].Multicast.Interface = "none0"
	_, err := cast.New(treetest.Complete(t, c), cast.Options{Logger: treetest.Log(t)})
	var e *ssm.Error
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, "channel live: ssm: interface")
}

var _ node.Role[config.Cast] = (*cast.Node)(nil)
