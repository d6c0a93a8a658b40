// Package udpio reads and writes UDP datagrams in batches, for peers that there
// may be very many of: on Linux with recvmmsg, sendmmsg, UDP_GRO and
// UDP_SEGMENT, elsewhere one at a time.
package udpio

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// MaxDatagram is the size of the largest UDP payload and of the largest run of
// coalesced datagrams.
const MaxDatagram = 65535

// Message is a datagram that arrived, or a run of datagrams of one sender that
// the kernel joined together.
type Message struct {
	Buffer      []byte         // given by the caller, MaxDatagram octets for runs
	N           int            // octets received
	SegmentSize int            // of each datagram of the run; the last may be shorter
	Remote      netip.AddrPort // the sender; IPv4 addresses are never in IPv6 form, link-local ones have a zone
	Local       netip.Addr     // where it was sent to; invalid where the system does not tell
	ECN         uint8          // of the IP header; 0 where the system does not tell
}

// NewMessages returns n messages with buffers of MaxDatagram octets.
func NewMessages(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		ms[i].Buffer = make([]byte, MaxDatagram)
	}
	return ms
}

// Segments iterates over the datagrams of m, which alias its Buffer. It is made
// for the range statement.
func (m *Message) Segments(yield func(datagram []byte) bool) {
	mmsg.Segments(m.Buffer[:m.N], m.SegmentSize, yield)
}

// Datagram is a datagram to send.
type Datagram struct {
	Payload []byte
	To      netip.AddrPort
	From    netip.Addr // source address; invalid: the system's choice
}

// Copy is one destination of the same datagrams.
type Copy struct {
	To   netip.AddrPort
	From netip.Addr // source address; invalid: that of the socket
	ECN  bool       // it has the ECN field that is given to Write; others have 0
}

// Failure is what a destination did not get of a [Fan.Write].
type Failure struct {
	Copy      int // its index
	Datagrams int
}

// Failed returns what the system refused of the last Write, by destination. It
// is valid until the next.
func (f *Fan) Failed() []Failure { return f.failed }

// Len returns the number of destinations.
func (f *Fan) Len() int { return len(f.copies) }

// ICMP is an error that came back for a datagram.
type ICMP struct {
	To  netip.AddrPort // where the datagram was sent to
	MTU int            // of the link that it did not fit; 0 for other errors
}

// Config configures a [Conn]. The zero value is useful.
type Config struct {
	// ReceiveBuffer and SendBuffer are sizes in octets to ask for. Default: 4 MiB
	// and 1 MiB.
	ReceiveBuffer, SendBuffer int
	// ZeroChecksum is the first octet of those datagrams that are taken over IPv6
	// without a UDP checksum (RFC 6935), as multicast data of a relay may come (RFC 7450
	// section 5.2.3.3). All other messages have one, always (sections 5.1.1 to 5.1.5 and
	// 5.1.7). Default: none are.
	ZeroChecksum byte
	// NoOffload turns UDP_GRO and UDP_SEGMENT off.
	NoOffload bool
	// Reuse lets several sockets have the same port, among which the kernel
	// divides the peers (SO_REUSEPORT).
	Reuse bool
}

// ErrReuse is returned where sockets cannot share a port.
var ErrReuse = errors.New("udpio: sockets cannot share a port on this system")

// Conn is a UDP socket of one address family. Reading is for one goroutine at a
// time; for writing each goroutine makes a [Writer].
type Conn struct {
	socket
	local   netip.AddrPort
	buffer  int
	segment atomic.Int32 // datagrams of this size and more cannot be joined; 0: none can
}

// Listen opens a socket. The address decides on the family.
func Listen(local netip.AddrPort, config Config) (*Conn, error) {
	if config.ReceiveBuffer <= 0 {
		config.ReceiveBuffer = 4 << 20
	}
	if config.SendBuffer <= 0 {
		config.SendBuffer = 1 << 20
	}
	s, at, err := listen(local, config)
	if err != nil {
		return nil, err
	}
	c := &Conn{socket: s, local: netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}
	if err := c.configure(config); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// LocalAddr returns the address and port that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// ReceiveBuffer returns the octets that the system granted.
func (c *Conn) ReceiveBuffer() int { return c.buffer }
