package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/driad"
)

// Config configures a Conn.
type Config struct {
	Channel ssm.Channel
	// Beside is another UDP port of the same source and group; 0: there is none.
	Beside uint16
	Mode   amt.Mode
	// Relays are those to begin with, and Discovery says how to look for others; nil: not at all.
	Relays    []amt.Candidate
	Discovery *driad.ClientConfig
	// Clients has the client that looks, which all with the same Key share. Default: the Conn has one of its own.
	Clients *Clients
	Key     string
	// Interface is where to join natively. Default: the one on the route to the source.
	Interface string
	Logger    *slog.Logger // default silent
}

// Status is what a Conn does now.
type Status struct {
	// Started says that a packet has come, by Way.
	Started bool
	Way     amt.Way
	// Since is when packets began to come this way.
	Since time.Time
	// Why says why no packets may come, or why they come this way; empty if all is well.
	Why string
	amt.ConnStats
	// RelaysLost counts how often a relay was left since it failed.
	RelaysLost uint64
	// BesideDropped counts packets of the port beside that were lost since they were not read in time.
	BesideDropped uint64
}

// Conn receives a channel. It is a source of packets as package ingress takes it. Its methods are safe for concurrent
// use, except that one goroutine at a time may read.
type Conn struct {
	*amt.Conn
	config Config
	log    *slog.Logger
	finder *Finder
	done   func()  // with the client
	beside *Beside // nil: there is none

	closing sync.Once

	mu    sync.Mutex // guards below
	since time.Time
	why   string
	lost  uint64
}

// Dial begins to receive. It fails if the channel cannot be joined natively and no relay is to be used. The connection
// ends with ctx, but wants to be closed.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	c := &Conn{config: config, log: config.Logger}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	dial := amt.DialConfig{
		Mode: config.Mode, Gateway: amt.GatewayConfig{Relays: config.Relays, ECN: true},
		RelaysLater: config.Mode != amt.ModeNative,
		Interface:   config.Interface, OnEvent: c.event, Logger: c.log,
	}
	if config.Beside != 0 {
		c.beside = newBeside()
		dial.Other = func(p *amt.Packet) {
			if p.Destination.Port() == config.Beside {
				c.beside.put(p.Payload, p.Source)
			}
		}
	}
	// Before the first event: it tells the Finder. It tells the Conn once that is there.
	clients := config.Clients
	if clients == nil {
		clients = new(Clients)
	}
	client, done, err := clients.get(config.Key, config.Discovery)
	if err != nil {
		c.found(Found{Err: err})
	}
	c.done = done
	c.finder = Find(ctx, config.Channel.Source, config.Relays, client, c.found)
	conn, err := amt.Dial(ctx, config.Channel.Source, config.Channel.Destination(), dial)
	if err != nil {
		c.finder.Close()
		c.done()
		return nil, err
	}
	c.Conn = conn
	if config.Mode != amt.ModeNative {
		c.finder.Use(conn.SetRelays)
	}
	if c.beside != nil && config.Mode != amt.ModeTunnel {
		if err := c.beside.join(ctx, config); err != nil && config.Mode == amt.ModeNative {
			_ = c.Close()
			return nil, fmt.Errorf("port %d: %w", config.Beside, err)
		}
	}
	return c, nil
}

const notNatively = "cannot join natively"

// Beside returns the source of the packets to the other port; nil if there is none. Packets may come twice while the way
// of the channel changes.
func (c *Conn) Beside() *Beside { return c.beside }

// Close leaves the channel, and closes the port beside it. It may be called more than once.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.finder.Use(nil)
		c.finder.Close()
		c.done()
		_ = c.Conn.Close()
		if c.beside != nil {
			_ = c.beside.Close()
		}
	})
	return nil
}

