package rawip

import (
	"errors"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Injector sends whole IP multicast packets on one interface. It is safe for
// concurrent use. What it sends is also heard by sockets of this machine.
type Injector struct {
	mu         sync.Mutex // guards below
	v4, v6     int        // file descriptors; -1: that family cannot be had
	err4, err6 error
}

// NewInjector opens an injector. The error matches [os.ErrPermission] without
// CAP_NET_RAW.
func NewInjector(ifi *net.Interface) (*Injector, error) {
	j := &Injector{v4: -1, v6: -1}
	if j.v4, j.err4 = open4(ifi); j.err4 != nil {
		j.v4 = -1
	}
	if j.v6, j.err6 = open6(ifi); j.err6 != nil {
		j.v6 = -1
	}
	if j.v4 < 0 && j.v6 < 0 {
		return nil, j.err4
	}
	return j, nil
}

func open4(ifi *net.Interface) (int, error) {
	// IPPROTO_RAW sends packets with their own header.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifi.Index)}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt IP_MULTICAST_IF", err)
	}
	return fd, nil
}

func open6(ifi *net.Interface) (int, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, ifi.Index); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt IPV6_MULTICAST_IF", err)
	}
	return fd, nil
}

// Send sends a packet. An error is about this packet only.
func (j *Injector) Send(packet []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var err error
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		if j.v4 < 0 {
			return notOpen(j.err4)
		}
		err = unix.Sendto(j.v4, packet, 0, &unix.SockaddrInet4{Addr: [4]byte(packet[16:])})
	case len(packet) >= 40 && packet[0]>>4 == 6:
		if j.v6 < 0 {
			return notOpen(j.err6)
		}
		err = unix.Sendto(j.v6, packet, 0, &unix.SockaddrInet6{Addr: [16]byte(packet[24:])})
	default:
		return errors.New("rawip: no IP packet")
	}
	return os.NewSyscallError("sendto", err)
}

func notOpen(err error) error {
	if err == nil {
		return net.ErrClosed
	}
	return err
}

// Close ends the injector. It may be called more than once.
func (j *Injector) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, fd := range []*int{&j.v4, &j.v6} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
	return nil
}
