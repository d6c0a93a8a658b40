package xdp_test

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/xdp"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// none is an upstream that brings nothing: what comes, comes through the plane.
type none struct{}

func (none) Join(_, _ netip.Addr, _ func([][]byte)) error { return nil }
func (none) Leave(_, _ netip.Addr)                        {}
func (none) Close() error                                 { return nil }

// subscribe is a gateway's part, by hand. The report asks for (10.12.0.1,
// 232.1.1.1).
func subscribe(t *testing.T, c *net.UDPConn) {
	b := make([]byte, 2000)
	m := amt.Message{Type: amt.TypeRequest, Nonce: 7}
	out, err := m.AppendTo(nil)
	require.NoError(t, err)
	_, err = c.Write(out)
	require.NoError(t, err)
	n, err := c.Read(b)
	require.NoError(t, err)
	require.NoError(t, m.Unmarshal(b[:n]))
	require.Equal(t, amt.TypeQuery, m.Type)
	report, err := hex.DecodeString("46c0002c00004000010203f600000000e0000016940400002200e5ed0000000105000001e80101010a0c0001")
	require.NoError(t, err)
	m = amt.Message{Type: amt.TypeUpdate, MAC: m.MAC, Nonce: m.Nonce, Packet: report}
	out, err = m.AppendTo(nil)
	require.NoError(t, err)
	_, err = c.Write(out)
	require.NoError(t, err)
}

// A relay whose packets never reach user space.
func TestServer(t *testing.T) {
	source, group := netip.MustParseAddr("10.12.0.1"), netip.MustParseAddr("232.1.1.1")
	peer := gateways(t)
	up := nettest.NewPeer(t, "up", "10.12.0.2/16", "10.12.0.1/16")
	send, passed := up.Listen(t), nettest.Listen(t, up.Here)
	plane := open(t, xdp.Config{Egress: "out", Upstream: "up"})
	server, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay4, relay6}, Upstream: none{}, Plane: plane})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(t.Context()) }()

	var conns []*net.UDPConn
	peer.Do(func() {
		for i := range 6 {
			to := net.UDPAddrFromAddrPort([]netip.AddrPort{relay4, relay6}[i%2])
			c, err := net.DialUDP("udp", nil, to)
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			conns = append(conns, c)
		}
	})
	for _, c := range conns {
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		subscribe(t, c)
	}
	require.Eventually(t, func() bool { return server.Stats().Tunnels == len(conns) }, 10*time.Second, time.Millisecond)
	packet := udp(source, group, numbered(1, 200)...)
	frame := append([]byte{1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1, 8, 0}, packet...)
	taken := func(b []byte) bool { return b[6] == 2 && b[12] == 8 }
	// From some moment on the plane has all tunnels.
	total := uint64(0)
	require.Eventually(t, func() bool {
		send.Send(frame)
		s, err := plane.Stats()
		require.NoError(t, err)
		step := s.Copies - 2 - total
		total = s.Copies - 2
		return step == uint64(len(conns))
	}, 10*time.Second, 20*time.Millisecond)
	for passed.Next(50*time.Millisecond, taken) != nil {
	}
	for range 10 {
		send.Send(frame)
	}
	total += uint64(10 * len(conns))
	require.Eventually(t, func() bool { s, _ := plane.Stats(); return s.Copies-2 == total }, 5*time.Second, time.Millisecond)
	require.Nil(t, passed.Next(10*time.Millisecond, taken), "nobody else sees them")
	for _, c := range conns {
		b := make([]byte, 2000)
		for range 11 {
			n, err := c.Read(b)
			require.NoError(t, err)
			var m amt.Message
			require.NoError(t, m.Unmarshal(b[:n]))
			require.Equal(t, amt.TypeData, m.Type)
			require.Equal(t, packet, m.Packet)
		}
	}
	require.Eventually(t, func() bool { return server.Stats().Copies == total }, 5*time.Second, time.Millisecond)
	require.Equal(t, total*uint64(len(packet)), server.Stats().Octets)

	require.NoError(t, server.Close())
	<-ended
	send.Send(frame)
	require.NotNil(t, passed.Next(5*time.Second, taken), "nobody takes them")

	bare := open(t, xdp.Config{Egress: "out"})
	require.ErrorIs(t, bare.Forward(source, group, nil), errors.ErrUnsupported)
	require.ErrorIs(t, plane.Forward(source, group, nil), xdp.ErrNotTaken)
	require.ErrorIs(t, plane.Forward(source, group, []amt.PlaneCopy{{From: relay4}}), xdp.ErrConfig)
}
