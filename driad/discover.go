package driad

import (
	"context"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// Resolver answers a question with a message that has been checked, as those of
// package resolver do. It is used by many goroutines at a time.
type Resolver interface {
	Resolve(ctx context.Context, q dns.Question) (dns.Response, error)
}

// ClientConfig configures a [Client]. The zero value uses the system's resolver.
type ClientConfig struct {
	// Config is that of the machine. By default, Local asks the system for its
	// routes.
	Config
	// Resolver is asked. Default: that of the system, see [resolver.System], whose
	// domains to search are the Domains if there are none. Its configuration is read
	// again from time to time.
	Resolver Resolver
	// Multicast is asked about names below local. Default: a [resolver.Multicast].
	Multicast Resolver
	// QueryTimeout bounds the time for one question. Default: 15 s.
	QueryTimeout time.Duration
	// Concurrent bounds the questions that are open at a time. Default: 64.
	Concurrent int
	// OnEvent is told what happens. It is called from one goroutine at a time and
	// must not block. Default: nobody.
	OnEvent func(source netip.Addr, e Event)
	// Logger is told what goes wrong. Default: silent.
	Logger *slog.Logger
}

// Client looks for relays of many sources with one cache and one memory of relays.
// Its methods are safe for concurrent use.
type Client struct {
	config ClientConfig
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	wake   chan struct{}
	slots  chan struct{}
	done   sync.WaitGroup

	readSystem func() (*resolver.Plain, []dns.Name, error) // resolver.System

	mu          sync.Mutex // guards below
	resolver    Resolver
	system      *resolver.Plain // that, if it is the system's
	search      []dns.Name      // the system's domains, if they are the machine's
	searching   bool
	readAt      time.Time // when the system's configuration was read
	machine     *Machine
	discoveries map[ID]*Discovery
	events      []sourceEvent
}

type sourceEvent struct {
	source netip.Addr
	event  Event
}

// NewClient returns a client. It fails if there is no Resolver and the system's is
// not known.
func NewClient(config ClientConfig) (*Client, error) { return newClient(config, resolver.System) }

func newClient(config ClientConfig, readSystem func() (*resolver.Plain, []dns.Name, error)) (*Client, error) {
	var system *resolver.Plain
	var search []dns.Name
	searching := false
	if config.Resolver == nil {
		var err error
		if system, search, err = readSystem(); err != nil {
			return nil, err
		}
		config.Resolver = system
		if searching = config.Domains == nil; searching {
			config.Domains = search
		}
	}
	if config.Local == nil && runtime.GOOS != "js" && runtime.GOOS != "wasip1" {
		config.Local = localFor
	}
	if config.Multicast == nil {
		config.Multicast = new(resolver.Multicast)
	}
	orDefault(&config.QueryTimeout, 15*time.Second)
	orDefault(&config.Concurrent, 64)
	c := &Client{
		config: config, resolver: config.Resolver, system: system, log: config.Logger, machine: NewMachine(config.Config),
		wake: make(chan struct{}, 1), slots: make(chan struct{}, config.Concurrent), discoveries: make(map[ID]*Discovery),
		readSystem: readSystem, search: search, searching: searching, readAt: time.Now(),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.done.Go(c.loop)
	return c, nil
}

// Close ends all discoveries. It may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	c.cancel(net.ErrClosed) // with the mutex: no question begins after Wait
	c.mu.Unlock()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.system != nil {
		return c.system.Close()
	}
	return nil
}

// NetworkChanged forgets what depends on the network and begins all discoveries
// again. Domains are those of the new network. If the resolver is the system's, its
// configuration is read again, and has the domains if there are none here.
func (c *Client) NetworkChanged(domains []dns.Name) {
	c.do(func(now time.Time) {
		if c.system != nil && c.ctx.Err() == nil {
			system, search, err := c.readSystem()
			if err != nil {
				c.log.Warn("reading the system's resolver again", "err", err)
			} else {
				_ = c.system.Close()
				c.system, c.resolver = system, system
				if c.searching = domains == nil; c.searching {
					domains, c.search = search, search
				}
			}
		}
		c.machine.NetworkChanged(now, domains)
	})
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.Stats()
}

// Discovery finds the relays of one source until its context ends. Its methods are
// safe for concurrent use.
type Discovery struct {
	client *Client
	source netip.Addr
	id     ID
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Guarded by the client's mutex:
	changed  chan struct{} // closed and replaced when something below changes
	version  int           // of the list
	list     []Candidate
	attempts []Candidate // not taken yet
	resolved bool        // nothing is left to ask
	err      error
}

// Discover begins to look for relays for a source, with a client of its own. It ends
// with ctx. Those that receive from several sources share a [Client] instead.
func Discover(ctx context.Context, source netip.Addr, config ClientConfig) (*Discovery, error) {
	c, err := NewClient(config)
	if err != nil {
		return nil, err
	}
	d := c.Discover(ctx, source)
	context.AfterFunc(d.ctx, func() { _ = c.Close() })
	return d, nil
}

// Discover begins to look for relays for a source. It ends with ctx.
func (c *Client) Discover(ctx context.Context, source netip.Addr) *Discovery {
	d := &Discovery{client: c, source: source, changed: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	if c.ctx.Err() != nil {
		d.cancel(context.Cause(c.ctx))
		return d
	}
	stop := context.AfterFunc(c.ctx, func() { d.cancel(context.Cause(c.ctx)) })
	c.do(func(now time.Time) {
		d.id = c.machine.Start(now, source)
		c.discoveries[d.id] = d
	})
	context.AfterFunc(d.ctx, func() {
		stop()
		c.do(func(time.Time) {
			c.machine.Stop(d.id)
			delete(c.discoveries, d.id)
		})
	})
	return d
}

// Lists yields the candidates in the order of preference, and again whenever they
// change, until the context ends. The first list comes when there is a candidate, or
// when it is sure that there is none; see [Discovery.Err] for the reason then. It is
// what a gateway that tries candidates by itself needs.
func (d *Discovery) Lists() iter.Seq[[]Candidate] {
	return func(yield func([]Candidate) bool) {
		seen := 0
		for {
			d.client.mu.Lock()
			version, list, changed := d.version, d.list, d.changed
			d.client.mu.Unlock()
			if d.ctx.Err() != nil {
				return
			}
			if version != seen {
				seen = version
				if !yield(slices.Clone(list)) {
					return
				}
				continue
			}
			select {
			case <-d.ctx.Done():
			case <-changed:
			}
		}
	}
}

// Attempts yields the candidates one by one when it is time to try them (RFC 8305
// section 5), until the context ends: the next after AttemptDelay, or at once when
// the last is reported as failed, none while one is reported as [Connected]. After
// that, and when all have failed, they come again. It is what a gateway without such
// a mechanism of its own needs; it has to report outcomes.
func (d *Discovery) Attempts() iter.Seq[Candidate] {
	return func(yield func(Candidate) bool) {
		for d.ctx.Err() == nil {
			d.client.mu.Lock()
			changed := d.changed
			var next *Candidate
			if len(d.attempts) > 0 {
				next = &d.attempts[0]
				d.attempts = d.attempts[1:]
			}
			d.client.mu.Unlock()
			if next != nil {
				if !yield(*next) {
					return
				}
				continue
			}
			select {
			case <-d.ctx.Done():
			case <-changed:
			}
		}
	}
}

// Report tells what became of a candidate, see [Machine.Report].
func (d *Discovery) Report(address netip.AddrPort, o Outcome, rtt time.Duration) {
	d.client.do(func(now time.Time) { d.client.machine.Report(now, d.id, address, o, rtt) })
}

// ReportVia tells what became of a relay that a candidate led to, see
// [Machine.ReportVia].
func (d *Discovery) ReportVia(candidate, relay netip.AddrPort, o Outcome, rtt time.Duration) {
	d.client.do(func(now time.Time) { d.client.machine.ReportVia(now, d.id, candidate, relay, o, rtt) })
}

// Restart begins again from the first candidate, see [Machine.Restart].
func (d *Discovery) Restart() {
	d.client.do(func(now time.Time) { d.client.machine.Restart(now, d.id) })
}

// Err returns why there was no candidate left the last time that this was so, nil
// if there is one, and after the end the cause of that.
func (d *Discovery) Err() error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	d.client.mu.Lock()
	defer d.client.mu.Unlock()
	return d.err
}

// do calls f with the mutex held and does what comes of it.
func (c *Client) do(f func(now time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(time.Now())
	c.pump()
}

// pump asks the machine's questions and takes its events. The mutex is held.
func (c *Client) pump() {
	for {
		l, ok := c.machine.PollQuery()
		if !ok {
			break
		}
		if c.ctx.Err() == nil {
			c.done.Go(func() { c.ask(l) })
		}
	}
	for {
		e, ok := c.machine.PollEvent()
		if !ok {
			break
		}
		if d := c.discoveries[e.Search]; d != nil {
			d.event(e)
			if c.config.OnEvent != nil {
				c.events = append(c.events, sourceEvent{d.source, e})
			}
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// event takes an event. The mutex is held.
func (d *Discovery) event(e Event) {
	switch e.Type {
	case EventCandidates:
		d.list = d.client.machine.Candidates(d.id)
		d.version++
		if len(d.list) > 0 {
			d.err = nil
		}
	case EventAttempt:
		d.attempts = append(d.attempts, e.Candidate)
	case EventRestarted:
		d.attempts, d.resolved = nil, false
	case EventResolved:
		d.resolved = true
	case EventExhausted:
		d.err = e.Err
		if d.version == 0 {
			d.version++ // there is none: say so
		}
	default:
		return
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// systemInterval is the time after which the system's configuration is read again, if
// there is something to ask.
const systemInterval = 5 * time.Second

// refresh follows changes of the system's configuration, as DHCP makes them: servers of
// the network before would not be heard of again (RFC 8777 section 3.3.2, number 7).
func (c *Client) refresh() {
	c.mu.Lock()
	now := time.Now()
	due := c.system != nil && now.Sub(c.readAt) >= systemInterval
	if due {
		c.readAt = now
	}
	c.mu.Unlock()
	if !due {
		return
	}
	system, search, err := c.readSystem()
	if err != nil {
		c.log.Warn("reading the system's resolver again", "err", err)
		return // it may be being written
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	changed := !sameServers(c.system, system)
	if changed {
		c.log.Info("the system has other DNS servers", "servers", system.Servers)
		_ = c.system.Close()
		c.system, c.resolver = system, system
	}
	domains := c.machine.config.Domains
	if c.searching && !slices.Equal(c.search, search) {
		c.search, domains, changed = search, search, true
	}
	if changed {
		c.machine.serversChanged(time.Now(), domains)
		c.pump()
	}
}

func sameServers(a, b *resolver.Plain) bool {
	return slices.Equal(a.Servers, b.Servers) && a.Rotate == b.Rotate && a.TCPOnly == b.TCPOnly && a.TrustAD == b.TrustAD && a.Timeout == b.Timeout && a.Rounds == b.Rounds
}

func (c *Client) ask(l Lookup) {
	c.refresh()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.config.QueryTimeout, dns.ErrTimeout)
	defer cancel()
	c.mu.Lock()
	by := c.resolver
	c.mu.Unlock()
	if l.Multicast {
		by = c.config.Multicast
	}
	r, err := by.Resolve(ctx, l.Question)
	if c.ctx.Err() != nil {
		return
	}
	c.do(func(now time.Time) {
		if err != nil {
			c.log.Warn("looking up a relay", "question", l.Question, "err", err)
			c.machine.Failed(now, l.ID, err)
		} else {
			c.machine.Answer(now, l.ID, r)
		}
	})
}

// loop handles timeouts and calls OnEvent.
func (c *Client) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		c.mu.Lock()
		now := time.Now()
		if at := c.machine.NextTimeout(); !at.IsZero() && !at.After(now) {
			c.machine.HandleTimeout(now)
			c.pump()
		}
		at := c.machine.NextTimeout()
		events := c.events
		c.events = nil
		c.mu.Unlock()
		for _, e := range events {
			c.config.OnEvent(e.source, e.event)
		}
		wait := time.Hour
		if !at.IsZero() {
			wait = max(time.Until(at), 0)
		}
		timer.Reset(wait)
	}
}

// localFor asks the system from which address packets to a would come. Nothing is
// sent: a UDP socket is connected.
func localFor(a netip.Addr) netip.Addr {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, Port)))
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = conn.Close() }()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	return local.AddrPort().Addr().Unmap().WithZone("")
}
