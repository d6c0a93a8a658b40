package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

// plain does not care for connections.
type plain struct{ http.Handler }

func (plain) ConnContext(ctx context.Context, _ net.Conn) context.Context { return ctx }

// What a client has sent before it resets the connection is taken, although none of it can be answered.
func TestIngestTakesWhatCameBeforeReset(t *testing.T) {
	const requests = 4
	entered, leave, names := make(chan struct{}, requests), make(chan struct{}), make(chan string, requests)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-leave
		if err == nil {
			names <- r.URL.Path
		}
		w.WriteHeader(http.StatusCreated)
	})
	s, err := OpenIngest(config.ListenOn(netip.MustParseAddrPort("127.0.0.1:0")), config.TLS{}, plain{h}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer s.Shutdown(t.Context())

	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	for i := range requests {
		_, err := fmt.Fprintf(c, "PUT /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
		require.NoError(t, err)
	}
	<-entered
	require.NoError(t, c.(*net.TCPConn).SetLinger(0)) // Close resets
	require.NoError(t, c.Close())
	close(leave)
	for i := range requests {
		select {
		case name := <-names:
			require.Equal(t, fmt.Sprintf("/%d", i), name)
		case <-time.After(5 * time.Second):
			t.Fatalf("request %d has not come", i)
		}
	}
}
