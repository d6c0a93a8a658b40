package amt_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// A join that fails is tried again after five seconds, also when nothing else happens at
// the relay meanwhile.
func TestJoinIsTriedAgainInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("that takes five seconds")
	}
	t.Parallel()
	ch := ssmtest.Channel(t)
	listen := loopback(t)
	up := &failing{}
	serve(t, listen, up, amt.RelayConfig{})
	gateway, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(listen))
	require.NoError(t, err)
	defer gateway.Close()
	_, err = gateway.Write([]byte{3, 0, 0, 0, 0, 0, 0, 7})
	require.NoError(t, err)
	require.NoError(t, gateway.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 1500)
	n, err := gateway.Read(b)
	require.NoError(t, err)
	var q amt.Message
	require.NoError(t, q.Unmarshal(b[:n]))
	update, err := (&amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce,
		Packet: gmp.AppendReport(nil, netip.Addr{}, false, allow(ch.Group.String(), ch.Source.String()))}).AppendTo(nil)
	require.NoError(t, err)
	_, err = gateway.Write(update)
	require.NoError(t, err)
	require.Eventually(t, func() bool { up.mu.Lock(); defer up.mu.Unlock(); return up.deliver != nil }, 30*time.Second, 10*time.Millisecond)
}
