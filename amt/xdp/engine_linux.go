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
	objs   copyObjects
	egress *net.Interface
	mode   Mode // native or generic
	exact  bool
	links  []link.Link
	fans   map[int]*ebpf.Map
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
	e := &engine{egress: config.egress, mode: config.mode, fans: make(map[int]*ebpf.Map)}
	// The tracepoint is that of the native path.
	e.exact = config.mode == ModeNative
	if err := e.load(spec, config.injected); err != nil && e.exact {
		// A process may have the rights for XDP and not those for tracing.
		e.exact = false
		err = e.load(spec, config.injected)
		if err != nil {
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
	if err := errors.Join(spec.Variables[copyVarInjected].Set(value[injected]), spec.Variables[copyVarExact].Set(value[e.exact])); err != nil {
		return err
	}
	if !e.exact {
		// In its place, a program that is loaded and not used.
		objs := struct {
			FanOut   *ebpf.Program `ebpf:"fan_out"`
			MakeCopy *ebpf.Program `ebpf:"make_copy"`
			copyMaps
		}{}
		if err := spec.LoadAndAssign(&objs, nil); err != nil {
			return err
		}
		e.objs.FanOut, e.objs.MakeCopy, e.objs.copyMaps = objs.FanOut, objs.MakeCopy, objs.copyMaps
		return nil
	}
	if err := spec.LoadAndAssign(&e.objs, nil); err != nil {
		return err
	}
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "xdp_devmap_xmit", Program: e.objs.Commit})
	if err != nil {
		_ = e.objs.Close()
		e.objs = copyObjects{}
		return err
	}
	e.links = append(e.links, l)
	return nil
}

func (e *engine) close() {
	for i := len(e.links) - 1; i >= 0; i-- {
		_ = e.links[i].Close()
	}
	for _, m := range e.fans {
		_ = m.Close()
	}
	_ = e.objs.copyMaps.Close()
	for _, p := range []*ebpf.Program{e.objs.FanOut, e.objs.MakeCopy, e.objs.Commit} {
		if p != nil {
			_ = p.Close()
		}
	}
}

// attach takes the packets that arrive on an interface.
func (e *engine) attach(ifindex int) error {
	flags := link.XDPDriverMode
	if e.mode == ModeGeneric {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: e.objs.FanOut, Interface: ifindex, Flags: flags})
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
	if e.fans[n] != nil {
		return nil
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "fan", Type: ebpf.DevMap, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(devmapValue{})), MaxEntries: uint32(n),
	})
	if err != nil {
		return err
	}
	for i := range uint32(n) {
		if err := m.Put(i, devmapValue{uint32(e.egress.Index), uint32(e.objs.MakeCopy.FD())}); err != nil {
			_ = m.Close()
			return fmt.Errorf("interface %s: %w", e.egress.Name, err)
		}
	}
	if err := e.objs.Fans.Put(uint32(n), m); err != nil {
		_ = m.Close()
		return err
	}
	e.fans[n] = m
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
	return e.objs.Tunnels.Put(slot, t)
}

func (e *engine) clearTunnel(slot uint32) error { return e.objs.Tunnels.Put(slot, copyTunnel{}) }

// counts returns the counters of a tunnel.
func (e *engine) counts(slot uint32) (sum copyCounts, err error) {
	var each []copyCounts
	if err := e.objs.Counters.Lookup(slot, &each); err != nil {
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
	return e.objs.Counters.Put(slot, make([]copyCounts, cpus))
}

// setMembers writes the tunnels of a channel.
func (e *engine) setMembers(first uint32, slots []uint32) error {
	for i, slot := range slots {
		if err := e.objs.Members.Put(first+uint32(i), slot); err != nil {
			return err
		}
	}
	return nil
}

func channelKey(source, group netip.Addr) (k copyChannelKey) {
	s, g := source.As16(), group.As16()
	for i := range 4 {
		k.Src[i] = binary.NativeEndian.Uint32(s[4*i:])
		k.Dst[i] = binary.NativeEndian.Uint32(g[4*i:])
	}
	return k
}

func (e *engine) setChannel(source, group netip.Addr, first uint32, n, mtu int) error {
	if err := e.fan(n); err != nil {
		return err
	}
	return e.objs.Channels.Put(channelKey(source, group), copyChannel{First: first, Count: uint32(n), Mtu: uint32(mtu)})
}

func (e *engine) clearChannel(source, group netip.Addr) error {
	err := e.objs.Channels.Delete(channelKey(source, group))
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

func (e *engine) stats() (s [statMax]uint64, err error) {
	var each []uint64
	for i := range uint32(statMax) {
		if err := e.objs.Stats.Lookup(i, &each); err != nil {
			return s, err
		}
		for _, n := range each {
			s[i] += n
		}
	}
	return s, nil
}
