package udpio

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

const (
	// maxSegments is UDP_MAX_SEGMENTS of the kernels up to 6.8.
	maxSegments = 64
	// maxRun is the payload of the largest run: IPv6 counts its header in.
	maxRun = 65535 - 40 - 8
	// controlWords holds IPV6_PKTINFO (40 octets with its header), the traffic
	// class (24) and UDP_GRO or UDP_SEGMENT (24).
	controlWords = 12
)

// Remedy says how to get a larger receive buffer.
func Remedy(octets int) string { return mmsg.Remedy(octets) }

func (c *Conn) configure(config Config) error {
	take := func(fd uintptr) {
		c.reader.got, c.reader.errno = mmsg.Receive(fd, c.reader.headers[:c.reader.want])
	}
	c.reader.receive = func(uintptr) bool {
		c.reader.failed = c.raw.Control(take)
		return c.reader.failed != nil || c.reader.errno != unix.EAGAIN
	}
	return control(c.raw, func(fd int) error {
		v6 := c.local.Addr().Is6()
		if v6 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
				return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", err)
			}
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
			// RFC 7450 section 5.2.3.3: data may come without a checksum.
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1)
		} else {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
				return os.NewSyscallError("setsockopt IP_PKTINFO", err)
			}
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
			// DF is set, and the kernel's guesses do not make it fragment; it also
			// saves finding an identification for each packet.
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		}
		if !config.NoOffload {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) // Linux 5.0
			if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err == nil {
				c.segment.Store(maxRun)
			}
		}
		c.buffer = mmsg.Enlarge(fd, config.ReceiveBuffer)
		return nil
	})
}

// reader has the arrays of recvmmsg. They live as long as the socket, so that a
// read allocates nothing.
type reader struct {
	headers  []mmsg.Header
	iovecs   []unix.Iovec
	names    []mmsg.Name // large enough for both families
	controls [][controlWords]uint64

	receive func(uintptr) bool // made once: a closure per read would allocate
	want    int
	got     int
	errno   syscall.Errno
	failed  error // nothing could be asked
}

