package amtrelay_test

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/internal/nettest"
)

// A relay whose channels come from the relays that the AMTRELAY records of their sources name: one of each source. The
// records of one name the relay itself as well, which it does not ask.
func TestRelaysFoundBySource(t *testing.T) {
	const own, one, two, server = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.53"
	a, b, c := ssmtest.ChannelFrom(t, netip.MustParseAddr("198.51.100.1")), ssmtest.ChannelFrom(t, netip.MustParseAddr("198.51.100.2")), ssmtest.ChannelFrom(t, netip.MustParseAddr("198.51.100.3"))
	if !nettest.Alone(t, own+"/32", one+"/32", two+"/32", server+"/32", a.Source.String()+"/32", b.Source.String()+"/32", c.Source.String()+"/32") {
		return
	}
	zone, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{{
		Name: dns.MustParseName("100.51.198.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}}}})
	require.NoError(t, err)
	at := func(source netip.Addr, precedence uint8, relay string) authority.Relay {
		return authority.Relay{Coverage: []netip.Prefix{netip.PrefixFrom(source, 32)}, Record: amtrelay.Record{
			Precedence: precedence, Type: amtrelay.IPv4, Address: netip.MustParseAddr(relay)}}
	}
	require.NoError(t, zone.SetRelays([]authority.Relay{at(a.Source, 1, own), at(a.Source, 2, one), at(b.Source, 1, two), at(c.Source, 1, one)}))
	s, err := authority.Listen(authority.ServerConfig{Authority: zone, Listen: []netip.AddrPort{netip.MustParseAddrPort(server + ":53")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-served })

	for _, ch := range []ssm.Channel{a, b, c} {
		send(t, ch)
	}
	const root = "admin: {listen: 'off'}\namt: {listen: [%s], upstream: {ports: [%d, %d], sockets: true}, drain: 1ms}"
	start(t, parse(t, root, one, a.Port, c.Port))
	start(t, parse(t, root, two, b.Port, b.Port+1))
	n, end := start(t, parse(t, "admin: {listen: 'off'}\namt: {listen: [%s], upstream: {driad: true, resolver: %s, max_sources: 2}, drain: 1ms}", own, server))
	asked := netip.AddrPortFrom(netip.MustParseAddr(own), amt.Port)
	c1, c2 := dial(t, a, asked), dial(t, b, asked)
	read(t, c1, 50)
	read(t, c2, 50)
	require.Equal(t, one+":2268, "+two+":2268", n.Status().AMT.UpstreamRelay)
	require.Equal(t, uint64(2), n.Status().AMT.Channels)
	require.Equal(t, uint64(2), n.Status().AMT.Opened, "it has asked itself")

	// One source more is too many. When another goes, there is room.
	c3 := dial(t, c, asked)
	require.Eventually(t, func() bool { return n.Status().AMT.Channels == 3 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, c3.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
	_, _, err = c3.ReadFrom(make([]byte, 1500))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c2.Close())
	read(t, c3, 20)
	require.Equal(t, one+":2268", n.Status().AMT.UpstreamRelay)

	// The names of relays and the resolver may change; a channel goes on.
	require.NoError(t, n.Apply(parse(t, "admin: {listen: 'off'}\namt: {listen: [%s], upstream: {relays: [%s], driad: true, resolver: %s, max_sources: 2}, drain: 1ms}", own, one, server)))
	read(t, c1, 20)
	require.ErrorContains(t, n.Apply(parse(t, "admin: {listen: 'off'}\namt: {listen: [%s], upstream: {relays: [%s]}, drain: 1ms}", own, one)), "needs a restart")
	end()
}
