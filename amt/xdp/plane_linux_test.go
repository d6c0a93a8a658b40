package xdp_test

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/xdp"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

var (
	relay4 = netip.MustParseAddrPort("10.1.0.1:2268")
	relay6 = netip.MustParseAddrPort("[fd01::1]:2268")

	source4 = netip.MustParseAddr("198.51.100.1")
	group4  = netip.MustParseAddr("232.1.1.1")
	source6 = netip.MustParseAddr("2001:db8::1")
	group6  = netip.MustParseAddr("ff3e::8000:1")
)

// gateways is a host with the addresses of many.
func gateways(t testing.TB) *nettest.Peer {
	p := nettest.NewPeer(t, "out", "10.1.0.1/16", "10.1.255.1/16", "fd01::1/64", "fd01::ffff/64")
	p.Program(t, 2) // XDP_PASS
	return p
}

func open(t testing.TB, config xdp.Config) *xdp.Plane {
	if testing.Verbose() {
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	p, err := xdp.Open(config)
	if config.Mode == xdp.ModeGeneric && errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err) // as the self-test is there to find out
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// tunnels makes n tunnels to the far end, by turns over IPv4 and IPv6.
func tunnels(n int) (list []xdp.Tunnel) {
	for i := range n {
		local, gateway := relay4, netip.MustParseAddr("10.1.255.1")
		if i%2 == 1 {
			local, gateway = relay6, netip.MustParseAddr("fd01::ffff")
		}
		list = append(list, xdp.Tunnel{Local: local, Gateway: netip.AddrPortFrom(gateway, uint16(20000+i)), ECN: i%3 == 0})
	}
	return list
}

// route routes until all tunnels are taken, as next hops are found.
func route(t testing.TB, p *xdp.Plane, source, group netip.Addr, list []xdp.Tunnel) {
	taken := make([]bool, len(list))
	for deadline := time.Now().Add(10 * time.Second); ; {
		version := p.Version()
		require.NoError(t, p.Route(source, group, 1450, list, taken))
		if !slices.Contains(taken, false) {
			return
		}
		for p.Version() == version {
			require.True(t, time.Now().Before(deadline), "not all next hops are found")
			time.Sleep(time.Millisecond)
		}
	}
}

func udp(source, group netip.Addr, payload ...byte) []byte {
	return amt.AppendUDP(nil, netip.AddrPortFrom(source, 4000), netip.AddrPortFrom(group, 5000), 9, payload)
}

func numbered(n, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(n + i*7)
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

// copyOf is a copy as it left, taken apart by what this test knows of headers.
type copyOf struct {
	from, to netip.AddrPort
	tos, ttl byte
	inner    []byte
}

func sum(b []byte, s uint64) uint16 {
	for i, o := range b {
		s += uint64(o) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func decode(t testing.TB, frame []byte) (c copyOf) {
	var datagram []byte
	var pseudo uint64
	switch proto := binary.BigEndian.Uint16(frame[12:]); proto {
	case 0x0800:
		ip := frame[14:]
		require.Equal(t, byte(0x45), ip[0])
		require.EqualValues(t, len(ip), binary.BigEndian.Uint16(ip[2:]))
		require.Equal(t, []byte{0, 0, 0x40, 0}, ip[4:8], "DF, and no identification")
		require.EqualValues(t, 0xffff, sum(ip[:20], 0), "header checksum")
		c.tos, c.ttl = ip[1], ip[8]
		datagram = ip[20:]
		c.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:])), binary.BigEndian.Uint16(datagram))
		c.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:])), binary.BigEndian.Uint16(datagram[2:]))
		pseudo = uint64(ip[9]) + uint64(sum(ip[12:20], 0))
	case 0x86dd:
		ip := frame[14:]
		require.Equal(t, byte(6), ip[0]>>4)
		require.EqualValues(t, len(ip)-40, binary.BigEndian.Uint16(ip[4:]))
		c.tos, c.ttl = ip[0]<<4|ip[1]>>4, ip[7]
		datagram = ip[40:]
		c.from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:])), binary.BigEndian.Uint16(datagram))
		c.to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:])), binary.BigEndian.Uint16(datagram[2:]))
		pseudo = uint64(ip[6]) + uint64(sum(ip[8:40], 0))
	default:
		t.Fatalf("frame of type %04x", proto)
	}
	require.EqualValues(t, len(datagram), binary.BigEndian.Uint16(datagram[4:]))
	require.NotZero(t, binary.BigEndian.Uint16(datagram[6:]))
	require.EqualValues(t, 0xffff, sum(datagram, pseudo+uint64(len(datagram))), "UDP checksum")
	var m amt.Message
	require.NoError(t, m.Unmarshal(datagram[8:]))
	require.Equal(t, amt.TypeData, m.Type)
	c.inner = m.Packet
	return c
}

