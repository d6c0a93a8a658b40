package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Of enum stat in bpf/copy.c.
const (
	statPackets = iota
	statUnknown
	statMalformed
	statOdd
	statTooBig
	statFailed
	statCopies
	statLost
	statStray
	statMax
)

// engine is the programs and maps in the kernel.
type engine struct {
	egress *net.Interface
	mode   Mode // native or generic
	exact  bool
	links  []link.Link

	collection                 *ebpf.Collection // has all of the following
	fanOut, makeCopy           *ebpf.Program
	channels, members, tunnels *ebpf.Map
	counters, statistics, fans *ebpf.Map
	shared                     *ebpf.Memory // nil if there is none
	byCount                    map[int]*ebpf.Map
}

type engineConfig struct {
	egress                           *net.Interface
	mode                             Mode
	injected                         bool
	copies, tunnels, channels, slots int
}

func newEngine(config engineConfig) (*engine, error) {
	_ = rlimit.RemoveMemlock() // for kernels before 5.11
	spec, err := loadCopy()
	if err != nil {
		return nil, err
	}
	for name, n := range map[string]int{
		copyMapChannels: config.channels, copyMapMembers: config.slots, copyMapTunnels: config.tunnels,
		copyMapCounters: config.tunnels, copyMapFans: config.copies + 1,
	} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	e := &engine{egress: config.egress, mode: config.mode, byCount: make(map[int]*ebpf.Map)}
	// The tracepoint is that of the native path.
	e.exact = config.mode == ModeNative
	if err := e.load(spec, config.injected); err != nil && e.exact {
		// A process may have the rights for XDP and not those for tracing.
		e.exact = false
		if err := e.load(spec, config.injected); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *engine) load(spec *ebpf.CollectionSpec, injected bool) error {
	spec = spec.Copy()
	value := map[bool]uint32{true: 1}
	err := errors.Join(spec.Variables[copyVarInjected].Set(value[injected]), spec.Variables[copyVarExact].Set(value[e.exact]))
	if err != nil {
		return err
	}
	if !e.exact {
		delete(spec.Programs, copyProgCommit)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return err
	}
	if e.exact {
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{
			Name: "xdp_devmap_xmit", Program: c.Programs[copyProgCommit],
		})
		if err != nil {
			c.Close()
			return err
		}
		e.links = append(e.links, l)
	}
	// The variable shared, alone. Before Linux 5.5 there is no such memory.
	e.shared, _ = c.Maps[".bss"].Memory()
	e.collection = c
	e.fanOut, e.makeCopy = c.Programs[copyProgFanOut], c.Programs[copyProgMakeCopy]
	e.channels, e.members, e.tunnels = c.Maps[copyMapChannels], c.Maps[copyMapMembers], c.Maps[copyMapTunnels]
	e.counters, e.statistics, e.fans = c.Maps[copyMapCounters], c.Maps[copyMapStats], c.Maps[copyMapFans]
	return nil
}

// pressure tells, without a system call, how many copies the interface did not
// take, and for how many packets the program ran.
func (e *engine) pressure() (overflow, seen uint64) {
	var b [16]byte
	if e.shared == nil {
		return 0, 0
	}
	_, _ = e.shared.ReadAt(b[:], 0)
	return binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])
}

func (e *engine) close() {
	for i := len(e.links) - 1; i >= 0; i-- {
		_ = e.links[i].Close()
	}
	for _, m := range e.byCount {
		_ = m.Close()
	}
	if e.collection != nil {
		e.collection.Close()
	}
}

// attach takes the packets that arrive on an interface.
func (e *engine) attach(ifindex int) error {
	flags := link.XDPDriverMode
	if e.mode == ModeGeneric {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: e.fanOut, Interface: ifindex, Flags: flags})
	if err != nil {
		return err
	}
	e.links = append(e.links, l)
	return nil
}

// devmapValue is struct bpf_devmap_val.
type devmapValue struct {
	Ifindex uint32
	Program uint32 // a file descriptor
}

// fan sees to it that there is a device map for n copies. All channels with n
// tunnels use it, as its entries do not differ.
func (e *engine) fan(n int) error {
	if e.byCount[n] != nil {
		return nil
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "fan", Type: ebpf.DevMap, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(devmapValue{})), MaxEntries: uint32(n),
	})
	if err != nil {
		return err
	}
	for i := range uint32(n) {
		if err := m.Put(i, devmapValue{uint32(e.egress.Index), uint32(e.makeCopy.FD())}); err != nil {
			_ = m.Close()
			return fmt.Errorf("interface %s: %w", e.egress.Name, err)
		}
	}
	if err := e.fans.Put(uint32(n), m); err != nil {
		_ = m.Close()
		return err
	}
	e.byCount[n] = m
	return nil
}

func (e *engine) setTunnel(slot uint32, header []byte, ecn bool) error {
	t := copyTunnel{Family: 6}
	if len(header) == headroom4 {
		t.Family = 4
	}
	if ecn {
		t.Ecn = 1
	}
	for i := 0; i < len(header); i += 4 {
		t.Header[i/4] = binary.NativeEndian.Uint32(header[i:])
	}
	t.Sum, t.IpSum = sums(header)
	return e.tunnels.Put(slot, t)
}

func (e *engine) clearTunnel(slot uint32) error { return e.tunnels.Put(slot, copyTunnel{}) }

// counts returns the counters of a tunnel.
func (e *engine) counts(slot uint32) (sum copyCounts, err error) {
	var each []copyCounts
	if err := e.counters.Lookup(slot, &each); err != nil {
		return copyCounts{}, err
	}
	for i := range each {
		sum.Packets += each[i].Packets
		sum.Octets += each[i].Octets
		sum.Lost += each[i].Lost
	}
	return sum, nil
}

func (e *engine) clearCounts(slot uint32) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	return e.counters.Put(slot, make([]copyCounts, cpus))
}

// setMembers writes the tunnels of a channel.
func (e *engine) setMembers(first uint32, slots []uint32) error {
	keys := make([]uint32, len(slots))
	for i := range keys {
		keys[i] = first + uint32(i)
	}
	_, err := e.members.BatchUpdate(keys, slots, nil)
	return err
}

func channelKey(source, group netip.Addr, pass int) (k copyChannelKey) {
	k.Pass = uint32(pass)
	s, g := source.As16(), group.As16()
	for i := range 4 {
		k.Src[i] = binary.NativeEndian.Uint32(s[4*i:])
		k.Dst[i] = binary.NativeEndian.Uint32(g[4*i:])
	}
	return k
}

func (e *engine) setChannel(source, group netip.Addr, pass int, first uint32, n, mtu int) error {
	if err := e.fan(n); err != nil {
		return err
	}
	return e.channels.Put(channelKey(source, group, pass), copyChannel{First: first, Count: uint32(n), Mtu: uint32(mtu)})
}

func (e *engine) clearChannel(source, group netip.Addr, pass int) error {
	err := e.channels.Delete(channelKey(source, group, pass))
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

func (e *engine) stats() (s [statMax]uint64, err error) {
	var each []uint64
	for i := range uint32(statMax) {
		if err := e.statistics.Lookup(i, &each); err != nil {
			return s, err
		}
		for _, n := range each {
			s[i] += n
		}
	}
	return s, nil
}
