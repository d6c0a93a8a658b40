package resolver

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/dns"
)

// road carries connections to a server, until all that are on it get stuck, as when a
// NAT forgets them or the network changes.
type road struct {
	to    string
	mu    sync.Mutex
	conns []*roadConn
	made  atomic.Int32
}

type roadConn struct {
	net.Conn
	stuck atomic.Bool
}

func (c *roadConn) Write(b []byte) (int, error) {
	if c.stuck.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (r *road) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, r.to)
	if err != nil {
		return nil, err
	}
	r.made.Add(1)
	c := &roadConn{Conn: conn}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
	return c, nil
}

func (r *road) stick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.stuck.Store(true)
	}
}

// A connection on which nothing is answered any more does not hold up the questions that
// come after the first to notice.
func TestHTTPSConnectionGetsStuck(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		msg, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", MediaType)
		msg[2] |= 0x80
		_, _ = w.Write(msg)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	way := &road{to: server.Listener.Addr().String()}
	h := &HTTPS{URL: server.URL, dial: way.dial, tls: &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	defer h.Close()
	q := dns.Question{Name: dns.MustParseName("example.com"), Type: dns.TypeA}
	for range 3 {
		_, err := h.Resolve(t.Context(), q)
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, way.made.Load(), "connections are used again")
	way.stick()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := h.Resolve(ctx, q)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = h.Resolve(ctx, q)
	require.NoError(t, err)
	require.EqualValues(t, 2, way.made.Load())
}