func isCopy(frame []byte) bool {
	return len(frame) >= 60 && (frame[12] == 8 && frame[13] == 0 && frame[23] == 17 && frame[16+18] == 0x08 && frame[16+19] == 0xdc ||
		frame[12] == 0x86 && frame[20] == 17 && frame[54] == 0x08 && frame[55] == 0xdc)
}

// tcpdump has tcpdump, which knows nothing of us, verify the checksums.
func tcpdump(t testing.TB, frames [][]byte) {
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Log("not verified by tcpdump:", err)
		return
	}
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for _, f := range frames {
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	file := filepath.Join(t.TempDir(), "copies.pcap")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	out, err := exec.Command(path, "-nvvr", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, len(frames), strings.Count(string(out), "[udp sum ok]"), "%s", out)
	require.NotContains(t, string(out), "bad cksum")
}

// Each tunnel gets each packet once, with headers of its own, and the counters
// say so; in all four combinations of families.
func TestCopies(t *testing.T) {
	for _, mode := range []xdp.Mode{xdp.ModeNative, xdp.ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			t.Run("", func(t *testing.T) { testCopies(t, mode) })
		})
	}
}

func testCopies(t *testing.T, mode xdp.Mode) {
	peer := gateways(t)
	p := open(t, xdp.Config{Egress: "out", Mode: mode})
	require.Equal(t, mode, p.Mode())
	require.Equal(t, mode == xdp.ModeNative, p.Exact())
	list := tunnels(130)
	capture := peer.Listen(t)
	var frames [][]byte
	packets := make(map[xdp.Tunnel][][]byte)
	for i, ch := range [][2]netip.Addr{{source4, group4}, {source6, group6}} {
		members := list[i*60 : i*60+70]
		route(t, p, ch[0], ch[1], members)
		for n := range 20 {
			payload := numbered(n, 4+67*n)
			packet := udp(ch[0], ch[1], payload...)
			ecn := byte(n % 4)
			if ch[0].Is4() {
				packet[1] |= ecn
				packet[10], packet[11] = 0, 0
				binary.BigEndian.PutUint16(packet[10:], ^sum(packet[:20], 0))
			} else {
				packet[1] |= ecn << 4
			}
			sent, err := p.Send(ch[0], ch[1], [][]byte{packet})
			require.NoError(t, err)
			require.Equal(t, 1, sent)
			seen := make(map[netip.AddrPort]bool)
			for range members {
				frame := capture.Next(5*time.Second, isCopy)
				require.NotNil(t, frame, "packet %d: %d copies came", n, len(seen))
				frames = append(frames, append([]byte(nil), frame...))
				c := decode(t, frame)
				require.False(t, seen[c.to], "%v has it twice", c.to)
				seen[c.to] = true
				tunnel := list[c.to.Port()-20000]
				require.Equal(t, tunnel.Gateway, c.to)
				require.Equal(t, tunnel.Local, c.from)
				require.EqualValues(t, 64, c.ttl)
				if tunnel.ECN {
					require.Equal(t, ecn, c.tos)
				} else {
					require.Zero(t, c.tos)
				}
				require.Equal(t, packet, c.inner)
				packets[tunnel] = append(packets[tunnel], c.inner)
				require.EqualValues(t, peer.There.HardwareAddr, frame[:6])
				require.EqualValues(t, peer.Here.HardwareAddr, frame[6:12])
			}
		}
	}
	require.Nil(t, capture.Next(10*time.Millisecond, isCopy))
	tcpdump(t, frames)
	for _, tunnel := range list {
		octets := 0
		for _, b := range packets[tunnel] {
			octets += len(b)
		}
		n, o, lost := p.Sent(tunnel.Local, tunnel.Gateway)
		require.EqualValues(t, len(packets[tunnel]), n)
		require.EqualValues(t, octets, o)
		require.Zero(t, lost)
	}
	s, err := p.Stats()
	require.NoError(t, err)
	t.Logf("%+v", s)
	require.EqualValues(t, len(frames)+2, s.Copies, "2 are the self-test's")
	require.EqualValues(t, 41, s.Packets)
	require.Zero(t, s.Lost+s.Stray+s.Unknown+s.Malformed+s.Odd+s.TooBig+s.Failed)
}

