package treetest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/lossy"
)

// mark is what a lying parent writes into objects.
var mark = []byte("this is not what CAST took in")

// liar passes requests on to an honest parent, and replaces octets of segments.
func liar(t *testing.T, honest string, lies *atomic.Int64) string {
	to, err := url.Parse(honest)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if strings.HasPrefix(r.Request.URL.Path, "/live/") && strings.HasSuffix(r.Request.URL.Path, ".m4s") && r.StatusCode/100 == 2 {
				r.Body = &lie{ReadCloser: r.Body, lies: lies}
			}
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }() // the child has left
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

type lie struct {
	io.ReadCloser
	lies *atomic.Int64
	told bool
}

func (l *lie) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if !l.told && n > len(mark) {
		l.told = true
		l.lies.Add(1)
		copy(p[n-len(mark):n], mark)
	}
	return n, err
}

// A node without multicast lives from its parents. Of these the first one lies, is dead, or takes requests and says nothing:
// it is left for the second one, the status tells why, and no octet that is not CAST's is given out.
func TestParentThatIsNoGood(t *testing.T) {
	var lies atomic.Int64
	for name, c := range map[string]struct {
		bad func(t *testing.T, honest string) string
		why string
	}{
		"it lies":    {func(t *testing.T, honest string) string { return liar(t, honest, &lies) }, "gave wrong octets"},
		"it is dead": {func(t *testing.T, _ string) string { return "http://" + Vacant(t).String() }, "does not answer"},
		"it is dumb": {func(t *testing.T, _ string) string {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { ln.Close() })
			return "http://" + ln.Addr().String()
		}, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := Cast(t, CastConfig(Channel("live", Session(t))))
			b := Beacon(t, BeaconConfig(Service(t, "live", Session(t), c.bad(t, node.RepairURL()), node.RepairURL())), lossy.Config{})
			publish(t, node, "live", "")
			p := Watch(t, node, "live", b.URL())
			// One that takes connections is tried again now and then.
			Eventually(t, patience, func() bool {
				return strings.Contains(b.Status().Services[0].Source.Why, c.why)
			}, "the status does not tell")
			p.Wait(t, 6)
			p.end()
			p.mu.Lock()
			defer p.mu.Unlock()
			for name, o := range p.objects {
				require.False(t, bytes.Contains(o.got, mark), "%s: a lie was given out", name)
				if o.complete && o.read {
					require.Equal(t, o.want, o.got, name)
				}
			}
			if name == "it lies" {
				require.NotZero(t, lies.Load())
				require.Less(t, lies.Load(), int64(8), "it is asked again and again")
			}
			require.Less(t, b.Status().Services[0].ObjectsLost, uint64(1))
		})
	}
}
