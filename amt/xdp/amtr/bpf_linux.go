package amtr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
)

// bpfSource has programs of bpf/track.c watch, which count by themselves.
type bpfSource struct {
	objs   trackObjects
	undo   []func() error
	reader *ringbuf.Reader

	// A time of both clocks.
	base  time.Time
	clock uint64
}

func newBPFSource(config *Config) (opened *bpfSource, err error) {
	_ = rlimit.RemoveMemlock() // for kernels before 5.11
	spec, err := loadTrack()
	if err != nil {
		return nil, err
	}
	// The kernel makes room before such a map is full, by what each processor sets
	// aside. It is the table that is to forget.
	spec.Maps[trackMapGateways].MaxEntries = uint32(2*config.MaxGateways + 512)
	if err := errors.Join(
		spec.Variables[trackVarRelayPort].Set(config.Port),
		spec.Variables[trackVarIdle].Set(uint64(config.Idle)),
	); err != nil {
		return nil, err
	}
	s := &bpfSource{}
	if err := spec.LoadAndAssign(&s.objs, nil); err != nil {
		return nil, err
	}
	s.undo = append(s.undo, s.objs.Close)
	defer func() {
		if err != nil {
			if s.reader != nil {
				_ = s.stop()
			}
			_ = s.close()
		}
	}()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return nil, os.NewSyscallError("clock_gettime", err)
	}
	s.base, s.clock = time.Now(), uint64(ts.Nano())
	if s.reader, err = ringbuf.NewReader(s.objs.Records); err != nil {
		return nil, err
	}
	for _, name := range config.Interfaces {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
		if err := s.attach(ifi); err != nil {
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
	}
	return s, nil
}

// attach watches both ways: XDP what arrives, in the driver if it can, or tc if
// XDP has a program already, and tc what leaves.
func (s *bpfSource) attach(ifi *net.Interface) error {
	var l link.Link
	var err error
	for _, flags := range []link.XDPAttachFlags{link.XDPDriverMode, link.XDPGenericMode} {
		if l, err = link.AttachXDP(link.XDPOptions{Program: s.objs.FromGateways, Interface: ifi.Index, Flags: flags}); err == nil {
			break
		}
	}
	if err == nil {
		s.undo = append(s.undo, l.Close)
	} else if tc := s.attachTC(ifi, s.objs.FromGatewaysTc, ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS); tc != nil {
		return errors.Join(err, tc)
	}
	return s.attachTC(ifi, s.objs.ToGateways, ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS)
}

// attachTC attaches by a link, or, before Linux 6.6, to a queueing discipline.
func (s *bpfSource) attachTC(ifi *net.Interface, program *ebpf.Program, at ebpf.AttachType, parent uint32) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifi.Index, Program: program, Attach: at})
	if err == nil {
		s.undo = append(s.undo, l.Close)
		return nil
	}
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifi.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if e := netlink.QdiscAdd(qdisc); e != nil && !errors.Is(e, unix.EEXIST) {
		return errors.Join(err, fmt.Errorf("clsact: %w", e))
	}
	// A handle of its own, so that nobody else's filter is replaced. The discipline
	// stays: others may have come to use it.
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifi.Index, Parent: parent, Handle: uint32(os.Getpid()), Protocol: unix.ETH_P_ALL, Priority: 49152,
		},
		Fd: program.FD(), Name: "amtr", DirectAction: true,
	}
	if e := netlink.FilterAdd(filter); e != nil {
		return errors.Join(err, fmt.Errorf("tc filter: %w", e))
	}
	s.undo = append(s.undo, func() error { return netlink.FilterDel(filter) })
	return nil
}

func (s *bpfSource) run(handle func(*record)) error {
	var raw ringbuf.Record
	for {
		if err := s.reader.ReadInto(&raw); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("ring buffer: %w", err)
		}
		if len(raw.RawSample) < int(unsafe.Sizeof(trackRecord{})) {
			continue
		}
		var in trackRecord
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in)), raw.RawSample)
		r := record{
			at: s.time(in.At), gateway: addrPort(&in.Gateway), relay: addrPort(&in.Relay),
			nonce: in.Nonce, length: int(in.Length), typ: amt.Type(in.Type), flags: amt.Flags(in.Flags), packets: 1,
		}
		handle(&r)
	}
}

// time turns CLOCK_MONOTONIC into a time.
func (s *bpfSource) time(ns uint64) time.Time { return s.base.Add(time.Duration(ns - s.clock)) }

func addrPort(e *trackEndpoint) netip.AddrPort {
	var a [16]byte
	for i, word := range e.Addr {
		binary.NativeEndian.PutUint32(a[4*i:], word)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), e.Port)
}

func endpoint(a netip.AddrPort) (e trackEndpoint) {
	b := a.Addr().As16()
	for i := range e.Addr {
		e.Addr[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	e.Port = a.Port()
	return e
}

func (s *bpfSource) stats(st *Stats) {
	for i, to := range []*uint64{&st.Malformed, &st.Fragments, &st.Unexpected, &st.Lost} {
		var each []uint64
		if s.objs.Tracked.Lookup(uint32(i), &each) != nil {
			continue
		}
		for _, n := range each {
			*to += n
		}
	}
}

func (s *bpfSource) fill(g *Gateway) {
	var in trackGateway
	if s.objs.Gateways.Lookup(endpoint(g.Endpoint), &in) != nil {
		return
	}
	g.Messages, g.Octets = in.Messages, in.Octets
	if at := s.time(in.Last); at.After(g.Last) {
		g.Last = at
	}
}

func (s *bpfSource) lastData(gateway netip.AddrPort) (time.Time, bool) {
	var in trackGateway
	if s.objs.Gateways.Lookup(endpoint(gateway), &in) != nil || in.LastData == 0 {
		return time.Time{}, false
	}
	return s.time(in.LastData), true
}

func (s *bpfSource) forgotten(gateway netip.AddrPort) { _ = s.objs.Gateways.Delete(endpoint(gateway)) }

func (s *bpfSource) stop() error { return s.reader.Close() }

func (s *bpfSource) close() (err error) {
	for i := len(s.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, s.undo[i]())
	}
	return err
}
