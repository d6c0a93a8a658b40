package amtr

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt"
)

// Method is how a tracker sees messages.
type Method uint8

const (
	// MethodAuto takes MethodBPF if the system allows it, else MethodSocket.
	MethodAuto Method = iota
	// MethodBPF has programs count in the kernel, and copies nothing of what data
	// tunnels carry. It needs CAP_BPF and CAP_NET_ADMIN.
	MethodBPF
	// MethodSocket reads the headers of all messages from packet sockets. It needs
	// CAP_NET_RAW.
	MethodSocket
)

// String returns "auto", "bpf" or "socket".
func (m Method) String() string {
	switch m {
	case MethodAuto:
		return "auto"
	case MethodBPF:
		return "bpf"
	case MethodSocket:
		return "socket"
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// Config configures a [Tracker]. Interfaces is required.
type Config struct {
	// Interfaces are those, of Ethernet, that messages of gateways pass.
	Interfaces []string
	// Port is the relay's. Default: [amt.Port].
	Port uint16
	// Method is how to see messages. Default: MethodAuto.
	Method Method
	// MaxGateways bounds the gateways that are known at a time. With MethodBPF the
	// kernel has room for twice as many, of some 200 octets each. Default: 65,536.
	MaxGateways int
	// Idle is how long no data goes to a gateway until it counts as idle.
	// Default: 30 s.
	Idle time.Duration
	// Lifetime is how long a tunnel lasts without an Update and without data. It
	// is to be that of the relay. Gateways without a tunnel are forgotten after
	// twice that. Default: 260 s, as of Linux and RFC 3376.
	Lifetime time.Duration
	// Buffer is the number of events that wait to be taken. Default: 4,096.
	Buffer int
	// Logger is told what was tried and what came of it. Default: silent.
	Logger *slog.Logger
}

// ErrConfig is matched by errors about a Config that no system can do.
var ErrConfig = errors.New("invalid configuration")

func (c *Config) populate() error {
	if len(c.Interfaces) == 0 {
		return fmt.Errorf("amtr: %w: no interface", ErrConfig)
	}
	if c.Method > MethodSocket || c.MaxGateways < 0 || c.Idle < 0 || c.Lifetime < 0 || c.Buffer < 0 {
		return fmt.Errorf("amtr: %w: value out of range", ErrConfig)
	}
	orDefault(&c.Port, amt.Port)
	orDefault(&c.MaxGateways, 1<<16)
	orDefault(&c.Idle, 30*time.Second)
	orDefault(&c.Lifetime, 260*time.Second)
	orDefault(&c.Buffer, 4096)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func orDefault[T uint16 | int | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// source is where records come from.
type source interface {
	// run calls handle with each until stop.
	run(handle func(*record)) error
	stop() error
	// stats adds what it counted.
	stats(*Stats)
	// fill replaces counters of a gateway by those that are kept elsewhere.
	fill(*Gateway)
	// lastData and forgotten are what a table may ask.
	lastData(gateway netip.AddrPort) (time.Time, bool)
	forgotten(gateway netip.AddrPort)
	// close follows the end of run.
	close() error
}

// Tracker watches the messages of a relay and its gateways. Its methods may be
// called by several goroutines at a time.
type Tracker struct {
	method Method
	source source
	events chan Event
	done   chan struct{}
	wg     sync.WaitGroup
	once   sync.Once
	closed error

	mu    sync.Mutex // guards below
	table *table
	lost  uint64
	final *Stats // those of the source, once it is closed
}

// Open starts to watch. The error matches [errors.ErrUnsupported] where no
// tracker works, and [os.ErrPermission] where it is for want of a capability.
func Open(config Config) (*Tracker, error) {
	if err := config.populate(); err != nil {
		return nil, err
	}
	methods := []Method{MethodBPF, MethodSocket}
	if config.Method != MethodAuto {
		methods = []Method{config.Method}
	}
	var failed []error
	for _, m := range methods {
		s, err := newSource(m, &config)
		if err != nil {
			config.Logger.Info("cannot track AMT messages this way", "method", m, "err", err)
			failed = append(failed, fmt.Errorf("%v: %w", m, err))
			continue
		}
		config.Logger.Info("tracking AMT messages", "method", m, "interfaces", config.Interfaces)
		return start(&config, m, s), nil
	}
	return nil, fmt.Errorf("amtr: %w", errors.Join(failed...))
}

func start(config *Config, m Method, s source) *Tracker {
	t := &Tracker{method: m, source: s, events: make(chan Event, config.Buffer), done: make(chan struct{})}
	t.table = newTable(config, func(e Event) {
		select {
		case t.events <- e:
		default:
			t.lost++
		}
	})
	t.table.lastData, t.table.forgotten = s.lastData, s.forgotten
	t.wg.Go(func() {
		if err := s.run(t.handle); err != nil {
			config.Logger.Error("tracking AMT messages ended", "err", err)
		}
	})
	t.wg.Go(func() {
		ticker := time.NewTicker(max(min(config.Idle/4, time.Second), time.Millisecond))
		defer ticker.Stop()
		for {
			select {
			case <-t.done:
				return
			case now := <-ticker.C:
				t.mu.Lock()
				t.table.tick(now)
				t.mu.Unlock()
			}
		}
	})
	return t
}

func (t *Tracker) handle(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.handle(r)
}

// Method returns MethodBPF or MethodSocket.
func (t *Tracker) Method() Method { return t.method }

// Events returns the channel of events, which Close closes. What is not taken
// in time is lost, see [Stats].
func (t *Tracker) Events() <-chan Event { return t.events }

// Gateways iterates over the gateways that are known, those with a tunnel first.
func (t *Tracker) Gateways() iter.Seq[Gateway] {
	return func(yield func(Gateway) bool) {
		var list []Gateway
		t.mu.Lock()
		t.table.all(func(g *Gateway) bool { list = append(list, *g); return true })
		open := t.final == nil
		t.mu.Unlock()
		for i := range list {
			if open {
				t.source.fill(&list[i])
			}
			if !yield(list[i]) {
				return
			}
		}
	}
}

// Stats returns counters.
func (t *Tracker) Stats() (s Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.final != nil {
		s = *t.final
	} else {
		t.source.stats(&s)
	}
	s.LostEvents, s.Evicted = t.lost, t.table.evicted
	return s
}

// Close stops to watch. What is known of gateways stays.
func (t *Tracker) Close() error {
	t.once.Do(func() {
		close(t.done)
		stopped := t.source.stop()
		t.wg.Wait()
		t.mu.Lock()
		t.table.all(func(g *Gateway) bool { t.source.fill(g); return true })
		t.final = new(Stats)
		t.source.stats(t.final)
		t.mu.Unlock()
		t.closed = errors.Join(stopped, t.source.close())
		close(t.events)
	})
	return t.closed
}
