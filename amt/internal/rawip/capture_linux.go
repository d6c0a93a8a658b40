package rawip

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

const (
	batch       = 32
	frameOctets = offloadSize + 18 + 65535
	ethernet    = 14
)

// Capture takes packets of some groups off one interface. Read is for one
// goroutine at a time.
type Capture struct {
	file    *os.File
	raw     syscall.RawConn
	groups  map[netip.Addr]bool
	sending bool // packets that this machine sends count, too
	header  int  // octets of the link's header
	virtual bool // a virtio_net_hdr comes first

	headers []mmsg.Header
	iovecs  []unix.Iovec
	names   []unix.RawSockaddrLinklayer
	buffers [][]byte
	arena   []byte

	receive func(fd uintptr) bool // made once: a closure per read would allocate
	got     int
	errno   syscall.Errno
	drops   uint64
}

// Available says why this process cannot open a Capture.
func Available() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket AF_PACKET", err)
	}
	return unix.Close(fd)
}

// Open opens a capture, which takes nothing before SetGroups. A receive buffer
// of so many octets is asked for. The error matches [os.ErrPermission] without
// CAP_NET_RAW.
func Open(ifi *net.Interface, buffer int) (*Capture, error) {
	// Protocol 0 receives nothing until bind, when the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket AF_PACKET", err)
	}
	c := &Capture{
		file: os.NewFile(uintptr(fd), "capture on "+ifi.Name), header: linkHeader(ifi.Name),
		// What this machine sends to its loopback interface comes in there, too.
		sending: ifi.Flags&net.FlagLoopback == 0,
		headers: make([]mmsg.Header, batch), iovecs: make([]unix.Iovec, batch),
		names: make([]unix.RawSockaddrLinklayer, batch), buffers: make([][]byte, batch),
	}
	if err := c.open(fd, ifi, buffer); err != nil {
		_ = c.file.Close()
		return nil, err
	}
	return c, nil
}

func (c *Capture) open(fd int, ifi *net.Interface, buffer int) (err error) {
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return err
	}
	// Without it packets that were joined, or whose checksum is left to the
	// interface, could not be told from others.
	c.virtual = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) == nil
	mmsg.Enlarge(fd, buffer)
	if err := c.SetGroups(nil); err != nil {
		return err
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	c.receive = func(fd uintptr) bool {
		c.got, c.errno = mmsg.Receive(fd, c.headers)
		return c.errno != unix.EAGAIN
	}
	for i := range c.buffers {
		c.buffers[i] = make([]byte, frameOctets)
		c.iovecs[i].Base = unsafe.SliceData(c.buffers[i])
		c.iovecs[i].SetLen(frameOctets)
	}
	return nil
}

// linkHeader returns the octets before the network header, which tunnels and
// serial lines do not show.
func linkHeader(name string) int {
	b, err := os.ReadFile("/sys/class/net/" + name + "/type")
	if err != nil {
		return ethernet
	}
	switch n, _ := strconv.Atoi(strings.TrimSpace(string(b))); n {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return ethernet
	}
	return 0
}

// SetGroup says whether packets to a group are wanted. It is for one goroutine at a
// time, as SetGroups is.
func (c *Capture) SetGroup(group netip.Addr, wanted bool) error {
	if c.groups[group] == wanted {
		return nil
	}
	many := len(c.groups) > maxGroups
	if wanted {
		c.groups[group] = true
	} else {
		delete(c.groups, group)
	}
	if many && len(c.groups) > maxGroups {
		return nil // all multicast is let through, see filter
	}
	err := c.Attach(filter(slices.Collect(maps.Keys(c.groups)), c.sending))
	if err != nil && wanted {
		delete(c.groups, group)
	}
	return err
}

// SetGroups says which groups are wanted, in the place of those before.
func (c *Capture) SetGroups(groups []netip.Addr) error {
	c.groups = make(map[netip.Addr]bool, len(groups))
	for _, g := range groups {
		c.groups[g] = true
	}
	return c.Attach(filter(groups, c.sending))
}

// Attach makes the kernel run a program of another kind on each packet, see
// [Port].
func (c *Capture) Attach(instructions []bpf.Instruction) error {
	program, err := bpf.Assemble(instructions)
	if err != nil {
		return fmt.Errorf("rawip: filter of %d instructions: %w", len(instructions), err)
	}
	f := unix.SockFprog{Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(program)))}
	var failed error
	if err := c.raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt SO_ATTACH_FILTER",
			unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f))
	}); err != nil {
		return err
	}
	return failed
}

// Read waits for packets and appends them to frames, which are valid until the
// next Read.
func (c *Capture) Read(frames []Frame) ([]Frame, error) {
	for i := range c.headers {
		h := &c.headers[i]
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.names[i])), unix.SizeofSockaddrLinklayer
		h.Iov = &c.iovecs[i]
		h.SetIovlen(1)
		h.Flags = 0
	}
	if c.raw.Read(c.receive) != nil { // which there is no error of its own for
		return frames, net.ErrClosed
	}
	switch c.errno {
	case 0:
	case unix.EINVAL: // packets that were joined in a way that the kernel cannot tell of
		return frames, nil
	default:
		return frames, os.NewSyscallError("recvmmsg", c.errno)
	}
	c.arena = c.arena[:0]
	for i := range c.got {
		frames = c.parse(i, frames)
	}
	return frames, nil
}

func (c *Capture) parse(i int, frames []Frame) []Frame {
	b := c.buffers[i][:min(int(c.headers[i].Octets), frameOctets)]
	var o offload
	if c.virtual {
		if len(b) < offloadSize {
			return frames
		}
		var ok bool
		if o, ok = parseOffload(b); !ok {
			return frames
		}
		b = b[offloadSize:]
	}
	if len(b) < c.header+20 {
		return frames
	}
	b = b[c.header:]
	name := &c.names[i]
	f := Frame{Outgoing: name.Pkttype == unix.PACKET_OUTGOING, Station: name.Addr}
	clear(f.Station[min(int(name.Halen), len(f.Station)):])
	c.arena = finish(b, c.arena, o, func(p []byte) {
		f.Packet = p
		frames = append(frames, f)
	})
	return frames
}

// SetReadDeadline ends a Read that waits at t, with os.ErrDeadlineExceeded.
func (c *Capture) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// Drops returns how many packets the kernel had no room for.
func (c *Capture) Drops() uint64 {
	_ = c.raw.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.drops += uint64(st.Drops) // the kernel begins anew
		}
	})
	return c.drops
}

// Close ends Read.
func (c *Capture) Close() error { return c.file.Close() }
