package xdp_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/xdp"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// upstreamBench is a plane with an upstream, of which a test changes what is
// below.
type upstreamBench struct {
	t            testing.TB
	peer         *nettest.Peer
	plane        *xdp.Plane
	list         []xdp.Tunnel
	send, passed *nettest.Capture
	copies       *nettest.Capture
	number       byte
}

func newUpstreamBench(t testing.TB) *upstreamBench {
	b := &upstreamBench{t: t, peer: gateways(t), list: tunnels(5)}
	up := nettest.NewPeer(t, "up", "10.3.0.1/16", "10.3.0.2/16")
	b.plane = open(t, xdp.Config{Egress: "out", Upstream: "up"})
	route(t, b.plane, source4, group4, b.list)
	b.send, b.passed, b.copies = up.Listen(t), nettest.Listen(t, up.Here), b.peer.Listen(t)
	return b
}

// goes sends a packet, and reports whether it was passed on. Otherwise all tunnels
// have it, if the interface is still there.
func (b *upstreamBench) goes() (passed bool) {
	b.t.Helper()
	b.number++
	packet := udp(source4, group4, numbered(int(b.number), 100)...)
	b.send.Send(append([]byte{1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 9, b.number, 8, 0}, packet...))
	return b.passed.Next(20*time.Millisecond, func(f []byte) bool { return f[0] == 1 && f[10] == 9 && f[11] == b.number }) != nil
}

// copied takes a copy for each tunnel of a packet that was not passed on.
func (b *upstreamBench) copied() {
	b.t.Helper()
	for b.copies.Next(time.Millisecond, isCopy) != nil {
	}
	require.False(b.t, b.goes())
	for range b.list {
		require.NotNil(b.t, b.copies.Next(5*time.Second, isCopy))
	}
}

// again is what a server does when the version has changed.
func (b *upstreamBench) again() bool {
	taken := make([]bool, len(b.list))
	require.NoError(b.t, b.plane.Route(source4, group4, 1450, b.list, taken))
	return taken[0]
}

func linkOf(t testing.TB, name string) netlink.Link {
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	return l
}

func ipOf(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// What the plane can do no more goes on by sockets: packets are not taken off the
// upstream any more, the version tells, and when it is over all is as before.
func TestGivesUp(t *testing.T) {
	host := func(l netlink.Link) *netlink.Route {
		to, err := netlink.ParseIPNet("10.1.255.1/32")
		require.NoError(t, err)
		return &netlink.Route{LinkIndex: l.Attrs().Index, Dst: to}
	}
	for _, c := range []struct {
		name string
		do   func(b *upstreamBench) (undo func())
	}{
		{"interface down", func(b *upstreamBench) func() {
			require.NoError(b.t, netlink.LinkSetDown(linkOf(b.t, "out")))
			return func() {
				require.NoError(b.t, netlink.LinkSetUp(linkOf(b.t, "out")))
				a, err := netlink.ParseAddr("fd01::1/64") // which the kernel has taken off
				require.NoError(b.t, err)
				a.Flags = unix.IFA_F_NODAD
				require.NoError(b.t, netlink.AddrReplace(linkOf(b.t, "out"), a))
			}
		}},
		{"interface gone", func(b *upstreamBench) func() {
			require.NoError(b.t, netlink.LinkDel(linkOf(b.t, "out")))
			return nil
		}},
		{"route by another interface", func(b *upstreamBench) func() {
			nettest.NewPeer(b.t, "other", "10.4.0.1/16", "10.4.0.2/16")
			r := host(linkOf(b.t, "other"))
			r.Gw = ipOf("10.4.0.2")
			require.NoError(b.t, netlink.RouteAdd(r))
			return func() { require.NoError(b.t, netlink.RouteDel(r)) }
		}},
		{"no route", func(b *upstreamBench) func() {
			r := host(linkOf(b.t, "out"))
			r.LinkIndex, r.Type = 0, unix.RTN_UNREACHABLE
			require.NoError(b.t, netlink.RouteAdd(r))
			return func() { require.NoError(b.t, netlink.RouteDel(r)) }
		}},
		{"next hop not there yet", func(b *upstreamBench) func() {
			r := host(linkOf(b.t, "out"))
			r.Gw = ipOf("10.1.9.9")
			require.NoError(b.t, netlink.RouteAdd(r))
			return func() { b.peer.Address(b.t, "10.1.9.9/16") }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newUpstreamBench(t)
			b.copied()
			version := b.plane.Version()
			undo := c.do(b)
			require.Eventually(t, b.goes, 20*time.Second, time.Millisecond)
			require.NotEqual(t, version, b.plane.Version())
			require.False(t, b.again())
			require.True(t, b.goes())
			if undo != nil {
				undo()
				require.Eventually(t, b.again, 20*time.Second, 10*time.Millisecond)
				b.copied()
			}
		})
	}
}

// An interface that has another address or MTU: copies have the one, and packets
// that are too big for the other are left.
func TestInterfaceChanges(t *testing.T) {
	b := newUpstreamBench(t)
	b.copied()
	changes := func(do func(l netlink.Link) error) {
		version := b.plane.Version()
		require.NoError(t, do(linkOf(t, "out")))
		require.Eventually(t, func() bool { return b.plane.Version() != version }, 10*time.Second, time.Millisecond)
		require.Eventually(t, b.again, 10*time.Second, 10*time.Millisecond)
		b.copied()
	}
	changes(func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, []byte{2, 9, 9, 9, 9, 9}) })
	require.False(t, b.goes())
	for range b.list {
		require.Equal(t, []byte{2, 9, 9, 9, 9, 9}, b.copies.Next(5*time.Second, isCopy)[6:12])
	}
	changes(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) })
	send := func(size int) {
		packet := udp(source4, group4, make([]byte, size-28)...)
		b.send.Send(append([]byte{1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 8, 8, 8, 0}, packet...))
	}
	send(1300 - 50) // what IPv6, UDP and AMT leave
	for range b.list {
		require.NotNil(t, b.copies.Next(5*time.Second, isCopy))
	}
	send(1300 - 50 + 1)
	require.NotNil(t, b.passed.Next(5*time.Second, func(f []byte) bool { return f[0] == 1 && f[10] == 8 }))
	s, err := b.plane.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 1, s.TooBig)
}

