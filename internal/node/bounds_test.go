package node

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/telemetry"
)

func bounded(t *testing.T, l Limits, h http.HandlerFunc) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := newBounds(l)
	s := serve(boundedListener{ln, b}, b, nil, b.bodiless(h), nil, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, s.Shutdown(AtOnce())) })
	return s
}

func limitOf(t *testing.T, s *Server, name string) telemetry.Limit {
	t.Helper()
	for _, l := range s.Status().Limits {
		if l.Name == name {
			return l
		}
	}
	t.Fatal("no limit ", name)
	return telemetry.Limit{}
}

func dial(t *testing.T, s *Server, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// served asks on a connection, and tells whether there was an answer.
func served(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return err == nil && string(b) == "small"
}

// Who takes nothing of what it asked for is cut off, and others are served meanwhile. One that reads slowly is not.
func TestClientThatReadsNothing(t *testing.T) {
	ended := make(chan error, 2)
	s := bounded(t, Limits{Stall: 300 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			_, _ = io.WriteString(w, "small")
			return
		}
		total := 64 << 20
		if r.URL.Path == "/slow" {
			total = 1 << 20
		}
		// One write, as of an object that lies in memory.
		_, err := w.Write(make([]byte, total))
		ended <- err
	})
	c := dial(t, s, "127.0.0.1")
	_, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.True(t, served(dial(t, s, "127.0.0.1")))
	require.Error(t, <-ended)
	require.EqualValues(t, 1, limitOf(t, s, "stalled_seconds").Hits)
	require.EqualValues(t, 1, limitOf(t, s, "stalled_seconds").Max)
	require.Eventually(t, func() bool { return limitOf(t, s, "connections").Used == 1 }, 5*time.Second, time.Millisecond)

	slow := dial(t, s, "127.0.0.1")
	require.NoError(t, slow.(*net.TCPConn).SetReadBuffer(16<<10))
	_, err = io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	n := 0
	for buf := make([]byte, 64<<10); n < 1<<20; time.Sleep(10 * time.Millisecond) {
		k, err := slow.Read(buf)
		require.NoError(t, err)
		n += k
	}
	require.NoError(t, <-ended)
	require.EqualValues(t, 1, limitOf(t, s, "stalled_seconds").Hits)
}

// A handler's own deadline holds if it is the earlier one.
func TestDeadlineOfAHandler(t *testing.T) {
	ended := make(chan error, 1)
	s := bounded(t, Limits{Stall: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := w.Write(make([]byte, 64<<20))
		ended <- err
	})
	c := dial(t, s, "127.0.0.1")
	_, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.Error(t, <-ended)
	require.Zero(t, limitOf(t, s, "stalled_seconds").Hits, "it was the handler's limit")
}

func TestConnectionsAreBounded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is no address of this host")
	}
	s := bounded(t, Limits{Limits: config.Limits{Connections: 3, ConnectionsPerPeer: 2}}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "small") })
	one, two := dial(t, s, "127.0.0.1"), dial(t, s, "127.0.0.1")
	require.True(t, served(one))
	require.True(t, served(two))
	require.False(t, served(dial(t, s, "127.0.0.1")), "a third one of this address")
	other := dial(t, s, "127.0.0.2")
	require.True(t, served(other))
	require.False(t, served(dial(t, s, "127.0.0.2")), "a fourth one")
	require.Equal(t, telemetry.Limit{Name: "connections", Used: 3, Max: 3, Hits: 1}, limitOf(t, s, "connections"))
	require.Equal(t, telemetry.Limit{Name: "connections_per_peer", Used: 2, Max: 2, Hits: 1}, limitOf(t, s, "connections_per_peer"))
	one.Close()
	require.Eventually(t, func() bool { return limitOf(t, s, "connections").Used == 2 }, 5*time.Second, time.Millisecond)
	require.True(t, served(dial(t, s, "127.0.0.1")))

	// Other limits are for those that come from then on.
	s.SetLimits(config.Limits{Connections: 1})
	require.True(t, served(other))
	require.False(t, served(dial(t, s, "127.0.0.2")))
	require.Equal(t, telemetry.Limit{Name: "connections_per_peer", Used: 2, Max: 1, Hits: 1}, limitOf(t, s, "connections_per_peer"))
	s.SetLimits(config.Limits{Connections: 5})
	require.True(t, served(dial(t, s, "127.0.0.2")))
	(*Server)(nil).SetLimits(config.Limits{})
}

