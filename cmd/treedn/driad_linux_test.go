package main

import (
	"bytes"
	"context"
	"net/netip"
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

// One line to which no relay is named: the AMTRELAY record of the source leads to it.
func TestReceiveByDRIAD(t *testing.T) {
	const relay4, server = "192.0.2.1", "192.0.2.53"
	source4 := netip.MustParseAddr("198.51.100.10")
	if !nettest.Alone(t, relay4+"/32", server+"/32", source4.String()+"/32") {
		return
	}
	zone := func(name string) authority.Zone {
		return authority.Zone{Name: dns.MustParseName(name), NameServers: []dns.Name{dns.MustParseName("ns.example")}}
	}
	a, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{zone("100.51.198.in-addr.arpa")}})
	require.NoError(t, err)
	require.NoError(t, a.SetRelays([]authority.Relay{
		{Coverage: []netip.Prefix{netip.PrefixFrom(source4, 24)}, Record: amtrelay.Record{Precedence: 10, Type: amtrelay.IPv4, Address: netip.MustParseAddr(relay4)}},
	}))
	dnsServer, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort(server + ":53")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan struct{})
	go func() { defer close(answered); _ = dnsServer.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-answered })

	for _, c := range []struct {
		source netip.Addr
		relay  string
	}{{source4, relay4}} {
		ch := ssmtest.ChannelFrom(t, c.source)
		up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port}, Sockets: true})
		require.NoError(t, err)
		relay := netip.AddrPortFrom(netip.MustParseAddr(c.relay), amt.Port)
		s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay}, Upstream: up})
		require.NoError(t, err)
		served := make(chan struct{})
		go func() { defer close(served); _ = s.Run(context.Background()) }()
		tx, err := ssm.NewSender(c.source, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for ctx.Err() == nil {
				_, _ = tx.WriteBatch([][]byte{[]byte("payload ")}, ch.Destination())
				time.Sleep(2 * time.Millisecond)
			}
		}()
		out, stderr := &ender{most: 500, end: cancel}, new(bytes.Buffer)
		code := receiveTo(ctx, []string{"-mode", "tunnel", "-resolver", server, "-to", "-", c.source.String() + "," + ch.Destination().String()}, out, stderr)
		cancel()
		<-sent
		require.Zero(t, code, stderr)
		require.Contains(t, out.String(), "payload payload ", stderr)
		require.Contains(t, stderr.String(), relay.String()+" (DRIAD)")
		require.Contains(t, stderr.String(), "receiving, relay "+relay.String())
		require.NoError(t, tx.Close())
		require.NoError(t, s.Close())
		<-served
	}
}