// More tunnels than are copied to at once, and more than are copied to at all.
func TestCap(t *testing.T) {
	peer := gateways(t)
	p := open(t, xdp.Config{Egress: "out", Mode: xdp.ModeNative, MaxCopies: 4, MaxPasses: 3})
	route(t, p, source4, group4, tunnels(2))
	list, taken := tunnels(15), make([]bool, 15)
	require.NoError(t, p.Route(source4, group4, 1450, list, taken))
	want := slices.Repeat([]bool{true}, 12)
	require.Equal(t, append(want, false, false, false), taken)
	capture := peer.Listen(t)
	packets := [][]byte{udp(source4, group4, 1), udp(source4, group4, 2), udp(source4, group4, make([]byte, 1423)...), udp(source4, group4, 3)}
	n, err := p.Send(source4, group4, packets)
	require.NoError(t, err)
	require.Equal(t, 2, n, "the third is too big for a tunnel over IPv6 on Ethernet: 28 + 1423 > 1450")
	seen := make(map[netip.AddrPort]int)
	for range 24 {
		frame := capture.Next(5*time.Second, isCopy)
		require.NotNil(t, frame)
		seen[decode(t, frame).to]++
	}
	require.Nil(t, capture.Next(10*time.Millisecond, isCopy))
	require.Len(t, seen, 12)
	for i, tunnel := range list {
		packets, _, _ := p.Sent(tunnel.Local, tunnel.Gateway)
		if i >= 12 {
			require.Zero(t, packets)
			continue
		}
		require.Equal(t, 2, seen[tunnel.Gateway])
		require.EqualValues(t, 2, packets)
	}
	s, err := p.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 3, s.OverCap)
	require.EqualValues(t, 6, s.Injected)

	// Fewer again: what is left of the passes is gone, the counters are not.
	require.NoError(t, p.Route(source4, group4, 1450, list[:5], taken[:5]))
	n, err = p.Send(source4, group4, packets[:1])
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for range 5 {
		require.NotNil(t, capture.Next(5*time.Second, isCopy))
	}
	require.Nil(t, capture.Next(10*time.Millisecond, isCopy))
	packetsOf := func(i int) uint64 { n, _, _ := p.Sent(list[i].Local, list[i].Gateway); return n }
	require.EqualValues(t, 3, packetsOf(0))
	require.EqualValues(t, 2, packetsOf(11))
	require.NoError(t, p.Route(source4, group4, 1450, nil, nil))
	n, err = p.Send(source4, group4, packets[:1])
	require.NoError(t, err)
	require.Zero(t, n)
	route(t, p, source4, group4, list[3:4])
	_, err = p.Send(source4, group4, packets[:1])
	require.NoError(t, err)
	require.EqualValues(t, 4, packetsOf(3), "it has its counters again")
	require.NoError(t, p.Route(source4, group4, 1450, nil, nil))
	p.Forget(list[3].Local, list[3].Gateway)
	require.Zero(t, packetsOf(3))
}

