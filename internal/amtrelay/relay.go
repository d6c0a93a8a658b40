package amtrelay

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/telemetry"
)

// Relay is a running AMT relay, a bridge, or both. Its methods are safe for concurrent use, and do nothing on a nil one.
type Relay struct {
	log    *slog.Logger
	server *amt.Server
	native *amt.Native
	chains *chains
	bridge *bridges
	plane  plane // nil: sockets copy
	allow  atomic.Pointer[config.AMTAllow]

	served chan struct{} // closed when the server has ended
	failed error         // why, then

	mu       sync.Mutex // guards below
	cfg      config.AMT
	draining bool
}

// plane copies packets in the kernel.
type plane interface {
	amt.Plane
	Close() error
}

// Open opens the sockets; it returns nil if the configuration asks for nothing. Close it.
func Open(cfg config.AMT, log *slog.Logger) (*Relay, error) {
	if !cfg.Enabled() {
		return nil, nil
	}
	log = amt.LimitLog(log) // gateways decide on what it is told
	r := &Relay{log: log, cfg: cfg, served: make(chan struct{})}
	r.allow.Store(&cfg.Allow)
	if err := r.open(); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Relay) open() error {
	if len(r.cfg.Listen) == 0 {
		close(r.served)
	} else if err := r.serve(); err != nil {
		return err
	}
	b := &r.cfg.Bridge
	if b.Interface == "" {
		return nil
	}
	r.bridge = newBridges(b, r.own(), r.log)
	for _, c := range b.Channels {
		if err := r.bridge.add(c); err != nil {
			return err
		}
	}
	r.log.Info("channels are bridged", "interface", b.Interface, "channels", len(b.Channels), "relays", relaysText(&b.AMTRelays))
	return nil
}

// own are the addresses of the relay itself.
func (r *Relay) own() (list []netip.AddrPort) {
	for _, a := range r.cfg.Listen {
		list = append(list, a.AddrPort)
		for _, b := range r.cfg.Advertise {
			list = append(list, netip.AddrPortFrom(b, a.Port()))
		}
	}
	return list
}

// advertised are the addresses that gateways are told, at most one of each family.
func (r *Relay) advertised() (list []netip.Addr) {
	all := r.cfg.Advertise
	for _, a := range r.cfg.Listen {
		all = append(all[:len(all):len(all)], a.Addr())
	}
	for _, a := range all {
		same := func(b netip.Addr) bool { return a.Is4() == b.Is4() }
		if !a.IsUnspecified() && !slices.ContainsFunc(list, same) {
			list = append(list, a)
		}
	}
	return list
}

// relaysText says where tunnels lead to.
func relaysText(c *config.AMTRelays) string {
	var texts []string
	for _, a := range c.Relays {
		texts = append(texts, a.String())
	}
	if c.DRIAD {
		texts = append(texts, "those that DRIAD finds")
	}
	return strings.Join(texts, ", ")
}

func (r *Relay) serve() error {
	upstream, err := r.upstream()
	if err != nil {
		close(r.served)
		return err
	}
	c := amt.ServerConfig{
		Upstream: joins{upstream, r.log}, Logger: r.log,
		Relay: amt.RelayConfig{
			MaxTunnels: r.cfg.MaxTunnels, MaxTunnelsPerAddress: r.cfg.MaxTunnelsPerAddress,
			MaxGroups: r.cfg.MaxGroupsPerTunnel, MaxSources: r.cfg.MaxSourcesPerGroup, MaxChannelsPerTunnel: r.cfg.MaxChannelsPerTunnel,
			QueryInterval: r.cfg.QueryInterval, PathMTU: r.cfg.PathMTU, FollowPathMTU: r.cfg.FollowPathMTU,
			Allow: r.allows, Compat: amt.RelayCompat{Endpoint: r.cfg.Endpoint.Mode()},
		},
	}
	for _, a := range r.cfg.Listen {
		c.Listen = append(c.Listen, a.AddrPort)
	}
	for _, a := range r.cfg.Advertise {
		if a.Is4() {
			c.Relay.IPv4 = a
		} else {
			c.Relay.IPv6 = a
		}
	}
	if key, ok := r.cfg.Key.Key(); ok {
		c.Relay.Key = key[:]
	}
	copies := "by sockets"
	if r.cfg.XDP.Egress != "" {
		if r.plane, err = openPlane(r.cfg.XDP, r.cfg.MaxTunnels, r.log); err != nil {
			r.plane = nil
			r.log.Warn("packets are copied by sockets: the kernel cannot do it", "reason", err)
		} else {
			c.Plane = r.plane
			copies = fmt.Sprintf("in the kernel, from %s to %s", r.cfg.XDP.Upstream, r.cfg.XDP.Egress)
		}
	}
	if r.server, err = amt.NewServer(c); err != nil {
		close(r.served)
		r.closePlane()
		_ = upstream.Close()
		return err
	}
	go func() {
		defer close(r.served)
		r.failed = r.server.Run(context.Background())
	}()
	r.tell(copies)
	go r.watch()
	return nil
}

