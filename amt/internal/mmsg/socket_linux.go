package mmsg

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a UDP socket that Go's poller does not know. The poller asks to be
// told when a socket can be written to, and there is no way to ask it for less:
// the kernel then wakes a thread for each message that has left, which costs
// whoever sends to many a tenth, and other threads as much again. Who waits for what
// arrives has an epoll instance of its own in the poller; who waits for room polls.
type Socket struct {
	file   *os.File        // blocking, so that os leaves it alone; each call says MSG_DONTWAIT
	raw    syscall.RawConn // of file
	closed atomic.Bool
}

// Adopt makes a Socket of a socket of package net, which it closes in any case.
// What has been set and joined stays.
func Adopt(udp *net.UDPConn) (s *Socket, err error) {
	defer udp.Close() // which takes it out of the poller
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	s = new(Socket)
	err = Control(raw, func(fd int) error {
		// Go's poller is not to get the duplicate as well.
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		if err := unix.SetNonblock(own, false); err != nil {
			_ = unix.Close(own)
			return os.NewSyscallError("fcntl F_SETFL", err)
		}
		s.file = os.NewFile(uintptr(own), "udp "+udp.LocalAddr().String())
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Descriptor is a file descriptor that stays open as long as Control runs: that of a
// [Socket], or a [syscall.RawConn].
type Descriptor interface {
	Control(do func(fd uintptr)) error
}

// Control calls do with a file descriptor and returns its error.
func Control(raw Descriptor, do func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// Control calls do with the file descriptor.
func (s *Socket) Control(do func(fd uintptr)) error { return s.Ended(s.raw.Control(do)) }

// Close closes the socket and unblocks writers. After the first call it
// does nothing.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	// Nothing is connected, and the kernel says so. But it wakes who waits for room.
	_ = s.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	return s.file.Close()
}

// Ended makes of errors of a closed file that of a closed socket.
func (s *Socket) Ended(err error) error {
	if err != nil && s.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// Writer sends messages. It is for one goroutine at a time, and allocates nothing
// once made.
type Writer struct {
	socket  *Socket
	send    func(fd uintptr) // made once: a closure per write would allocate
	headers []Header
	sent    int
	errno   syscall.Errno
}

// NewWriter returns a writer.
func (s *Socket) NewWriter() *Writer {
	w := &Writer{socket: s}
	w.send = w.transmit
	return w
}

// Write sends the first of some messages, as many as sent says, and waits while
// there is no room for any. What the kernel refuses is the first, and errno tells
// why; err says that nothing can be sent any more: it is [net.ErrClosed] after
// Close.
func (w *Writer) Write(headers []Header) (sent int, errno syscall.Errno, err error) {
	w.headers = headers
	err = w.socket.Control(w.send)
	w.headers = nil
	switch {
	case err != nil:
		return 0, 0, err
	case w.errno != 0 && w.socket.closed.Load():
		return 0, 0, net.ErrClosed
	}
	return w.sent, w.errno, nil
}

func (w *Writer) transmit(fd uintptr) {
	for again := true; ; {
		w.sent, w.errno = Send(fd, w.headers)
		switch {
		case w.errno == 0 || w.socket.closed.Load():
			return
		// A full buffer is ENOBUFS for the second and later fragments of a datagram. A
		// full queue of the interface is that too, and nobody tells when it has room.
		case w.errno == unix.EAGAIN || w.errno == unix.ENOBUFS && !writable(fd, 0):
			if !writable(fd, -1) && !w.socket.closed.Load() {
				time.Sleep(time.Millisecond) // an error waits to be read
			}
		case again: // it may be what an ICMP message about another left behind
			again = false
		default:
			return
		}
	}
}

// writable waits for a number of milliseconds, -1 without end, until there is room
// or an error, and reports whether there is room.
func writable(fd uintptr, timeout int) bool {
	ready := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		if _, err := unix.Poll(ready[:], timeout); err != unix.EINTR {
			return err == nil && ready[0].Revents&unix.POLLOUT != 0
		}
	}
}