func TestSendAllocates(t *testing.T) {
	gateways(t)
	p := open(t, xdp.Config{Egress: "out"})
	route(t, p, source4, group4, tunnels(10))
	packets := [][]byte{udp(source4, group4, 1), udp(source4, group4, 2)}
	require.Zero(t, testing.AllocsPerRun(20, func() {
		if n, err := p.Send(source4, group4, packets); n != 2 || err != nil {
			t.Error(n, err)
		}
	}))
}

// Copies that the interface has no room for are counted, tunnel by tunnel.
func TestLost(t *testing.T) {
	peer := gateways(t)
	p := open(t, xdp.Config{Egress: "out", Mode: xdp.ModeNative, MaxCopies: 1000})
	list := tunnels(1000)
	route(t, p, source4, group4, list)
	capture := peer.Listen(t)
	n, err := p.Send(source4, group4, [][]byte{udp(source4, group4, 1)})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	var s xdp.Stats
	require.Eventually(t, func() bool {
		s, err = p.Stats()
		return err == nil && s.Copies+s.Lost == 1002
	}, 5*time.Second, time.Millisecond)
	require.NotZero(t, s.Lost, "a veth has room for 256")
	seen := make(map[netip.AddrPort]int)
	for range s.Copies - 2 {
		frame := capture.Next(5*time.Second, isCopy)
		require.NotNil(t, frame)
		seen[decode(t, frame).to]++
	}
	require.Nil(t, capture.Next(10*time.Millisecond, isCopy))
	for _, tunnel := range list {
		packets, octets, lost := p.Sent(tunnel.Local, tunnel.Gateway)
		require.EqualValues(t, seen[tunnel.Gateway], packets)
		require.EqualValues(t, 1-packets, lost)
		require.EqualValues(t, 29*packets, octets)
	}
	t.Logf("%+v", s)
}

// Packets are taken off an interface, and those that are not for copying passed
// on: whatever strangers send.
func TestUpstream(t *testing.T) {
	for _, mode := range []xdp.Mode{xdp.ModeNative, xdp.ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) { testUpstream(t, mode) })
	}
}

