package xdp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
)

// Plane makes copies of packets in the kernel. Its methods may be called by
// several goroutines at a time.
type Plane struct {
	config Config
	engine *engine
	inject *injector // nil if packets are taken off Upstream
	hops   *neighbours
	mac    mac
	mtu    int // of the egress interface
	log    *slog.Logger

	version  atomic.Uint64
	injected atomic.Uint64
	overflow atomic.Uint64 // as of the last pause
	behind   atomic.Uint64 // packets that the kernel was given and has dropped

	// sending is held for reading while Send uses the injector, and taken after mu.
	sending sync.RWMutex // guards routes
	routes  map[channelID]passes

	mu         sync.Mutex // guards below
	closed     bool
	channels   map[channelID]*channel
	tunnels    map[tunnelID]*tunnel
	slots      slots
	members    ranges
	waiting    map[netip.Addr]bool // next hops whose address is to come
	lookedFor  bool                // one of them by the last Route
	dirty      bool                // routes have changed since the last look at them
	overCap    uint64
	unresolved uint64
	reported   map[tunnelID]*report // to an amt.Server
	wake       chan struct{}
	done       chan struct{}
	wg         sync.WaitGroup
}

type channelID struct{ source, group netip.Addr }

type tunnelID struct{ local, gateway netip.AddrPort }

type channel struct {
	first   uint32
	passes  int
	members []*tunnel
	mtu     int  // as given to Route
	whole   bool // all tunnels that were given to it are members
}

// passes is what Send has to know of a channel.
type passes struct{ mtu, n int }

type tunnel struct {
	id    tunnelID
	slot  uint32
	users int  // channels
	live  bool // has users
	held  bool // has the slot: has users, or had some a moment ago
	ecn   bool
	hop   netip.Addr
	mac   mac
	past  copyCounts // of slots that it had before
}

// refresh is how often the kernel is made to verify the addresses of next hops.
const refresh = 30 * time.Second

// Open loads the programs, makes sure that they do on this system what they are
// meant to, and attaches them. It takes a fraction of a second, and needs
// CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF; with CAP_PERFMON too, copies that the
// interface did not take are told apart. An error that matches
// [errors.ErrUnsupported] says that the system cannot do it.
func Open(config Config) (*Plane, error) {
	if err := config.populate(); err != nil {
		return nil, err
	}
	egress, err := interfaceByName(config.Egress)
	if err != nil {
		return nil, fmt.Errorf("xdp: %w: %w", ErrConfig, err)
	}
	own, ok := hardwareAddr(egress)
	if !ok {
		return nil, fmt.Errorf("xdp: interface %s is not Ethernet: %w", egress.Name, errors.ErrUnsupported)
	}
	config.Logger = amt.LimitLog(config.Logger) // gateways decide on what it is told
	modes := []Mode{ModeNative, ModeGeneric}
	if config.Mode != ModeAuto {
		modes = []Mode{config.Mode}
	}
	var failed []error
	for _, mode := range modes {
		p := &Plane{
			config: config, mac: own, mtu: egress.MTU, log: config.Logger,
			routes: make(map[channelID]passes), channels: make(map[channelID]*channel), tunnels: make(map[tunnelID]*tunnel), waiting: make(map[netip.Addr]bool),
			reported: make(map[tunnelID]*report),
			wake:     make(chan struct{}, 1), done: make(chan struct{}),
		}
		if err := p.open(egress, mode); err != nil {
			_ = p.Close()
			config.Logger.Info("XDP cannot make copies", "mode", mode, "egress", egress.Name, "err", err)
			failed = append(failed, fmt.Errorf("%v mode: %w", mode, err))
			continue
		}
		config.Logger.Info("XDP makes copies", "mode", mode, "egress", egress.Name, "upstream", config.Upstream, "exact", p.engine.exact)
		return p, nil
	}
	return nil, fmt.Errorf("xdp: %w", unsupported(errors.Join(failed...)))
}

// unsupported marks errors that say that this system or this user may not.
func unsupported(err error) error {
	for _, cause := range []error{
		ebpf.ErrNotSupported, unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL, unix.EBUSY, unix.EEXIST, unix.ENODEV, unix.ERANGE,
	} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
	}
	return err
}

