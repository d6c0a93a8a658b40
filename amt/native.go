package amt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/treedn/treedn/amt/internal/rawip"
	"github.com/treedn/treedn/amt/ssm"
)

// NativeConfig configures [NewNative]. The zero value is useful with
// CAP_NET_RAW.
type NativeConfig struct {
	// Ports are the UDP ports whose packets are wanted where whole packets cannot
	// be had, or Sockets is set: a socket gets those of one port.
	Ports []uint16
	// Sockets never takes whole packets.
	Sockets bool
	// Interface is where to join, by name, index or address. It has to be there, but
	// may be down. Default: the one on the route to the source.
	Interface string
	// TTL is what the packets have when they enter the tunnels if their headers
	// are made anew: sockets do not tell what they came with. Default: 16.
	TTL uint8
	// ReceiveBuffer is the size in octets to ask for each socket. Default: 4 MiB;
	// for whole packets, of which all channels share a socket, 32 MiB.
	ReceiveBuffer int
	// Logger is told which of the two it is, and about what goes wrong. Default:
	// silent.
	Logger *slog.Logger
}

// ErrPrivilege is returned by [NewNative] without ports and without the
// privilege to do without them.
var ErrPrivilege = errors.New("amt: packets to all ports of a channel need CAP_NET_RAW on Linux " +
	"(run as root, or setcap cap_net_raw+ep on the program); without it the UDP ports must be given")

// Native is an [Upstream] that joins channels on this machine's networks.
//
// With CAP_NET_RAW on Linux it takes whole packets off the interface: of all
// ports, with the headers that they came with, fragments and other protocols
// than UDP included, as RFC 7450 section 5.3.3.6 wants it.
//
// Without, it uses ordinary sockets, which have but the UDP packets to the ports
// that they are told. Their IP headers are made anew: with no options, DF set,
// and the TTL of the configuration.
type Native struct {
	config NativeConfig
	whole  *wholePackets // nil: sockets
	host   *ssm.Host
	log    *slog.Logger

	mu     sync.Mutex // guards below
	joined map[[2]netip.Addr]context.CancelFunc
	done   sync.WaitGroup
}

// NewNative returns an upstream. The error matches [ErrPrivilege], or
// [ssm.ErrInterface] if there is no such Interface.
func NewNative(config NativeConfig) (*Native, error) {
	if config.Interface != "" {
		// A name that was mistyped would otherwise be an error of each Join.
		var e *ssm.Error
		if _, err := ssm.InterfaceFor(config.Interface, netip.Addr{}); errors.As(err, &e) && e.Interface == "" {
			return nil, fmt.Errorf("amt: %w", err)
		}
	}
	if config.TTL == 0 {
		config.TTL = 16
	}
	n := &Native{config: config, log: LimitLog(config.Logger), joined: make(map[[2]netip.Addr]context.CancelFunc)}
	reason := errors.New("as configured")
	if !config.Sockets {
		if reason = rawip.Available(); reason == nil {
			n.whole = newWholePackets(config.Interface, config.ReceiveBuffer, n.log)
			n.log.Info("channels are taken with all their ports, as whole packets")
			return n, nil
		}
	}
	if len(config.Ports) == 0 {
		return nil, fmt.Errorf("%w (%w)", ErrPrivilege, reason)
	}
	n.log.Info("channels are taken by sockets: only the UDP ports of the configuration, and with new IP headers",
		"ports", config.Ports, "reason", reason)
	n.host = ssm.NewHost(ssm.Config{
		Interface: config.Interface, ReceiveBuffer: config.ReceiveBuffer, Logger: n.log,
	})
	return n, nil
}

// Whole reports whether it takes whole packets.
func (n *Native) Whole() bool { return n.whole != nil }

// Dropped counts packets that came faster than they could be delivered.
func (n *Native) Dropped() (packets uint64) {
	if n.whole != nil {
		return n.whole.dropped()
	}
	for _, m := range n.host.Memberships() {
		packets += m.Stats.Dropped
	}
	return packets
}

// Join is for [Server].
func (n *Native) Join(source, group netip.Addr, deliver func(packets [][]byte)) error {
	if n.whole != nil {
		return n.whole.join(source, group, deliver)
	}
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
	if n.whole != nil {
		n.whole.leave(source, group)
		return
	}
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
	if n.whole != nil {
		return n.whole.close()
	}
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