func testUpstream(t *testing.T, mode xdp.Mode) {
	peer := gateways(t)
	up := nettest.NewPeer(t, "up", "10.3.0.1/16", "10.3.0.2/16")
	p := open(t, xdp.Config{Egress: "out", Upstream: "up", Mode: mode, MaxCopies: 20})
	list := tunnels(20)
	route(t, p, source4, group4, list)
	route(t, p, source6, group6, list)
	send := up.Listen(t)
	passed := nettest.Listen(t, up.Here)
	capture := peer.Listen(t)
	eth := func(packet []byte) []byte {
		b := append([]byte{1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1, 8, 0}, packet...)
		if packet[0]>>4 == 6 {
			b[12], b[13] = 0x86, 0xdd
		}
		return b
	}
	good := [][]byte{
		udp(source4, group4, 1, 2, 3), // shorter than a frame may be: padded
		udp(source4, group4, make([]byte, 1400)...),
		udp(source6, group6, 7),
		udp(source6, group6, make([]byte, 1401)...),
	}
	for _, packet := range good {
		frame := eth(packet)
		for len(frame) < 60 {
			frame = append(frame, 0xee)
		}
		send.Send(frame)
		seen := make(map[netip.AddrPort]bool)
		for range list {
			b := capture.Next(5*time.Second, isCopy)
			require.NotNil(t, b)
			c := decode(t, b)
			require.Equal(t, packet, c.inner)
			seen[c.to] = true
		}
		require.Len(t, seen, len(list))
	}
	if mode == xdp.ModeNative {
		require.Nil(t, passed.Next(10*time.Millisecond, func(b []byte) bool { return b[0] == 1 && b[6] == 2 }), "nobody else sees them")
	}
	before, err := p.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 80+2, before.Copies)

	// What is not copied is passed on as it is.
	change := func(packet []byte, f func(b []byte)) []byte {
		b := slices.Clone(packet)
		f(b)
		if b[0]>>4 == 4 {
			b[10], b[11] = 0, 0
			binary.BigEndian.PutUint16(b[10:], ^sum(b[:20], 0))
		}
		return b
	}
	v4, v6 := udp(source4, group4, make([]byte, 100)...), udp(source6, group6, make([]byte, 100)...)
	options := append(slices.Clone(v4[:20]), append([]byte{0x94, 4, 0, 0}, v4[20:]...)...)
	hostile := []struct {
		name  string
		frame []byte
		want  func(s *xdp.Stats) *uint64
	}{
		{"another group", eth(udp(source4, group4.Next(), make([]byte, 100)...)), func(s *xdp.Stats) *uint64 { return &s.Unknown }},
		{"another source", eth(udp(source6.Next(), group6, make([]byte, 100)...)), func(s *xdp.Stats) *uint64 { return &s.Unknown }},
		{"ARP", append(eth(v4)[:12], 8, 6, 0, 1, 8, 0, 6, 4, 0, 1), func(s *xdp.Stats) *uint64 { return &s.Unknown }},
		{"VLAN", append(append(eth(v4)[:12:12], 0x81, 0, 0, 1), eth(v4)[12:]...), func(s *xdp.Stats) *uint64 { return &s.Unknown }},
		{"Ethernet header alone", eth(v4)[:14], func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"cut IPv4 header", eth(v4)[:14+19], func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"cut IPv6 header", eth(v6)[:14+39], func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"cut IPv4 packet", eth(v4)[:14+100], func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"cut IPv6 packet", eth(v6)[:14+100], func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"IPv4 length too large", eth(change(v4, func(b []byte) { b[2] = 0xff })), func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"IPv4 length too small", eth(change(v4, func(b []byte) { b[2], b[3] = 0, 19 })), func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"IPv6 length too large", eth(change(v6, func(b []byte) { b[4] = 0xff })), func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"IPv4 header checksum", eth(append([]byte{0x45, 1}, v4[2:]...)), func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"version 5", eth(change(v4, func(b []byte) { b[0] = 0x55 })), func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"version 4 as IPv6", append(eth(v6)[:14:14], append([]byte{0x45}, v6[1:]...)...), func(s *xdp.Stats) *uint64 { return &s.Malformed }},
		{"header length 16", eth(change(v4, func(b []byte) { b[0] = 0x44 })), func(s *xdp.Stats) *uint64 { return &s.Odd }},
		{"options", eth(change(options, func(b []byte) { b[0], b[3] = 0x46, b[3]+4 })), func(s *xdp.Stats) *uint64 { return &s.Odd }},
		{"first fragment", eth(change(v4, func(b []byte) { b[6] = 0x20 })), func(s *xdp.Stats) *uint64 { return &s.Odd }},
		{"last fragment", eth(change(v4, func(b []byte) { b[7] = 9 })), func(s *xdp.Stats) *uint64 { return &s.Odd }},
		{"IPv6 fragment", eth(change(v6, func(b []byte) { b[6] = 44 })), func(s *xdp.Stats) *uint64 { return &s.Odd }},
		{"IPv6 hop-by-hop", eth(change(v6, func(b []byte) { b[6] = 0 })), func(s *xdp.Stats) *uint64 { return &s.Odd }},
		{"too big", eth(udp(source4, group4, make([]byte, 1423)...)), func(s *xdp.Stats) *uint64 { return &s.TooBig }},
	}
	want := before
	for _, h := range hostile {
		copy(h.frame, []byte{1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 9})
		*h.want(&want)++
		send.Send(h.frame)
		var s xdp.Stats
		require.Eventually(t, func() bool {
			s, err = p.Stats()
			require.NoError(t, err)
			return *h.want(&s) == *h.want(&want)
		}, 5*time.Second, time.Millisecond, "%s: %+v", h.name, s)
		// The capture sees VLAN tags apart from the frame.
		b := passed.Next(5*time.Second, func(b []byte) bool { return b[0] == 1 && b[10] == 9 })
		require.NotNil(t, b, "%s is not passed on", h.name)
		if h.name != "VLAN" {
			require.Equal(t, h.frame, b, h.name)
		}
		require.Equal(t, want, s, h.name)
	}
	require.Nil(t, capture.Next(10*time.Millisecond, isCopy))

	// All or none.
	taken := make([]bool, 21)
	require.NoError(t, p.Route(source4, group4, 1450, append(tunnels(20), xdp.Tunnel{Local: relay4, Gateway: list[0].Gateway}), taken))
	require.NotContains(t, taken, true)
	n, err := p.Send(source4, group4, [][]byte{v4})
	require.NoError(t, err)
	require.Zero(t, n)
}

