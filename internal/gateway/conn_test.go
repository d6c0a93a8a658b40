package gateway

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// Whatever happens to a connection is in the log.
func TestEventsAreLogged(t *testing.T) {
	var log bytes.Buffer
	c := &Conn{log: slog.New(slog.NewTextHandler(&log, nil)), finder: Find(t.Context(), netip.Addr{}, nil, nil, nil)}
	defer c.finder.Close()
	way := amt.Way{Relay: netip.MustParseAddrPort("192.0.2.1:2268")}
	for e := amt.ConnStarted; e <= amt.ConnWorse; e++ {
		log.Reset()
		c.event(amt.ConnEvent{Type: e, From: way, Relay: way.Relay, Err: amt.ErrNoData})
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), "event %d: %s", e, &log)
	}
	require.Contains(t, log.String(), `level=WARN msg="more is lost natively, which is looked at again later"`)
	require.Contains(t, log.String(), `way="relay 192.0.2.1:2268"`)
}
