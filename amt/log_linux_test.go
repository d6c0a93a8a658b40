package amt_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// lockedText is what a log has written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// barren is an upstream that can join nothing.
type barren struct{ manual }

func (*barren) Join(netip.Addr, netip.Addr, func([][]byte)) error { return unix.ENOBUFS }

// A gateway that wants thousands of channels that cannot be joined makes the relay log a
// line, and at level debug one for its tunnel.
func TestGatewaysFillNoLog(t *testing.T) {
	listen := loopback(t)
	var text lockedText
	s, err := amt.NewServer(amt.ServerConfig{
		Listen: []netip.AddrPort{listen}, Upstream: &barren{}, Relay: amt.RelayConfig{TunnelRate: 1000, MaxChannelsPerTunnel: 10_000},
		Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	gateway, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(listen))
	require.NoError(t, err)
	defer gateway.Close()
	_, err = gateway.Write([]byte{3, 0, 0, 0, 0, 0, 0, 7})
	require.NoError(t, err)
	var q amt.Message
	b := make([]byte, 1500)
	require.NoError(t, gateway.SetReadDeadline(time.Now().Add(20*time.Second)))
	n, err := gateway.Read(b)
	require.NoError(t, err)
	require.NoError(t, q.Unmarshal(b[:n]))
	update := func(t gmp.RecordType, i int) {
		var sources []string
		for j := range 64 {
			sources = append(sources, fmt.Sprintf("10.0.0.%d", 1+j))
		}
		m := amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce,
			Packet: gmp.AppendReport(nil, netip.Addr{}, false, record(t, fmt.Sprintf("232.1.1.%d", i), sources...))}
		out, _ := m.AppendTo(nil)
		_, _ = gateway.Write(out)
	}
	for i := range 50 {
		update(gmp.AllowNewSources, i)
	}
	require.Eventually(t, func() bool { return s.Stats().Unjoined == 50*64 }, 20*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, s.Stats().JoinErrors, uint64(50*64))
	require.Eventually(t, func() bool { return strings.Contains(text.String(), "cannot be joined") }, 20*time.Second, time.Millisecond)
	require.Equal(t, 1, strings.Count(text.String(), "cannot be joined"), "%s", text.String())
	for i := range 50 {
		update(gmp.BlockOldSources, i)
	}
	require.Eventually(t, func() bool { st := s.Stats(); return st.Unjoined == 0 && st.Tunnels == 0 }, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(text.String(), "a tunnel has ended") }, 20*time.Second, time.Millisecond)
	require.Contains(t, text.String(), "reason=left packets=0 octets=0")
	require.LessOrEqual(t, strings.Count(text.String(), "\n"), 6, "%s", text.String())
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
}
