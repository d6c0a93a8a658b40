package amt_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// A candidate whose address was forgotten is told at once, not by waiting.
func TestRelaysWithoutAddress(t *testing.T) {
	source, group := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddrPort("232.1.1.1:5000")
	g := amt.GatewayConfig{Relays: []amt.Candidate{{}}}
	_, err := amt.Dial(t.Context(), source, group, amt.DialConfig{Mode: amt.ModeTunnel, Gateway: g})
	require.ErrorIs(t, err, amt.ErrNoRelays)
	_, err = amt.NewChain(amt.ChainConfig{Gateway: g})
	require.ErrorIs(t, err, amt.ErrNoRelays)
	_, err = amt.NewBridge(amt.BridgeConfig{Interface: "lo", Gateway: g})
	require.ErrorIs(t, err, amt.ErrNoRelays)
}
