package udpio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// socket is one that waits for what arrives by an epoll instance, which is in Go's
// poller in its place.
type socket struct {
	*mmsg.Socket
	arrivals *os.File
	reader   *mmsg.Reader
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
		return mmsg.Control(raw, func(fd int) error {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}}
	conn, err := lc.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return s, at, err
	}
	udp := conn.(*net.UDPConn)
	_ = udp.SetWriteBuffer(config.SendBuffer) // a smaller one makes writers wait, no more
	at = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	if s.Socket, err = mmsg.Adopt(udp); err != nil {
		return s, at, err
	}
	if err := s.watch(); err != nil {
		_ = s.Close()
		return s, at, err
	}
	return s, at, nil
}

// watch makes the epoll instance and the reader.
func (s *socket) watch() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(epoll, true); err != nil { // by this os knows that it can be waited for
		_ = unix.Close(epoll)
		return os.NewSyscallError("fcntl F_SETFL", err)
	}
	s.arrivals = os.NewFile(uintptr(epoll), "arrivals")
	wait, err := s.arrivals.SyscallConn()
	if err != nil {
		return err
	}
	s.reader = mmsg.NewReader(wait, s)
	return mmsg.Control(s, func(fd int) error {
		return os.NewSyscallError("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	})
}

// SetReadDeadline ends a ReadBatch that waits at t, with os.ErrDeadlineExceeded.
func (s *socket) SetReadDeadline(t time.Time) error { return s.Ended(s.arrivals.SetReadDeadline(t)) }

// Close closes the socket and unblocks readers and writers.
func (s *socket) Close() error {
	err := s.Socket.Close()
	if s.arrivals != nil {
		if e := s.arrivals.Close(); !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}