// A next hop that is found late, one that moves, and one behind another interface.
func TestNextHop(t *testing.T) {
	peer := gateways(t)
	p := open(t, xdp.Config{Egress: "out"})
	capture := peer.Listen(t)
	taken := make([]bool, 3)
	list := []xdp.Tunnel{
		{Local: relay4, Gateway: netip.MustParseAddrPort("10.1.7.7:1000")}, // nobody is there yet
		{Local: relay4, Gateway: netip.MustParseAddrPort("127.0.0.1:1000")},
		{Local: relay4, Gateway: netip.MustParseAddrPort("203.0.113.1:1000")}, // no route
	}
	until := func(want ...bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			require.NoError(t, p.Route(source4, group4, 1450, list, taken))
			return slices.Equal(taken, want)
		}, 20*time.Second, 10*time.Millisecond)
	}
	require.NoError(t, p.Route(source4, group4, 1450, list, taken))
	require.Equal(t, []bool{false, false, false}, taken)
	peer.Address(t, "10.1.7.7/16")
	until(true, false, false)
	send := func() []byte {
		n, err := p.Send(source4, group4, [][]byte{udp(source4, group4, make([]byte, 50)...)})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		b := capture.Next(5*time.Second, isCopy)
		require.NotNil(t, b)
		return b
	}
	require.EqualValues(t, peer.There.HardwareAddr, send()[:6])

	nettest.Neighbour(t, peer.Here, "10.1.7.7", "02:00:00:00:00:77")
	require.Eventually(t, func() bool { return send()[5] == 0x77 }, 10*time.Second, time.Millisecond)
	version := p.Version()
	nettest.Route(t, peer.Here, "203.0.113.0/24", "10.1.7.7")
	require.Eventually(t, func() bool { return p.Version() != version }, 10*time.Second, time.Millisecond)
	until(true, false, true)
	send()
	c := decode(t, capture.Next(5*time.Second, isCopy))
	require.Equal(t, list[2].Gateway, c.to)
}

