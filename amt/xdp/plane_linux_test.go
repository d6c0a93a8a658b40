package xdp

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
)

// inRig runs a test with a rig, or skips where that cannot be.
func inRig(t testing.TB, config Config, f func(r *rig)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it needs root: programs in the kernel and network namespaces")
	}
	var failed error
	err := inNamespace(func() error {
		r, err := newRig(config)
		if err != nil {
			return err
		}
		defer r.close()
		defer func() {
			if x := recover(); x != nil {
				failed = x.(error)
			}
		}()
		f(r)
		return nil
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel does not do it: ", err)
	}
	require.NoError(t, err)
	require.NoError(t, failed)
}

// must ends a test in a rig, whose thread is not the test's.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestSelf(t *testing.T) {
	err := SelfTest()
	if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

func packetOf(r *rig, payload []byte) []byte {
	return amt.AppendUDP(nil, netip.AddrPortFrom(r.source, 9), netip.AddrPortFrom(r.group, 10), 7, payload)
}

// Packets of all sizes and contents, to 100 gateways: each copy is what the
// sockets of a server would send, and counted for its tunnel.
func TestForward(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		copies := r.copies(100)
		for i := range copies {
			copies[i].Tunnel.ECN = i%3 == 0
		}
		must(r.plane.Forward(r.source, r.group, copies))
		rng := rand.New(rand.NewPCG(1, 2))
		octets := 0
		const rounds = 40
		for round := range rounds {
			payload := make([]byte, []int{0, 1, 17, 18, 100, 1316, 1441, 1442}[round%8])
			for i := range payload {
				payload[i] = byte(rng.Uint32())
			}
			packet := packetOf(r, payload)
			setECN(packet, byte(round%4))
			if round%5 == 4 {
				packet[26], packet[27] = 0, 0 // RFC 768: no checksum
			}
			octets += len(packet)
			must(r.send(packet))
			for i := range copies {
				got, err := r.receive()
				must(err)
				must(r.check(got, &copies[i], packet))
			}
		}
		sums := make(map[amt.TunnelID][2]uint64)
		r.plane.Counters(func(t *amt.Tunnel, packets, octets uint64) { sums[t.ID] = [2]uint64{packets, octets} })
		if len(sums) != len(copies) {
			must(errors.New("not every tunnel was counted"))
		}
		for _, n := range sums {
			if n != [2]uint64{rounds, uint64(octets)} {
				must(errors.New("a tunnel was not counted exactly"))
			}
		}
		if st := r.plane.Stats(); st != (Stats{Taken: rounds}) {
			must(errors.New("stats"))
		}
	})
}

// What is not for the kernel passes: to the next socket, here.
func TestPass(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		up, err := net.InterfaceByName("u0")
		must(err)
		fd, err := packetSocket(up.Index)
		must(err)
		defer unix.Close(fd)
		must(r.plane.Forward(r.source, r.group, r.copies(5)))
		good := packetOf(r, make([]byte, 100))
		other := append([]byte(nil), good...)
		other[19]++
		fragment := append([]byte(nil), good...)
		fragment[6] = 0x20
		long := packetOf(r, make([]byte, 1443))
		options := append([]byte{0x46}, good[1:]...)
		tcp := append([]byte(nil), good...)
		tcp[9] = 6
		short := append([]byte(nil), good...)
		binary.BigEndian.PutUint16(short[24:], 9999)
		for _, p := range [][]byte{good, other, fragment, long, options, tcp, short} {
			must(r.send(p))
		}
		b := make([]byte, 2000)
		for _, want := range [][]byte{other, fragment, long, options, tcp, short} {
			n, _, err := unix.Recvfrom(fd, b, 0)
			must(err)
			if string(b[14:n]) != string(want) {
				must(errors.New("another packet has passed"))
			}
		}
		if st := r.plane.Stats(); st != (Stats{Taken: 1, TooBig: 1, Odd: 4}) {
			must(errors.New("stats"))
		}
	})
}

// While tunnels come and go, each packet goes to those of one time: to each of
// them once.
func TestChange(t *testing.T) {
	const rounds = 16
	inRig(t, Config{MaxTunnels: 400}, func(r *rig) {
		packet := packetOf(r, []byte("a packet"))
		for round := range rounds {
			n := 1 + round*7%90
			copies := r.copies(n)
			err := r.plane.Forward(r.source, r.group, copies)
			if errors.Is(err, ErrTooMany) {
				time.Sleep(retireAfter + 100*time.Millisecond) // what went before is still kept
				err = r.plane.Forward(r.source, r.group, copies)
			}
			must(err)
			must(r.send(packet))
			for i := range copies {
				got, err := r.receive()
				must(err)
				must(r.check(got, &copies[i], packet))
			}
		}
		r.plane.Stop(r.source, r.group)
		if len(r.plane.channels) != 0 {
			must(errors.New("a channel is left"))
		}
		time.Sleep(retireAfter + 50*time.Millisecond)
		total := uint64(0)
		r.plane.Counters(func(_ *amt.Tunnel, packets, _ uint64) { total += packets })
		want := uint64(0)
		for round := range rounds {
			want += uint64(1 + round*7%90)
		}
		if total != want || len(r.plane.room.free) != 1 {
			must(errors.New("something was not given back, or not counted"))
		}
	})
}

