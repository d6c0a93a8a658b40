package treetest

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/internal/config"
)

// Taken returns an address that another process listens on, for a test's time.
func Taken(tb testing.TB) (config.Listen, net.Listener) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { ln.Close() })
	return ListenOn(tb, ln.Addr().String()), ln
}

// ListenOn returns an address to listen on.
func ListenOn(tb testing.TB, address string) (l config.Listen) {
	tb.Helper()
	require.NoError(tb, l.UnmarshalText([]byte(address)))
	return l
}

// FailsToStart tells whether start fails, and leaves neither a goroutine nor a listener on one of the addresses. It is for
// tests beside which none runs.
func FailsToStart(t *testing.T, want string, start func() error, free ...config.Listen) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	require.ErrorContains(t, start(), want)
	goleak.VerifyNone(t, before)
	for _, l := range free {
		ln, err := net.Listen("tcp", l.AddrPort().String())
		require.NoError(t, err)
		require.NoError(t, ln.Close())
	}
}

// FreeAddresses returns addresses that nobody listens on.
func FreeAddresses(tb testing.TB, n int) (free []config.Listen) {
	tb.Helper()
	var all []net.Listener
	for range n {
		l, ln := Taken(tb)
		free, all = append(free, l), append(all, ln)
	}
	for _, ln := range all {
		ln.Close()
	}
	return free
}
