package amt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/treedn/treedn/amt/ssm"
)

// NativeConfig configures [NewNative]. Ports is required.
type NativeConfig struct {
	// Ports are the UDP ports whose packets are wanted. A socket gets those of one
	// port.
	Ports []uint16
	// Interface is where to join, by name or index. Default: the one on the route
	// to the source.
	Interface string
	// TTL is what the packets have when they enter the tunnels; sockets do not
	// tell what they came with. Default: 16.
	TTL uint8
	// ReceiveBuffer is the size in octets to ask for each socket. Default: 4 MiB.
	ReceiveBuffer int
	// Logger is told about what goes wrong. Default: silent.
	Logger *slog.Logger
}

// Native is an [Upstream] that joins channels by ordinary sockets. It needs no
// privilege, and can have but UDP packets to the ports that it is told. Their IP
// headers are made anew: with no options, DF set, and the TTL of the
// configuration.
type Native struct {
	config NativeConfig
	host   *ssm.Host
	log    *slog.Logger

	mu     sync.Mutex // guards below
	joined map[[2]netip.Addr]context.CancelFunc
	done   sync.WaitGroup
}

// NewNative returns an upstream. The error matches [ErrConfig].
func NewNative(config NativeConfig) (*Native, error) {
	if len(config.Ports) == 0 {
		return nil, fmt.Errorf("amt: native upstream: %w: no ports", ErrConfig)
	}
	if config.TTL == 0 {
		config.TTL = 16
	}
	n := &Native{config: config, log: config.Logger, joined: make(map[[2]netip.Addr]context.CancelFunc)}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.host = ssm.NewHost(ssm.Config{
		Interface: config.Interface, ReceiveBuffer: config.ReceiveBuffer, Logger: config.Logger,
	})
	return n, nil
}

// Join is for [Server].
func (n *Native) Join(source, group netip.Addr, deliver func(packets [][]byte)) error {
	ctx, cancel := context.WithCancel(context.Background())
	var receivers []*ssm.Receiver
	for _, port := range n.config.Ports {
		r, err := n.host.Join(ctx, ssm.Channel{Source: source, Group: group, Port: port}, "")
		if err != nil {
			cancel()
			return err
		}
		receivers = append(receivers, r)
	}
	n.mu.Lock()
	n.joined[[2]netip.Addr{source, group}] = cancel
	n.mu.Unlock()
	// Several ports are several sockets, and deliver is for one goroutine.
	var mu sync.Mutex
	for _, r := range receivers {
		n.done.Go(func() { n.read(r, &mu, deliver) })
	}
	return nil
}

func (n *Native) read(r *ssm.Receiver, mu *sync.Mutex, deliver func(packets [][]byte)) {
	ms := ssm.NewMessages(8)
	var arena []byte
	var packets [][]byte
	var ends []int
	for {
		got, err := r.ReadBatch(ms)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
				n.log.Error("receiving a channel for gateways", "channel", r.Channel(), "err", err)
			}
			return
		}
		arena, ends, packets = arena[:0], ends[:0], packets[:0]
		for i := range ms[:got] {
			for payload := range ms[i].Segments {
				arena = AppendUDP(arena, ms[i].Source, r.Channel().Destination(), n.config.TTL, payload)
				ends = append(ends, len(arena))
			}
		}
		start := 0
		for _, end := range ends {
			packets = append(packets, arena[start:end:end])
			start = end
		}
		mu.Lock()
		deliver(packets)
		mu.Unlock()
	}
}

// Leave is for [Server].
func (n *Native) Leave(source, group netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := [2]netip.Addr{source, group}
	if cancel := n.joined[key]; cancel != nil {
		cancel()
		delete(n.joined, key)
	}
}

// Close leaves everything and waits until nothing is delivered any more.
func (n *Native) Close() error {
	err := n.host.Close()
	n.mu.Lock()
	for key, cancel := range n.joined {
		cancel()
		delete(n.joined, key)
	}
	n.mu.Unlock()
	n.done.Wait()
	return err
}