func TestErrors(t *testing.T) {
	nettest.Require(t)
	for _, config := range []xdp.Config{{}, {Egress: "none"}, {Egress: "lo", MaxCopies: -1}, {Egress: "lo", Mode: 3}} {
		_, err := xdp.Open(config)
		require.ErrorIs(t, err, xdp.ErrConfig)
	}
	_, err := xdp.Open(xdp.Config{Egress: "lo"})
	require.ErrorIs(t, err, errors.ErrUnsupported)

	// A peer without a program takes no copies, which only its own test shows.
	nettest.NewPeer(t, "bare", "10.9.0.1/16", "10.9.0.2/16")
	_, err = xdp.Open(xdp.Config{Egress: "bare", Mode: xdp.ModeNative})
	require.ErrorIs(t, err, xdp.ErrSelfTest)
	require.ErrorIs(t, err, errors.ErrUnsupported)

	gateways(t)
	plane, err := xdp.Open(xdp.Config{Egress: "out", MaxChannels: 1})
	require.NoError(t, err)
	taken := make([]bool, 1)
	require.ErrorIs(t, plane.Route(source4, group6, 1450, tunnels(1), taken), xdp.ErrConfig)
	require.ErrorIs(t, plane.Route(source4, group4, 1450, []xdp.Tunnel{{Local: relay6, Gateway: relay4}}, taken), xdp.ErrConfig)
	route(t, plane, source4, group4, tunnels(1))
	require.ErrorIs(t, plane.Route(source6, group6, 1450, tunnels(1), taken), xdp.ErrLimit)
	require.Equal(t, []bool{false}, taken)
	require.NoError(t, plane.Close())
	require.NoError(t, plane.Close())
	require.Error(t, plane.Route(source4, group4, 1450, tunnels(1), taken))
	n, err := plane.Send(source4, group4, [][]byte{udp(source4, group4, 1)})
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = plane.Stats()
	require.Error(t, err)
}

// Tunnels come and go while packets pass: those that stay get each packet once.
func TestSwitch(t *testing.T) {
	peer := gateways(t)
	p := open(t, xdp.Config{Egress: "out", MaxCopies: 8})
	list := tunnels(40)
	route(t, p, source4, group4, list)
	capture := peer.Listen(t)
	const packets, core = 500, 10
	var sent sync.WaitGroup
	sent.Go(func() {
		for i := range packets {
			n, err := p.Send(source4, group4, [][]byte{udp(source4, group4, numbered(i, 20)...)})
			if err != nil || n != 1 {
				t.Errorf("packet %d: %d, %v", i, n, err)
			}
		}
	})
	changes := 0
	for done := make(chan struct{}); ; changes++ {
		if changes == 0 {
			go func() { sent.Wait(); close(done) }()
		}
		select {
		case <-done:
		default:
			n := core + rand.IntN(len(list)-core)
			members := slices.Clone(list[:n])
			rand.Shuffle(n, func(i, j int) { members[i], members[j] = members[j], members[i] })
			require.NoError(t, p.Route(source4, group4, 1450, members, make([]bool, n)))
			continue
		}
		break
	}
	seen := make(map[netip.AddrPort][packets]int)
	total := uint64(0)
	for {
		frame := capture.Next(200*time.Millisecond, isCopy)
		if frame == nil {
			break
		}
		c := decode(t, frame)
		s := seen[c.to]
		s[binary.BigEndian.Uint32(c.inner[28:])]++
		seen[c.to] = s
		total++
	}
	st, err := p.Stats()
	require.NoError(t, err)
	require.EqualValues(t, total+2, st.Copies)
	t.Logf("%d changes, %+v", changes, st)
	for i, tunnel := range list {
		got, _, lost := p.Sent(tunnel.Local, tunnel.Gateway)
		sum := uint64(0)
		for n, k := range seen[tunnel.Gateway] {
			require.LessOrEqual(t, k, 1, "tunnel %d has packet %d twice", i, n)
			sum += uint64(k)
		}
		require.Equal(t, sum, got)
		if i < core {
			require.EqualValues(t, packets, got+lost, "tunnel %d", i)
		}
	}
}

// What of its rights a process needs.
func TestCapabilities(t *testing.T) {
	nettest.Require(t)
	nettest.RequireKernel(t, 6, 12, "older ones want CAP_PERFMON")
	gateways(t)
	nettest.Without(t, func() {
		p, err := xdp.Open(xdp.Config{Egress: "out", Mode: xdp.ModeNative})
		if !assert.NoError(t, err) {
			return
		}
		assert.False(t, p.Exact())
		assert.NoError(t, p.Close())
	}, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN)
	nettest.Without(t, func() {
		_, err := xdp.Open(xdp.Config{Egress: "out"})
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorIs(t, err, unix.EPERM)
	}, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN)
}
