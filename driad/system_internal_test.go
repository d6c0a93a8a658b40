package driad

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// A network with other DNS servers and another domain: they are asked without anybody
// saying so, although nobody answers at the old ones.
func TestSystemChanges(t *testing.T) {
	a, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{
		{Name: dns.MustParseName("100.51.198.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}}}})
	require.NoError(t, err)
	require.NoError(t, a.SetRelays([]authority.Relay{{
		Coverage: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Record:   amtrelay.Record{Type: amtrelay.IPv4, Address: netip.MustParseAddr("192.0.2.7")},
	}}))
	s, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	defer func() { cancel(); <-served }()

	var moved atomic.Bool
	read := func() (*resolver.Plain, []dns.Name, error) {
		if moved.Load() {
			return &resolver.Plain{Servers: s.Addrs()}, []dns.Name{dns.MustParseName("100.51.198.in-addr.arpa")}, nil
		}
		return &resolver.Plain{Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, Rounds: 1}, []dns.Name{dns.MustParseName("old.example")}, nil
	}
	c, err := newClient(ClientConfig{Config: Config{NoAnycast: true, Local: func(netip.Addr) netip.Addr { return netip.MustParseAddr("192.0.2.99") }}}, read)
	require.NoError(t, err)
	defer c.Close()
	d := c.Discover(ctx, netip.MustParseAddr("198.51.100.12"))
	for list := range d.Lists() {
		if len(list) > 0 {
			require.Equal(t, "192.0.2.7:2268", list[0].Address.String())
			break
		}
		require.False(t, moved.Load())
		require.ErrorIs(t, d.Err(), ErrLookup)
		c.mu.Lock()
		c.readAt = time.Now().Add(-time.Hour) // it is time to look
		c.mu.Unlock()
		moved.Store(true)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Equal(t, s.Addrs(), c.system.Servers)
	require.True(t, slices.ContainsFunc(c.machine.config.Domains, func(n dns.Name) bool { return n == dns.MustParseName("100.51.198.in-addr.arpa") }))
}
