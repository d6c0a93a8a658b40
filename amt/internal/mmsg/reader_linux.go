package mmsg

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlWords holds IPV6_PKTINFO (40 octets with its header), the traffic class
// (24) and UDP_GRO (24), in words for the alignment of the headers.
const controlWords = 12

// Reader receives messages. It is for one goroutine at a time. Its arrays live as
// long as the socket, so that a read allocates nothing.
type Reader struct {
	wait   syscall.RawConn
	socket Descriptor

	headers  []Header
	iovecs   []unix.Iovec
	names    []Name // large enough for both families
	controls [][controlWords]uint64

	receive func(uintptr) bool // made once, as is take: a closure per read would allocate
	take    func(uintptr)
	want    int
	got     int
	errno   syscall.Errno
	failed  error // nothing could be asked
}

// NewReader returns a reader of a socket; wait tells when something may have
// arrived, and is the socket itself or an epoll instance.
func NewReader(wait syscall.RawConn, socket Descriptor) *Reader {
	r := &Reader{wait: wait, socket: socket}
	r.take = func(fd uintptr) { r.got, r.errno = Receive(fd, r.headers[:r.want]) }
	r.receive = func(uintptr) bool {
		r.failed = r.socket.Control(r.take)
		return r.failed != nil || r.errno != unix.EAGAIN
	}
	return r
}

// Expect makes room for n messages, Size at most, and returns for how many.
func (r *Reader) Expect(n int) int {
	n = min(n, Size)
	if len(r.headers) < n {
		r.headers = make([]Header, n)
		r.iovecs = make([]unix.Iovec, n)
		r.names = make([]Name, n)
		r.controls = make([][controlWords]uint64, n)
	}
	r.want = n
	return n
}

// Put gives the buffer for message i. Each of those expected is to have one.
func (r *Reader) Put(i int, b []byte) {
	r.iovecs[i].Base = unsafe.SliceData(b)
	r.iovecs[i].SetLen(len(b))
	h := &r.headers[i]
	h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	h.Iov = &r.iovecs[i]
	h.SetIovlen(1)
	h.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
	h.SetControllen(controlWords * 8)
	h.Flags = 0
}

// Read waits for messages and returns their number. An error of recvmmsg is an
// [os.SyscallError].
func (r *Reader) Read() (int, error) {
	r.got, r.errno, r.failed = 0, 0, nil
	if err := r.wait.Read(r.receive); err != nil {
		return 0, err
	}
	if r.failed != nil {
		return 0, r.failed
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.got, nil
}

// Octets returns how many octets message i of the last Read has.
func (r *Reader) Octets(i int) int { return int(r.headers[i].Octets) }

// From returns where message i came from; IPv4 is never in IPv6 form.
func (r *Reader) From(i int) netip.AddrPort { return AddrPort(&r.names[i]) }

// Scope returns the number of the interface that a link-local From belongs to.
func (r *Reader) Scope(i int) uint32 { return r.names[i].Scope_id }

// Truncated reports whether the buffer of message i was too short.
func (r *Reader) Truncated(i int) bool { return r.headers[i].Flags&unix.MSG_TRUNC != 0 }

// Ancillary returns what the control messages of message i say. The SegmentSize is
// that of the whole message if it is not a run.
func (r *Reader) Ancillary(i int) Ancillary {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r.controls[i])), controlWords*8)
	a := ParseControl(b[:r.headers[i].Controllen])
	if n := r.Octets(i); a.SegmentSize == 0 || a.SegmentSize > n {
		a.SegmentSize = n
	}
	return a
}

// Ancillary is what control messages say of a datagram or a run of them.
type Ancillary struct {
	Local       netip.Addr // where it was sent to
	SegmentSize int        // of a run; 0 for one datagram
	ECN         uint8
}

// ParseControl takes out of control messages what their options bring.
func ParseControl(b []byte) (a Ancillary) {
	EachControl(b, func(level, typ int32, data []byte) {
		switch {
		case level == unix.IPPROTO_IP && typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.Local = netip.AddrFrom4([4]byte(data[8:12]))
		case level == unix.IPPROTO_IP && typ == unix.IP_TOS && len(data) >= 1:
			a.ECN = data[0] & 3
		case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.Local = netip.AddrFrom16([16]byte(data[:16]))
		case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_TCLASS && len(data) >= 4:
			a.ECN = uint8(binary.NativeEndian.Uint32(data)) & 3
		case level == unix.IPPROTO_UDP && typ == unix.UDP_GRO && len(data) >= 4:
			a.SegmentSize = max(0, int(int32(binary.NativeEndian.Uint32(data))))
		}
	})
	return a
}
