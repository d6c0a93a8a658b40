package udpio

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// controlWords holds IPV6_PKTINFO (40 octets with its header), the traffic class
// (24) and UDP_SEGMENT (24).
const controlWords = 12

// Remedy says how to get a larger receive buffer.
func Remedy(octets int) string { return mmsg.Remedy(octets) }

func (c *Conn) configure(config Config) error {
	return mmsg.Control(c.socket, func(fd int) error {
		v6 := c.local.Addr().Is6()
		if v6 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
				return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", err)
			}
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
			if config.ZeroChecksum != 0 {
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1)
				program := zeroChecksumFor(config.ZeroChecksum)
				_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
					&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
			}
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
			if mmsg.JoinsSegments(fd) {
				c.segment.Store(mmsg.MaxRun)
			}
		}
		c.buffer = mmsg.Enlarge(fd, config.ReceiveBuffer)
		return nil
	})
}

// zeroChecksumFor is a filter that begins at the UDP header: it drops what has no
// checksum and another first octet.
func zeroChecksumFor(first byte) []unix.SockFilter {
	const all = 1<<32 - 1
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // checksum
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 8},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(first), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: all},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

// ReadBatch waits for datagrams and fills at least one and at most len(ms)
// messages. An error that an ICMP message has left on the socket is not
// returned; [Conn.ReadICMP] has it, and the number is 0.
func (c *Conn) ReadBatch(ms []Message) (int, error) {
	ms = ms[:c.reader.Expect(len(ms))]
	for i := range ms {
		c.reader.Put(i, ms[i].Buffer)
	}
	n, err := c.reader.Read()
	if err != nil {
		if left(err) {
			return 0, nil
		}
		return 0, c.Ended(err)
	}
	for i := range ms[:n] {
		m, a := &ms[i], c.reader.Ancillary(i)
		m.N, m.SegmentSize = c.reader.Octets(i), a.SegmentSize
		m.Remote, m.Local, m.ECN = remote(c.reader.From(i), c.reader.Scope(i)), a.Local, a.ECN
		if c.reader.Truncated(i) && m.SegmentSize > 0 {
			m.N -= m.N % m.SegmentSize // whole datagrams only
		}
	}
	return n, nil
}

// left reports whether an error of recvmmsg is what an ICMP message has left.
func left(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.ENETDOWN, unix.EACCES, unix.EPROTO, unix.EOPNOTSUPP, unix.ENONET:
		return true
	}
	return false
}

// ReadICMP returns the next ICMP error, without waiting.
func (c *Conn) ReadICMP() (e ICMP, ok bool) {
	var buf [64]byte
	var oob [256]byte
	_ = c.Control(func(fd uintptr) {
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
	out      *mmsg.Writer
	headers  [mmsg.Size]mmsg.Header
	iovecs   [mmsg.Size]unix.Iovec
	names    [mmsg.Size]mmsg.Name
	controls [mmsg.Size][controlWords]uint64
	failed   [mmsg.Size]syscall.Errno
}

// remote returns an address, with the number of its interface as the zone if it is a
// link-local one.
func remote(from netip.AddrPort, scope uint32) netip.AddrPort {
	if a := from.Addr(); a.Is6() && a.IsLinkLocalUnicast() {
		return netip.AddrPortFrom(a.WithZone(strconv.FormatUint(uint64(scope), 10)), from.Port())
	}
	return from
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
func (c *Conn) NewWriter() *Writer { return &Writer{out: c.socket.Socket.NewWriter()} }

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
	clear(w.failed[:queued])
	for first := 0; first < queued; {
		sent, errno, err := w.out.Write(w.headers[first:queued])
		if err != nil {
			return err
		}
		if errno != 0 { // it is about the first message
			w.failed[first] = errno
			sent = 1
		}
		first += sent
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