func (p *Plane) open(egress *net.Interface, mode Mode) (err error) {
	if err := selfTest(mode); err != nil {
		return err
	}
	// Each change of a channel takes other entries, and has those before for a
	// while. They have 8 octets each.
	slots := min(max(2*p.config.MaxChannels*int(sizeClass(p.config.MaxCopies)), 1<<20), 1<<22)
	slots = max(slots, 4*int(sizeClass(p.config.MaxCopies*p.config.MaxPasses)))
	p.members.limit, p.slots.limit = uint32(slots), uint32(p.config.MaxTunnels)
	p.engine, err = newEngine(engineConfig{
		egress: egress, mode: mode, injected: p.config.Upstream == "",
		copies: max(p.config.MaxCopies, 2), tunnels: max(p.config.MaxTunnels, 2),
		channels: p.config.MaxChannels + p.config.MaxTunnels/p.config.MaxCopies + p.config.MaxPasses, slots: slots,
	})
	if err != nil {
		return err
	}
	inject, err := newInjector()
	if err != nil {
		return err
	}
	p.inject = inject
	if err := p.engine.attach(inject.pair.rx.Index); err != nil {
		return err
	}
	if err := p.engine.testEgress(inject); err != nil {
		return err
	}
	p.injected.Store(1) // that of the test
	if p.config.Upstream != "" {
		upstream, err := interfaceByName(p.config.Upstream)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := p.engine.attach(upstream.Index); err != nil {
			return fmt.Errorf("interface %s: %w", upstream.Name, err)
		}
		// The pair was for the test.
		p.inject = nil
		if err := inject.close(); err != nil {
			return err
		}
	}
	if p.hops, err = watchNeighbours(egress, p.changed); err != nil {
		return err
	}
	p.wg.Go(p.watch)
	return nil
}

// Close takes the programs off. Copies end at once.
func (p *Plane) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	close(p.done)
	if p.hops != nil {
		p.hops.close()
	}
	p.wg.Wait()
	p.sending.Lock() // and nobody sends any more
	defer p.sending.Unlock()
	clear(p.routes)
	if p.engine != nil {
		p.engine.close()
	}
	if p.inject != nil {
		return p.inject.close()
	}
	return nil
}

// Mode returns ModeNative or ModeGeneric.
func (p *Plane) Mode() Mode { return p.engine.mode }

// Exact reports whether copies that the interface did not take are told apart
// from those that it took. Otherwise both count as taken.
func (p *Plane) Exact() bool { return p.engine.exact }

// Version returns a number that changes when Route would answer otherwise than
// it did, as next hops have been found or routes have changed. Channels that the
// plane had may have ended by then: their packets are the caller's until Route
// takes them again.
func (p *Plane) Version() uint64 { return p.version.Load() }

// changed is told of a next hop, or of other routes.
func (p *Plane) changed(hop netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !hop.IsValid() {
		p.dirty = true
		select {
		case p.wake <- struct{}{}:
		default:
		}
		return
	}
	if p.waiting[hop] {
		delete(p.waiting, hop)
		p.version.Add(1)
	}
	lost := make(map[*tunnel]bool)
	for _, t := range p.tunnels {
		if t.live && t.hop == hop && !p.rewrite(t) {
			lost[t] = true
		}
	}
	if len(lost) > 0 {
		p.give("tunnels have lost their next hop", nil, lost)
		p.version.Add(1)
	}
}

