package amtr

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Backend says how a tracker sees messages.
type Backend uint8

const (
	// Auto uses programs in the kernel, or a packet socket where they are not
	// allowed.
	Auto Backend = iota
	// BPF uses programs in the kernel, which needs Linux 6.6, CAP_BPF and
	// CAP_NET_ADMIN.
	BPF
	// Socket uses a packet socket, which needs CAP_NET_RAW.
	Socket
)

// String returns the name of the back end.
func (b Backend) String() string { return [...]string{"auto", "bpf", "socket"}[b] }

// Config configures a [Tracker]. Interface is required.
type Config struct {
	// Interface is the name of the one that leads to the gateways.
	Interface string
	Backend   Backend
	Table     TableConfig
	// Logger is told which back end it is, and about what goes wrong. Default:
	// silent.
	Logger *slog.Logger
}

// Tracker follows the AMT messages on an interface. It is safe for concurrent use,
// but that Run may be called once.
type Tracker struct {
	backend Backend
	log     *slog.Logger
	source  source

	running sync.Mutex // held by Run

	mu     sync.Mutex // guards below
	table  *Table
	closed bool
}

// source is where messages come from. Its methods are called by one goroutine at a
// time, except for interrupt.
type source interface {
	// read waits for messages, not much longer than until the time given, and calls
	// take with each.
	read(until time.Time, take func(m *Message)) error
	// data calls take with what was counted in the kernel since it was asked last.
	data(take func(gateway netip.AddrPort, packets, octets uint64))
	// lost returns how many messages there was no room for.
	lost() uint64
	// interrupt makes read return, now and later, with an error that matches
	// net.ErrClosed.
	interrupt()
	close() error
}

// Open begins to watch an interface.
func Open(config Config) (*Tracker, error) {
	ifi, err := net.InterfaceByName(config.Interface)
	if err != nil {
		return nil, fmt.Errorf("amtr: interface %q: %w", config.Interface, err)
	}
	t := &Tracker{backend: config.Backend, log: config.Logger, table: NewTable(config.Table)}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if config.Backend != Socket {
		s, err := openPrograms(ifi)
		if err == nil {
			t.source, t.backend = s, BPF
			t.log.Info("AMT messages are watched by programs in the kernel", "interface", ifi.Name)
			return t, nil
		}
		if config.Backend == BPF {
			return nil, err
		}
		t.log.Info("the kernel takes no programs: AMT messages are watched by a packet socket", "interface", ifi.Name, "reason", err)
	}
	s, err := openSocket(ifi)
	if err != nil {
		return nil, err
	}
	t.source, t.backend = s, Socket
	return t, nil
}

// Backend returns BPF or Socket.
func (t *Tracker) Backend() Backend { return t.backend }

// readInterval is how often timeouts and counters are looked at.
const readInterval = 200 * time.Millisecond

// Run follows the messages until ctx ends or the tracker is closed, and calls on
// for each event, from one goroutine.
func (t *Tracker) Run(ctx context.Context, on func(Event)) error {
	t.running.Lock()
	defer t.running.Unlock()
	stop := context.AfterFunc(ctx, t.source.interrupt)
	defer stop()
	for {
		err := t.source.read(time.Now().Add(readInterval), func(m *Message) {
			t.mu.Lock()
			t.table.HandleMessage(m)
			t.mu.Unlock()
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		t.turn(on)
	}
}

// turn counts data, ends what is over and passes events on.
func (t *Tracker) turn(on func(Event)) {
	t.mu.Lock()
	if !t.closed {
		t.source.data(t.table.AddData)
	}
	now := time.Now()
	if at := t.table.NextTimeout(); !at.IsZero() && !at.After(now) {
		t.table.HandleTimeout(now)
	}
	var events []Event
	for {
		e, ok := t.table.PollEvent()
		if !ok {
			break
		}
		events = append(events, e)
	}
	t.mu.Unlock()
	for _, e := range events {
		on(e)
	}
}

// Gateways returns what is known of each gateway now, the one that was silent the
// longest first.
func (t *Tracker) Gateways() (list []Gateway) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for g := range t.table.Gateways {
		list = append(list, g)
	}
	return list
}

// Stats counts what a tracker did.
type Stats struct {
	TableStats
	Lost uint64 // messages for which there was no room on the way
}

// Stats returns the counters.
func (t *Tracker) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{TableStats: t.table.Stats()}
	if !t.closed {
		s.Lost = t.source.lost()
	}
	return s
}

// Close ends Run and stops watching. It may be called more than once.
func (t *Tracker) Close() error {
	t.source.interrupt()
	t.running.Lock() // until Run has returned
	defer t.running.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	return t.source.close()
}
