package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/treedn/treedn/amt"
)

// Config configures a [Plane]. Upstream and Egress are required.
type Config struct {
	// Upstream is the name of the interface by which channels come in, Egress of
	// the one that leads to the gateways. They may be the same.
	Upstream, Egress string
	// MaxCopies bounds the copies of a packet: they are all sent at once, and what
	// the interface has no room for is lost without a trace. Default: 512.
	MaxCopies int
	// MaxTunnels bounds the copies of all channels. Default: 65,536.
	MaxTunnels int
	// MinCopies is the number of tunnels from which a channel is taken on. Default:
	// 2.
	MinCopies int
	// Logger is told about what goes wrong. Default: silent.
	Logger *slog.Logger
}

func (c *Config) populate() {
	orDefault(&c.MaxCopies, 512)
	orDefault(&c.MaxTunnels, 65536)
	orDefault(&c.MinCopies, 2)
}

func orDefault(v *int, value int) {
	if *v <= 0 {
		*v = value
	}
}

// Errors of [Plane.Forward].
var (
	// ErrTooFew and ErrTooMany: the channel is better left to sockets.
	ErrTooFew  = errors.New("xdp: too few tunnels")
	ErrTooMany = errors.New("xdp: too many tunnels")
	// ErrFamily: not all is IPv4.
	ErrFamily = errors.New("xdp: IPv4 only")
)

// retireAfter is for how long nothing is used again that packets under way may
// refer to.
const retireAfter = time.Second

const maxSlots = 1024 // MAX_SLOTS

// Plane copies packets in the kernel. It is safe for concurrent use.
type Plane struct {
	config  Config
	log     *slog.Logger
	objects fanoutObjects
	xdp     link.Link
	egress  *net.Interface
	hops    *neighbours

	mu       sync.Mutex // guards below
	closed   bool
	channels map[fanoutChannelKey]*channel
	retired  []*channel // in the order of their time
	slots    [maxSlots]bool
	room     allocator
	counted  map[amt.TunnelID]*counted
}

// channel is where packets of a channel go to, as of one Forward.
type channel struct {
	value   fanoutChannel
	size    uint32 // of the range of copies
	copies  []amt.PlaneCopy
	hops    []netip.Addr
	devices *ebpf.Map
	seen    []fanoutCopy // counters that have been reported
	until   time.Time    // when it may be forgotten
}

type counted struct {
	tunnel          amt.Tunnel
	packets, octets uint64
}

// Open loads the programs and attaches them. It fails, with nothing left behind,
// where the kernel or the interfaces cannot do it; a test with interfaces of its
// own shows that.
func Open(config Config) (*Plane, error) {
	config.populate()
	upstream, err := net.InterfaceByName(config.Upstream)
	if err != nil {
		return nil, fmt.Errorf("xdp: upstream %q: %w", config.Upstream, err)
	}
	egress, err := net.InterfaceByName(config.Egress)
	if err != nil {
		return nil, fmt.Errorf("xdp: egress %q: %w", config.Egress, err)
	}
	if err := SelfTest(); err != nil {
		return nil, err
	}
	if err := canTransmit(egress); err != nil {
		return nil, err
	}
	p, err := load(config, egress)
	if err != nil {
		return nil, err
	}
	if p.xdp, err = link.AttachXDP(link.XDPOptions{Program: p.objects.AmtEncapsulate, Interface: upstream.Index}); err != nil {
		_ = p.objects.Close()
		return nil, fmt.Errorf("xdp: attach to %s: %w", upstream.Name, err)
	}
	return p, nil
}

// load loads the programs without attaching them.
func load(config Config, egress *net.Interface) (*Plane, error) {
	spec, err := loadFanout()
	if err != nil {
		return nil, err
	}
	spec.Maps["copies"].MaxEntries = uint32(config.MaxTunnels)
	p := &Plane{
		config: config, log: config.Logger, egress: egress, channels: make(map[fanoutChannelKey]*channel),
		counted: make(map[amt.TunnelID]*counted), room: newAllocator(uint32(config.MaxTunnels)), hops: newNeighbours(egress),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, fmt.Errorf("xdp: load: %w", err)
	}
	return p, nil
}

func keyOf(source, group netip.Addr) (k fanoutChannelKey, ok bool) {
	if !source.Is4() || !group.Is4() {
		return k, false
	}
	s, g := source.As4(), group.As4()
	return fanoutChannelKey{Source: binary.NativeEndian.Uint32(s[:]), Group: binary.NativeEndian.Uint32(g[:])}, true
}

// Forward is for [amt.Server].
func (p *Plane) Forward(source, group netip.Addr, copies []amt.PlaneCopy) error {
	key, ok := keyOf(source, group)
	if !ok {
		return ErrFamily
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	p.collect(time.Now())
	c, err := p.prepare(copies)
	if err == nil {
		err = p.install(c)
	}
	if err == nil {
		err = p.objects.Channels.Put(key, c.value)
	}
	if err != nil {
		if c != nil {
			p.release(c)
		}
		p.stop(key)
		return err
	}
	old := p.channels[key]
	p.channels[key] = c
	p.retire(old)
	return nil
}

// prepare makes the table of a channel.
func (p *Plane) prepare(copies []amt.PlaneCopy) (*channel, error) {
	switch {
	case len(copies) < p.config.MinCopies:
		return nil, ErrTooFew
	case len(copies) > p.config.MaxCopies:
		return nil, ErrTooMany
	}
	c := &channel{copies: copies, seen: make([]fanoutCopy, len(copies)), hops: make([]netip.Addr, len(copies))}
	mtu := 1 << 16
	for i := range copies {
		to, from := copies[i].Tunnel.Gateway(), copies[i].From
		if !to.Addr().Is4() || !from.Addr().Is4() {
			return nil, ErrFamily
		}
		hop, mac, err := p.hops.find(to.Addr())
		if err != nil {
			return nil, err
		}
		c.hops[i] = hop
		c.seen[i] = fanoutCopy{
			To: mac, From: [6]uint8(p.egress.HardwareAddr), Daddr: order32(to.Addr()), Saddr: order32(from.Addr()),
			Dport: order16(to.Port()), Sport: order16(from.Port()),
		}
		if copies[i].Tunnel.ECN {
			c.seen[i].Ecn = 1
		}
		mtu = min(mtu, int(copies[i].Tunnel.MTU))
	}
	c.value.Count, c.value.Mtu = uint32(len(copies)), uint32(mtu)
	return c, nil
}

func order32(a netip.Addr) uint32 { b := a.As4(); return binary.NativeEndian.Uint32(b[:]) }

func order16(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// install gives a channel its room in the maps.
func (p *Plane) install(c *channel) error {
	slot := -1
	for i, taken := range p.slots {
		if !taken {
			slot = i
			break
		}
	}
	base, ok := p.room.take(c.value.Count)
	if slot < 0 || !ok {
		if ok {
			p.room.give(base, c.value.Count)
		}
		return fmt.Errorf("%w: no room for %d more", ErrTooMany, c.value.Count)
	}
	p.slots[slot] = true
	c.value.Slot, c.value.Base, c.size = uint32(slot), base, c.value.Count
	for i := range c.seen {
		if err := p.objects.Copies.Put(base+uint32(i), &c.seen[i]); err != nil {
			return err
		}
	}
	zero := make([]uint32, ebpf.MustPossibleCPU())
	if err := p.objects.Turns.Put(c.value.Slot, zero); err != nil {
		return err
	}
	devices, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.DevMapHash, KeySize: 4, ValueSize: 8,
		// The kernel walks the buckets, of which there are as many.
		MaxEntries: 1 << bits.Len32(c.value.Count-1),
	})
	if err != nil {
		return err
	}
	c.devices = devices
	entry := struct{ Interface, Program uint32 }{uint32(p.egress.Index), uint32(p.objects.AmtAddress.FD())}
	for i := range c.value.Count {
		if err := devices.Put(i, entry); err != nil {
			return fmt.Errorf("xdp: interface %s: %w", p.egress.Name, err)
		}
	}
	return p.objects.Slots.Put(c.value.Slot, devices)
}

// release gives back what install took.
func (p *Plane) release(c *channel) {
	if c.size == 0 {
		return
	}
	_ = p.objects.Slots.Delete(c.value.Slot)
	if c.devices != nil {
		_ = c.devices.Close()
	}
	p.slots[c.value.Slot] = false
	p.room.give(c.value.Base, c.size)
	c.size = 0
}

// Stop is for [amt.Server].
func (p *Plane) Stop(source, group netip.Addr) {
	key, ok := keyOf(source, group)
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok && !p.closed {
		p.stop(key)
	}
}

func (p *Plane) stop(key fanoutChannelKey) {
	if c := p.channels[key]; c != nil {
		_ = p.objects.Channels.Delete(key)
		delete(p.channels, key)
		p.retire(c)
	}
}

func (p *Plane) retire(c *channel) {
	if c != nil {
		c.until = time.Now().Add(retireAfter)
		p.retired = append(p.retired, c)
	}
}

// collect reads the counters, and forgets what is no longer under way.
func (p *Plane) collect(now time.Time) {
	for len(p.retired) > 0 && !p.retired[0].until.After(now) {
		p.read(p.retired[0])
		p.release(p.retired[0])
		p.retired = p.retired[1:]
	}
}

// read adds what a channel has counted since it was read last.
func (p *Plane) read(c *channel) {
	for i := range c.seen {
		var value fanoutCopy
		if p.objects.Copies.Lookup(c.value.Base+uint32(i), &value) != nil {
			continue
		}
		packets, octets := value.Packets-c.seen[i].Packets, value.Octets-c.seen[i].Octets
		if packets == 0 {
			continue
		}
		c.seen[i].Packets, c.seen[i].Octets = value.Packets, value.Octets
		t := &c.copies[i].Tunnel
		n := p.counted[t.ID]
		if n == nil {
			n = &counted{tunnel: *t}
			p.counted[t.ID] = n
		}
		n.packets += packets
		n.octets += octets
	}
}

// Counters is for [amt.Server].
func (p *Plane) Counters(yield func(t *amt.Tunnel, packets, octets uint64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.collect(time.Now())
	for _, c := range p.channels {
		p.read(c)
	}
	for _, c := range p.retired {
		p.read(c)
	}
	for id, n := range p.counted {
		yield(&n.tunnel, n.packets, n.octets)
		delete(p.counted, id)
	}
}

// Stats counts packets of channels.
type Stats struct {
	Taken  uint64 // copied in the kernel
	TooBig uint64 // left to sockets: they do not fit all tunnels
	Odd    uint64 // left to sockets: fragments, options, other protocols than UDP
}

// Stats returns the counters.
func (p *Plane) Stats() (s Stats) {
	for i, n := range []*uint64{&s.Taken, &s.TooBig, &s.Odd} {
		var values []uint64
		if p.objects.Stats.Lookup(uint32(i), &values) == nil {
			for _, v := range values {
				*n += v
			}
		}
	}
	return s
}

// Close detaches the programs. It may be called more than once.
func (p *Plane) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var err error
	if p.xdp != nil {
		err = p.xdp.Close()
	}
	for _, c := range p.channels {
		p.release(c)
	}
	for _, c := range p.retired {
		p.release(c)
	}
	return errors.Join(err, p.objects.Close())
}