// watch follows routes, and keeps next hops verified.
func (p *Plane) watch() {
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-ticker.C:
			p.mu.Lock()
			hops := make(map[netip.Addr]bool)
			for _, t := range p.tunnels {
				if t.live {
					hops[t.hop] = true
				}
			}
			p.settle()
			p.mu.Unlock()
			for hop := range hops {
				p.hops.use(hop)
			}
		case <-p.wake:
			p.mu.Lock()
			if p.dirty && !p.closed {
				p.dirty = false
				p.follow()
			}
			p.mu.Unlock()
			// Routes come in flocks: the next ones are looked at together.
			select {
			case <-p.done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// follow looks at everything again, as routes or the interface have changed. The
// mutex is held.
func (p *Plane) follow() {
	lost := make(map[*tunnel]bool)
	for _, t := range p.tunnels {
		if t.live && !p.rewrite(t) {
			lost[t] = true
		}
	}
	ifi, err := net.InterfaceByIndex(p.engine.egress.Index)
	if err != nil {
		p.give("the interface has gone", err, nil)
	} else if own, _ := hardwareAddr(ifi); own != p.mac || ifi.MTU != p.mtu {
		p.mac, p.mtu = own, ifi.MTU
		p.give("the interface has another address or MTU", nil, nil)
	} else if len(lost) > 0 {
		p.give("tunnels are not reached by the interface any more", nil, lost)
	}
	p.version.Add(1)
}

// give leaves channels to the caller, all or those with one of some tunnels. The
// mutex is held.
func (p *Plane) give(reason string, err error, lost map[*tunnel]bool) {
	n := 0
	for id, c := range p.channels {
		if lost == nil || slices.ContainsFunc(c.members, func(t *tunnel) bool { return lost[t] }) {
			err = errors.Join(err, p.end(id))
			n++
		}
	}
	if n > 0 {
		p.log.Warn("XDP gives channels up", "reason", reason, "egress", p.engine.egress.Name, "channels", n, "tunnels", len(lost), "err", err)
	}
}

// rewrite gives a tunnel the next hop that it has now, and reports whether there
// is one. The mutex is held.
func (p *Plane) rewrite(t *tunnel) bool {
	hop, to, ok := p.hops.resolve(t.id.local.Addr(), t.id.gateway.Addr())
	if !ok {
		p.await(hop)
		return false
	}
	if hop == t.hop && to == t.mac {
		return true
	}
	t.hop, t.mac = hop, to
	if err := p.write(t); err != nil {
		p.log.Error("cannot change the next hop of a tunnel", "gateway", t.id.gateway, "err", err)
		return false
	}
	return true
}

// await remembers that the address of a next hop is to come, and reports whether
// that is new. The mutex is held.
func (p *Plane) await(hop netip.Addr) bool {
	if !hop.IsValid() || p.waiting[hop] || len(p.waiting) >= p.config.MaxTunnels {
		return false
	}
	p.waiting[hop] = true
	return true
}

func (p *Plane) write(t *tunnel) error {
	return p.engine.setTunnel(t.slot, appendHeader(nil, p.mac, t.mac, t.id.local, t.id.gateway), t.ecn)
}

// Route says where packets from source to group go to, in place of what was said
// before; none ends the channel. Mtu is the size in octets of the largest packet
// that fits all tunnels. It sets taken[i] to whether tunnels[i] gets copies from
// now on: others are the caller's. Tunnels are not taken if they are over a
// limit, if they are reached by another interface, or until their next hop is
// known, of which [Plane.Version] tells. With Config.Upstream all tunnels are
// taken or none, since nobody else gets the packets. With an error none is
// taken.
func (p *Plane) Route(source, group netip.Addr, mtu int, tunnels []Tunnel, taken []bool) error {
	clear(taken)
	if len(taken) != len(tunnels) || !source.IsValid() || source.Is4In6() || source.Is4() != group.Is4() || !group.IsMulticast() {
		return fmt.Errorf("xdp: route %v, %v: %w", source, group, ErrConfig)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	err := p.route(channelID{source, group}, mtu, tunnels, taken)
	if err != nil {
		clear(taken)
		return fmt.Errorf("xdp: route %v, %v: %w", source, group, err)
	}
	return nil
}

func (p *Plane) route(id channelID, mtu int, tunnels []Tunnel, taken []bool) error {
	p.settle()
	p.lookedFor = false
	if c := p.channels[id]; c != nil && c.is(mtu, tunnels) {
		for i := range taken {
			taken[i] = true
		}
		return nil
	}
	given := mtu
	var members []*tunnel
	all := true
	for i := range tunnels {
		t, err := p.join(&tunnels[i], len(members))
		if err != nil {
			p.leave(members)
			return errors.Join(err, p.end(id))
		}
		if t == nil {
			all = false
			continue
		}
		taken[i] = true
		members = append(members, t)
		mtu = min(mtu, p.mtu-overhead(t.id.gateway.Addr()))
	}
	if p.inject == nil && !all {
		clear(taken)
		p.leave(members)
		members = nil
	}
	if len(members) == 0 {
		return p.end(id)
	}
	if p.inject != nil {
		mtu = min(mtu, maxInjected)
	}
	old := p.channels[id]
	if old == nil && len(p.channels) >= p.config.MaxChannels {
		p.leave(members)
		return ErrLimit
	}
	c := &channel{members: members, mtu: given, whole: all}
	first, ok := p.members.take(len(members))
	if !ok {
		p.leave(members)
		return errors.Join(ErrLimit, p.end(id))
	}
	c.first = first
	slots := make([]uint32, len(members))
	for i, t := range members {
		slots[i] = t.slot
	}
	err := p.engine.setMembers(first, slots)
	if err == nil {
		err = p.switchTo(id, c, old, mtu)
	}
	if err != nil {
		p.members.give(time.Now(), first, len(members))
		p.leave(members)
		return errors.Join(err, p.end(id))
	}
	if old != nil {
		p.members.give(time.Now(), old.first, len(old.members))
		p.leave(old.members)
	}
	p.channels[id] = c
	return nil
}

// is reports whether Route would make of the channel what it is.
func (c *channel) is(mtu int, tunnels []Tunnel) bool {
	return c.whole && c.mtu == mtu && slices.EqualFunc(c.members, tunnels, func(t *tunnel, want Tunnel) bool {
		return t.id == tunnelID{want.Local, want.Gateway} && t.ecn == want.ECN
	})
}

// switchTo makes a channel what it is to be, between two packets.
func (p *Plane) switchTo(id channelID, c, old *channel, mtu int) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	rest, first := len(c.members), c.first
	for ; rest > 0; c.passes++ {
		n := min(rest, p.config.MaxCopies)
		if err := p.engine.setChannel(id.source, id.group, c.passes, first, n, mtu); err != nil {
			for i := range c.passes {
				_ = p.engine.clearChannel(id.source, id.group, i)
			}
			return err
		}
		rest, first = rest-n, first+uint32(n)
	}
	if old != nil {
		for i := c.passes; i < old.passes; i++ {
			_ = p.engine.clearChannel(id.source, id.group, i)
		}
	}
	p.routes[id] = passes{mtu, c.passes}
	return nil
}

func overhead(outer netip.Addr) int {
	if outer.Is4() {
		return overhead4
	}
	return overhead6
}

// end removes a channel, if there is such.
func (p *Plane) end(id channelID) error {
	c := p.channels[id]
	if c == nil {
		return nil
	}
	delete(p.channels, id)
	p.sending.Lock()
	delete(p.routes, id)
	var err error
	for i := range c.passes {
		err = errors.Join(err, p.engine.clearChannel(id.source, id.group, i))
	}
	p.sending.Unlock()
	p.members.give(time.Now(), c.first, len(c.members))
	p.leave(c.members)
	return err
}

// join returns the tunnel with one more user, or nil if it is not taken.
func (p *Plane) join(want *Tunnel, members int) (*tunnel, error) {
	id := tunnelID{want.Local, want.Gateway}
	local, gateway := want.Local.Addr(), want.Gateway.Addr()
	if local.Is4() != gateway.Is4() || !local.IsValid() || local.Is4In6() || gateway.Is4In6() || local.IsUnspecified() {
		return nil, fmt.Errorf("tunnel from %v to %v: %w", want.Local, want.Gateway, ErrConfig)
	}
	if members >= p.config.MaxCopies*p.config.MaxPasses {
		p.overCap++
		return nil, nil
	}
	t := p.tunnels[id]
	if t != nil && t.live {
		if t.ecn != want.ECN {
			t.ecn = want.ECN
			if err := p.write(t); err != nil {
				return nil, err
			}
		}
		t.users++
		return t, nil
	}
	hop, to, ok := p.hops.resolve(local.WithZone(""), gateway.WithZone(""))
	if !ok {
		p.unresolved++
		if p.await(hop) {
			p.lookedFor = true
		}
		return nil, nil
	}
	if t == nil {
		p.forget()
		t = &tunnel{id: id}
		p.tunnels[id] = t
	}
	if t.held {
		p.slots.reclaim(t.slot)
	} else if t.slot, ok = p.slots.take(); !ok {
		p.overCap++
		return nil, nil
	}
	t.users, t.live, t.held, t.ecn, t.hop, t.mac = 1, true, true, want.ECN, hop, to
	if err := p.write(t); err != nil {
		p.leave([]*tunnel{t})
		return nil, err
	}
	return t, nil
}

// leave takes a user off each tunnel.
func (p *Plane) leave(members []*tunnel) {
	now := time.Now()
	for _, t := range members {
		if t.users--; t.users > 0 {
			continue
		}
		t.live = false
		slot := t.slot
		// Copies that are on their way still count.
		p.slots.give(now, slot, func() {
			t.held = false
			if n, err := p.engine.counts(slot); err == nil {
				t.past = addCounts(t.past, n)
			}
			if err := errors.Join(p.engine.clearTunnel(slot), p.engine.clearCounts(slot)); err != nil {
				p.log.Error("cannot clear a tunnel", "gateway", t.id.gateway, "err", err)
			}
		})
	}
}

// settle ends the time of grace of what has been given back. The mutex is held.
func (p *Plane) settle() {
	now := time.Now()
	p.slots.settle(now)
	p.members.settle(now)
}

// forget makes room for another tunnel among those whose counters are kept.
func (p *Plane) forget() {
	if len(p.tunnels) < 2*p.config.MaxTunnels {
		return
	}
	for id, t := range p.tunnels {
		if !t.live {
			delete(p.tunnels, id)
			return
		}
	}
}

func addCounts(a, b copyCounts) copyCounts {
	a.Packets += b.Packets
	a.Octets += b.Octets
	a.Lost += b.Lost
	return a
}

// Send has copies of packets made, whole IP packets from source to group. It
// returns how many of them, from the first on, were given to the kernel; it
// stops at one that does not fit, that is a fragment or has options, or whose
// channel has no tunnels here, and then returns no error: such packets are the
// caller's to send, to all tunnels. With Config.Upstream that is every packet
// which still comes to the caller, and Send does nothing.
func (p *Plane) Send(source, group netip.Addr, packets [][]byte) (n int, err error) {
	p.sending.RLock()
	defer p.sending.RUnlock()
	c, ok := p.routes[channelID{source, group}]
	if !ok || p.config.Upstream != "" {
		return 0, nil
	}
	for n < len(packets) && acceptable(packets[n], source, group, c.mtu) {
		for i := range c.n {
			if err := p.inject.send(packets[n], i); err != nil {
				if i > 0 { // some have it
					n++
				}
				return n, fmt.Errorf("xdp: %w", err)
			}
			p.pause(p.injected.Add(1))
		}
		n++
	}
	return n, nil
}

const while = 100 * time.Microsecond

// pause waits until the kernel has made the copies of what it was given: most
// often that has happened by now, but it may leave the work to a thread. And it
// lets the queue of the interface empty if there have been copies that it had no
// room for. This is all that slows a sender down.
func (p *Plane) pause(given uint64) {
	overflow, seen := p.engine.pressure()
	if overflow != p.overflow.Load() {
		p.overflow.Store(overflow)
		time.Sleep(2 * while)
	}
	for i := 0; seen+p.behind.Load() < given && p.engine.shared != nil; i++ {
		if i == 50 {
			p.behind.Store(given - seen)
			return
		}
		time.Sleep(while)
		_, seen = p.engine.pressure()
	}
}

// Sent returns what was sent to a tunnel by all channels: the packets that
// the interface took, the octets of these with the inner IP headers only, and
// the packets that it did not take. They stay when the tunnel has left its last
// channel, until Forget or as long as there is room for twice MaxTunnels.
func (p *Plane) Sent(local, gateway netip.AddrPort) (packets, octets, lost uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.sent(tunnelID{local, gateway})
	return n.Packets, n.Octets, n.Lost
}

func (p *Plane) sent(id tunnelID) copyCounts {
	t := p.tunnels[id]
	if t == nil || p.closed {
		return copyCounts{}
	}
	if !t.held {
		return t.past
	}
	live, err := p.engine.counts(t.slot)
	if err != nil {
		return t.past
	}
	return addCounts(t.past, live)
}

// Forget drops the counters of a tunnel that no channel has.
func (p *Plane) Forget(local, gateway netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(tunnelID{local, gateway})
}

func (p *Plane) drop(id tunnelID) {
	if t := p.tunnels[id]; t != nil && !t.live {
		delete(p.tunnels, id)
	}
}

// Stats returns the counters of all tunnels.
func (p *Plane) Stats() (Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Stats{}, net.ErrClosed
	}
	s, err := p.engine.stats()
	if err != nil {
		return Stats{}, fmt.Errorf("xdp: statistics: %w", err)
	}
	return Stats{
		Packets: s[statPackets], Copies: s[statCopies], Lost: s[statLost], Stray: s[statStray],
		Unknown: s[statUnknown], Malformed: s[statMalformed], Odd: s[statOdd], TooBig: s[statTooBig], Failed: s[statFailed],
		Injected: p.injected.Load() - 1, OverCap: p.overCap, Unresolved: p.unresolved,
	}, nil
}