// Interfaces that cannot do it are found out at the start, and left as they were.
func TestCannot(t *testing.T) {
	gateways(t)
	attempt := func(config xdp.Config) {
		t.Helper()
		for _, mode := range []xdp.Mode{xdp.ModeAuto, xdp.ModeNative, xdp.ModeGeneric} {
			config.Mode = mode
			_, err := xdp.Open(config)
			require.ErrorIs(t, err, errors.ErrUnsupported, "%v", mode)
		}
	}
	down := nettest.NewPeer(t, "down", "10.5.0.1/16", "10.5.0.2/16")
	down.Program(t, 2)
	require.NoError(t, netlink.LinkSetDown(linkOf(t, "down")))
	attempt(xdp.Config{Egress: "down"})

	// Somebody else's program is there.
	taken := nettest.NewPeer(t, "taken", "10.6.0.1/16", "10.6.0.2/16")
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	require.NoError(t, err)
	defer prog.Close()
	for _, flags := range []link.XDPAttachFlags{link.XDPDriverMode, link.XDPGenericMode} {
		x, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: taken.Here.Index, Flags: flags})
		require.NoError(t, err)
		attempt(xdp.Config{Egress: "out", Upstream: "taken"})
		info, err := x.Info()
		require.NoError(t, err)
		require.EqualValues(t, taken.Here.Index, info.XDP().Ifindex)
		require.NoError(t, x.Close())
	}
	_, err = xdp.Open(xdp.Config{Egress: "out", Upstream: "none"})
	require.ErrorIs(t, err, xdp.ErrConfig)
	links, err := netlink.LinkList()
	require.NoError(t, err)
	for _, l := range links {
		require.NotRegexp(t, "^amt", l.Attrs().Name, "interfaces of the self-test are gone")
	}
}

// Interfaces on top of others: copies are right, or Open says that it cannot.
func TestStacked(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(lower netlink.Link) netlink.Link
	}{
		{"VLAN", func(lower netlink.Link) netlink.Link {
			return &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "upper", ParentIndex: lower.Attrs().Index}, VlanId: 7}
		}},
		{"bond", func(netlink.Link) netlink.Link {
			b := netlink.NewLinkBond(netlink.LinkAttrs{Name: "upper"})
			b.Mode = netlink.BOND_MODE_BALANCE_RR
			return b
		}},
		{"bridge", func(netlink.Link) netlink.Link {
			return &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "upper"}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := nettest.NewPeer(t, "lower", "10.8.0.1/16", "10.8.0.2/16")
			peer.Program(t, 2)
			lower := linkOf(t, "lower")
			upper := c.make(lower)
			if err := netlink.LinkAdd(upper); err != nil {
				t.Skip("this kernel has no such interface: ", err)
			}
			t.Cleanup(func() { _ = netlink.LinkDel(upper) })
			if c.name != "VLAN" {
				require.NoError(t, netlink.LinkSetDown(lower))
				require.NoError(t, netlink.LinkSetMaster(lower, linkOf(t, "upper")))
				require.NoError(t, netlink.LinkSetUp(lower))
			}
			require.NoError(t, netlink.LinkSetUp(upper))
			a, err := netlink.ParseAddr("10.7.0.1/16")
			require.NoError(t, err)
			require.NoError(t, netlink.AddrAdd(upper, a))
			require.Eventually(t, func() bool { return linkOf(t, "upper").Attrs().OperState == netlink.OperUp }, 10*time.Second, time.Millisecond)
			require.NoError(t, netlink.NeighSet(&netlink.Neigh{
				LinkIndex: linkOf(t, "upper").Attrs().Index, IP: ipOf("10.7.0.2"), State: netlink.NUD_PERMANENT, HardwareAddr: peer.There.HardwareAddr,
			}))
			p, err := xdp.Open(xdp.Config{Egress: "upper"})
			if err != nil {
				require.ErrorIs(t, err, errors.ErrUnsupported)
				t.Log(err)
				return
			}
			t.Cleanup(func() { require.NoError(t, p.Close()) })
			t.Log(p.Mode())
			list := []xdp.Tunnel{
				{Local: netip.MustParseAddrPort("10.7.0.1:2268"), Gateway: netip.MustParseAddrPort("10.7.0.2:1000")},
				{Local: netip.MustParseAddrPort("10.7.0.1:2268"), Gateway: netip.MustParseAddrPort("10.7.0.2:1001")},
			}
			route(t, p, source4, group4, list)
			capture := peer.Listen(t)
			packet := udp(source4, group4, make([]byte, 1316)...)
			n, err := p.Send(source4, group4, [][]byte{packet})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			for i := range list {
				b := capture.Next(5*time.Second, isCopy) // a tag comes apart from the frame
				require.NotNil(t, b)
				copied := decode(t, b)
				require.Equal(t, list[i].Gateway, copied.to)
				require.Equal(t, packet, copied.inner)
			}
		})
	}
}
