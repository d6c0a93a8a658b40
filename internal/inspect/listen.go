package inspect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/packetio"
)

// ListenConfig configures Listen.
type ListenConfig struct {
	// Channels are what to receive from the beginning: multicasts, or addresses of this machine for unicast.
	Channels []Channel
	// Interface is where groups are joined; empty is the one on the route to the source, or to the group if no source is
	// known.
	Interface string
	// Relays are AMT relays (RFC 7450) that bring multicasts of a known source where none comes natively.
	Relays []amt.Candidate
	// Follow joins what signalling names, from the Source of the channel there.
	Follow bool
	// Source, if set, takes the place of the sources that signalling names.
	Source netip.Addr
	// Every is the time between two calls of Tick. Default 250 ms.
	Every time.Duration
	// Tick is called while nothing else uses the Inspector. Nil is none.
	Tick func()
	// Joined is told of every channel that is received, and of those that cannot be, and why. Nil is silent.
	Joined func(Channel, error)
}

// ErrNothing: none of the channels can be received. ListenConfig.Joined was told why.
var ErrNothing = errors.New("inspect: nothing can be received")

// maxJoins bounds the channels that are received at a time.
const maxJoins = 64

// listener receives several channels into one Inspector.
type listener struct {
	cfg  ListenConfig
	host *ssm.Host

	mu sync.Mutex // guards in
	in *Inspector

	wg     sync.WaitGroup
	joined map[netip.AddrPort]bool
}

// Listen receives channels into an Inspector until the context ends, which is no error. It fails if it can receive none
// of them.
func Listen(ctx context.Context, cfg ListenConfig, in *Inspector) error {
	if cfg.Every <= 0 {
		cfg.Every = 250 * time.Millisecond
	}
	if cfg.Joined == nil {
		cfg.Joined = func(Channel, error) {}
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &listener{cfg: cfg, host: ssm.NewHost(ssm.Config{Interface: cfg.Interface}), in: in, joined: map[netip.AddrPort]bool{}}
	defer l.wg.Wait()
	defer l.host.Close()
	defer cancel()
	for _, c := range cfg.Channels {
		_ = l.join(ctx, c) // Joined was told
	}
	if len(l.joined) == 0 {
		return ErrNothing
	}
	tick := time.NewTicker(cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l.mu.Lock()
		in.Advance(time.Now())
		announced := in.Announced()
		if cfg.Tick != nil {
			cfg.Tick()
		}
		l.mu.Unlock()
		for _, c := range announced {
			if !cfg.Follow || l.joined[c.Destination] || len(l.joined) >= maxJoins {
				continue
			}
			if cfg.Source.IsValid() {
				c.Source = cfg.Source
			}
			_ = l.join(ctx, c) // Joined was told
		}
	}
}

func (l *listener) join(ctx context.Context, c Channel) error {
	if l.joined[c.Destination] {
		return nil
	}
	source, err := l.open(ctx, c)
	if err != nil {
		err = fmt.Errorf("%s: %w", c, err)
	}
	l.cfg.Joined(c, err)
	if err != nil {
		return err
	}
	l.joined[c.Destination] = true
	l.mu.Lock()
	l.in.Listening(c.Destination)
	l.mu.Unlock()
	l.wg.Go(func() {
		defer source.Close()
		for {
			err := source.Receive(func(at time.Time, from, to netip.AddrPort, run []byte, size int) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if size <= 0 {
					size = len(run)
				}
				for packet := range packetio.Segments(run, size) {
					l.in.Push(at, from, to, packet)
				}
			})
			if err != nil {
				return
			}
		}
	})
	return nil
}

// open opens the socket of a channel, which closes with the context.
func (l *listener) open(ctx context.Context, c Channel) (packetio.Source, error) {
	to := c.Destination
	if to.Addr().IsMulticast() && c.Source.IsValid() && len(l.cfg.Relays) > 0 {
		conn, err := amt.Dial(ctx, c.Source, to, amt.DialConfig{
			Mode: amt.ModeAuto, Interface: l.cfg.Interface, Gateway: amt.GatewayConfig{Relays: l.cfg.Relays},
		})
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	}
	if to.Addr().IsMulticast() {
		group, name := ssm.Channel{Source: c.Source, Group: to.Addr(), Port: to.Port()}, l.cfg.Interface
		if err := group.Validate(); err != nil {
			return nil, err
		}
		if name == "" && !c.Source.IsValid() {
			var err error
			if name, err = interfaceTo(to); err != nil {
				return nil, err
			}
		}
		r, err := l.host.Join(ctx, group, name)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return packetio.Datagrams(conn, to), nil
}

// ErrRoute is matched by the error for a group without a source if no interface has a route to it.
var ErrRoute = errors.New("inspect: no route to the group")

// interfaceTo names the interface on the route to a destination.
func interfaceTo(to netip.AddrPort) (string, error) {
	conn, err := net.Dial("udp", to.String()) // sends nothing
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRoute, err)
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for i := range interfaces {
		addresses, err := interfaces[i].Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == local.WithZone("") {
				return interfaces[i].Name, nil
			}
		}
	}
	return "", fmt.Errorf("%w: no interface has the address %s", ErrRoute, local)
}

// String returns the source and the destination.
func (c Channel) String() string {
	if c.Source.IsValid() {
		return fmt.Sprintf("%s from %s", c.Destination, c.Source)
	}
	return c.Destination.String()
}
