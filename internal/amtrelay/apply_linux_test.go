package amtrelay

import (
	"bytes"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/nettest"
)

// A configuration of which one part fails changes nothing.
func TestApplyAllOrNothing(t *testing.T) {
	const own = "192.0.2.1"
	if !nettest.Alone(t, own+"/32") {
		return
	}
	parse := func(text string) config.AMT {
		c, err := config.Parse[config.AMTRelay]("x", []byte("amt: {listen: ["+own+"], upstream: {ports: [5000], sockets: true}, drain: 1ms, "+text+"}"))
		require.NoError(t, err)
		return c.AMT
	}
	r, err := Open(parse("bridge: {interface: lo, relays: [192.0.2.9], channels: ['198.51.100.1,232.1.1.1', '198.51.100.1,232.1.1.2']}"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	have, bridged := r.cfg, maps.Clone(r.bridge.have)
	require.Len(t, bridged, 2)

	err = r.Apply(parse("allow: {sources: [10.0.0.0/8]}, max_groups_per_tunnel: 1, bridge: {interface: lo, relays: [192.0.2.8], channels: ['198.51.100.1,232.1.1.2', '198.51.100.1,232.1.1.3', '" + own + ",232.1.1.1']}"))
	require.ErrorIs(t, err, amt.ErrLoop)
	require.Equal(t, have, r.cfg)
	require.Equal(t, bridged, r.bridge.have)
	require.Equal(t, "192.0.2.9:2268", r.bridge.relays.Relays[0].String())
	require.True(t, r.allows(netip.MustParseAddrPort("203.0.113.1:1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("232.1.1.1")))

	next := parse("allow: {sources: [10.0.0.0/8]}, bridge: {interface: lo, relays: [192.0.2.8], channels: ['198.51.100.1,232.1.1.2', '198.51.100.1,232.1.1.3']}")
	require.NoError(t, r.Apply(next))
	require.ElementsMatch(t, next.Bridge.Channels, slices.Collect(maps.Keys(r.bridge.have)))
	require.Equal(t, "192.0.2.8:2268", r.bridge.relays.Relays[0].String())
	require.False(t, r.allows(netip.MustParseAddrPort("203.0.113.1:1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("232.1.1.1")))
}

// The log says which limit bites, and who it is.
func TestWatchTellsOverLimit(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	stats := amt.ServerStats{RelayStats: amt.RelayStats{Ignored: 5, Denied: 2, Greedy: netip.MustParseAddrPort("198.51.100.7:999")}}
	w := watcher{make(map[int]uint64), make(map[int]time.Time)}
	w.tell(log, time.Now(), &stats, 0)
	require.Contains(t, text.String(), "may not have\" count=2 see=amt.allow\n")
	require.Contains(t, text.String(), "do not get them\" count=3 see=\"amt.max_groups_per_tunnel, amt.max_sources_per_group, amt.max_channels_per_tunnel\" last=198.51.100.7:999\n")
	text.Reset()
	stats.Ignored++
	w.tell(log, time.Now(), &stats, 0)
	require.Empty(t, text.String(), "a minute has not passed")
}
