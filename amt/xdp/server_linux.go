package xdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
)

var _ amt.Plane = (*Plane)(nil)

// report is what an amt.Server has been told of a tunnel.
type report struct {
	tunnel          amt.Tunnel
	packets, octets uint64
}

// resolution is how long Forward waits for next hops that the kernel has to look
// for.
const resolution = 250 * time.Millisecond

// Forward is for [amt.Server], and needs Config.Upstream: the plane takes the
// packets of a channel off that interface, for all of its tunnels. If it cannot
// take them all it fails, with an error that matches [ErrNotTaken] or is one of
// [Plane.Route], and the channel is left to the server.
func (p *Plane) Forward(source, group netip.Addr, copies []amt.PlaneCopy) error {
	if p.config.Upstream == "" {
		return fmt.Errorf("xdp: without Config.Upstream packets come by Send alone: %w", errors.ErrUnsupported)
	}
	tunnels, taken := make([]Tunnel, len(copies)), make([]bool, len(copies))
	mtu := 1 << 16
	for i := range copies {
		c := &copies[i]
		tunnels[i] = Tunnel{Local: c.From, Gateway: c.Tunnel.Gateway(), ECN: c.Tunnel.ECN}
		mtu = min(mtu, int(c.Tunnel.MTU))
	}
	for deadline := time.Now().Add(resolution); ; {
		version := p.Version()
		if err := p.Route(source, group, mtu, tunnels, taken); err != nil {
			return err
		}
		if len(copies) > 0 && taken[0] {
			break // all are
		}
		for p.Version() == version {
			if !p.looking() || time.Now().After(deadline) {
				return fmt.Errorf("xdp: %v, %v to %d tunnels: %w", source, group, len(copies), ErrNotTaken)
			}
			time.Sleep(time.Millisecond)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range copies {
		id := tunnelID{tunnels[i].Local, tunnels[i].Gateway}
		if p.reported[id] == nil {
			p.reported[id] = new(report)
		}
		p.reported[id].tunnel = copies[i].Tunnel
	}
	return nil
}

// looking reports whether the last Route left next hops to be found.
func (p *Plane) looking() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lookedFor
}

// Stop ends Forward.
func (p *Plane) Stop(source, group netip.Addr) {
	if err := p.Route(source, group, 0, nil, nil); err != nil && !errors.Is(err, net.ErrClosed) {
		p.log.Error("cannot end a channel", "source", source, "group", group, "err", err)
	}
}

// Counters yields, for the tunnels of Forward, what has been sent since it was
// called last. Copies that the interface did not take do not count, see [Stats].
func (p *Plane) Counters(yield func(t *amt.Tunnel, packets, octets uint64)) {
	var changed []report
	p.mu.Lock()
	if !p.closed {
		p.settle()
	}
	for id, r := range p.reported {
		n := p.sent(id)
		if n.Packets > r.packets {
			changed = append(changed, report{r.tunnel, n.Packets - r.packets, n.Octets - r.octets})
			r.packets, r.octets = n.Packets, n.Octets
		}
		if t := p.tunnels[id]; t == nil || !t.held {
			delete(p.reported, id)
			p.drop(id)
		}
	}
	p.mu.Unlock()
	for i := range changed {
		yield(&changed[i].tunnel, changed[i].packets, changed[i].octets)
	}
}
