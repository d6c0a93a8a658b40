package relay_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/relay"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/treetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inner is a RELAY below a CAST.
type inner struct {
	*relay.Node
	cfg      config.Relay
	cast     *cast.Node
	source   *service.Service // at CAST
	up, down config.Session
}

func newInner(t *testing.T, loss lossy.Config) *inner {
	n := &inner{up: treetest.Session(t), down: treetest.Session(t)}
	n.cast = treetest.Cast(t, treetest.CastConfig(treetest.Channel("live", n.up)))
	n.source = n.cast.Service("live")
	n.cfg = treetest.RelayConfig(treetest.RelayService(treetest.Service(t, "live", n.up, n.cast.RepairURL()), n.down))
	n.Node = treetest.Relay(t, n.cfg, loss)
	return n
}

func content(i int) string { return fmt.Sprintf("object %d %s", i, strings.Repeat("0123456789", 1000)) }

func TestServesChildrenAndPlayers(t *testing.T) {
	t.Parallel()
	n := newInner(t, lossy.Config{})
	sniffer := treetest.Sniff(t, n.down)
	treetest.Put(t, n.source, "1.bin", content(1))
	id := sniffer.Find(t, "object 1 ")
	treetest.ServesChildren(t, n.RepairURL(), n.Via(), "live", "1.bin", content(1), id)

	// Players get objects from their own server, and no repair.
	resp, body := treetest.Get(t, n.URL()+"/live/1.bin")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, content(1), string(body))
	resp, _ = treetest.Get(t, n.URL()+string(id.AppendPath(nil)))
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)

	st := n.Status()
	require.NotZero(t, st.Repair.Symbols)
	require.NotZero(t, st.Services[0].PacketsSent)
	require.NotZero(t, st.Services[0].FECOctetsSent)
	require.Equal(t, uint64(1), st.Services[0].Objects)
	for path, want := range map[string]string{
		"/readyz": "ready", "/healthz": "ok", "/metrics": "treedn_repair_symbols_total", "/status": `"role": "relay"`,
	} {
		resp, body := treetest.Get(t, n.AdminURL()+path)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		require.Contains(t, string(body), want, path)
	}
}