// ReadBatch waits for datagrams and fills at least one and at most len(ms)
// messages. An error that an ICMP message has left on the socket is not
// returned; [Conn.ReadICMP] has it, and the number is 0.
func (c *Conn) ReadBatch(ms []Message) (int, error) {
	r := &c.reader
	ms = ms[:min(len(ms), mmsg.Size)]
	r.prepare(ms)
	err := c.wait.Read(r.receive)
	if err == nil {
		err = r.failed
	}
	if err != nil {
		return 0, c.ended(err)
	}
	switch r.errno {
	case 0:
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.ENETDOWN, unix.EACCES, unix.EPROTO, unix.EOPNOTSUPP, unix.ENONET:
		return 0, nil
	default:
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	for i := range ms[:r.got] {
		m, h := &ms[i], &r.headers[i]
		m.N = int(h.Octets)
		m.SegmentSize = m.N
		m.Remote = remote(&r.names[i])
		m.Local, m.ECN = netip.Addr{}, 0
		b := unsafe.Slice((*byte)(unsafe.Pointer(&r.controls[i])), controlWords*8)
		parseControl(b[:h.Controllen], m)
		if h.Flags&unix.MSG_TRUNC != 0 && m.SegmentSize > 0 {
			m.N -= m.N % m.SegmentSize // whole datagrams only
		}
	}
	return r.got, nil
}

func (r *reader) prepare(ms []Message) {
	if len(r.headers) < len(ms) {
		r.headers = make([]mmsg.Header, len(ms))
		r.iovecs = make([]unix.Iovec, len(ms))
		r.names = make([]mmsg.Name, len(ms))
		r.controls = make([][controlWords]uint64, len(ms))
	}
	r.want = len(ms)
	for i := range ms {
		r.iovecs[i].Base = unsafe.SliceData(ms[i].Buffer)
		r.iovecs[i].SetLen(len(ms[i].Buffer))
		h := &r.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
		h.SetControllen(controlWords * 8)
		h.Flags = 0
	}
}

func parseControl(b []byte, m *Message) {
	mmsg.EachControl(b, func(level, typ int32, data []byte) {
		switch {
		case level == unix.IPPROTO_IP && typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			m.Local = netip.AddrFrom4([4]byte(data[8:12]))
		case level == unix.IPPROTO_IP && typ == unix.IP_TOS && len(data) >= 1:
			m.ECN = data[0] & 3
		case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			m.Local = netip.AddrFrom16([16]byte(data[:16]))
		case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_TCLASS && len(data) >= 4:
			m.ECN = uint8(binary.NativeEndian.Uint32(data)) & 3
		case level == unix.IPPROTO_UDP && typ == unix.UDP_GRO && len(data) >= 4:
			if size := int(int32(binary.NativeEndian.Uint32(data))); size > 0 && size < m.N {
				m.SegmentSize = size
			}
		}
	})
}

// ReadICMP returns the next ICMP error, without waiting.
func (c *Conn) ReadICMP() (e ICMP, ok bool) {
	var buf [64]byte
	var oob [256]byte
	_ = c.raw.Control(func(fd uintptr) {
		_, n, _, from, err := unix.Recvmsg(int(fd), buf[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		ok = true
		switch a := from.(type) {
		case *unix.SockaddrInet4:
			e.To = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
		case *unix.SockaddrInet6:
			e.To = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
		}
		mmsg.EachControl(oob[:n], func(level, typ int32, data []byte) {
			recvErr := level == unix.IPPROTO_IP && typ == unix.IP_RECVERR || level == unix.IPPROTO_IPV6 && typ == unix.IPV6_RECVERR
			if !recvErr || len(data) < 16 {
				return
			}
			// struct sock_extended_err: errno, origin, type, code, pad, info, data.
			if unix.Errno(binary.NativeEndian.Uint32(data)) == unix.EMSGSIZE {
				e.MTU = max(1, int(binary.NativeEndian.Uint32(data[8:])))
			}
		})
	})
	return e, ok
}

// Writer writes to a socket. It is for one goroutine at a time, and allocates
// nothing once made.
type Writer struct {
	conn     *Conn
	headers  [mmsg.Size]mmsg.Header
	iovecs   [mmsg.Size]unix.Iovec
	names    [mmsg.Size]mmsg.Name
	controls [mmsg.Size][controlWords]uint64

	send          func(fd uintptr) // made once: a closure per write would allocate
	first, queued int
	sent          int
	errno         syscall.Errno

	failed [mmsg.Size]syscall.Errno
}

// remote returns the address in a name, with the number of the interface as its zone
// if it is a link-local one.
func remote(name *mmsg.Name) netip.AddrPort {
	a := mmsg.AddrPort(name)
	if a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
		return netip.AddrPortFrom(a.Addr().WithZone(strconv.Itoa(int(name.Scope_id))), a.Port())
	}
	return a
}

// putName writes an address and returns the length of name. Zones are those that
// remote gives; others are the business of the socket, which is bound to one.
func putName(name *mmsg.Name, to netip.AddrPort) uint32 {
	length := mmsg.PutName(name, to)
	if zone := to.Addr().Zone(); zone != "" {
		scope, _ := strconv.ParseUint(zone, 10, 32)
		name.Scope_id = uint32(scope)
	}
	return length
}

// NewWriter returns a writer.
func (c *Conn) NewWriter() *Writer {
	w := &Writer{conn: c}
	w.send = func(fd uintptr) { w.sent, w.errno = c.transmit(fd, w.headers[w.first:w.queued]) }
	return w
}

// put lays out message i.
func (w *Writer) put(i int, d *Datagram) {
	w.iovecs[i].Base = unsafe.SliceData(d.Payload)
	w.iovecs[i].SetLen(len(d.Payload))
	h := &w.headers[i]
	h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
	h.Namelen = putName(&w.names[i], d.To)
	h.Iov = &w.iovecs[i]
	h.SetIovlen(1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&w.controls[i])), controlWords*8)
	n := 0
	putFrom(b, &n, d.From, d.To.Addr().Is6())
	h.Control = nil
	if n > 0 {
		h.Control = &b[0]
	}
	h.SetControllen(n)
}

// putFrom lays out a control message with the source address, if there is one.
func putFrom(b []byte, n *int, from netip.Addr, v6 bool) {
	switch {
	case !from.IsValid() || from.IsUnspecified():
	case v6:
		a := from.As16()
		copy(mmsg.PutControl(b, n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo), a[:])
	default:
		a := from.As4()
		copy(mmsg.PutControl(b, n, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)[4:], a[:]) // ipi_spec_dst
	}
}

// putTOS lays out a control message with the octet of DSCP and ECN, and returns
// where its value is, an int.
func putTOS(b []byte, n *int, v6 bool, value uint32) []byte {
	level, typ := int32(unix.IPPROTO_IP), int32(unix.IP_TOS)
	if v6 {
		level, typ = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	data := mmsg.PutControl(b, n, level, typ, 4)
	binary.NativeEndian.PutUint32(data, value)
	return data
}

// flush sends the messages laid out. What the kernel refuses is passed over and
// its error left in failed.
func (w *Writer) flush(queued int) error {
	w.queued = queued
	clear(w.failed[:queued])
	for w.first = 0; w.first < queued; {
		if err := w.conn.raw.Control(w.send); err != nil {
			return w.conn.ended(err)
		}
		if w.errno != 0 { // it is about the first message
			w.failed[w.first] = w.errno
			w.first++
			continue
		}
		w.first += w.sent
	}
	return nil
}

// WriteBatch sends datagrams. One that cannot be sent is passed over; the number
// of those sent is returned.
func (w *Writer) WriteBatch(ds []Datagram) (sent int, err error) {
	for len(ds) > 0 {
		n := min(len(ds), mmsg.Size)
		for i := range ds[:n] {
			w.put(i, &ds[i])
		}
		if err := w.flush(n); err != nil {
			return sent, err
		}
		for _, errno := range w.failed[:n] {
			if errno == 0 {
				sent++
			}
		}
		ds = ds[n:]
	}
	return sent, nil
}
