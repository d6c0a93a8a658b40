package rawip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/checksum"
)

func openLoopback(t *testing.T) (*net.Interface, *Capture) {
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	c, err := Open(lo, 1<<20)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("without CAP_NET_RAW: ", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return lo, c
}

// take reads n packets, and fails if they do not come.
func take(t *testing.T, c *Capture, n int) (list [][]byte) {
	t.Helper()
	require.NoError(t, c.file.SetReadDeadline(time.Now().Add(10*time.Second)))
	for len(list) < n {
		frames, err := c.Read(nil)
		require.NoError(t, err, "%d of %d", len(list), n)
		for _, f := range frames {
			require.False(t, f.Outgoing)
			list = append(list, append([]byte(nil), f.Packet...))
		}
	}
	require.Len(t, list, n)
	return list
}

// Packets of the groups wanted are taken with any port, joined ones cut and
// their checksums made; others are not.
func TestCapture(t *testing.T) {
	lo, c := openLoopback(t)
	group := netip.AddrFrom4([4]byte{232, 9, 8, byte(os.Getpid())})
	require.NoError(t, c.SetGroups([]netip.Addr{group}))
	var m Memberships
	source := netip.AddrFrom4([4]byte{127, 9, 8, 7})
	require.NoError(t, m.Join(lo, source, group))
	require.NoError(t, m.Join(lo, source, group))
	defer m.Close()

	tx, err := net.ListenUDP("udp4", &net.UDPAddr{IP: source.AsSlice()})
	require.NoError(t, err)
	defer tx.Close()
	require.NoError(t, ipv4.NewPacketConn(tx).SetMulticastInterface(lo))
	require.NoError(t, ipv4.NewPacketConn(tx).SetMulticastTTL(7))
	send := func(g netip.Addr, port uint16, size, segment int) {
		raw, err := tx.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment))
		}))
		_, err = tx.WriteToUDPAddrPort(make([]byte, size), netip.AddrPortFrom(g, port))
		require.NoError(t, err)
	}
	send(group.Next(), 5000, 100, 0)
	send(group, 5000, 100, 0)
	send(group, 5001, 1316, 0)
	send(group, 5002, 3*1316+5, 1316)
	list := take(t, c, 6)
	for i, p := range list {
		require.Equal(t, []int{100, 1316, 1316, 1316, 1316, 5}[i], len(p)-28)
		require.Equal(t, byte(7), p[8])
		require.Zero(t, checksum.Of(p[:20]))
		require.Equal(t, source, netip.AddrFrom4([4]byte(p[12:])))
		require.Zero(t, checksum.Fold(checksum.Add(checksum.Add(uint64(17+len(p)-20), p[12:20]), p[20:])), "packet %d", i)
	}
	require.Zero(t, c.Drops())
	m.Leave(lo, source, group)
	require.Empty(t, m.sockets)
}

// What an injector sends has the header that it is given.
func TestInject(t *testing.T) {
	lo, c := openLoopback(t)
	j, err := NewInjector(lo)
	require.NoError(t, err)
	defer j.Close()
	group := netip.AddrFrom4([4]byte{232, 9, 9, byte(os.Getpid())})
	require.NoError(t, c.SetGroups([]netip.Addr{group}))
	p := make([]byte, 48)
	copy(p, []byte{0x45, 0x22, 0, 48, 0x12, 0x34, 0x40, 0, 33, 17, 0, 0, 192, 0, 2, 9})
	copy(p[16:], group.AsSlice())
	copy(p[20:], []byte{1, 2, 3, 4, 0, 28, 0, 0})
	h := checksum.Of(p[:20])
	p[10], p[11] = byte(h>>8), byte(h)
	require.NoError(t, j.Send(p))
	require.Equal(t, p, take(t, c, 1)[0])
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	require.Error(t, j.Send(p))
}

// 100 groups take several sockets, and go again.
func TestMemberships(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	var m Memberships
	source := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for i := range 100 {
		require.NoError(t, m.Join(lo, source, netip.AddrFrom4([4]byte{232, 77, byte(os.Getpid()), byte(i)})))
		require.NoError(t, m.Join(lo, source.Next(), netip.AddrFrom4([4]byte{232, 77, byte(os.Getpid()), byte(i)})))
	}
	require.Len(t, m.sockets, 14)
	for i := range 100 {
		m.Leave(lo, source, netip.AddrFrom4([4]byte{232, 77, byte(os.Getpid()), byte(i)}))
		m.Leave(lo, source.Next(), netip.AddrFrom4([4]byte{232, 77, byte(os.Getpid()), byte(i)}))
	}
	require.Empty(t, m.sockets)
	require.NoError(t, m.Close())
}

