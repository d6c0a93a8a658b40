package xdp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	require.Eventually(t, func() bool {
		version := p.Version()
		require.NoError(t, p.Route(source, group, 1450, list, taken))
		for _, ok := range taken {
			if !ok {
				_ = version
				return false
			}
		}
		return true
	}, 10*time.Second, 10*time.Millisecond, "all tunnels are taken")
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
		n, o, lost := p.Counters(tunnel.Local, tunnel.Gateway)
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
	fmt.Fprintln(t.Output(), len(frames), "copies")
	_ = unix.ETH_P_ALL
}
