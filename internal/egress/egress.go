// Package egress sends the objects of a service by multicast: it joins the ROUTE sender, which knows no sockets and no
// clock, to a source-specific multicast socket.
package egress

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

// Config configures an Egress.
type Config struct {
	Session   route.Session
	Interface string
	TTL       int
	Sender    route.SenderConfig // its Session is set from the one above
	// SealPort is the UDP port of the seals; 0: the service has none, and the fields behind are not used.
	SealPort uint16
	// Service is the name that the seals are for, HopKey seals the session's signalling, and HopState is the file that keeps
	// the time of that, or empty.
	Service  string
	HopKey   ed25519.PrivateKey
	HopState string
	// Delay is told how long chunks wait until their last source packet has left; nil: nobody is.
	Delay  *telemetry.Latency
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default silent
}

// Egress is a service.Sink that multicasts what it is given. Its methods are safe for concurrent use.
type Egress struct {
	cfg  Config
	dst  netip.AddrPort
	wake chan struct{}
	rate telemetry.Rate

	mu      sync.Mutex // guards below
	sender  *route.Sender
	sock    writer // used by Run
	stale   writer // taken out of use; Run closes it
	path    path
	closed  bool
	lost    uint64 // objects that the sender refused
	counts  Sent
	waiting time.Time // when the oldest chunk came that has not left in whole
	hop     *sealing.Hop
	seals   [][]byte // to send

	works   chan *route.Work
	workers sync.WaitGroup
}

// path is by which way packets leave.
type path struct {
	iface string
	ttl   int
}

func (c *Config) open() (*ssm.Sender, error) {
	return ssm.NewSender(c.Session.Source, &ssm.SenderConfig{Interface: c.Interface, TTL: c.TTL})
}

var _ service.SealSink = (*Egress)(nil)

// New opens the socket. Run sends.
func New(cfg Config) (*Egress, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var hop *sealing.Hop
	if cfg.SealPort != 0 {
		var err error
		if hop, err = sealing.NewHop(sealing.HopConfig{
			Service: cfg.Service, Key: cfg.HopKey, State: cfg.HopState,
			Source: cfg.Session.Source, Group: cfg.Session.Group, Port: cfg.Session.Port,
		}); err != nil {
			return nil, err
		}
	}
	sock, err := cfg.open()
	if err != nil {
		return nil, err
	}
	cfg.Sender.Session = cfg.Session
	cfg.Sender.Logger = cfg.Logger
	if hop != nil {
		// A clock that has stepped back must not make anything come a second time.
		cfg.Sender.After = hop.Time()
		cfg.Sender.FirstTSI = max(cfg.Sender.FirstTSI, firstTSI(time.UnixMicro(int64(hop.Time()))))
	}
	return &Egress{
		cfg: cfg, sock: sock, hop: hop, path: path{cfg.Interface, cfg.TTL},
		dst:    netip.AddrPortFrom(cfg.Session.Group, cfg.Session.Port),
		wake:   make(chan struct{}, 1),
		sender: route.NewSender(cfg.Sender),
		works:  make(chan *route.Work, 64),
	}, nil
}

// Session tells where the packets go.
func (e *Egress) Session() route.Session { return e.cfg.Session }

// Reconfigure changes interface, TTL, rate and FEC under way. The session of cfg is the one that is being sent. If
// anything cannot be changed, nothing is.
func (e *Egress) Reconfigure(cfg Config) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	sock, p := e.sock, path{cfg.Interface, cfg.TTL}
	if p != e.path {
		opened, err := cfg.open()
		if err != nil {
			return err
		}
		sock = opened
	}
	if e.hop != nil && !e.cfg.HopKey.Equal(cfg.HopKey) {
		if err := e.hop.Rotate(e.cfg.Now(), cfg.HopKey); err != nil {
			if sock != e.sock {
				sock.Close()
			}
			return err
		}
		e.cfg.HopKey = cfg.HopKey
	}
	// From here on nothing fails.
	if sock != e.sock {
		if e.stale != nil {
			e.sock.Close() // Run has not seen it yet
		} else {
			e.stale = e.sock
		}
		e.sock, e.path = sock, p
	}
	e.sender.Reconfigure(cfg.Sender)
	e.cfg.Sender.MaxBuffered = cfg.Sender.MaxBuffered
	e.poke()
	return nil
}

// Rate is what is sent now, in bit/s of UDP payload.
func (e *Egress) Rate() float64 { return e.rate.Bits(e.cfg.Now()) }

// Stats returns the sender's counters: those of packets are of what it made, see Sent.
func (e *Egress) Stats() route.SenderStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sender.Stats()
}

