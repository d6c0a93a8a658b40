package ssm

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
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
	socket   *mmsg.Socket
	out      *mmsg.Writer
	headers  [mmsg.Size]mmsg.Header
	runs     [mmsg.Size]int // packets in each message
	controls [mmsg.Size]segmentControl
	iovecs   []unix.Iovec
	dst      mmsg.Name
	queued   int

	// segmentLimit is the size from which packets go alone: the kernel refuses
	// to segment what does not fit the interface, and everything on interfaces
	// that compute no checksums.
	segmentLimit int
}

// newBatchWriter takes conn over.
func newBatchWriter(conn *net.UDPConn, offload bool) (*batchWriter, error) {
	socket, err := mmsg.Adopt(conn)
	if err != nil {
		return nil, err
	}
	w := &batchWriter{socket: socket, out: socket.NewWriter()}
	if err := socket.Control(func(fd uintptr) {
		if offload && mmsg.JoinsSegments(int(fd)) {
			w.segmentLimit = mmsg.MaxRun
		}
	}); err != nil {
		_ = socket.Close()
		return nil, err
	}
	return w, nil
}

func (w *batchWriter) close() error { return w.socket.Close() }

func (w *batchWriter) write(packets [][]byte, dst netip.AddrPort) (n int, err error) {
	namelen := mmsg.PutName(&w.dst, dst)
	for n < len(packets) {
		w.queue(packets[n:], namelen)
		sent, errno, err := w.out.Write(w.headers[:w.queued])
		if err != nil {
			return n, err
		}
		if errno != 0 {
			// It is about the first message; those before have been sent.
			if !w.lowerLimit(errno, len(packets[n])) {
				return n, os.NewSyscallError("sendmmsg", errno)
			}
			continue
		}
		for _, run := range w.runs[:sent] {
			n += run
		}
	}
	return n, nil
}

// lowerLimit gives up segmentation from the size of the refused run on, and
// reports whether that lets the packets be tried again.
func (w *batchWriter) lowerLimit(errno syscall.Errno, size int) bool {
	if w.runs[0] <= 1 {
		return false
	}
	switch errno {
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
		w.iovecs = make([]unix.Iovec, mmsg.Size*mmsg.MaxSegments)
	}
	iovecs := w.iovecs
	for w.queued = 0; w.queued < mmsg.Size && len(packets) > 0; w.queued++ {
		run := w.runLength(packets)
		pieces := gather(iovecs, packets[:run])
		h := &w.headers[w.queued].Msghdr
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
	for n < len(packets) && n < mmsg.MaxSegments {
		length := len(packets[n])
		if length == 0 || length > size || total+length > mmsg.MaxRun {
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
