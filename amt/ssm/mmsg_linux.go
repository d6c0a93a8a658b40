package ssm

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func recvmmsg(fd uintptr, headers []mmsghdr) (n int, errno syscall.Errno) {
	return mmsg(unix.SYS_RECVMMSG, fd, headers)
}

func sendmmsg(fd uintptr, headers []mmsghdr) (n int, errno syscall.Errno) {
	return mmsg(unix.SYS_SENDMMSG, fd, headers)
}

func mmsg(trap, fd uintptr, headers []mmsghdr) (int, syscall.Errno) {
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