// tell says at the start what the relay does.
func (r *Relay) tell(copies string) {
	upstream := "UDP packets, by sockets"
	switch {
	case r.chains != nil:
		upstream = "relays: " + relaysText(&r.cfg.Upstream.AMTRelays)
	case r.native.Whole():
		upstream = "whole packets, of all ports"
	}
	r.log.Info("AMT relay", "listen", texts(r.server.Addrs()), "advertise", texts(r.advertised()), "upstream", upstream, "copies", copies,
		"max_tunnels", r.cfg.MaxTunnels)
	r.tellOpen(&r.cfg.Allow)
}

func (r *Relay) tellOpen(a *config.AMTAllow) {
	if a.Open() {
		r.log.Warn("the AMT relay is open: anybody may have any channel that it can join", "remedy", "amt.allow")
	}
}

// texts joins what has a text.
func texts[T fmt.Stringer](list []T) string {
	var all []string
	for _, x := range list {
		all = append(all, x.String())
	}
	return strings.Join(all, " ")
}

func (r *Relay) upstream() (amt.Upstream, error) {
	u := &r.cfg.Upstream
	if u.Tunnels() {
		r.chains = newChains(u.AMTRelays, u.MaxSources, r.own(), r.log)
		return r.chains, nil
	}
	var err error
	r.native, err = amt.NewNative(amt.NativeConfig{Ports: u.Ports, Sockets: u.Sockets, Interface: u.Interface, Logger: r.log})
	return r.native, err
}

