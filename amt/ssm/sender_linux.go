package ssm

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxSegments is UDP_MAX_SEGMENTS of the kernels up to 6.8; later ones take
	// more.
	maxSegments = 64
	// maxRun is the payload of the largest run: IPv6 counts its header in.
	maxRun = 65535 - 40 - 8
)

// segmentControl is the control message UDP_SEGMENT, padded as CMSG_SPACE does.
type segmentControl struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

// batchWriter writes with sendmmsg. Its arrays live as long as the sender, so
// that a write allocates nothing.
type batchWriter struct {
	raw      syscall.RawConn
	headers  [batchSize]mmsghdr
	runs     [batchSize]int // packets in each message
	controls [batchSize]segmentControl
	iovecs   []unix.Iovec
	dst      unix.RawSockaddrInet6

	// segmentLimit is the size from which packets go alone: the kernel refuses
	// to segment what does not fit the interface, and everything on interfaces
	// that compute no checksums.
	segmentLimit int

	send   func(fd uintptr) bool // made once: a closure per write would allocate
	queued int
	sent   int
	errno  syscall.Errno
}

func newBatchWriter(conn *net.UDPConn, offload bool) (*batchWriter, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &batchWriter{raw: raw}
	if offload && supportsSegment(raw) {
		w.segmentLimit = maxRun
	}
	w.send = func(fd uintptr) bool {
		w.sent, w.errno = sendmmsg(fd, w.headers[:w.queued])
		return w.errno != unix.EAGAIN
	}
	return w, nil
}

// supportsSegment: UDP_SEGMENT came with Linux 4.18.
func supportsSegment(raw syscall.RawConn) bool {
	var failed error
	err := raw.Control(func(fd uintptr) {
		_, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	})
	return err == nil && failed == nil
}

func (w *batchWriter) write(packets [][]byte, dst netip.AddrPort) (n int, err error) {
	namelen := w.setDestination(dst)
	for n < len(packets) {
		w.queue(packets[n:], namelen)
		if err := w.raw.Write(w.send); err != nil {
			return n, err
		}
		if w.errno != 0 {
			// It is about the first message; those before have been sent.
			if !w.lowerLimit(len(packets[n])) {
				return n, os.NewSyscallError("sendmmsg", w.errno)
			}
			continue
		}
		for _, run := range w.runs[:w.sent] {
			n += run
		}
	}
	return n, nil
}

// lowerLimit gives up segmentation from the size of the refused run on, and
// reports whether that lets the packets be tried again.
func (w *batchWriter) lowerLimit(size int) bool {
	if w.runs[0] <= 1 {
		return false
	}
	switch w.errno {
	case unix.EIO: // no checksum offload
		w.segmentLimit = 0
	case unix.EINVAL, unix.EMSGSIZE: // larger than the interface's MTU
		w.segmentLimit = size
	default:
		return false
	}
	return true
}

// queue lays out as many messages as fit one call.
func (w *batchWriter) queue(packets [][]byte, namelen uint32) {
	if len(w.iovecs) == 0 {
		w.iovecs = make([]unix.Iovec, batchSize*maxSegments)
	}
	iovecs := w.iovecs
	for w.queued = 0; w.queued < batchSize && len(packets) > 0; w.queued++ {
		run := w.runLength(packets)
		pieces := gather(iovecs, packets[:run])
		h := &w.headers[w.queued].hdr
		h.Name = (*byte)(unsafe.Pointer(&w.dst))
		h.Namelen = namelen
		h.Iov = unsafe.SliceData(iovecs)
		h.SetIovlen(pieces)
		h.Control = nil
		h.SetControllen(0)
		if run > 1 {
			c := &w.controls[w.queued]
			c.header.Level = unix.IPPROTO_UDP
			c.header.Type = unix.UDP_SEGMENT
			c.header.SetLen(unix.CmsgLen(2))
			c.size = uint16(len(packets[0]))
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(unix.CmsgSpace(2))
		}
		w.runs[w.queued] = run
		packets = packets[run:]
		iovecs = iovecs[pieces:]
	}
}

// gather describes packets to the kernel and returns in how many pieces of memory they lie: those that were appended to
// one buffer are one, which costs the kernel less than many.
func gather(iovecs []unix.Iovec, packets [][]byte) (n int) {
	for i := 0; i < len(packets); n++ {
		base, size := unsafe.SliceData(packets[i]), len(packets[i])
		next := uintptr(unsafe.Pointer(base)) // compared, never followed
		for i++; i < len(packets) && uintptr(unsafe.Pointer(unsafe.SliceData(packets[i]))) == next+uintptr(size); i++ {
			size += len(packets[i])
		}
		iovecs[n].Base = base
		iovecs[n].SetLen(size)
	}
	return n
}

// runLength returns how many of the packets can leave as one: all of one size,
// except that the last may be shorter.
func (w *batchWriter) runLength(packets [][]byte) int {
	size := len(packets[0])
	if size == 0 || size >= w.segmentLimit {
		return 1
	}
	n, total := 1, size
	for n < len(packets) && n < maxSegments {
		length := len(packets[n])
		if length == 0 || length > size || total+length > maxRun {
			break
		}
		n++
		total += length
		if length < size {
			break
		}
	}
	return n
}

func (w *batchWriter) setDestination(dst netip.AddrPort) (namelen uint32) {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], dst.Port())
	if dst.Addr().Is4() {
		inet4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&w.dst))
		inet4.Family = unix.AF_INET
		inet4.Port = binary.NativeEndian.Uint16(port[:])
		inet4.Addr = dst.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	w.dst = unix.RawSockaddrInet6{
		Family: unix.AF_INET6,
		Port:   binary.NativeEndian.Uint16(port[:]),
		Addr:   dst.Addr().As16(),
	}
	return unix.SizeofSockaddrInet6
}