// Status returns what it does now.
func (c *Conn) Status() Status {
	st := Status{ConnStats: c.Stats()}
	st.Way, st.Started = c.Way()
	if c.beside != nil {
		st.BesideDropped = c.beside.dropped.Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.Since, st.Why, st.RelaysLost = c.since, c.why, c.lost
	return st
}

// because notes why nothing comes, or why it comes this way.
func (c *Conn) because(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why = why
}

func (c *Conn) started(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.why = time.Now(), why
}

func (c *Conn) found(f Found) {
	if len(f.Relays) == 0 {
		c.log.Warn("no AMT relay was found", "source", c.config.Channel.Source, "error", f.Err)
		c.because(fmt.Sprintf("no AMT relay was found: %v", f.Err))
		return
	}
	texts := make([]string, len(f.Relays))
	for i, r := range f.Relays {
		texts[i] = fmt.Sprintf("%v (%v)", r.Address, r.Method)
	}
	c.log.Info("AMT relays", "source", c.config.Channel.Source, "relays", strings.Join(texts, ", "))
}

func (c *Conn) event(e amt.ConnEvent) {
	c.finder.Event(e)
	log := c.log.With("session", c.config.Channel)
	switch e.Type {
	case amt.ConnStarted:
		c.started("")
		log.Info("receiving", "way", e.To)
	case amt.ConnSwitched:
		why := ""
		switch {
		case e.Planned:
			log.Info("receiving by another way", "way", e.To, "before", e.From)
		default:
			log.Warn("receiving by another way", "way", e.To, "before", e.From, "without_packets", e.Gap.Round(time.Millisecond))
			why = fmt.Sprintf("nothing came by %v", e.From)
			if e.From == (amt.Way{}) {
				why = "nothing came natively"
			}
		}
		c.started(why)
	case amt.ConnNativeFailed:
		log.Warn("cannot join natively", "error", e.Err)
		c.because(fmt.Sprintf("%s: %v", notNatively, e.Err))
	case amt.ConnNativeJoined:
		log.Info("joined natively after all")
		c.mu.Lock()
		if strings.HasPrefix(c.why, notNatively) {
			c.why = ""
		}
		c.mu.Unlock()
	case amt.ConnWorse:
		log.Warn("more is lost natively, which is looked at again later", "way", e.From)
	case amt.ConnRelaySilent:
		log.Warn("AMT relay delivers nothing, others are tried", "relay", e.Relay)
		c.because(fmt.Sprintf("AMT relay %v %s", e.Relay, Reason(e.Err)))
	case amt.ConnRelay:
		log.Info("AMT relay has been asked for the channel", "relay", e.Relay, "rtt", e.RTT.Round(time.Microsecond))
	case amt.ConnRelayLost:
		c.mu.Lock()
		c.lost++
		c.why = fmt.Sprintf("AMT relay %v %s", e.Relay, Reason(e.Err))
		c.mu.Unlock()
		log.Warn("AMT relay is left", "relay", e.Relay, "error", e.Err)
	case amt.ConnNoRelay:
		log.Warn("no AMT relay works, they are tried again", "relays", Addresses(c.finder.Relays()))
	}
}

// Addresses joins those of relays.
func Addresses(list []amt.Candidate) string {
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = c.Address.String()
	}
	return strings.Join(texts, ", ")
}

// maxBeside is how many packets of the port beside wait to be read.
const maxBeside = 256

// Beside delivers packets of a second port. It is a source as package ingress takes it.
type Beside struct {
	queue   chan packet
	done    chan struct{}
	closing sync.Once
	dropped atomic.Uint64
	reading sync.WaitGroup
	host    *ssm.Host // nil: not joined natively
}

type packet struct {
	payload []byte
	source  netip.AddrPort
}

func newBeside() *Beside {
	return &Beside{queue: make(chan packet, maxBeside), done: make(chan struct{})}
}

// put takes a packet, and copies it.
func (b *Beside) put(payload []byte, source netip.AddrPort) {
	if len(payload) == 0 {
		return
	}
	select {
	case b.queue <- packet{slices.Clone(payload), source}:
	default:
		b.dropped.Add(1)
	}
}

// join receives natively, too.
func (b *Beside) join(ctx context.Context, config Config) error {
	ch := config.Channel
	ch.Port = config.Beside
	b.host = ssm.NewHost(ssm.Config{Logger: config.Logger})
	rx, err := b.host.Join(ctx, ch, config.Interface)
	if err != nil {
		return err
	}
	b.reading.Go(func() {
		messages := ssm.NewMessages(4)
		for {
			n, err := rx.ReadBatch(messages)
			if err != nil {
				return // closed
			}
			for i := range messages[:n] {
				for payload := range messages[i].Segments {
					b.put(payload, messages[i].Source)
				}
			}
		}
	})
	return nil
}

// ReadBatch waits for packets. It returns [net.ErrClosed] after Close.
func (b *Beside) ReadBatch(messages []ssm.Message) (int, error) {
	if len(messages) == 0 {
		return 0, nil
	}
	select {
	case p := <-b.queue:
		p.fill(&messages[0])
	case <-b.done:
		return 0, net.ErrClosed
	}
	for n := 1; n < len(messages); n++ {
		select {
		case p := <-b.queue:
			p.fill(&messages[n])
		default:
			return n, nil
		}
	}
	return len(messages), nil
}

func (p packet) fill(m *ssm.Message) {
	m.N = copy(m.Buffer, p.payload)
	m.SegmentSize, m.Source = m.N, p.source
}

// Close ends it. It may be called more than once.
func (b *Beside) Close() error {
	b.closing.Do(func() {
		close(b.done)
		if b.host != nil {
			_ = b.host.Close()
		}
		b.reading.Wait()
	})
	return nil
}
