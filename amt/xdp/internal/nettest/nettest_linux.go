// Package nettest gives tests a network of their own: namespaces joined by veth
// pairs. It needs root.
package nettest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const inside = "NETTEST_INSIDE"

// Main runs the tests of a package in a network namespace that goes with the
// process, if that is possible. TestMain calls it.
func Main(m *testing.M) int {
	if os.Getenv(inside) != "" || os.Geteuid() != 0 {
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is that of the thread
	signal.Ignore(os.Interrupt)
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "no network namespace:", err)
			return m.Run()
		}
		return max(1, cmd.ProcessState.ExitCode())
	}
	return 0
}

// Require skips the test unless Main has made a namespace. That is a failure
// where TREEDN_REQUIRE lists root.
func Require(t testing.TB) {
	if os.Getenv(inside) != "" {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "root") {
		t.Fatal("this needs root, which TREEDN_REQUIRE demands, and network namespaces")
	}
	t.Skip("this needs root, for network namespaces and BPF")
}

// Peer is another host, linked by a veth pair.
type Peer struct {
	Here, There *net.Interface
	ns          netns.NsHandle
	program     link.Link
}

// NewPeer makes a host. Addresses are those of both ends of the pair, with the
// lengths of their prefixes, here and there by turns.
func NewPeer(t testing.TB, name string, addresses ...string) *Peer {
	t.Helper()
	Require(t)
	p := &Peer{ns: namespace(t)}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = name+"p", netlink.NsFd(p.ns)
	require.NoError(t, netlink.LinkAdd(veth))
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	p.Here = configure(t, name, addresses, 0)
	p.Do(func() { p.There = configure(t, name+"p", addresses, 1) })
	up(t, p.Here.Index)
	p.Do(func() { up(t, p.There.Index) })
	return p
}

func configure(t testing.TB, name string, addresses []string, first int) *net.Interface {
	// Nobody else has the link-local address: do not wait for an objection.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0)
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	for i := first; i < len(addresses); i += 2 {
		a, err := netlink.ParseAddr(addresses[i])
		require.NoError(t, err)
		a.Flags = unix.IFA_F_NODAD
		require.NoError(t, netlink.AddrAdd(l, a))
	}
	require.NoError(t, netlink.LinkSetUp(l))
	ifi, err := net.InterfaceByName(name)
	require.NoError(t, err)
	return ifi
}

// up waits until the kernel has noticed that an interface has a carrier: it drops
// what is sent before.
func up(t testing.TB, index int) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByIndex(index)
		if err == nil && l.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("interface %d does not come up: %v", index, err)
			return
		}
	}
}

// namespace makes a network namespace and leaves the one of the caller as it is.
func namespace(t testing.TB) netns.NsHandle {
	var ns netns.NsHandle
	var err error
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread() // the thread ends with its goroutine
		ns, err = netns.New()
	})
	done.Wait()
	require.NoError(t, err)
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// Do runs f on the host. Sockets that f opens stay there.
func (p *Peer) Do(f func()) {
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread()
		if err := netns.Set(p.ns); err != nil {
			panic(err)
		}
		f()
	})
	done.Wait()
}

// Program attaches an XDP program to the far end that returns an action for
// every packet. Drivers of a veth take packets of other interfaces only while
// the peer has one.
func (p *Peer) Program(t testing.TB, action int32) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, action), asm.Return()},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = prog.Close() })
	if p.program != nil {
		require.NoError(t, p.program.Update(prog))
		return
	}
	p.Do(func() {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: p.There.Index, Flags: link.XDPDriverMode})
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		p.program = l
	})
}

// Capture is a socket for all frames of an interface.
type Capture struct {
	t  testing.TB
	fd int
}

// Listen captures what arrives at the far end.
func (p *Peer) Listen(t testing.TB) (c *Capture) {
	p.Do(func() { c = Listen(t, p.There) })
	return c
}

// Listen captures what passes an interface of this host.
func Listen(t testing.TB, ifi *net.Interface) *Capture {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: all & 0xffff}))
	return &Capture{t, fd}
}

// Next returns the next frame that is wanted, or nil if none comes in time.
func (c *Capture) Next(wait time.Duration, want func(frame []byte) bool) []byte {
	deadline := time.Now().Add(wait)
	b := make([]byte, 1<<16)
	for {
		left := max(time.Until(deadline), time.Microsecond)
		tv := unix.NsecToTimeval(left.Nanoseconds())
		require.NoError(c.t, unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
		n, _, err := unix.Recvfrom(c.fd, b, 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil
		case want(b[:n]):
			return b[:n]
		}
	}
}

// Send sends a frame.
func (c *Capture) Send(frame []byte) {
	_, err := unix.Write(c.fd, frame)
	require.NoError(c.t, err)
}

// Address gives the far end another address.
func (p *Peer) Address(t testing.TB, address string) {
	p.Do(func() {
		l, err := netlink.LinkByIndex(p.There.Index)
		require.NoError(t, err)
		a, err := netlink.ParseAddr(address)
		require.NoError(t, err)
		a.Flags = unix.IFA_F_NODAD
		require.NoError(t, netlink.AddrAdd(l, a))
	})
}

// Neighbour says where an address of this host's neighbourhood is.
func Neighbour(t testing.TB, ifi *net.Interface, ip, address string) {
	m, err := net.ParseMAC(address)
	require.NoError(t, err)
	require.NoError(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: ifi.Index, IP: net.ParseIP(ip), State: netlink.NUD_PERMANENT, HardwareAddr: m,
	}))
}

// Route adds a route of this host.
func Route(t testing.TB, ifi *net.Interface, to, via string) {
	_, prefix, err := net.ParseCIDR(to)
	require.NoError(t, err)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: ifi.Index, Dst: prefix, Gw: net.ParseIP(via)}))
}

// RequireKernel skips the test on older kernels than major.minor.
func RequireKernel(t testing.TB, major, minor int, why string) {
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var x, y int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &x, &y)
	require.NoError(t, err)
	if x < major || x == major && y < minor {
		t.Skipf("Linux %d.%d: %s", x, y, why)
	}
}

// Without runs f without capabilities that root has.
func Without(t testing.TB, f func(), capabilities ...int) {
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread() // the thread ends with its goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		for _, c := range capabilities {
			data[c/32].Effective &^= 1 << (c % 32)
		}
		if err == nil {
			err = unix.Capset(&header, &data[0])
		}
		if err != nil {
			t.Error(err)
			return
		}
		f()
	})
	done.Wait()
}