// What a RELAY has repaired goes on whole, with repair packets of its own, through any number of RELAYs.
func TestChain(t *testing.T) {
	t.Parallel()
	first := newInner(t, lossy.Config{Random: 0.1, Seed: 2})
	last := treetest.Session(t)
	second := treetest.RelayConfig(treetest.RelayService(treetest.Service(t, "live", first.down, first.RepairURL()), last))
	second.Node.Name = "relay-2"
	r := treetest.Relay(t, second, lossy.Config{Random: 0.1, Seed: 3})
	b := treetest.Beacon(t, treetest.BeaconConfig(treetest.Service(t, "live", last, r.RepairURL())), lossy.Config{Random: 0.1, Seed: 4})
	for i := range 8 {
		name := fmt.Sprintf("%d.bin", i)
		treetest.Put(t, first.source, name, content(i))
		treetest.Eventually(t, 8*time.Second, func() bool { return b.Status().Services[0].Objects > uint64(i) }, name+" does not come")
		resp, body := treetest.Get(t, b.URL()+"/live/"+name)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, content(i), string(body))
	}
	for _, st := range []uint64{first.Injected(), r.Injected(), b.Injected()} {
		require.NotZero(t, st)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	n := newInner(t, lossy.Config{})
	next := n.cfg
	next.Repair.Listen = config.Listen{}
	next.HTTP.TLS, _ = treetest.Certificate(t, t.TempDir())
	require.EqualError(t, n.Apply(treetest.Complete(t, next)), "a change of http.tls, repair.listen needs a restart; nothing was changed")

	// A downstream that cannot be opened leaves the service as it was, and is tried again.
	sniffer := treetest.Sniff(t, n.down)
	next = n.cfg
	next.Services = append([]config.RelayService(nil), n.cfg.Services...)
	next.Services[0].Downstream.Session = treetest.Session(t)
	next.Services[0].Downstream.Interface = "none0"
	var e *ssm.Error
	require.ErrorAs(t, n.Apply(treetest.Complete(t, next)), &e)
	treetest.Put(t, n.source, "1.bin", content(1))
	sniffer.Find(t, "object 1 ")
	next.Services[0].Downstream.Interface = ""
	moved := treetest.Sniff(t, next.Services[0].Downstream.Session)
	require.NoError(t, n.Apply(treetest.Complete(t, next)))
	treetest.Put(t, n.source, "2.bin", content(2))
	moved.Find(t, "object 2 ")

	// The service may stop being sent on, and begin again.
	next.Services[0].Downstream, next.Services[0].SealKey = config.Downstream{}, config.SealKey{}
	require.NoError(t, n.Apply(treetest.Complete(t, next)))
	treetest.Put(t, n.source, "3.bin", content(3))
	resp, _ := treetest.Get(t, n.URL()+"/live/3.bin")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	next.Services[0].Downstream.Session, next.Services[0].SealKey = treetest.Session(t), treetest.HopKey
	again := treetest.Sniff(t, next.Services[0].Downstream.Session)
	require.NoError(t, n.Apply(treetest.Complete(t, next)))
	treetest.Put(t, n.source, "4.bin", content(4))
	again.Find(t, "object 4 ")
	sent := n.Status().Services[0].PacketsSent

	// And go altogether.
	next.Services = nil
	require.NoError(t, n.Apply(treetest.Complete(t, next)))
	require.Empty(t, n.Status().Services)
	resp, _ = treetest.Get(t, n.URL()+"/live/4.bin")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.NotZero(t, sent)

	require.NoError(t, n.Close(t.Context()))
	require.NoError(t, n.Close(t.Context()))
	require.Error(t, n.Apply(treetest.Complete(t, n.cfg)))
}

// A node that is told to end takes nobody new, player or child, says so to whoever asks its operator's server, and lets the
// answers under way end.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	n := newInner(t, lossy.Config{})
	o := treetest.Begin(t, n.source, "1.bin")
	require.NoError(t, o.Write([]byte("begin "), true))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	var answers []*http.Response
	for _, base := range []string{n.URL(), n.RepairURL()} {
		treetest.Eventually(t, 5*time.Second, func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/live/1.bin", nil)
			require.NoError(t, err)
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				return false
			}
			if resp.StatusCode != http.StatusOK {
				resp.Body.Close()
				return false
			}
			answers = append(answers, resp)
			return true
		}, "no answer")
	}
	resp, _ := treetest.Get(t, n.AdminURL()+"/readyz")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	cancel()
	for _, base := range []string{n.URL(), n.RepairURL()} {
		treetest.Eventually(t, 5*time.Second, func() bool {
			c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
			if err == nil {
				c.Close()
			}
			return err != nil
		}, "new connections are taken")
	}
	resp, body := treetest.Get(t, n.AdminURL()+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, string(body), "being ended")
	_, body = treetest.Get(t, n.AdminURL()+"/status")
	require.Contains(t, string(body), `"state": "draining"`)
	require.NoError(t, o.Write([]byte("end"), true))
	require.NoError(t, o.Commit())
	for _, resp := range answers {
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, "begin end", string(body))
	}
	require.NoError(t, <-done)
}

func TestCannotStart(t *testing.T) {
	t.Parallel()
	c := treetest.RelayConfig(treetest.RelayService(treetest.Service(t, "live", treetest.Session(t)), treetest.Session(t)))
	c.Services[0].Downstream.Interface = "none0"
	_, err := relay.New(treetest.Complete(t, c), relay.Options{Logger: treetest.Log(t)})
	var e *ssm.Error
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, "service live: ssm: interface")
}

var _ node.Role[config.Relay] = (*relay.Node)(nil)
