package xdp

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pair is two interfaces of which each receives what the other sends.
type pair struct {
	tx, rx *net.Interface
}

// maxInjected is the largest packet that can be given to a pair: with XDP, a
// page has to hold it and what the kernel puts around it.
const maxInjected = 3400

// newPair makes a pair of interfaces, named by prefix and chance. They have a
// queue for each processor, so that one that sends does so by itself.
func newPair(prefix string) (*pair, error) {
	var random [4]byte
	_, _ = rand.Read(random[:])
	name := fmt.Sprintf("%s%x", prefix, random)
	queues := min(runtime.NumCPU(), 64)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name+"t", maxInjected
	attrs.NumTxQueues, attrs.NumRxQueues = queues, queues
	veth := netlink.NewVeth(attrs)
	veth.PeerName = name + "r"
	veth.PeerNumTxQueues, veth.PeerNumRxQueues = uint32(queues), uint32(queues)
	veth.PeerMTU = maxInjected
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("making a veth pair: %w", err)
	}
	p := &pair{}
	var err error
	for _, end := range []struct {
		name string
		ifi  **net.Interface
	}{{veth.Name, &p.tx}, {veth.PeerName, &p.rx}} {
		// Nothing of its own is to be on it. Without IPv6 there is no such file.
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+end.name+"/disable_ipv6", []byte("1"), 0)
		if *end.ifi, err = net.InterfaceByName(end.name); err != nil {
			break
		}
		if err = netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: (*end.ifi).Index}}); err != nil {
			break
		}
	}
	if err != nil {
		_ = netlink.LinkDel(veth)
		return nil, fmt.Errorf("veth pair %s: %w", name, err)
	}
	return p, nil
}

func (p *pair) close() error {
	return netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: p.tx.Name, Index: p.tx.Index}})
}

// packetSocket opens a socket for whole frames on an interface. With protocol 0
// it receives nothing.
func packetSocket(ifi *net.Interface, protocol uint16) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket AF_PACKET", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: protocol<<8 | protocol>>8}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("bind AF_PACKET", err)
	}
	return fd, nil
}

// injector gives packets to the programs: it sends them into a pair whose other
// end has them attached. The programs run before the system call returns.
type injector struct {
	pair *pair
	fd   int
	pool sync.Pool
}

func newInjector() (*injector, error) {
	p, err := newPair("amt")
	if err != nil {
		return nil, err
	}
	fd, err := packetSocket(p.tx, 0)
	if err != nil {
		_ = p.close()
		return nil, err
	}
	// No queueing discipline is needed; kernels without this have one more step.
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	return &injector{pair: p, fd: fd, pool: sync.Pool{New: func() any { return new([14 + maxInjected]byte) }}}, nil
}

func (i *injector) send(packet []byte, pass int) error {
	b := i.pool.Get().(*[14 + maxInjected]byte)
	defer i.pool.Put(b)
	clear(b[:12])
	b[0], b[6] = 2, 2 // nobody's address: what no program takes, no host does
	b[10], b[11] = byte(pass>>8), byte(pass)
	b[12], b[13] = 0x08, 0x00
	if packet[0]>>4 == 6 {
		b[12], b[13] = 0x86, 0xdd
	}
	n := 14 + copy(b[14:], packet)
	for try := 0; ; try++ {
		switch _, err := unix.Write(i.fd, b[:n]); {
		case err == unix.EINTR:
		case err == unix.ENOBUFS && try < 500: // the queue of the pair is full
			time.Sleep(while)
		default:
			return os.NewSyscallError("send AF_PACKET", err)
		}
	}
}

func (i *injector) close() error {
	_ = unix.Close(i.fd)
	return i.pair.close()
}

// hardwareAddr returns the Ethernet address of an interface.
func hardwareAddr(ifi *net.Interface) (m mac, ok bool) {
	if len(ifi.HardwareAddr) != len(m) || ifi.Flags&net.FlagLoopback != 0 {
		return m, false
	}
	return mac(ifi.HardwareAddr), true
}

func ipOf(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }
