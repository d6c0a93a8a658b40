package amtrelay

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/internal/config"
)

// chains is an upstream that takes packets from other relays.
type chains struct {
	tunnels[*amt.Chain]
	past amt.ChainStats // of those that have ended; guarded by the mutex of tunnels
}

func newChains(relays config.AMTRelays, most int, own []netip.AddrPort, log *slog.Logger) *chains {
	c := &chains{tunnels: tunnels[*amt.Chain]{own: own, most: max(most, 1), relays: relays, log: log}}
	c.open = func(list []amt.Candidate, told func(amt.ConnEvent)) (*amt.Chain, error) {
		return amt.NewChain(amt.ChainConfig{Gateway: amt.GatewayConfig{Relays: list}, RelaysLater: true, OnEvent: told, Logger: log})
	}
	c.ended = func(end *amt.Chain) {
		s := end.Stats()
		c.past.Looped += s.Looped
		c.past.Expired += s.Expired
	}
	return c
}

// Join implements amt.Upstream.
func (c *chains) Join(source, group netip.Addr, deliver func(packets [][]byte)) error {
	return c.join(source, func(end *amt.Chain) error { return end.Join(source, group, deliver) })
}

// Leave implements amt.Upstream.
func (c *chains) Leave(source, group netip.Addr) {
	c.leave(source, func(end *amt.Chain) { end.Leave(source, group) })
}

// Close implements amt.Upstream.
func (c *chains) Close() error {
	c.close()
	return nil
}

// stats are the sums, and the relays in use.
func (c *chains) stats() (s amt.ChainStats, relays string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.past
	var used []netip.AddrPort
	c.each(func(end *amt.Chain) {
		t := end.Stats()
		s.Looped += t.Looped
		s.Expired += t.Expired
		used = append(used, t.Relay)
	})
	return s, inUse(used)
}

// inUse joins the addresses of relays, each once.
func inUse(relays []netip.AddrPort) string {
	relays = slices.DeleteFunc(relays, func(a netip.AddrPort) bool { return !a.IsValid() })
	slices.SortFunc(relays, netip.AddrPort.Compare)
	var texts []string
	for _, a := range slices.Compact(relays) {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// bridges bring channels from relays onto a network.
type bridges struct {
	tunnels[*amt.Bridge]
	past amt.BridgeStats            // of those that have ended; guarded by the mutex of tunnels
	have map[config.AMTChannel]bool // add and remove are called by one goroutine at a time
}

func newBridges(b *config.AMTBridge, own []netip.AddrPort, log *slog.Logger) *bridges {
	const most = 1 << 16 // the channels are those of the configuration
	c := &bridges{have: make(map[config.AMTChannel]bool), tunnels: tunnels[*amt.Bridge]{own: own, most: most, relays: b.AMTRelays, log: log}}
	c.open = func(list []amt.Candidate, told func(amt.ConnEvent)) (*amt.Bridge, error) {
		return amt.NewBridge(amt.BridgeConfig{
			Interface: b.Interface, Gateway: amt.GatewayConfig{Relays: list}, RelaysLater: true, OnEvent: told, Logger: log,
		})
	}
	c.ended = func(end *amt.Bridge) { addBridge(&c.past, end.Stats()) }
	return c
}

func (c *bridges) add(ch config.AMTChannel) error {
	if c.have[ch] {
		return nil
	}
	err := c.join(ch.Source, func(end *amt.Bridge) error { return end.Join(ch.Source, ch.Group) })
	if err != nil {
		return fmt.Errorf("bridge %s: %w", ch, err)
	}
	c.have[ch] = true
	return nil
}

func (c *bridges) remove(ch config.AMTChannel) {
	if c.have[ch] {
		delete(c.have, ch)
		c.leave(ch.Source, func(end *amt.Bridge) { end.Leave(ch.Source, ch.Group) })
	}
}

// stats are the sums, and the relays in use.
func (c *bridges) stats() (s amt.BridgeStats, relays string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.past
	var used []netip.AddrPort
	c.each(func(end *amt.Bridge) {
		t := end.Stats()
		addBridge(&s, t)
		s.StandingBy += t.StandingBy
		used = append(used, t.Relay)
	})
	return s, inUse(used)
}

// addBridge adds the counters that rise only.
func addBridge(s *amt.BridgeStats, t amt.BridgeStats) {
	s.Sent += t.Sent
	s.SentOctets += t.SentOctets
	s.Refused += t.Refused
	s.Expired += t.Expired
	s.Looped += t.Looped
	s.Withheld += t.Withheld
}

// joins tells the log which channels are joined.
type joins struct {
	amt.Upstream
	log *slog.Logger
}

// Join implements amt.Upstream.
func (j joins) Join(source, group netip.Addr, deliver func(packets [][]byte)) error {
	err := j.Upstream.Join(source, group, deliver)
	if err == nil {
		j.log.Debug("a channel is joined for gateways", "source", anySource(source), "group", group)
	}
	return err // the server tells of it
}

// Leave implements amt.Upstream.
func (j joins) Leave(source, group netip.Addr) {
	j.Upstream.Leave(source, group)
	j.log.Debug("a channel is left: no gateway wants it any more", "source", anySource(source), "group", group)
}

func anySource(a netip.Addr) string {
	if !a.IsValid() {
		return "*"
	}
	return a.String()
}