// Waiting tells how many octets wait to be sent, how many may, and how many objects were refused or broken off by the
// sender, for which there was no room as a rule.
func (e *Egress) Waiting() (octets, most int64, refused uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sender.Stats().Buffered, e.cfg.Sender.MaxBuffered, e.lost
}

// Lookup finds an object by its identifiers on the wire.
func (e *Egress) Lookup(tsi, toi uint32) (route.Lookup, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sender.Lookup(tsi, toi)
}

// NextTSI is the first TSI that this sender has not used.
func (e *Egress) NextTSI() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sender.NextTSI()
}

func (e *Egress) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Begin implements service.Sink.
func (e *Egress) Begin(m service.Meta) service.ObjectSink {
	out := route.Outgoing{
		Name: m.Name, Generation: m.Generation, ContentType: m.ContentType, Length: max(0, m.Length),
		Carousel: m.Kind == service.Init,
	}
	if m.Kind == service.Media {
		out.Track = m.Track
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	tx, err := e.sender.Begin(e.cfg.Now(), out)
	if err != nil {
		e.lost++
		e.cfg.Logger.Warn("object is not sent", "name", m.Name, "error", err)
		return nil
	}
	e.poke()
	return &object{e: e, tx: tx, name: m.Name}
}

// Manifest implements service.Sink.
func (e *Egress) Manifest(m service.Meta, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	part := sls.Part{ContentType: m.ContentType, Location: m.Name, Generation: m.Generation, Body: body}
	if err := e.sender.SetManifest(e.cfg.Now(), part); err != nil {
		e.cfg.Logger.Warn("manifest is not sent", "name", m.Name, "error", err)
	}
	e.poke()
}

// maxSeals bounds the seals that wait. There is always a newer one.
const maxSeals = 64

// Seal implements service.SealSink.
func (e *Egress) Seal(datagram []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hop == nil || e.closed {
		return
	}
	if len(e.seals) >= maxSeals {
		e.seals = slices.Delete(e.seals, 0, 1)
	}
	e.seals = append(e.seals, datagram)
	e.poke()
}

// NewestSeal returns the newest seal of the session's signalling; nil if there is none.
func (e *Egress) NewestSeal() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hop == nil {
		return nil
	}
	s, _ := e.hop.Newest()
	return s.Seal
}

// Signalling returns what is announced by a name, see sealing.STSIDName; false if that is not here, or not sealed.
func (e *Egress) Signalling(name string) (s sealing.Signalling, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hop == nil || e.hop.Name() != name {
		return s, false
	}
	return e.hop.Newest()
}

// takeSeals moves the seals that are due to dst.
func (e *Egress) takeSeals(dst [][]byte) [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hop == nil {
		return dst
	}
	now := e.cfg.Now()
	body, generation := e.sender.STSID()
	if err := e.hop.Announce(now, body, generation); err != nil {
		e.cfg.Logger.Error("signalling is not sealed, nobody will act on it", "session", e.cfg.Session, "error", err)
	}
	for {
		b, ok := e.hop.Poll(now)
		if !ok {
			break
		}
		dst = append(dst, b)
	}
	dst = append(dst, e.seals...)
	clear(e.seals)
	e.seals = e.seals[:0]
	return dst
}

type object struct {
	e    *Egress
	tx   *route.Transmission
	name string
	bad  bool
}

func (o *object) Write(p []byte, chunkEnd bool) {
	if o.bad {
		return
	}
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	if err := o.tx.Append(o.e.cfg.Now(), p); err != nil {
		// Receivers must not take what they have for whole.
		o.bad = true
		o.e.lost++
		o.tx.Abort()
		o.e.cfg.Logger.Warn("object is not sent to its end", "name", o.name, "error", err)
		return
	}
	if chunkEnd {
		o.tx.Cut()
		o.e.mark()
	}
	o.e.poke()
}

func (o *object) Commit() {
	if o.bad {
		return
	}
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	if err := o.tx.End(o.e.cfg.Now()); err != nil {
		o.e.lost++
		o.e.cfg.Logger.Warn("object is not sent to its end", "name", o.name, "error", err)
	}
	o.e.mark()
	o.e.poke()
}

// mark notes that a chunk is ready to leave. It is called with mu held.
func (e *Egress) mark() {
	if e.cfg.Delay != nil && e.waiting.IsZero() && e.sender.Waiting() {
		e.waiting = e.cfg.Now()
	}
}

func (o *object) Abort(error) {
	if o.bad {
		return
	}
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	o.tx.Abort()
	o.e.poke()
}

const (
	batchPackets = 64
	maxPacket    = 2048
)