// network is two namespaces with a link between them, each with a thread.
func network(t *testing.T) (here, there func(f func() error)) {
	if os.Geteuid() != 0 {
		t.Skip("it needs root: network namespaces")
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("it needs ip (iproute2)")
	}
	host := func() (tid int, on func(f func() error)) {
		work, done := make(chan func() error), make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocks it: the thread ends here
			tid = unix.Gettid()
			done <- unix.Unshare(unix.CLONE_NEWNET)
			for f := range work {
				done <- f()
			}
		}()
		require.NoError(t, <-done)
		t.Cleanup(func() { close(work) })
		return tid, func(f func() error) { t.Helper(); work <- f; require.NoError(t, <-done) }
	}
	run := func(commands ...string) func() error {
		return func() error {
			for _, c := range commands {
				if out, err := exec.Command(ip, strings.Fields(c)...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %s: %w: %s", c, err, out)
				}
			}
			return nil
		}
	}
	_, here = host()
	tid, there := host()
	here(run(fmt.Sprintf("link add a0 type veth peer name b0 netns %d", tid), "-6 addr add fd09::1/64 dev a0 nodad", "link set a0 up"))
	there(run("-6 addr add fd09::2/64 dev b0 nodad", "link set b0 up"))
	return here, there
}

// IPv6: what one host injects, the other takes, whole and from joined datagrams
// of a socket; its own packets are marked as outgoing.
func TestIPv6(t *testing.T) {
	here, there := network(t)
	group := netip.MustParseAddr("ff3e::8000:77")
	var a, b *Capture
	var j *Injector
	var tx *net.UDPConn
	var m Memberships
	open := func(name string, c **Capture) func() error {
		return func() error {
			ifi, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			if *c, err = Open(ifi, 1<<20); err != nil {
				return err
			}
			return (*c).SetGroups([]netip.Addr{group, netip.MustParseAddr("232.1.1.1")})
		}
	}
	here(open("a0", &a))
	there(open("b0", &b))
	defer a.Close()
	defer b.Close()
	here(func() error {
		ifi, err := net.InterfaceByName("a0")
		if err != nil {
			return err
		}
		return m.Join(ifi, netip.MustParseAddr("fd09::2"), group)
	})
	defer m.Close()
	there(func() error {
		ifi, err := net.InterfaceByName("b0")
		if err != nil {
			return err
		}
		if j, err = NewInjector(ifi); err != nil {
			return err
		}
		if tx, err = net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP("fd09::2")}); err != nil {
			return err
		}
		return ipv6.NewPacketConn(tx).SetMulticastInterface(ifi)
	})
	defer j.Close()
	defer tx.Close()

	foreign := make([]byte, 40+8+20) // of a source that is on neither host
	copy(foreign, []byte{0x60, 0, 0, 0, 0, 28, 17, 9, 0x20, 1, 0xd, 0xb8, 15: 7})
	foreign[23] = 7
	copy(foreign[24:], group.AsSlice())
	binary.BigEndian.PutUint16(foreign[44:], 28)
	checksumUDP(foreign, 40)
	there(func() (err error) {
		// The link has just come up; the system adds its routes a little later.
		for range 500 {
			if err = j.Send(foreign); !errors.Is(err, unix.ENETUNREACH) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return err
	})
	require.Equal(t, foreign, take(t, a, 1)[0])

	there(func() error {
		raw, err := tx.SyscallConn()
		if err != nil {
			return err
		}
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) })
		if err != nil {
			return err
		}
		_, err = tx.WriteToUDPAddrPort(make([]byte, 2500), netip.AddrPortFrom(group, 5))
		return err
	})
	for i, p := range take(t, a, 3) {
		require.Equal(t, []int{1000, 1000, 500}[i], len(p)-48)
		require.Zero(t, checksum.Fold(checksum.Add(checksum.Add(uint64(17+len(p)-40), p[8:40]), p[40:])), "packet %d", i)
	}
	frames, err := b.Read(nil)
	require.NoError(t, err)
	for _, f := range frames {
		require.True(t, f.Outgoing)
	}
}

// Whoever closes a capture knows its reader's error when he sees it.
func TestCaptureClosed(t *testing.T) {
	_, c := openLoopback(t)
	require.NoError(t, c.SetGroups(nil))
	failed := make(chan error)
	go func() {
		_, err := c.Read(nil)
		failed <- err
	}()
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-failed, net.ErrClosed)
}
