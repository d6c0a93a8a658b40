package ssm

import (
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// listenGroup binds a socket to the group itself. The net package would bind to
// the wildcard address, where the packets of every group on that port arrive
// that any process on this machine has joined.
func listenGroup(ch Channel, ifi *net.Interface) (*net.UDPConn, error) {
	family := unix.AF_INET
	if ch.Group.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "ssm")
	defer f.Close() // FilePacketConn duplicates it
	// Before bind: several receivers of one channel share the address.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	var address unix.Sockaddr
	if ch.Group.Is4() {
		// Without it the socket gets the group from sources that others joined.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
			return nil, os.NewSyscallError("setsockopt IP_MULTICAST_ALL", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
			return nil, os.NewSyscallError("setsockopt IP_PKTINFO", err)
		}
		address = &unix.SockaddrInet4{Port: int(ch.Port), Addr: ch.Group.As4()}
	} else {
		// Linux 4.20; before, the source check of the Receiver has to do.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return nil, os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", err)
		}
		inet6 := &unix.SockaddrInet6{Port: int(ch.Port), Addr: ch.Group.As16()}
		if ch.Group.IsLinkLocalMulticast() {
			inet6.ZoneId = uint32(ifi.Index)
		}
		address = inet6
	}
	if err := unix.Bind(fd, address); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// enlargeReceiveBuffer returns what was granted.
func enlargeReceiveBuffer(conn *net.UDPConn, octets int) (granted int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { granted = mmsg.Enlarge(int(fd), octets) })
	return granted
}

func bufferRemedy(octets int) string { return mmsg.Remedy(octets) }

// batchReader reads with recvmmsg. The socket is in Go's poller: nothing leaves by
// it, and what the poller asks for besides costs nothing.
type batchReader struct {
	raw syscall.RawConn
	in  *mmsg.Reader
}

func newBatchReader(conn *net.UDPConn, _ Channel, offload bool) (*batchReader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if offload {
		// Linux 5.0; without it every message is one packet.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		})
	}
	return &batchReader{raw: raw, in: mmsg.NewReader(raw, raw)}, nil
}

func (b *batchReader) read(ms []Message) (int, error) {
	ms = ms[:b.in.Expect(len(ms))]
	for i := range ms {
		b.in.Put(i, ms[i].Buffer)
	}
	n, err := b.in.Read()
	if err != nil {
		return 0, err
	}
	for i := range ms[:n] {
		m, a := &ms[i], b.in.Ancillary(i)
		m.N, m.SegmentSize = b.in.Octets(i), a.SegmentSize
		m.Source, m.Destination = b.in.From(i), a.Local
	}
	return n, nil
}

// truncated reports whether the Buffer of message i of the last read was too
// short.
func (b *batchReader) truncated(i int) bool { return b.in.Truncated(i) }

// dropped asks for the drop counter of the socket. SO_RXQ_OVFL would deliver
// the same counter with each packet, thus never after the last one.
func (b *batchReader) dropped() (n uint64, ok bool) {
	const drops = 8 // SK_MEMINFO_DROPS
	var info [drops + 1]uint32
	err := b.raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size == uint32(unsafe.Sizeof(info))
	})
	return uint64(info[drops]), ok && err == nil
}
