package xdp_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/xdp"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// sender sends datagrams one by one with sendto, the way that a program without
// any of this would.
type sender struct {
	fd  int
	buf []byte
	to  []unix.RawSockaddrInet4
}

func newSender(t testing.TB, from, to netip.Addr, n, size int) *sender {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE))
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}))
	s := &sender{fd: fd, buf: make([]byte, size)}
	for i := range n {
		s.to = append(s.to, unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.As4(), Port: htons(20000 + i)})
	}
	return s
}

func htons(port int) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(port >> 8), byte(port)})
}

func (s *sender) send(t testing.TB) {
	for i := range s.to {
		// Without telling the scheduler, as C would.
		if _, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&s.buf[0])), uintptr(len(s.buf)),
			0, uintptr(unsafe.Pointer(&s.to[i])), unix.SizeofSockaddrInet4); errno != 0 {
			t.Fatal(errno)
		}
	}
}

// quartiles are the times that a quarter and half of the calls of each function
// stay below: what else runs on the machine makes some longer, and takes over the
// work of others. The functions take turns, so that this is the same for all.
func quartiles(rounds int, functions ...func()) (lower, median []time.Duration) {
	all := make([][]time.Duration, len(functions))
	for range rounds {
		for i, f := range functions {
			start := time.Now()
			f()
			all[i] = append(all[i], time.Since(start))
		}
	}
	for _, times := range all {
		slices.Sort(times)
		lower, median = append(lower, times[len(times)/4]), append(median, times[len(times)/2])
	}
	return lower, median
}

// newSink makes an interface that drops what is sent by it: a TAP whose queue
// nobody reads. It returns its address; the next one is behind it.
func newSink(t testing.TB) netip.Addr {
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "sink"}, Mode: netlink.TUNTAP_MODE_TAP, Queues: 1}
	require.NoError(t, netlink.LinkAdd(tap))
	t.Cleanup(func() {
		_ = netlink.LinkDel(tap)
		for _, f := range tap.Fds {
			_ = f.Close()
		}
	})
	require.NoError(t, netlink.LinkSetUp(tap))
	address, err := netlink.ParseAddr("10.2.0.1/16")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(tap, address))
	a := netip.MustParseAddr("10.2.0.1")
	require.NoError(t, netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: tap.Attrs().Index, IP: net.IP(a.Next().AsSlice()), State: netlink.NUD_PERMANENT,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}))
	return a
}

// BenchmarkCopy measures a copy of a packet with 7 packets of a transport
// stream, between veth interfaces the far one of which drops all, and as the
// anchor sendto by the same interface and by one that drops all itself. The
// work is done before the system calls return.
func BenchmarkCopy(b *testing.B) {
	for _, n := range []int{16, 128, 192, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkCopy(b, n) })
	}
}

func benchmarkCopy(b *testing.B, n int) {
	nettest.Require(b)
	peer := gateways(b)
	list := make([]xdp.Tunnel, n)
	for i := range list {
		list[i] = xdp.Tunnel{Local: relay4, Gateway: netip.AddrPortFrom(netip.MustParseAddr("10.1.255.1"), uint16(20000+i))}
	}
	p := open(b, xdp.Config{Egress: "out", Mode: xdp.ModeNative})
	route(b, p, source4, group4, list)
	sink := newSink(b)
	peer.Program(b, 1) // XDP_DROP, in place of the one before

	packets := [][]byte{udp(source4, group4, make([]byte, 1316)...)}
	same := newSender(b, relay4.Addr(), netip.MustParseAddr("10.1.255.1"), n, len(packets[0])+2)
	other := newSender(b, sink, sink.Next(), n, len(packets[0])+2)
	rounds := max(20, min(b.N, 4000))
	sent := 0
	b.ResetTimer()
	lower, median := quartiles(rounds, func() {
		if n, err := p.Send(source4, group4, packets); err != nil || n != 1 {
			b.Fatal(n, err)
		}
		sent++
	}, func() { same.send(b) }, func() { other.send(b) })
	b.StopTimer()
	copies, veth, drop := lower[0], lower[1], lower[2]
	s, err := p.Stats()
	require.NoError(b, err)
	require.EqualValues(b, sent*n+2, s.Copies+s.Lost)
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(n) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(per(copies), "ns/copy")
	b.ReportMetric(per(median[0]), "ns/copy-median")
	b.ReportMetric(per(veth), "ns/sendto-veth")
	b.ReportMetric(per(drop), "ns/sendto-sink")
	b.ReportMetric(float64(veth)/float64(copies), "x-veth")
	b.ReportMetric(float64(drop)/float64(copies), "x-sink")
	b.ReportMetric(float64(median[1])/float64(median[0]), "x-veth-median")
	b.ReportMetric(float64(s.Lost), "lost")
}
