package ssm

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is the largest number of messages exchanged with the kernel in one
// call.
const batchSize = 64

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

// enlargeReceiveBuffer returns what was granted: SO_RCVBUF above rmem_max is
// clipped without an error.
func enlargeReceiveBuffer(conn *net.UDPConn, octets int) (granted int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		// The kernel reports twice the request, its own bookkeeping included.
		read := func() int {
			n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
			if err != nil {
				return 0
			}
			return n / 2
		}
		if granted = read(); granted >= octets {
			return
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, octets)
		if granted = read(); granted < octets {
			// Passes with CAP_NET_ADMIN only.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, octets)
			granted = read()
		}
	})
	return granted
}

func bufferRemedy(octets int) string {
	return "as root: sysctl -w net.core.rmem_max=" + strconv.Itoa(octets)
}

// controlWords holds IPV6_PKTINFO (40 octets with header) and UDP_GRO (24), in
// words for the alignment of the headers.
const controlWords = 12

// batchReader reads with recvmmsg. Its arrays live as long as the receiver, so
// that a read allocates nothing.
type batchReader struct {
	raw      syscall.RawConn
	headers  []mmsghdr
	iovecs   []unix.Iovec
	names    []unix.RawSockaddrInet6 // large enough for both families
	controls [][controlWords]uint64

	receive func(fd uintptr) bool // made once: a closure per read would allocate
	want    int
	got     int
	errno   syscall.Errno
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
	b := &batchReader{raw: raw}
	b.receive = func(fd uintptr) bool {
		b.got, b.errno = recvmmsg(fd, b.headers[:b.want])
		return b.errno != unix.EAGAIN
	}
	return b, nil
}

func (b *batchReader) read(ms []Message) (int, error) {
	ms = ms[:min(len(ms), batchSize)]
	b.prepare(ms)
	if err := b.raw.Read(b.receive); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", b.errno)
	}
	for i := range ms[:b.got] {
		m, h := &ms[i], &b.headers[i]
		m.N = int(h.len)
		m.SegmentSize = m.N
		m.Source = addrPort(&b.names[i])
		m.Destination = netip.Addr{}
		control := unsafe.Slice((*byte)(unsafe.Pointer(&b.controls[i])), controlWords*8)
		parseControl(control[:h.hdr.Controllen], m)
	}
	return b.got, nil
}

func (b *batchReader) prepare(ms []Message) {
	if len(b.headers) < len(ms) {
		b.headers = make([]mmsghdr, len(ms))
		b.iovecs = make([]unix.Iovec, len(ms))
		b.names = make([]unix.RawSockaddrInet6, len(ms))
		b.controls = make([][controlWords]uint64, len(ms))
	}
	b.want = len(ms)
	for i := range ms {
		b.iovecs[i].Base = unsafe.SliceData(ms[i].Buffer)
		b.iovecs[i].SetLen(len(ms[i].Buffer))
		h := &b.headers[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = uint32(unsafe.Sizeof(b.names[i]))
		h.Iov = &b.iovecs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		h.SetControllen(controlWords * 8)
		h.Flags = 0
	}
}

// truncated reports whether the Buffer of message i of the last read was too
// short.
func (b *batchReader) truncated(i int) bool { return b.headers[i].hdr.Flags&unix.MSG_TRUNC != 0 }

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

func addrPort(name *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&name.Port)) // network order
	switch name.Family {
	case unix.AF_INET:
		inet4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(inet4.Addr), binary.BigEndian.Uint16(port[:]))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), binary.BigEndian.Uint16(port[:]))
	}
	return netip.AddrPort{}
}

// parseControl takes destination and segment size from control messages.
func parseControl(b []byte, m *Message) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		if uint64(h.Len) < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(b)) {
			return
		}
		data := b[unix.SizeofCmsghdr:h.Len]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			m.Destination = netip.AddrFrom4([4]byte(data[8:12]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			m.Destination = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			if size := int(int32(binary.NativeEndian.Uint32(data))); size > 0 && size < m.N {
				m.SegmentSize = size
			}
		}
		b = b[min(unix.CmsgSpace(len(data)), len(b)):]
	}
}
