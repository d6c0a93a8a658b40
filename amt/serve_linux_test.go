package amt_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// RFC 7450 sections 5.3.3.2, 5.3.3.3 and 5.3.3.6.3: what a relay with a wildcard socket
// sends comes from the address that it was asked at, an anycast one too, and advertises
// its own.
func TestAnswersFromWhereItWasAsked(t *testing.T) {
	ch := ssmtest.Channel(t)
	port := loopback(t).Port()
	up := new(manual)
	own := netip.MustParseAddr("127.7.7.1")
	serve(t, netip.AddrPortFrom(netip.IPv4Unspecified(), port), up, amt.RelayConfig{IPv4: own})
	gateway, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer gateway.Close()
	require.NoError(t, gateway.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 2000)
	answer := func(from netip.AddrPort) (m amt.Message) {
		t.Helper()
		n, at, err := gateway.ReadFromUDPAddrPort(b)
		require.NoError(t, err)
		require.Equal(t, from, at)
		require.NoError(t, m.Unmarshal(b[:n]))
		return m
	}
	send := func(to netip.AddrPort, m amt.Message) {
		t.Helper()
		raw, err := m.AppendTo(nil)
		require.NoError(t, err)
		_, err = gateway.WriteToUDPAddrPort(raw, to)
		require.NoError(t, err)
	}
	anycast := netip.AddrPortFrom(netip.MustParseAddr("127.7.7.9"), port)
	send(anycast, amt.Message{Type: amt.TypeDiscovery, Nonce: 5})
	a := answer(anycast)
	require.Equal(t, amt.Message{Type: amt.TypeAdvertisement, Nonce: 5, Relay: own}, a)
	for _, relay := range []netip.AddrPort{netip.AddrPortFrom(own, port), anycast} {
		send(relay, amt.Message{Type: amt.TypeRequest, Nonce: 6})
		q := answer(relay)
		require.Equal(t, amt.TypeQuery, q.Type)
		send(relay, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce,
			Packet: gmp.AppendReport(nil, netip.Addr{}, false, allow(ch.Group.String(), ch.Source.String()))})
		// The Update is taken before the next Request is answered, so that data come from
		// where it went to.
		send(relay, amt.Message{Type: amt.TypeRequest, Nonce: 7})
		answer(relay)
		require.Eventually(t, func() bool { up.mu.Lock(); defer up.mu.Unlock(); return up.deliver != nil }, 10*time.Second, time.Millisecond)
		// The list of tunnels may be as old as it took to make it, a few times over.
		require.Eventually(t, func() bool {
			up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, []byte("data")))
			n, at, err := gateway.ReadFromUDPAddrPort(b)
			var m amt.Message
			return err == nil && at == relay && m.Unmarshal(b[:n]) == nil && m.Type == amt.TypeData
		}, 10*time.Second, time.Millisecond)
	}
}

func TestLinkMTU(t *testing.T) {
	if os.Getenv(namespaceVariable) == "" {
		inNamespace(t, "TestLinkMTU")
		return
	}
	for _, args := range []string{
		"link set lo up", "link add link0 mtu 1420 type veth peer name link1 mtu 9000", "addr add 10.9.0.1/24 dev link0", "addr add 10.8.0.1/24 dev link1",
	} {
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", args, out)
	}
	at := netip.MustParseAddr
	require.Equal(t, 1500, amt.LinkMTU(at("127.0.0.1"), netip.Addr{}))
	require.Equal(t, 1420, amt.LinkMTU(at("10.9.0.1"), netip.Addr{}))
	require.Equal(t, 1420, amt.LinkMTU(at("10.9.0.1"), at("::1")))
	require.Equal(t, 1500, amt.LinkMTU(at("10.8.0.1"), netip.Addr{}), "paths beyond it have less")
	require.Equal(t, 1500, amt.LinkMTU(at("192.0.2.1"), netip.Addr{}), "not of this machine, as behind NAT")
}
