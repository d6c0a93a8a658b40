//go:build !linux

package ssm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// listenGroup binds to the wildcard address: not every system can bind to a
// group. Packets of other groups are rejected by their destination.
func listenGroup(ch Channel, _ *net.Interface) (*net.UDPConn, error) {
	network, wildcard := "udp4", netip.IPv4Unspecified()
	if ch.Group.Is6() {
		network, wildcard = "udp6", netip.IPv6Unspecified()
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return reuseAddress(raw) }}
	conn, err := lc.ListenPacket(context.Background(), network, netip.AddrPortFrom(wildcard, ch.Port).String())
	if err != nil {
		return nil, err
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("ssm: UDP sockets: %w", errors.ErrUnsupported)
	}
	return udp, nil
}

// enlargeReceiveBuffer trusts the system: there is no portable way to read the
// size back.
func enlargeReceiveBuffer(conn *net.UDPConn, octets int) (granted int) {
	for ; octets > 64<<10; octets /= 2 {
		if conn.SetReadBuffer(octets) == nil {
			break
		}
	}
	return octets
}

func bufferRemedy(int) string { return "raise kern.ipc.maxsockbuf or its like" }

// batchReader reads one packet at a time. Where the system tells the
// destination of a packet, cut is also known; see [Stats.Truncated].
type batchReader struct {
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn

	conn        *net.UDPConn
	destination bool
}

func newBatchReader(conn *net.UDPConn, ch Channel, _ bool) (*batchReader, error) {
	b := &batchReader{conn: conn}
	if ch.Group.Is4() {
		b.v4 = ipv4.NewPacketConn(conn)
		b.destination = b.v4.SetControlMessage(ipv4.FlagDst, true) == nil
	} else {
		b.v6 = ipv6.NewPacketConn(conn)
		b.destination = b.v6.SetControlMessage(ipv6.FlagDst, true) == nil
	}
	return b, nil
}

func (b *batchReader) read(ms []Message) (int, error) {
	m := &ms[0]
	m.Destination = netip.Addr{}
	var err error
	switch {
	case !b.destination:
		m.N, m.Source, err = b.conn.ReadFromUDPAddrPort(m.Buffer)
	case b.v4 != nil:
		var cm *ipv4.ControlMessage
		var from net.Addr
		if m.N, cm, from, err = b.v4.ReadFrom(m.Buffer); err == nil {
			m.Source = from.(*net.UDPAddr).AddrPort()
			if cm != nil {
				m.Destination, _ = netip.AddrFromSlice(cm.Dst)
			}
		}
	default:
		var cm *ipv6.ControlMessage
		var from net.Addr
		if m.N, cm, from, err = b.v6.ReadFrom(m.Buffer); err == nil {
			m.Source = from.(*net.UDPAddr).AddrPort()
			if cm != nil {
				m.Destination, _ = netip.AddrFromSlice(cm.Dst)
			}
		}
	}
	if err != nil {
		return 0, err
	}
	m.Source = netip.AddrPortFrom(m.Source.Addr().Unmap().WithZone(""), m.Source.Port())
	m.Destination = m.Destination.Unmap()
	m.SegmentSize = m.N
	return 1, nil
}

func (b *batchReader) truncated(int) bool { return false }

func (b *batchReader) dropped() (uint64, bool) { return 0, false }
