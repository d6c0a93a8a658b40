package ssm

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// SenderConfig configures a [Sender]. The zero value is useful.
type SenderConfig struct {
	// Interface is where packets leave, by name, index or address. Default: the
	// one that has the source address.
	Interface string
	// TTL is the IPv4 time to live or IPv6 hop limit, 1 to 255. Default: 64.
	// Source-specific multicast goes only where someone has joined, so that the
	// TTL need not serve as a fence.
	TTL int
	// NoLoopback keeps packets from receivers on this machine.
	NoLoopback bool
	// DSCP is the differentiated services code point, 0 to 63. Default: 0.
	DSCP int
	// SendBuffer is the size in octets to ask for. Default: 1 MiB.
	SendBuffer int
	// NoOffload turns segmentation by the kernel (UDP_SEGMENT) off.
	NoOffload bool
}

// Defaults of [SenderConfig].
const (
	DefaultTTL        = 64
	DefaultSendBuffer = 1 << 20
)

// Sender sends from one source address to any number of groups. WriteBatch is
// for one goroutine at a time; open a Sender for each goroutine that sends.
type Sender struct {
	source netip.AddrPort
	ifi    *net.Interface
	batch  *batchWriter
}

// NewSender opens a socket bound to source, which has to be an address of this
// machine, on a port of the system's choice. A nil config means the zero
// config. Failures of the system are of type [*Error].
func NewSender(source netip.Addr, config *SenderConfig) (*Sender, error) {
	if !source.IsValid() || source.IsUnspecified() || source.IsMulticast() || source.Is4In6() {
		return nil, fmt.Errorf("ssm: %w: source %v is not a unicast address", ErrChannel, source)
	}
	if err := supported("bind", source, netip.Addr{}); err != nil {
		return nil, err
	}
	var c SenderConfig
	if config != nil {
		c = *config
	}
	if err := c.populate(); err != nil {
		return nil, err
	}
	ifi, err := pickInterface(c.Interface, source)
	if err != nil {
		return nil, err
	}
	network := "udp4"
	if source.Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)))
	if err != nil {
		return nil, newError("bind", ifi, source, netip.Addr{}, err)
	}
	if err := configureSender(conn, source, ifi, &c); err != nil {
		_ = conn.Close()
		return nil, newError("bind", ifi, source, netip.Addr{}, err)
	}
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	batch, err := newBatchWriter(conn, !c.NoOffload)
	if err != nil {
		return nil, newError("bind", ifi, source, netip.Addr{}, err)
	}
	return &Sender{source: netip.AddrPortFrom(source, port), ifi: ifi, batch: batch}, nil
}

func (c *SenderConfig) populate() error {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < 1 || c.TTL > 255 {
		return fmt.Errorf("ssm: TTL %d is not in 1 to 255", c.TTL)
	}
	if c.DSCP < 0 || c.DSCP > 63 {
		return fmt.Errorf("ssm: DSCP %d is not in 0 to 63", c.DSCP)
	}
	if c.SendBuffer <= 0 {
		c.SendBuffer = DefaultSendBuffer
	}
	return nil
}

func configureSender(conn *net.UDPConn, source netip.Addr, ifi *net.Interface, c *SenderConfig) error {
	_ = conn.SetWriteBuffer(c.SendBuffer) // a smaller one makes WriteBatch wait, no more
	if source.Is4() {
		p := ipv4.NewPacketConn(conn)
		if c.DSCP != 0 {
			if err := p.SetTOS(c.DSCP << 2); err != nil {
				return fmt.Errorf("DSCP: %w", err)
			}
		}
		return errors.Join(p.SetMulticastInterface(ifi), p.SetMulticastTTL(c.TTL), p.SetMulticastLoopback(!c.NoLoopback))
	}
	p := ipv6.NewPacketConn(conn)
	if c.DSCP != 0 {
		if err := p.SetTrafficClass(c.DSCP << 2); err != nil {
			return fmt.Errorf("DSCP: %w", err)
		}
	}
	return errors.Join(p.SetMulticastInterface(ifi), p.SetMulticastHopLimit(c.TTL), p.SetMulticastLoopback(!c.NoLoopback))
}

// Source returns the address and port from which packets come.
func (s *Sender) Source() netip.AddrPort { return s.source }

// Interface returns the name of the interface by which packets leave.
func (s *Sender) Interface() string { return s.ifi.Name }

// WriteBatch sends packets to dst, a group and port, in order, and returns how
// many were sent. Consecutive packets of one size, and a shorter one at the end
// of such a run, go to the kernel as one, at the least cost if they lie behind
// each other in one buffer. It waits while the send buffer is full, and returns an error that matches [net.ErrClosed] after Close.
//
// Packets are not kept. WriteBatch allocates nothing after its first call.
func (s *Sender) WriteBatch(packets [][]byte, dst netip.AddrPort) (int, error) {
	if !dst.Addr().IsMulticast() || dst.Addr().Is4() != s.source.Addr().Is4() || dst.Port() == 0 {
		return 0, fmt.Errorf("ssm: %w: cannot send to %v from %v", ErrChannel, dst, s.source.Addr())
	}
	n, err := s.batch.write(packets, dst)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, net.ErrClosed):
		return n, net.ErrClosed
	}
	return n, newError("send", s.ifi, s.source.Addr(), dst.Addr(), err)
}

// Close closes the socket and unblocks WriteBatch. It may be called more than
// once.
func (s *Sender) Close() error {
	if err := s.batch.close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
