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

// One line to which no relay is named: the AMTRELAY record of the source leads to it, in in-addr.arpa or ip6.arpa. The
// sources are on a network of the relay's, in another namespace.
func TestReceiveByDRIAD(t *testing.T) {
	const relay4, relay6, server = "192.0.2.1", "2001:db8:1::1", "192.0.2.53"
	const source4, source6, other6 = "198.51.100.10", "2001:db8:2::10", "2001:db8:2:1::10"
	if !nettest.Alone(t, relay4+"/32", relay6+"/128", server+"/32") {
		return
	}
	zone := func(name string) authority.Zone {
		return authority.Zone{Name: dns.MustParseName(name), NameServers: []dns.Name{dns.MustParseName("ns.example")}}
	}
	a, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{zone("100.51.198.in-addr.arpa"), zone("8.b.d.0.1.0.0.2.ip6.arpa")}})
	require.NoError(t, err)
	at := func(prefix, relay string, kind amtrelay.RelayType) authority.Relay {
		return authority.Relay{Coverage: []netip.Prefix{netip.MustParsePrefix(prefix)}, Record: amtrelay.Record{
			Precedence: 10, Type: kind, Address: netip.MustParseAddr(relay)}}
	}
	require.NoError(t, a.SetRelays([]authority.Relay{
		at("198.51.100.0/24", relay4, amtrelay.IPv4),
		at("2001:db8:2::/64", relay6, amtrelay.IPv6),
		at("2001:db8:2:1::/64", relay4, amtrelay.IPv4),
	}))
	dnsServer, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort(server + ":53")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan struct{})
	go func() { defer close(answered); _ = dnsServer.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-answered })

	senders := make(map[string]*ssm.Sender)
	nettest.Beyond(t, []string{"198.51.100.1/24", "2001:db8:2::1/64", "2001:db8:2:1::1/64"},
		[]string{source4 + "/24", source6 + "/64", other6 + "/64"}, func() error {
			for _, s := range []string{source4, source6, other6} {
				tx, err := ssm.NewSender(netip.MustParseAddr(s), nil)
				if err != nil {
					return err
				}
				senders[s] = tx
			}
			return nil
		})
	for _, tx := range senders {
		defer tx.Close()
	}

	for _, c := range []struct {
		name, source, relay string
		sockets             bool
	}{
		{"IPv4", source4, relay4, false},
		{"IPv6", source6, relay6, false},
		{"IPv6, by sockets", source6, relay6, true},
		{"IPv6 through IPv4", other6, relay4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := ssmtest.ChannelFrom(t, netip.MustParseAddr(c.source))
			up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port}, Sockets: c.sockets})
			require.NoError(t, err)
			relay := netip.AddrPortFrom(netip.MustParseAddr(c.relay), amt.Port)
			s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay}, Upstream: up})
			require.NoError(t, err)
			served := make(chan struct{})
			go func() { defer close(served); _ = s.Run(context.Background()) }()
			defer func() { _ = s.Close(); <-served }()
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for ctx.Err() == nil {
					_, _ = senders[c.source].WriteBatch([][]byte{[]byte("payload ")}, ch.Destination())
					time.Sleep(2 * time.Millisecond)
				}
			}()
			out, stderr := &ender{most: 500, end: cancel}, new(bytes.Buffer)
			code := receiveTo(ctx, []string{"-mode", "tunnel", "-resolver", server, "-to", "-", c.source + "," + ch.Destination().String()}, out, stderr)
			cancel()
			<-sent
			require.Zero(t, code, stderr)
			require.Contains(t, out.String(), "payload payload ", stderr)
			require.Contains(t, stderr.String(), relay.String()+" (DRIAD)")
			require.Contains(t, stderr.String(), "receiving, relay "+relay.String())
		})
	}
}