func TestPeer(t *testing.T) {
	for addr, peer := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[2001:db8:1:2:3::4]:80": "2001:db8:1:2::", "[fe80::1%lo]:80": "fe80::",
	} {
		require.Equal(t, netip.MustParseAddr(peer), peerOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))), addr)
	}
	require.False(t, peerOf(&net.UnixAddr{Name: "x"}).IsValid())
}

// The head of a request is bounded before any handler sees it, with and without TLS, and every hit counts.
func TestHeadsAreBounded(t *testing.T) {
	cert, roots := certificate(t, t.TempDir(), "one")
	for _, c := range []config.TLS{{}, cert} {
		s := open(t, c, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "small") })
		secure := func() net.Conn {
			c := dial(t, s, "127.0.0.1")
			if s.cert.Load() != nil {
				c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
			}
			return c
		}
		ask := func(c net.Conn, name int) {
			_, _ = fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("n", name))
		}
		for i, name := range []int{1 << 20, 80_000} {
			c := secure()
			require.True(t, served(c), "a small one before")
			go ask(c, name)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
			require.Eventually(t, func() bool { return limitOf(t, s, "header_octets").Hits == uint64(i+1) }, 10*time.Second, time.Millisecond)
		}

		// What is within the bound is answered, however much comes on one connection, and large bodies are no heads.
		c := secure()
		for range 3 {
			go ask(c, 60_000)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
		}
		_, err := fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n%s", strings.Repeat("n", 200_000))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		_, err = fmt.Fprint(c, "nonsense\r\n\r\n")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err)
		c.Close()
		require.Eventually(t, func() bool { return limitOf(t, s, "connections").Used == 0 }, 10*time.Second, time.Millisecond)
		require.EqualValues(t, 2, limitOf(t, s, "header_octets").Hits)
	}
}

// A head of HTTP/2 counts as well, of clients that do not mind what the server has told them.
func TestHeadsOfHTTP2AreBounded(t *testing.T) {
	cert, roots := certificate(t, t.TempDir(), "one")
	s := open(t, cert, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "small") })
	for i, name := range []int{66_000, 1 << 20} {
		c := tls.Client(dial(t, s, "127.0.0.1"), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}})
		// RFC 9113: the preface, empty SETTINGS, and HEADERS with CONTINUATIONs of the fields :method, :scheme and :path
		// (RFC 7541).
		b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		b = append(b, 0, 0, 0, 4, 0, 0, 0, 0, 0)
		head := binary.AppendUvarint([]byte{0x82, 0x87, 0x04, 0x7f}, uint64(name-0x7f))
		head = append(head, "/"+strings.Repeat("n", name-1)...)
		frame := byte(1)
		for len(head) > 0 {
			n := min(len(head), 16<<10)
			flags := byte(1) // END_STREAM
			if n == len(head) {
				flags |= 4 // END_HEADERS
			}
			b = append(b, byte(n>>16), byte(n>>8), byte(n), frame, flags, 0, 0, 0, 1)
			b = append(b, head[:n]...)
			head, frame = head[n:], 9
		}
		go func() { _, _ = c.Write(b) }()
		go func() { _, _ = io.Copy(io.Discard, c) }()
		require.Eventually(t, func() bool { return limitOf(t, s, "header_octets").Hits == uint64(i+1) }, 10*time.Second, time.Millisecond)
		c.Close()
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	for range 5 {
		resp, err := (&http.Client{Transport: tr}).Get(s.URL() + "/" + strings.Repeat("n", 50_000))
		require.NoError(t, err)
		require.Equal(t, "HTTP/2.0", resp.Proto)
		resp.Body.Close()
	}
	tr.CloseIdleConnections()
	require.Eventually(t, func() bool { return limitOf(t, s, "connections").Used == 0 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 2, limitOf(t, s, "header_octets").Hits)
}

// A body that nobody wants holds nothing for long.
func TestBodiesAreBounded(t *testing.T) {
	s := bounded(t, Limits{Body: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "small") })
	c := dial(t, s, "127.0.0.1")
	_, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
	require.NoError(t, err)
	require.True(t, served(dial(t, s, "127.0.0.1")))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err, "closed by the server, which waits no longer for the body")
}