// allows is asked for each channel that a gateway wants.
func (r *Relay) allows(gateway netip.AddrPort, source, group netip.Addr) bool {
	a := r.allow.Load()
	return within(a.Gateways, gateway.Addr()) && within(a.Groups, group) && (!source.IsValid() && len(a.Sources) == 0 || within(a.Sources, source))
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Apply changes a running relay; next is the configuration, old the one that it has, both of which may ask for nothing.
// What cannot change without a restart is an error, and then nothing changes.
func (r *Relay) Apply(next config.AMT) error {
	if r == nil {
		return node.Fixed(node.Value{Key: "amt", Old: false, New: next.Enabled()})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fixed(&next); err != nil {
		return err
	}
	if err := r.addChannels(next.Bridge.Channels); err != nil {
		return err
	}
	r.allow.Store(&next.Allow) // from here on nothing fails
	if r.server != nil {
		r.server.SetLimits(next.MaxGroupsPerTunnel, next.MaxSourcesPerGroup, next.MaxChannelsPerTunnel)
		if !r.cfg.Allow.Open() {
			r.tellOpen(&next.Allow)
		}
	}
	if r.chains != nil && !reflect.DeepEqual(r.cfg.Upstream.AMTRelays, next.Upstream.AMTRelays) {
		r.chains.set(next.Upstream.AMTRelays)
	}
	have := r.cfg
	r.cfg = next
	if r.bridge == nil {
		return nil
	}
	if !reflect.DeepEqual(have.Bridge.AMTRelays, next.Bridge.AMTRelays) {
		r.bridge.set(next.Bridge.AMTRelays)
	}
	for _, c := range have.Bridge.Channels {
		if !slices.Contains(next.Bridge.Channels, c) {
			r.bridge.remove(c)
		}
	}
	return nil
}

// addChannels bridges what is not bridged yet, by the relays that there are; all of it or nothing.
func (r *Relay) addChannels(channels []config.AMTChannel) error {
	if r.bridge == nil {
		return nil
	}
	var added []config.AMTChannel
	for _, c := range channels {
		if r.bridge.have[c] {
			continue
		}
		if err := r.bridge.add(c); err != nil {
			for _, c := range added {
				r.bridge.remove(c)
			}
			return err
		}
		added = append(added, c)
	}
	return nil
}

// fixed refuses a change of what needs a restart: all but what Apply changes.
func (r *Relay) fixed(next *config.AMT) error {
	a, b := r.cfg, *next
	changed := a.Upstream.Tunnels() != b.Upstream.Tunnels() || a.Upstream.DRIAD != b.Upstream.DRIAD ||
		a.Bridge.Interface != b.Bridge.Interface || a.Bridge.DRIAD != b.Bridge.DRIAD
	for _, c := range []*config.AMT{&a, &b} {
		c.Allow, c.Upstream.AMTRelays, c.Bridge = config.AMTAllow{}, config.AMTRelays{}, config.AMTBridge{}
		c.Drain, c.MaxGroupsPerTunnel, c.MaxSourcesPerGroup, c.MaxChannelsPerTunnel = 0, 0, 0, 0
		if len(c.Listen) == 0 {
			c.Listen = nil
		}
	}
	return node.Fixed(node.Value{Key: "amt", Old: false, New: changed || !reflect.DeepEqual(a, b)})
}

// Drain takes no more gateways and returns when the present ones have left, or the configured time or ctx is over.
func (r *Relay) Drain(ctx context.Context) {
	if r == nil || r.server == nil {
		return
	}
	r.mu.Lock()
	r.draining = true
	limit := r.cfg.Drain
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tunnels := r.server.Stats().Tunnels
	if tunnels > 0 {
		r.log.Info("the AMT relay waits for its gateways to go elsewhere", "tunnels", tunnels, "most", limit)
	}
	if err := r.server.Drain(ctx); err != nil {
		r.log.Warn("the AMT relay ends with gateways that have not gone elsewhere", "tunnels", r.server.Stats().Tunnels, "remedy", "amt.drain")
	}
}

// Close ends it. It may be called more than once.
func (r *Relay) Close() error {
	if r == nil {
		return nil
	}
	if r.bridge != nil {
		r.bridge.close()
	}
	if r.server != nil {
		_ = r.server.Close()
	}
	<-r.served
	r.closePlane()
	return nil
}

func (r *Relay) closePlane() {
	if r.plane != nil {
		_ = r.plane.Close()
	}
}

// failures is closed when the relay's sockets have failed; never, if there is no relay.
func (r *Relay) failures() <-chan struct{} {
	if r.server == nil {
		return nil
	}
	return r.served
}

// NotReady says what keeps the relay from its work.
func (r *Relay) NotReady() (reasons []string) {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		reasons = append(reasons, "the AMT relay is ending")
	}
	select {
	case <-r.served:
		if r.server != nil {
			reasons = append(reasons, "the AMT relay has ended")
		}
	default:
	}
	return reasons
}

// Addrs are the addresses where gateways ask.
func (r *Relay) Addrs() []netip.AddrPort {
	if r == nil || r.server == nil {
		return nil
	}
	return r.server.Addrs()
}

// Status is the relay's part of a status; nil for a nil relay.
func (r *Relay) Status() *telemetry.AMT {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	cfg, draining := r.cfg, r.draining
	r.mu.Unlock()
	st := &telemetry.AMT{Draining: draining}
	if r.server != nil {
		r.serverStatus(st, cfg.MaxTunnels)
	}
	if r.bridge != nil {
		st.Bridge = r.bridge.status(&cfg.Bridge)
	}
	return st
}

func (r *Relay) serverStatus(st *telemetry.AMT, maxTunnels int) {
	s := r.server.Stats()
	for _, a := range r.server.Addrs() {
		st.Listen = append(st.Listen, a.String())
	}
	st.Tunnels, st.MaxTunnels, st.Channels = uint64(s.Tunnels), uint64(maxTunnels), uint64(s.Channels)
	st.Unjoined, st.JoinErrors = uint64(s.Unjoined), s.JoinErrors
	st.Messages = map[string]uint64{"discovery": s.Discoveries, "request": s.Requests, "update": s.Updates, "teardown": s.Teardowns}
	st.Rejected = map[string]uint64{
		"malformed": s.RelayStats.Malformed, "unexpected": s.Unexpected, "bad_mac": s.BadMAC, "limited": s.Limited,
		"refused": s.RelayStats.Refused, "ignored": s.Denied, "over_limit": s.Ignored - s.Denied, "no_address": s.NoAddress,
	}
	st.Opened, st.Closed, st.Expired, st.Unreachable = s.Opened, s.Closed, s.Expired, s.Unreachable
	st.Packets, st.Copies, st.CopyOctets, st.Fragmented = s.Packets, s.Copies, s.Octets, s.Fragmented
	st.Dropped = map[string]uint64{"refused": s.Refused, "too_big": s.TooBig, "malformed": s.Malformed}
	switch {
	case r.chains != nil:
		c, relays := r.chains.stats()
		st.Upstream, st.UpstreamRelay = "relay", relays
		st.Dropped["loop"], st.Dropped["expired"] = c.Looped, c.Expired
	case r.native.Whole():
		st.Upstream = "packets"
		st.Dropped["queue"] = r.native.Dropped()
	default:
		st.Upstream = "sockets"
		st.Dropped["queue"] = r.native.Dropped()
	}
}

func (c *bridges) status(cfg *config.AMTBridge) *telemetry.AMTBridge {
	s, relays := c.stats()
	return &telemetry.AMTBridge{
		Interface: cfg.Interface, Relay: relays, Channels: uint64(len(cfg.Channels)), StandingBy: uint64(s.StandingBy),
		Packets: s.Sent, Octets: s.SentOctets,
		Dropped: map[string]uint64{"refused": s.Refused, "loop": s.Looped, "expired": s.Expired, "standing_by": s.Withheld},
	}
}
