package main

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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
	const relay4, relay6, server = "192.0.2.1", "2001:db8:2::1", "192.0.2.53"
	source4, source6 := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:1::10")
	if !nettest.Alone(t, relay4+"/32", relay6+"/128", server+"/32", source4.String()+"/32", source6.String()+"/128") {
		return
	}
	// Linux has no multicast route on loopback for IPv6. One of another type than local takes packets and loses them.
	out, err := exec.Command("ip", "-6", "route", "add", "local", "ff00::/8", "dev", "lo", "table", "local").CombinedOutput()
	require.NoError(t, err, "%s", out)
	zone := func(name string) authority.Zone {
		return authority.Zone{Name: dns.MustParseName(name), NameServers: []dns.Name{dns.MustParseName("ns.example")}}
	}
	a, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{zone("100.51.198.in-addr.arpa"), zone("1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")}})
	require.NoError(t, err)
	require.NoError(t, a.SetRelays([]authority.Relay{
		{Coverage: []netip.Prefix{netip.PrefixFrom(source4, 24)}, Record: amtrelay.Record{Precedence: 10, Type: amtrelay.IPv4, Address: netip.MustParseAddr(relay4)}},
		{Coverage: []netip.Prefix{netip.PrefixFrom(source6, 48)}, Record: amtrelay.Record{Precedence: 10, Type: amtrelay.IPv6, Address: netip.MustParseAddr(relay6)}},
	}))
	dnsServer, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort(server + ":53")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan struct{})
	go func() { defer close(answered); _ = dnsServer.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-answered })

	for _, c := range []struct {
		source  netip.Addr
		relay   string
		sockets bool
	}{{source4, relay4, true}, {source6, relay6, true}, {source6, relay6, false}} {
		ch := ssmtest.ChannelFrom(t, c.source)
		up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port}, Sockets: c.sockets})
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
				_, err := tx.WriteBatch([][]byte{[]byte("payload ")}, ch.Destination())
				assert.NoError(t, err)
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
