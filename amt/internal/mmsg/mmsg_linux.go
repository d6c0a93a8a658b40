package mmsg

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is the largest number of messages exchanged with the kernel in one call.
const Size = 64

const (
	// MaxSegments is UDP_MAX_SEGMENTS of the kernels up to 6.8; later ones take more.
	MaxSegments = 64
	// MaxRun is the payload of the largest run: IPv6 counts its header in.
	MaxRun = 65535 - 40 - 8
)

// Header is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type Header struct {
	unix.Msghdr
	Octets uint32 // received
}

// Name holds a socket address of either IP family.
type Name = unix.RawSockaddrInet6

// Receive calls recvmmsg and Send sendmmsg, without waiting and again after a
// signal.
func Receive(fd uintptr, headers []Header) (int, syscall.Errno) {
	return call(unix.SYS_RECVMMSG, fd, headers)
}

// Send is for Receive's opposite direction.
func Send(fd uintptr, headers []Header) (int, syscall.Errno) {
	return call(unix.SYS_SENDMMSG, fd, headers)
}

func call(trap, fd uintptr, headers []Header) (int, syscall.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(headers))), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// AddrPort returns the address in name; IPv4 is never in IPv6 form.
func AddrPort(name *Name) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&name.Port)) // network order
	switch name.Family {
	case unix.AF_INET:
		inet4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(inet4.Addr), binary.BigEndian.Uint16(port[:]))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), binary.BigEndian.Uint16(port[:]))
	}
	return netip.AddrPort{}
}

// PutName writes an address and returns the length of name.
func PutName(name *Name, to netip.AddrPort) uint32 {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], to.Port())
	if to.Addr().Is4() {
		inet4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		*inet4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: binary.NativeEndian.Uint16(port[:]), Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: binary.NativeEndian.Uint16(port[:]), Addr: to.Addr().As16()}
	return unix.SizeofSockaddrInet6
}

// EachControl calls do for each control message in b.
func EachControl(b []byte, do func(level, typ int32, data []byte)) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		if uint64(h.Len) < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(b)) {
			return
		}
		data := b[unix.SizeofCmsghdr:h.Len]
		do(h.Level, h.Type, data)
		b = b[min(unix.CmsgSpace(len(data)), len(b)):]
	}
}

// PutControl lays out a control message of size octets at b[n:], which it clears
// and returns, and moves n behind it.
func PutControl(b []byte, n *int, level, typ int32, size int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[*n]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(size))
	data := b[*n+unix.CmsgLen(0):][:size]
	clear(data)
	*n += unix.CmsgSpace(size)
	return data
}

// JoinsSegments reports whether the kernel cuts runs up: UDP_SEGMENT came with
// Linux 4.18.
func JoinsSegments(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// Enlarge asks for a receive buffer and returns what was granted: SO_RCVBUF
// above rmem_max is clipped without an error.
func Enlarge(fd, octets int) (granted int) {
	for _, option := range []int{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE} { // the second passes with CAP_NET_ADMIN
		if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && n/2 >= octets {
			return n / 2
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, octets)
	}
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return n / 2 // the kernel reports twice the request, its own bookkeeping included
}

// Remedy says how to get a larger receive buffer.
func Remedy(octets int) string { return "as root: sysctl -w net.core.rmem_max=" + strconv.Itoa(octets) }
