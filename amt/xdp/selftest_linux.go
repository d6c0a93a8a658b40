package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
)

// ErrSelfTest is matched by errors of [SelfTest].
var ErrSelfTest = errors.New("xdp: self-test")

// SelfTest sends a packet through the programs, by virtual interfaces in a network
// namespace that nobody else sees, and checks each octet of what comes of it.
func SelfTest() error {
	err := inNamespace(func() error {
		r, err := newRig(Config{MaxTunnels: 16})
		if err != nil {
			return err
		}
		defer r.close()
		copies := r.copies(3)
		copies[1].Tunnel.ECN = true
		if err := r.plane.Forward(r.source, r.group, copies); err != nil {
			return err
		}
		packet := amt.AppendUDP(nil, netip.AddrPortFrom(r.source, 9), netip.AddrPortFrom(r.group, 10), 7, []byte("self-test"))
		setECN(packet, 2)
		for range 2 { // the turns go round
			if err := r.send(packet); err != nil {
				return err
			}
			for i := range copies {
				frame, err := r.receive()
				if err != nil {
					return fmt.Errorf("copy %d: %w", i, err)
				}
				if err := r.check(frame, &copies[i], packet); err != nil {
					return fmt.Errorf("copy %d: %w", i, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSelfTest, err)
	}
	return nil
}

// inNamespace calls f on a thread in a network namespace of its own, which goes
// with it.
func inNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks it: the thread ends here
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("unshare", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// rig is two pairs of virtual interfaces with the programs between them. It
// belongs to a namespace.
type rig struct {
	plane         *Plane
	source, group netip.Addr
	egress, peer  *net.Interface
	in, out       int // sockets at the far ends
	links         []link.Link
	pass          *ebpf.Program
}

func newRig(config Config) (*rig, error) {
	r := &rig{
		source: netip.AddrFrom4([4]byte{192, 0, 2, 1}), group: netip.AddrFrom4([4]byte{232, 1, 2, 3}), in: -1, out: -1,
	}
	if err := r.open(config); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) open(config Config) (err error) {
	for _, name := range []string{"u", "e"} {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name + "0"}, PeerName: name + "1"}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		for _, end := range []string{name + "0", name + "1"} {
			l, err := netlink.LinkByName(end)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
	}
	var upstream, sender *net.Interface
	for name, ifi := range map[string]**net.Interface{"u0": &upstream, "u1": &sender, "e0": &r.egress, "e1": &r.peer} {
		if *ifi, err = net.InterfaceByName(name); err != nil {
			return err
		}
	}
	if err := r.route(); err != nil {
		return err
	}
	config.Upstream, config.Egress, config.MinCopies = "u0", "e0", 1
	config.populate()
	if r.plane, err = load(config, r.egress); err != nil {
		return err
	}
	// A virtual interface takes frames from XDP only while its peer runs XDP.
	r.pass, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		return err
	}
	for _, a := range []link.XDPOptions{
		{Program: r.pass, Interface: r.peer.Index}, {Program: r.plane.objects.AmtEncapsulate, Interface: upstream.Index},
	} {
		l, err := link.AttachXDP(a)
		if err != nil {
			return fmt.Errorf("attach: %w", err)
		}
		r.links = append(r.links, l)
	}
	if r.in, err = packetSocket(sender.Index); err != nil {
		return err
	}
	r.out, err = packetSocket(r.peer.Index)
	return err
}

// route leads to all gateways through the peer.
func (r *rig) route() error {
	l, err := netlink.LinkByName("e0")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 255, 0, 1), Mask: net.CIDRMask(24, 32)}}); err != nil {
		return err
	}
	hop := net.IPv4(10, 255, 0, 2)
	if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: r.egress.Index, IP: hop, HardwareAddr: r.peer.HardwareAddr, State: netlink.NUD_PERMANENT}); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: r.egress.Index, Gw: hop})
}

func packetSocket(ifi int) (int, error) {
	protocol := order16(unix.ETH_P_IP)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	limit := unix.NsecToTimeval(int64(2 * time.Second))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: ifi}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// copies makes n tunnels.
func (r *rig) copies(n int) []amt.PlaneCopy {
	list := make([]amt.PlaneCopy, n)
	for i := range list {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), uint16(2000+i))
		list[i] = amt.PlaneCopy{
			Tunnel: amt.NewTunnel(amt.TunnelID(i+1), to, 1470, false),
			From:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 255, 0, 1}), amt.Port),
		}
	}
	return list
}

// frame puts the header of the link before a packet.
func frame(packet []byte) []byte {
	b := []byte{1, 0, 0x5e, packet[17] & 0x7f, packet[18], packet[19], 2, 0, 0, 0, 0, 1, 8, 0}
	return append(b, packet...)
}

func (r *rig) send(packet []byte) error {
	_, err := unix.Write(r.in, frame(packet))
	return os.NewSyscallError("write", err)
}

func (r *rig) receive() ([]byte, error) {
	b := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(r.out, b, 0)
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		return b[:n], nil
	}
}

// check compares a frame with what the sockets of a server would have sent.
func (r *rig) check(got []byte, c *amt.PlaneCopy, packet []byte) error {
	payload := append([]byte{byte(amt.TypeData), 0}, packet...)
	want := amt.AppendUDP(nil, c.From, c.Tunnel.Gateway(), 64, payload)
	if c.Tunnel.ECN {
		setECN(want, packet[1]&3)
	}
	if packet[26]|packet[27] == 0 { // no inner checksum, no outer one
		want[26], want[27] = 0, 0
	}
	head := append(append([]byte(nil), r.peer.HardwareAddr...), r.egress.HardwareAddr...)
	head = append(head, 8, 0)
	if string(got) != string(head)+string(want) {
		return fmt.Errorf("got  %x\nwant %x%x", got, head, want)
	}
	return nil
}

// setECN sets the field in an IPv4 header, and its checksum.
func setECN(packet []byte, ecn byte) {
	packet[1] = packet[1]&^3 | ecn
	packet[10], packet[11] = 0, 0
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum+sum>>16))
}

func (r *rig) close() {
	for _, l := range r.links {
		_ = l.Close()
	}
	if r.pass != nil {
		_ = r.pass.Close()
	}
	if r.plane != nil {
		_ = r.plane.Close()
	}
	for _, fd := range []int{r.in, r.out} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