func TestRefused(t *testing.T) {
	inRig(t, Config{MaxCopies: 10, MaxTunnels: 20}, func(r *rig) {
		is := func(err, want error) {
			if !errors.Is(err, want) {
				must(errors.Join(errors.New("another error"), err))
			}
		}
		is(r.plane.Forward(r.source, r.group, nil), ErrTooFew)
		is(r.plane.Forward(r.source, r.group, r.copies(11)), ErrTooMany)
		six := r.copies(3)
		six[1].Tunnel = amt.NewTunnel(1, netip.MustParseAddrPort("[2001:db8::1]:1"), 1400, false)
		is(r.plane.Forward(r.source, r.group, six), ErrFamily)
		is(r.plane.Forward(netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("ff3e::1"), r.copies(3)), ErrFamily)
		must(r.plane.Forward(r.source, r.group, r.copies(10)))
		must(r.plane.Forward(r.source, netip.MustParseAddr("232.1.1.2"), r.copies(10)))
		is(r.plane.Forward(r.source, netip.MustParseAddr("232.1.1.3"), r.copies(10)), ErrTooMany)
		must(r.plane.Close())
		must(r.plane.Close())
		is(r.plane.Forward(r.source, r.group, r.copies(10)), net.ErrClosed)
	})
	_, err := Open(Config{Upstream: "nowhere"})
	require.Error(t, err)
}

// An interface that would lose the copies is refused.
func TestCanTransmit(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		must(canTransmit(r.egress)) // its peer runs a program
		lo, err := net.InterfaceByName("lo")
		must(err)
		if err := canTransmit(lo); !errors.Is(err, ErrInterface) {
			must(errors.New("the loopback interface does not send frames of programs"))
		}
		must(r.links[0].Close())
		if err := canTransmit(r.egress); !errors.Is(err, ErrInterface) {
			must(errors.New("the peer does not receive any more"))
		}
	})
}

func TestAllocator(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	a := newAllocator(1000)
	var taken []span
	used := make([]bool, 1000)
	for range 5000 {
		if n := 1 + rng.Uint32N(60); rng.IntN(2) == 0 {
			if base, ok := a.take(n); ok {
				for i := base; i < base+n; i++ {
					require.False(t, used[i])
					used[i] = true
				}
				taken = append(taken, span{base, base + n})
			}
		} else if len(taken) > 0 {
			i := rng.IntN(len(taken))
			s := taken[i]
			taken = append(taken[:i], taken[i+1:]...)
			for k := s.from; k < s.to; k++ {
				used[k] = false
			}
			a.give(s.from, s.to-s.from)
		}
	}
	for _, s := range taken {
		a.give(s.from, s.to-s.from)
	}
	require.Equal(t, []span{{0, 1000}}, a.free)
}

func processor(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A copy by the programs, and one by sendto, to 128 gateways through the same
// virtual interface, at whose other end a program drops what comes.
func BenchmarkCopy(b *testing.B) {
	const n = 128
	inRig(b, Config{}, func(r *rig) {
		drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		})
		must(err)
		defer drop.Close()
		must(r.links[0].Update(drop))
		must(r.plane.Forward(r.source, r.group, r.copies(n)))
		packet := packetOf(r, make([]byte, 1316))
		in := frame(packet)
		before := processor(b)
		for b.Loop() {
			for range 100 {
				_, err := unix.Write(r.in, in)
				must(err)
			}
		}
		copies := float64(b.N) * 100 * n
		xdp := float64((processor(b) - before).Nanoseconds()) / copies
		if r.plane.Stats().Taken < uint64(b.N)*100*99/100 {
			must(errors.New("packets were lost on the way in"))
		}
		peer, err := netlink.LinkByName("e1")
		must(err)
		arrived := float64(peer.Attrs().Statistics.RxPackets) / copies

		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		must(err)
		defer unix.Close(fd)
		must(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE))
		data := append([]byte{6, 0}, packet...)
		before = processor(b)
		const rounds = 200
		var to []*unix.SockaddrInet4
		for _, c := range r.copies(n) {
			to = append(to, &unix.SockaddrInet4{Addr: c.Tunnel.Gateway().Addr().As4(), Port: int(c.Tunnel.Gateway().Port())})
		}
		for range rounds {
			for _, a := range to {
				must(unix.Sendto(fd, data, 0, a))
			}
		}
		sendto := float64((processor(b) - before).Nanoseconds()) / (rounds * n)
		b.ReportMetric(xdp, "cpu-ns/copy")
		b.ReportMetric(sendto, "cpu-ns/sendto")
		b.ReportMetric(sendto/xdp, "times-sendto")
		b.ReportMetric(arrived, "arrived/copy")
	})
}
