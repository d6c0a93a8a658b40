package xdp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The self-test's channel and tunnels, of the ranges for documentation.
var (
	testSource = netip.MustParseAddr("192.0.2.1")
	testGroup  = netip.MustParseAddr("232.0.0.0") // must not be used (RFC 4607 section 1)
	testEnds   = [][2]netip.AddrPort{
		{netip.MustParseAddrPort("192.0.2.2:2268"), netip.MustParseAddrPort("198.51.100.1:9")},
		{netip.MustParseAddrPort("[2001:db8::2]:2268"), netip.MustParseAddrPort("[2001:db8:1::2]:1024")},
		{netip.MustParseAddrPort("192.0.2.3:2268"), netip.MustParseAddrPort("198.51.100.3:65535")},
		{netip.MustParseAddrPort("192.0.2.3:2268"), netip.MustParseAddrPort("198.51.100.3:65534")},
	}
)

// testPacket is a UDP packet of the self-test's channel.
func testPacket(payload int) []byte {
	total := 28 + payload
	b := []byte{0x45, 0, byte(total >> 8), byte(total), 0, 0, 0x40, 0, 1, 17, 0, 0}
	b = append(b, testSource.AsSlice()...)
	b = append(b, testGroup.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], checksum(0, b))
	b = append(b, 0, 9, 0, 9, byte((total-20)>>8), byte(total-20), 0, 0)
	for i := range payload {
		b = append(b, byte(i*i))
	}
	return b
}

// checksum is the Internet checksum of b and of what has been added up before.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// expected is the frame that a tunnel is to get.
func expected(header, packet []byte) []byte {
	b := append(bytes.Clone(header), packet...)
	udp := b[len(header)-10:]
	length := uint16(len(udp))
	binary.BigEndian.PutUint16(udp[4:], length)
	pseudo := uint32(17) + uint32(length)
	addresses := b[22:54]
	if len(header) == headroom4 {
		binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
		binary.BigEndian.PutUint16(b[24:], checksum(0, b[14:34]))
		addresses = b[26:34]
	} else {
		binary.BigEndian.PutUint16(b[18:], length)
	}
	for ; len(addresses) > 0; addresses = addresses[2:] {
		pseudo += uint32(binary.BigEndian.Uint16(addresses))
	}
	binary.BigEndian.PutUint16(udp[6:], checksum(pseudo, udp))
	return b
}

// selfTest has copies made between interfaces of its own and looks at each: they
// show that this kernel's broadcast calls the program for every copy, in order,
// and that copies do not share their octets.
func selfTest(mode Mode) (err error) {
	out, err := newPair("amts")
	if err != nil {
		return err
	}
	defer out.close()
	if mode == ModeNative {
		// A veth takes packets of other interfaces only while its peer has a program.
		pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.XDP, License: "Apache-2.0",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
		})
		if err != nil {
			return err
		}
		defer pass.Close()
		l, err := link.AttachXDP(link.XDPOptions{Program: pass, Interface: out.rx.Index, Flags: link.XDPDriverMode})
		if err != nil {
			return err
		}
		defer l.Close()
	}
	fd, err := packetSocket(out.rx, unix.ETH_P_ALL)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	in, err := newInjector()
	if err != nil {
		return err
	}
	defer in.close()
	e, err := newEngine(engineConfig{
		egress: out.tx, mode: mode, injected: true, copies: len(testEnds), tunnels: len(testEnds), channels: 1, slots: len(testEnds),
	})
	if err != nil {
		return err
	}
	defer e.close()
	if err := e.attach(in.pair.rx.Index); err != nil {
		return err
	}
	var headers [][]byte
	var slots []uint32
	for i, ends := range testEnds {
		from, to := mac(out.tx.HardwareAddr), mac(out.rx.HardwareAddr)
		to[0] |= 2
		to[5] = byte(i)
		h := appendHeader(nil, from, to, ends[0], ends[1])
		if err := e.setTunnel(uint32(i), h, false); err != nil {
			return err
		}
		headers, slots = append(headers, h), append(slots, uint32(i))
	}
	if err := e.setMembers(0, slots); err != nil {
		return err
	}
	if err := e.setChannel(testSource, testGroup, 0, 0, len(slots), maxInjected); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	buf := make([]byte, 1<<16)
	// Two packets, so that copies of the second are told apart from the first's.
	for _, size := range []int{1316, 11} {
		packet := testPacket(size)
		if err := in.send(packet, 0); err != nil {
			return err
		}
		for i := range headers {
			n, err := receive(fd, buf)
			if err != nil {
				return fmt.Errorf("%w: copy %d of %d octets did not come: %w", ErrSelfTest, i, size, err)
			}
			if want := expected(headers[i], packet); !bytes.Equal(buf[:n], want) {
				return fmt.Errorf("%w: copy %d of %d octets is %x, want %x", ErrSelfTest, i, size, buf[:min(n, 80)], want[:min(len(want), 80)])
			}
		}
	}
	return checkCounts(e, slots, 2)
}

func receive(fd int, b []byte) (n int, err error) {
	for {
		if n, _, err = unix.Recvfrom(fd, b, 0); err != unix.EINTR {
			return n, os.NewSyscallError("recv AF_PACKET", err)
		}
	}
}

// checkCounts waits until each tunnel has so many packets and lost none.
func checkCounts(e *engine, slots []uint32, packets uint64) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		good := 0
		var last copyCounts
		for _, slot := range slots {
			n, err := e.counts(slot)
			if err != nil {
				return err
			}
			if n.Packets == packets && n.Lost == 0 {
				good++
			} else {
				last = n
			}
		}
		switch {
		case good == len(slots):
			return nil
		case time.Now().After(deadline):
			s, _ := e.stats()
			return fmt.Errorf("%w: %s: %d packets sent to each of %d tunnels; one has %+v, %v in all",
				ErrSelfTest, e.egress.Name, packets, len(slots), last, s)
		}
		time.Sleep(time.Millisecond)
	}
}

// testEgress sends two copies by the interface that is meant. They go to its own
// address, which no switch sends anywhere and no host takes.
func (e *engine) testEgress(in *injector) error {
	own, _ := hardwareAddr(e.egress)
	slots := []uint32{0, 1}
	for _, slot := range slots {
		if err := e.setTunnel(slot, appendHeader(nil, own, own, testEnds[slot][0], testEnds[slot][1]), false); err != nil {
			return err
		}
	}
	if err := e.setMembers(0, slots); err != nil {
		return err
	}
	if err := e.setChannel(testSource, testGroup, 0, 0, len(slots), 1500); err != nil {
		return err
	}
	if err := in.send(testPacket(11), 0); err != nil {
		return err
	}
	err := checkCounts(e, slots, 1)
	for _, slot := range slots {
		if err := e.clearTunnel(slot); err != nil {
			return err
		}
		if err := e.clearCounts(slot); err != nil {
			return err
		}
	}
	if err := e.clearChannel(testSource, testGroup, 0); err != nil {
		return err
	}
	return err
}

// interfaceByName finds an interface that copies can leave by.
func interfaceByName(name string) (*net.Interface, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return ifi, nil
}
