package amtr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socketSource reads packet sockets, one for each interface.
type socketSource struct {
	sockets []*packetSocket
	port    uint16
	counts  [verdictUnexpected + 1]atomic.Uint64
	closing atomic.Bool
}

type packetSocket struct {
	file *os.File
	raw  syscall.RawConn
	lost atomic.Uint64
}

func newSocketSource(config *Config) (*socketSource, error) {
	s := &socketSource{port: config.Port}
	for _, name := range config.Interfaces {
		p, err := openPacketSocket(name, config.Port)
		if err != nil {
			_ = s.close()
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
		s.sockets = append(s.sockets, p)
	}
	return s, nil
}

func openPacketSocket(name string, port uint16) (*packetSocket, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket AF_PACKET", err)
	}
	err = func() error {
		program, err := bpf.Assemble(filter(port))
		if err != nil {
			return err
		}
		code := make([]unix.SockFilter, len(program))
		for i, p := range program {
			code[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
		}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
			return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
		}
		const buffer = 16 << 20
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
		}
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		return os.NewSyscallError("bind AF_PACKET",
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: ifi.Index}))
	}()
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	p := &packetSocket{file: os.NewFile(uintptr(fd), "packet:"+name)}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	return p, nil
}

// filter passes what parse may find a message in: UDP from or to the port,
// fragments, and frames with VLAN tags, of which the kernel has taken off one. It
// passes them whole, since what it cuts off would not count in the size of the
// frame; what is not read is not copied.
func filter(port uint16) []bpf.Instruction {
	const pass, drop = 23, 24 // indices of the last two
	to := func(at, target int) uint8 { return uint8(target - at - 1) }
	return []bpf.Instruction{
		0:  bpf.LoadAbsolute{Off: 12, Size: 2},
		1:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x8100, SkipTrue: to(1, pass)},
		2:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x88a8, SkipTrue: to(2, pass)},
		3:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x86dd, SkipTrue: to(3, 15)},
		4:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0800, SkipFalse: to(4, drop)},
		5:  bpf.LoadAbsolute{Off: 23, Size: 1},
		6:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipFalse: to(6, drop)},
		7:  bpf.LoadAbsolute{Off: 20, Size: 2},
		8:  bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: to(8, pass)},
		9:  bpf.LoadMemShift{Off: 14},
		10: bpf.LoadIndirect{Off: 14, Size: 2},
		11: bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: to(11, pass)},
		12: bpf.LoadIndirect{Off: 16, Size: 2},
		13: bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: to(13, pass)},
		14: bpf.Jump{Skip: uint32(to(14, drop))},
		15: bpf.LoadAbsolute{Off: 20, Size: 1},
		16: bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_FRAGMENT, SkipTrue: to(16, pass)},
		17: bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipFalse: to(17, drop)},
		18: bpf.LoadAbsolute{Off: 54, Size: 2},
		19: bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: to(19, pass)},
		20: bpf.LoadAbsolute{Off: 56, Size: 2},
		21: bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: to(21, pass)},
		22: bpf.Jump{Skip: uint32(to(22, drop))},
		23: bpf.RetConstant{Val: 1 << 18},
		24: bpf.RetConstant{Val: 0},
	}
}

func (s *socketSource) run(handle func(*record)) error {
	var wg sync.WaitGroup
	errs := make([]error, len(s.sockets))
	for i, p := range s.sockets {
		wg.Go(func() { errs[i] = s.read(p, handle) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *socketSource) read(p *packetSocket, handle func(*record)) error {
	b := make([]byte, maxHeaders)
	var from unix.RawSockaddrLinklayer
	var n int
	var errno syscall.Errno
	receive := func(fd uintptr) bool {
		size := uint32(unsafe.Sizeof(from))
		// With MSG_TRUNC it returns the size of the whole frame.
		r, _, e := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			unix.MSG_TRUNC, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
		n, errno = int(r), e
		return e != unix.EAGAIN
	}
	for {
		if err := p.raw.Read(receive); err != nil {
			if s.closing.Load() {
				return nil
			}
			return err
		}
		switch errno {
		case 0:
		case unix.EINTR, unix.ENETDOWN: // an interface that goes down may come up
			continue
		default:
			return os.NewSyscallError("recvfrom AF_PACKET", errno)
		}
		var r record
		v := r.parse(b[:min(n, len(b))], n, from.Pkttype == unix.PACKET_OUTGOING, s.port)
		s.counts[v].Add(1)
		if v == verdictMessage {
			r.at = time.Now()
			handle(&r)
		}
	}
}

func (s *socketSource) stats(st *Stats) {
	st.Malformed = s.counts[verdictMalformed].Load()
	st.Fragments = s.counts[verdictFragment].Load()
	st.Unexpected = s.counts[verdictUnexpected].Load()
	for _, p := range s.sockets {
		_ = p.raw.Control(func(fd uintptr) {
			// struct tpacket_stats: packets, drops; reading it sets it to zero.
			var b [8]byte
			size := uint32(len(b))
			if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_PACKET, unix.PACKET_STATISTICS,
				uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0); e == 0 {
				p.lost.Add(uint64(binary.NativeEndian.Uint32(b[4:])))
			}
		})
		st.Lost += p.lost.Load()
	}
}

func (s *socketSource) fill(*Gateway) {}

func (s *socketSource) lastData(netip.AddrPort) (time.Time, bool) { return time.Time{}, false }

func (s *socketSource) forgotten(netip.AddrPort) {}

// stop ends reads that wait.
func (s *socketSource) stop() (err error) {
	s.closing.Store(true)
	for _, p := range s.sockets {
		err = errors.Join(err, p.file.SetReadDeadline(time.Unix(1, 0)))
	}
	return err
}

func (s *socketSource) close() (err error) {
	for _, p := range s.sockets {
		err = errors.Join(err, p.file.Close())
	}
	return err
}
