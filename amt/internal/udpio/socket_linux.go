package udpio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// socket is a UDP socket that Go's poller does not know. The poller asks to be
// told when a socket can be written to, and there is no way to ask it for less:
// the kernel then wakes a thread for each message that has left, which costs
// whoever sends to many a tenth, and other threads as much again. So the poller
// has an epoll instance in the place of the socket, which is asked for what
// arrives alone.
type socket struct {
	file     *os.File        // blocking, so that os leaves it alone; each call says MSG_DONTWAIT
	raw      syscall.RawConn // of file
	arrivals *os.File        // the epoll instance
	wait     syscall.RawConn // of arrivals
	closed   *atomic.Bool
}

func listen(local netip.AddrPort, config Config) (s socket, at netip.AddrPort, err error) {
	network := "udp4"
	if local.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		if !config.Reuse {
			return nil
		}
		return control(raw, func(fd int) error {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}}
	conn, err := lc.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return s, at, err
	}
	udp := conn.(*net.UDPConn)
	defer udp.Close()                         // which takes it out of the poller
	_ = udp.SetWriteBuffer(config.SendBuffer) // a smaller one makes writers wait, no more
	raw, err := udp.SyscallConn()
	if err != nil {
		return s, at, err
	}
	s.closed = new(atomic.Bool)
	err = control(raw, func(fd int) error {
		// Go's poller is not to get the duplicate as well.
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		if err := unix.SetNonblock(own, false); err != nil {
			_ = unix.Close(own)
			return os.NewSyscallError("fcntl F_SETFL", err)
		}
		s.file = os.NewFile(uintptr(own), "udp "+local.String())
		return s.watch(own)
	})
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err == nil {
		s.wait, err = s.arrivals.SyscallConn()
	}
	if err != nil {
		_ = s.Close()
		return s, at, err
	}
	return s, udp.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// watch makes the epoll instance.
func (s *socket) watch(fd int) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err == nil {
		err = unix.SetNonblock(epoll, true) // by this os knows that it can be waited for
	}
	if err != nil {
		_ = unix.Close(epoll)
		return os.NewSyscallError("epoll_ctl", err)
	}
	s.arrivals = os.NewFile(uintptr(epoll), "arrivals of "+s.file.Name())
	return nil
}

func control(raw syscall.RawConn, do func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// SetReadDeadline ends a ReadBatch that waits at t, with os.ErrDeadlineExceeded.
func (s *socket) SetReadDeadline(t time.Time) error { return s.ended(s.arrivals.SetReadDeadline(t)) }

// Close closes the socket and unblocks readers and writers.
func (s *socket) Close() (err error) {
	if s.closed.Swap(true) {
		return nil
	}
	for _, f := range []*os.File{s.arrivals, s.file} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// ended makes of errors of a closed file those of a closed socket.
func (s *socket) ended(err error) error {
	if err != nil && s.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// transmit sends the first of some messages, and waits while there is no room
// for it.
func (s *socket) transmit(fd uintptr, headers []mmsg.Header) (sent int, errno syscall.Errno) {
	for again := true; ; {
		sent, errno = mmsg.Send(fd, headers)
		switch {
		case errno == 0 || errno == unix.EAGAIN && s.closed.Load():
			return sent, errno
		case errno == unix.EAGAIN:
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if _, err := unix.Poll(ready, 100); err == nil && ready[0].Revents&unix.POLLOUT == 0 {
				time.Sleep(time.Millisecond) // an error waits to be read
			}
		case again: // it may be what an ICMP message about another left behind
			again = false
		default:
			return sent, errno
		}
	}
}
