package amt_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// A relay that drains and ends when its gateways have gone: they move to another one
// within a query interval, with not a packet lost or twice.
func TestDrainLosesNothing(t *testing.T) {
	const gateways = 4
	ch := ssmtest.Channel(t)
	one, two := loopback(t), loopback(t)
	config := amt.RelayConfig{QueryInterval: 2 * time.Second}
	sendTo(t, ch, 1316, 2*time.Millisecond)
	first, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{one}, Upstream: native(t, ch.Port), Relay: config})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- first.Run(context.Background()) }()
	second := serve(t, two, native(t, ch.Port), config)
	var conns []*amt.Conn
	lists := make([][]uint64, gateways)
	gone := make(chan struct{})
	var readers sync.WaitGroup
	for i := range gateways {
		c := dial(t, ch, amt.DialConfig{
			Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: one}, {Address: two}}, Attempt: 2 * time.Second},
		})
		conns = append(conns, c)
		readers.Go(func() {
			for more := true; more; {
				select {
				case <-gone:
					lists[i] = append(lists[i], numbers(t, c, 200)...)
					more = false
				default:
					lists[i] = append(lists[i], numbers(t, c, 1)...)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return first.Stats().Tunnels == gateways && first.Stats().Copies > 1000 }, 20*time.Second, 10*time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	require.NoError(t, first.Drain(ctx))
	require.NoError(t, first.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
	require.Equal(t, gateways, second.Stats().Tunnels)
	close(gone)
	readers.Wait()
	for i, c := range conns {
		require.Zero(t, c.Stats().Dropped, "by the reader, which has nothing to do with it")
		requireConsecutive(t, lists[i])
		require.Equal(t, uint64(1), c.Stats().Gateway.Moves)
		require.Zero(t, c.Stats().Gateway.Lost)
	}
	require.Zero(t, first.Stats().Expired, "they have left")
}
