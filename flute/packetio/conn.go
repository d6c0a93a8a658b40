package packetio

import (
	"net/netip"
	"time"
)

// Conn is what [Datagrams] and [Unicast] need of a socket. A *net.UDPConn has it.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
}

// Datagrams makes a Source of a socket that reads one packet at a time: unicast, or multicast where nothing better is to
// be had. local is reported as destination.
func Datagrams(conn Conn, local netip.AddrPort) Source {
	return &datagrams{conn: conn, local: local, buf: make([]byte, maxDatagram)}
}

const maxDatagram = 65535

type datagrams struct {
	conn  Conn
	local netip.AddrPort
	buf   []byte
}

func (d *datagrams) Receive(handle Handler) error {
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(d.buf)
		if err != nil {
			return err
		}
		if n > 0 { // an empty datagram is no packet of anything
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			handle(time.Now(), from, d.local, d.buf[:n], n)
			return nil
		}
	}
}

func (d *datagrams) SetReadDeadline(t time.Time) error { return d.conn.SetReadDeadline(t) }
func (d *datagrams) Close() error                      { return d.conn.Close() }

// Unicast makes a Sink of a socket that sends one packet at a time.
func Unicast(conn Conn) Sink { return unicast{conn} }

type unicast struct{ conn Conn }

func (u unicast) WriteBatch(packets [][]byte, to netip.AddrPort) (int, error) {
	for i, p := range packets {
		if _, err := u.conn.WriteToUDPAddrPort(p, to); err != nil {
			return i, err
		}
	}
	return len(packets), nil
}

func (u unicast) Close() error { return u.conn.Close() }