// Run sends until ctx ends, and then closes the socket. What the sender holds at that moment is not sent; Drain first.
func (e *Egress) Run(ctx context.Context) error {
	defer e.close()
	e.workers.Go(func() { e.compute(ctx) })
	defer e.workers.Wait()
	b := batch{buf: make([]byte, 0, batchPackets*maxPacket), packets: make([][]byte, 0, batchPackets)}
	seals := make([][]byte, 0, maxSeals)
	sealDst := netip.AddrPortFrom(e.cfg.Session.Group, e.cfg.SealPort)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var unsent teller
	defer func() { e.tell(&unsent, e.cfg.Now(), true) }()
	for {
		e.fill(&b)
		if seals = e.takeSeals(seals[:0]); len(seals) > 0 {
			// They are sent again and again, so that nothing waits for them.
			_ = write(ctx, b.sock, seals, sealDst, func(_, n int, err error) { e.countSeals(&unsent, n, err) })
		}
		if len(b.packets) > 0 {
			failed := false
			err := write(ctx, b.sock, b.packets, e.dst, func(first, n int, err error) {
				failed = failed || err != nil
				e.count(&unsent, &b, first, n, err)
			})
			if !failed && !b.since.IsZero() {
				e.cfg.Delay.Observe(e.cfg.Now().Sub(b.since))
			}
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			e.tell(&unsent, e.cfg.Now(), false)
			switch {
			case err != nil:
				// A route may come back; the receivers repair what is lost meanwhile.
				unsent.down = true
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(100 * time.Millisecond):
				}
			case !failed:
				e.up(&unsent, e.cfg.Now())
			}
			if ctx.Err() == nil {
				continue
			}
		}
		e.mu.Lock()
		now := e.cfg.Now()
		next := e.sender.NextTimeout(now)
		if e.hop != nil {
			if t := e.hop.NextTimeout(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
		e.mu.Unlock()
		if at := e.tell(&unsent, now, false); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(0, next.Sub(now))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-timer.C:
		}
	}
}

// batch is packets that leave together.
type batch struct {
	buf     []byte
	packets [][]byte
	repair  [batchPackets]bool // those of FEC
	sock    writer
	since   time.Time // when the oldest chunk came of those that leave with it, if it is the last of them
}

// count counts packets of a batch that were sent, or not.
func (e *Egress) count(x *teller, b *batch, first, n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.counts.Unsent[reasonOf(err)] += uint64(n)
		x.note(n, err)
		return
	}
	octets := 0
	for i, p := range b.packets[first : first+n] {
		octets += len(p)
		if b.repair[first+i] {
			e.counts.RepairOctets += uint64(len(p))
		}
	}
	e.counts.Packets += uint64(n)
	e.counts.Octets += uint64(octets)
	e.rate.Add(e.cfg.Now(), octets)
}

// countSeals counts seals that were not sent.
func (e *Egress) countSeals(x *teller, n int, err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts.UnsentSeals[reasonOf(err)] += uint64(n)
	x.note(n, err)
}

func (e *Egress) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.sock.Close()
	if e.stale != nil {
		e.stale.Close()
	}
}

// fill takes one batch of packets, and the socket for it, and hands out the computations that wait.
func (e *Egress) fill(b *batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stale != nil {
		e.stale.Close()
		e.stale = nil
	}
	now := e.cfg.Now()
	for {
		w, ok := e.sender.PollWork()
		if !ok {
			break
		}
		select {
		case e.works <- w:
			continue
		default:
		}
		// The workers are behind: rather late packets than unbounded memory.
		w.Run()
		e.sender.Finish(now, w)
	}
	b.packets, b.sock, b.since = b.packets[:0], e.sock, time.Time{}
	repair := e.sender.Stats().RepairOctets
	for buf := b.buf[:0]; len(b.packets) < batchPackets && cap(buf)-len(buf) >= maxPacket; {
		n := len(buf)
		var ok bool
		if buf, ok = e.sender.Poll(now, buf); !ok {
			break
		}
		made := e.sender.Stats().RepairOctets
		b.repair[len(b.packets)] = made != repair
		repair = made
		b.packets = append(b.packets, buf[n:len(buf):len(buf)])
	}
	if !e.waiting.IsZero() && !e.sender.Waiting() {
		b.since, e.waiting = e.waiting, time.Time{}
	}
}

// compute runs FEC encoding beside the sending goroutine, which must not wait for it.
func (e *Egress) compute(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-e.works:
			w.Run()
			e.mu.Lock()
			e.sender.Finish(e.cfg.Now(), w)
			e.mu.Unlock()
			e.poke()
		}
	}
}

// Drain waits until all that was begun and ended has been sent with its repair packets, or ctx ends.
func (e *Egress) Drain(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		e.mu.Lock()
		idle := e.sender.Stats().Buffered == 0
		e.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
