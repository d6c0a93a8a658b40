//go:build !linux

package udpio

import (
	"net"
	"net/netip"
	"time"
)

// Remedy says how to get a larger receive buffer.
func Remedy(int) string { return "raise kern.ipc.maxsockbuf or its like" }

// socket is a UDP socket of package net.
type socket struct{ udp *net.UDPConn }

func listen(local netip.AddrPort, config Config) (s socket, at netip.AddrPort, err error) {
	if config.Reuse {
		return s, at, ErrReuse
	}
	network := "udp4"
	if local.Addr().Is6() {
		network = "udp6"
	}
	if s.udp, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(local)); err != nil {
		return s, at, err
	}
	_ = s.udp.SetWriteBuffer(config.SendBuffer) // a smaller one makes writers wait, no more
	return s, s.udp.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// SetReadDeadline ends a ReadBatch that waits at t, with os.ErrDeadlineExceeded.
func (s *socket) SetReadDeadline(t time.Time) error { return s.udp.SetReadDeadline(t) }

// Close closes the socket and unblocks readers and writers.
func (s *socket) Close() error { return s.udp.Close() }

// Writer writes to a socket.
type Writer struct{ conn *Conn }

// NewWriter returns a writer.
func (c *Conn) NewWriter() *Writer { return &Writer{c} }

func (c *Conn) configure(config Config) error {
	for octets := config.ReceiveBuffer; octets > 64<<10; octets /= 2 {
		if c.udp.SetReadBuffer(octets) == nil {
			c.buffer = octets
			break
		}
	}
	return nil
}

// ReadBatch waits for a datagram.
func (c *Conn) ReadBatch(ms []Message) (int, error) {
	m := &ms[0]
	n, from, err := c.udp.ReadFromUDPAddrPort(m.Buffer)
	if err != nil {
		return 0, err
	}
	m.N, m.SegmentSize, m.ECN, m.Local = n, n, 0, netip.Addr{}
	m.Remote = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	if !c.local.Addr().IsUnspecified() {
		m.Local = c.local.Addr()
	}
	return 1, nil
}

// ReadICMP returns nothing: errors are not told here.
func (c *Conn) ReadICMP() (ICMP, bool) { return ICMP{}, false }

// WriteBatch sends datagrams, from the address that the socket is bound to.
func (w *Writer) WriteBatch(ds []Datagram) (sent int, err error) {
	for i := range ds {
		if _, err := w.conn.udp.WriteToUDPAddrPort(ds[i].Payload, ds[i].To); err == nil {
			sent++
		}
	}
	return sent, nil
}

// Fan sends the same datagrams to many destinations.
type Fan struct {
	conn   *Conn
	copies []Copy
	failed []Failure
}

// NewFan returns a fan, which keeps the copies.
func (c *Conn) NewFan(copies []Copy) *Fan { return &Fan{conn: c, copies: copies} }

// Write sends the datagrams in b, all of size octets except that the last may be
// shorter, to each destination. The ECN field cannot be set here.
func (f *Fan) Write(b []byte, size int, _ uint8) error {
	f.failed = f.failed[:0]
	for i := range f.copies {
		n := 0
		for rest := b; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if _, err := f.conn.udp.WriteToUDPAddrPort(rest[:min(size, len(rest))], f.copies[i].To); err != nil {
				n++
			}
		}
		if n > 0 {
			f.failed = append(f.failed, Failure{i, n})
		}
	}
	return nil
}

// SelfTest finds nothing to test: every datagram goes alone.
func (c *Conn) SelfTest() error { return nil }

// Offload reports whether runs of datagrams go out as one message.
func (c *Conn) Offload() bool { return false }
