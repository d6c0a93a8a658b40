package amtrelay_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/amtrelay"
	"github.com/treedn/treedn/internal/config"
)

func parse(t *testing.T, format string, args ...any) *config.AMTRelay {
	t.Helper()
	c, err := config.Parse[config.AMTRelay]("amt-relay.yaml", fmt.Appendf(nil, format, args...))
	require.NoError(t, err)
	return c
}

// free draws an address on a port of the system's choice.
func free(t *testing.T) netip.AddrPort {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ssmtest.Source(), 0)))
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func start(t *testing.T, cfg *config.AMTRelay) (n *amtrelay.Node, end func()) {
	n, err := amtrelay.New(cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(end)
	return n, end
}

func send(t *testing.T, ch ssm.Channel) {
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			_, _ = tx.WriteBatch([][]byte{make([]byte, 1000)}, ch.Destination())
		}
	})
	t.Cleanup(func() { close(stop); done.Wait(); _ = tx.Close() })
}

func dial(t *testing.T, ch ssm.Channel, relays ...netip.AddrPort) *amt.Conn {
	var list []amt.Candidate
	for _, r := range relays {
		list = append(list, amt.Candidate{Address: r})
	}
	c, err := amt.Dial(context.Background(), ch.Source, ch.Destination(), amt.DialConfig{
		Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: list, Keepalive: 15 * time.Second},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func read(t *testing.T, c *amt.Conn, n int) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	for range n {
		_, _, err := c.ReadFrom(make([]byte, 1500))
		require.NoError(t, err)
	}
}

// A relay and one behind it, whose channels are allowed at first, then not.
func TestNode(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ch := ssmtest.Channel(t)
		send(t, ch)
		one, two := free(t), free(t)
		const root = "{listen: ['%v'], upstream: {ports: [%d], sockets: true}, drain: 100ms%s}"
		first, _ := start(t, parse(t, "admin: {listen: 'off'}\namt: "+root, one, ch.Port, ""))
		second, end := start(t, parse(t, "admin: {listen: '127.0.0.1:0'}\namt: {listen: ['%v'], upstream: {relays: ['%v']}, drain: 100ms}", two, one))
		require.NotEmpty(t, second.AdminURL())
		c := dial(t, ch, two)
		read(t, c, 50)
		st := second.Status()
		require.True(t, st.Readiness.Ready)
		require.Equal(t, "relay", st.AMT.Upstream)
		require.Equal(t, one.String(), st.AMT.UpstreamRelay)
		require.Equal(t, []string{two.String()}, st.AMT.Listen)
		require.Equal(t, uint64(1), st.AMT.Tunnels)
		require.Equal(t, uint64(100_000), st.AMT.MaxTunnels)
		require.GreaterOrEqual(t, st.AMT.Copies, uint64(50))
		require.Positive(t, st.AMT.Messages["update"])
		require.Equal(t, "sockets", first.Status().AMT.Upstream)

		// Others are not allowed it any more; who has it keeps it.
		require.NoError(t, first.Apply(parse(t, "admin: {listen: 'off'}\namt: "+root, one, ch.Port, ", allow: {sources: [192.0.2.0/24]}")))
		read(t, c, 10)
		other := ssmtest.Channel(t)
		refused := dial(t, other, one)
		require.Eventually(t, func() bool { return first.Status().AMT.Rejected["ignored"] > 0 }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, refused.Close())

		// One group is as much as it may have, and then two are.
		require.NoError(t, first.Apply(parse(t, "admin: {listen: 'off'}\namt: "+root, one, ch.Port, ", max_groups_per_tunnel: 1")))
		third := ssmtest.Channel(t)
		third.Port = ch.Port
		send(t, third)
		more := dial(t, third, two)
		require.Eventually(t, func() bool { return first.Status().AMT.Rejected["over_limit"] > 0 }, 20*time.Second, 10*time.Millisecond)
		require.NoError(t, first.Apply(parse(t, "admin: {listen: 'off'}\namt: "+root, one, ch.Port, ", max_groups_per_tunnel: 2")))
		require.NoError(t, more.Close())
		more = dial(t, third, two)
		read(t, more, 10)
		require.NoError(t, more.Close())

		// What needs a restart changes nothing.
		err := first.Apply(parse(t, "admin: {listen: 'off'}\namt: "+root, one, ch.Port+1, ""))
		require.ErrorContains(t, err, "a change of amt needs a restart")
		require.ErrorContains(t, second.Apply(parse(t, "amt: {listen: ['%v'], upstream: {relays: ['%v']}}", two, one)), "a change of admin")

		require.NoError(t, c.Close())
		end()
		require.ErrorIs(t, second.Apply(parse(t, "amt: {listen: ['%v']}", two)), net.ErrClosed)
	})
}

// A relay that ends waits for its gateways: with another relay they leave it
// within the time of a Request.
func TestDrain(t *testing.T) {
	if testing.Short() {
		t.Skip("a gateway asks every 15 s")
	}
	t.Parallel()
	ch := ssmtest.Channel(t)
	send(t, ch)
	one, two := free(t), free(t)
	config := func(a netip.AddrPort) *config.AMTRelay {
		return parse(t, "admin: {listen: 'off'}\namt: {listen: ['%v'], upstream: {ports: [%d]}, query_interval: 15s}", a, ch.Port)
	}
	first, end := start(t, config(one))
	second, _ := start(t, config(two))
	c := dial(t, ch, one, two)
	read(t, c, 50)
	require.Equal(t, uint64(1), first.Status().AMT.Tunnels)
	stop := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				read(t, c, 1)
			}
		}
	})
	end()
	require.Equal(t, uint64(1), second.Status().AMT.Tunnels)
	read := c.Stats()
	require.Equal(t, uint64(1), read.Switches)
	require.Equal(t, uint64(1), read.Gateway.Moves)
	require.Zero(t, read.Gateway.Lost)
	close(stop)
	reading.Wait()
}

func TestNothingToDo(t *testing.T) {
	r, err := amtrelay.Open(config.AMT{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Nil(t, r)
	r.Drain(t.Context())
	require.Nil(t, r.Status())
	require.Nil(t, r.NotReady())
	require.NoError(t, r.Apply(config.AMT{}))
	require.Error(t, r.Apply(parse(t, "amt: {listen: [127.0.0.1]}").AMT))
	require.NoError(t, r.Close())
	taken := free(t)
	hold, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(taken))
	require.NoError(t, err)
	defer hold.Close()
	_, err = amtrelay.New(parse(t, "amt: {listen: ['%v'], upstream: {ports: [1]}}", taken), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "address already in use")
}

// An interface to which the kernel cannot send copies, as the loopback one: they
// go by sockets, and nobody notices.
func TestKernelCannot(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch)
	one := free(t)
	n, _ := start(t, parse(t, "admin: {listen: 'off'}\namt: {listen: ['%v'], upstream: {ports: [%d], interface: lo}, xdp: {egress: lo}, drain: 1ms}", one, ch.Port))
	a, b := dial(t, ch, one), dial(t, ch, one)
	read(t, a, 50)
	read(t, b, 50)
	require.GreaterOrEqual(t, n.Status().AMT.Copies, uint64(100))
}
