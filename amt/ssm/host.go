package ssm

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
)

// Config configures a [Host]. The zero value is useful.
type Config struct {
	// Interface is where groups are joined, by name, index or address, unless the
	// Join says otherwise. Default: the interface on the route to the source.
	Interface string
	// ReceiveBuffer is the size in octets to ask for each socket; what the
	// system grants is in [Receiver.ReceiveBuffer]. Default: 4 MiB, half a
	// second of 64 Mbit/s. The system's own default holds about 92 packets.
	ReceiveBuffer int
	// MaxReceivers bounds the receivers open at a time. Default: 1024.
	MaxReceivers int
	// NoOffload turns coalescing of packets (UDP_GRO) off.
	NoOffload bool
	// Logger is told, once per Host, when the system grants a smaller receive
	// buffer. Default: silent.
	Logger *slog.Logger
}

// Defaults of [Config].
const (
	DefaultReceiveBuffer = 4 << 20
	DefaultMaxReceivers  = 1024
)

// Host holds the multicast memberships of one node and counts their users. It
// is safe for concurrent use.
type Host struct {
	config     Config
	warnBuffer sync.Once

	mu        sync.Mutex // guards below
	closed    bool
	joining   int // receivers on their way, counted against MaxReceivers
	receivers map[*Receiver]struct{}
}

// Membership is one channel on one interface, with all its users.
type Membership struct {
	Channel   Channel
	Interface string
	Users     int
	Stats     Stats // the sum over the present users
}

// NewHost returns a host without memberships.
func NewHost(config Config) *Host {
	if config.ReceiveBuffer <= 0 {
		config.ReceiveBuffer = DefaultReceiveBuffer
	}
	if config.MaxReceivers <= 0 {
		config.MaxReceivers = DefaultMaxReceivers
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Host{config: config, receivers: make(map[*Receiver]struct{})}
}

// Join joins ch on the interface given by name, index or address and returns a
// receiver of its packets. An empty name means [Config.Interface], or else the
// interface on the route to the source. The receiver closes when ctx ends.
//
// It stays joined while the interface is down. One that is removed and made anew,
// under whatever name, has to be joined again; nothing tells the receiver.
//
// Failures of the system are of type [*Error]; they match [errors.ErrUnsupported]
// where the system has no source-specific multicast.
func (h *Host) Join(ctx context.Context, ch Channel, iface string) (*Receiver, error) {
	if err := ch.Validate(); err != nil {
		return nil, err
	}
	if err := supported("join", ch.Source, ch.Group); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if iface == "" {
		iface = h.config.Interface
	}
	ifi, err := pickInterface(iface, ch.Source)
	if err != nil {
		return nil, err
	}
	if err := h.reserve(); err != nil {
		return nil, err
	}
	r, err := openReceiver(h, ch, ifi)

	h.mu.Lock()
	h.joining--
	closed := h.closed
	if err == nil && !closed {
		h.receivers[r] = struct{}{}
	}
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if closed {
		return nil, closeAfter(r, net.ErrClosed)
	}
	r.watch(ctx)
	return r, nil
}

func closeAfter(r *Receiver, err error) error {
	_ = r.Close()
	return fmt.Errorf("ssm: host: %w", err)
}

func (h *Host) reserve() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("ssm: host: %w", net.ErrClosed)
	}
	if len(h.receivers)+h.joining >= h.config.MaxReceivers {
		return ErrTooManyReceivers
	}
	h.joining++
	return nil
}

func (h *Host) forget(r *Receiver) {
	h.mu.Lock()
	delete(h.receivers, r)
	h.mu.Unlock()
}

// Memberships returns what is joined now, in order of group, source, port and
// interface.
func (h *Host) Memberships() []Membership {
	h.mu.Lock()
	receivers := make([]*Receiver, 0, len(h.receivers))
	for r := range h.receivers {
		receivers = append(receivers, r)
	}
	h.mu.Unlock()

	type key struct {
		ch    Channel
		iface string
	}
	sums := make(map[key]*Membership, len(receivers))
	for _, r := range receivers {
		k := key{r.Channel(), r.Interface()}
		m := sums[k]
		if m == nil {
			m = &Membership{Channel: k.ch, Interface: k.iface}
			sums[k] = m
		}
		m.Users++
		m.Stats.add(r.Stats())
	}
	list := make([]Membership, 0, len(sums))
	for _, m := range sums {
		list = append(list, *m)
	}
	slices.SortFunc(list, compareMemberships)
	return list
}

func compareMemberships(a, b Membership) int {
	if c := a.Channel.Group.Compare(b.Channel.Group); c != 0 {
		return c
	}
	if c := a.Channel.Source.Compare(b.Channel.Source); c != 0 {
		return c
	}
	if a.Channel.Port != b.Channel.Port {
		return int(a.Channel.Port) - int(b.Channel.Port)
	}
	if a.Interface < b.Interface {
		return -1
	}
	return 1
}

// Close closes all receivers of the host, which unblocks their readers. It may
// be called more than once.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	receivers := make([]*Receiver, 0, len(h.receivers))
	for r := range h.receivers {
		receivers = append(receivers, r)
	}
	h.mu.Unlock()

	var first error
	for _, r := range receivers {
		if err := r.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
