// Package ingress receives a service by multicast: it joins source-specific sockets to the ROUTE receiver, which knows
// no sockets and no clock, gives what comes to the service, and asks the parents of the node for what does not.
//
// Octets stay in the receiver's memory until the gate of the service finds them genuine; signalling and manifests wait
// in the same way. An object whose octets turn out to be forged, or that stands while its seals tell of more, is taken
// out of the receiver and fetched from the parents, apart from what comes by multicast. A service without a gate is
// unsigned: whatever comes is believed.
package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// A Source delivers datagrams in batches, as a multicast socket does. ReadBatch returns an error that matches
// net.ErrClosed after Close.
type Source interface {
	ReadBatch(messages []ssm.Message) (int, error)
	Close() error
}

// A Repairer fetches octets that multicast did not bring, from the parents of the node. It calls supply for each run of
// octets it gets: their offset, and the length of the whole object or -1.
type Repairer interface {
	Repair(ctx context.Context, want Wanted, supply func(off int64, p []byte, total int64) error) error
}

// Wanted names the octets of an object that are missing.
type Wanted struct {
	Session    route.Session
	TSI, TOI   uint32
	Service    string
	Name       string
	Generation uint64 // of which the octets must be; 0 if the sender announced none
	Missing    []route.Range
}

// Config configures an Ingress.
type Config struct {
	Service  *service.Service
	Receiver route.ReceiverConfig
	// Repair is asked for missing octets; nil if the node has no parents.
	Repair Repairer
	// Gate says what may be read; nil: the service is unsigned.
	Gate *sealing.Gate
	// Fetch fetches what multicast cannot bring, in a service with a gate; nil if the node has no parents.
	Fetch *sealing.Fetcher
	// Plain is the same for a service without a gate.
	Plain service.Fetcher
	// Join joins another session of the same service, of those that its S-TSID names; nil: none is joined.
	Join func(context.Context, route.Session) (Source, error)
	// Loss drops packets on purpose.
	Loss lossy.Config
	// Delay is told of each object how long loss kept octets of it from their readers; nil: nobody is.
	Delay  *telemetry.Latency
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default silent
}

// Stats is a snapshot of an Ingress.
type Stats struct {
	Receiver   route.ReceiverStats
	Injected   uint64 // packets dropped on purpose
	LastPacket time.Time
	Repairs    int     // under way
	Rate       float64 // of what comes, in bit/s of UDP payload
	Octets     uint64  // of complete objects
	// Complete objects with octets by FEC, with octets by unicast, and with no others than those.
	ObjectsFEC, ObjectsRepair, ObjectsUnicast uint64
	// Lost are the objects that were given up, by the reason. Unsealed are others, of which no seal told in time: anybody
	// can make up such.
	Lost     [Losses]uint64
	Unsealed uint64
	// Forged are objects that were fetched again, because octets of theirs were forged or stood.
	Forged uint64
	// Doubts are the objects that no seal tells of yet, of MaxDoubts; DoubtsEvicted had to go because there were too many.
	Doubts        int
	DoubtsEvicted uint64
	// Others are the sessions that are received beside the configured one, since the S-TSID names them.
	Others int
	// Announced counts the S-TSIDs that came from a parent.
	Announced uint64
}

// Ingress feeds one service from one session. Its methods are safe for concurrent use.
type Ingress struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{} // the deadline may have become nearer
	rate telemetry.Rate

	mu         sync.Mutex // guards below
	rx         *route.Receiver
	objects    map[*route.Object]*incoming
	doubts     doubts
	bodies     map[bodyKey]*heldBody
	announced  announced
	reviewAt   time.Time
	lastPacket time.Time
	counts     Stats // what the receiver does not count
	lost       teller
	unsealed   teller
	repairs    int
	fetches    int
	queue      []*refetch
	others     map[route.Session]context.CancelFunc // sessions that are joined beside this one
	begins     bool                                 // new objects are taken
	left       bool                                 // what is under way when Run ends is lost
	ctx        context.Context                      // of what is done beside receiving; nil: there is no Run, and nothing is begun

	works chan *route.Work
	group sync.WaitGroup
}

// New returns an Ingress that waits for packets.
func New(cfg Config) *Ingress {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Receiver.Logger = cfg.Logger
	cfg.Receiver.HoldSignalling = cfg.Gate != nil
	return &Ingress{
		cfg: cfg, log: cfg.Logger,
		wake:    make(chan struct{}, 1),
		rx:      route.NewReceiver(cfg.Receiver),
		objects: make(map[*route.Object]*incoming),
		bodies:  make(map[bodyKey]*heldBody),
		others:  make(map[route.Session]context.CancelFunc),
		begins:  true,
		works:   make(chan *route.Work, 64),
	}
}

// Stats returns the counters.
func (in *Ingress) Stats() Stats {
	in.mu.Lock()
	defer in.mu.Unlock()
	st := in.counts
	st.Doubts, st.DoubtsEvicted = in.doubts.n[expected]+in.doubts.n[unexpected], in.doubts.evicted
	st.Others = len(in.others)
	st.Receiver, st.LastPacket, st.Repairs, st.Rate = in.rx.Stats(), in.lastPacket, in.repairs, in.rate.Bits(in.cfg.Now())
	return st
}

// Retire makes the Ingress take no new objects: another one does. Those under way go on, whether by multicast or from a
// parent. It returns once they have ended, or ctx has; what is under way at the deadline of ctx counts as lost when Run ends.
func (in *Ingress) Retire(ctx context.Context) {
	in.mu.Lock()
	in.begins = false
	in.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		in.mu.Lock()
		n := len(in.objects) + in.fetches
		in.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			in.mu.Lock()
			in.left = errors.Is(ctx.Err(), context.DeadlineExceeded)
			in.mu.Unlock()
			return
		case <-tick.C:
		}
	}
}

const (
	batchMessages = 16
	// workers decode FEC blocks beside the receiving goroutine, which must not wait for them.
	workers = 2
)

// Run receives from src until ctx ends or src is closed; it closes src. Objects that are incomplete then are aborted.
func (in *Ingress) Run(ctx context.Context, src Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.mu.Lock()
	in.ctx = ctx
	in.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { src.Close() })
	defer stop()
	for range workers {
		in.group.Go(func() { in.compute(ctx) })
	}
	in.group.Go(func() { in.timers(ctx) })
	err := in.receive(src)
	in.mu.Lock()
	in.ctx = nil // nothing more begins
	in.mu.Unlock()
	cancel()
	in.group.Wait()
	in.mu.Lock()
	defer in.mu.Unlock()
	cause := errors.New("reception has ended")
	if in.left {
		cause = Left
	}
	for o := range in.objects {
		in.drop(o, cause)
	}
	in.tellAll(in.cfg.Now())
	for key := range in.bodies {
		in.releaseBody(key)
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

func (in *Ingress) receive(src Source) error {
	messages := ssm.NewMessages(batchMessages)
	drop := lossy.New(in.cfg.Loss)
	lossy := in.cfg.Loss.Active()
	for {
		n, err := src.ReadBatch(messages)
		if err != nil {
			return err
		}
		in.mu.Lock()
		now := in.cfg.Now()
		in.lastPacket = now
		octets := 0
		for i := range messages[:n] {
			m := &messages[i]
			for packet := range m.Segments {
				if lossy && drop.Drop(now) {
					in.counts.Injected++
					continue
				}
				octets += len(packet)
				_ = in.rx.Push(now, m.Source, packet) // counted by the receiver
			}
		}
		in.rate.Add(now, octets)
		in.settle(now)
		in.mu.Unlock()
	}
}

// RunSeals gives the gate what comes from src until ctx ends or src is closed; it closes src.
func (in *Ingress) RunSeals(ctx context.Context, src Source) error {
	stop := context.AfterFunc(ctx, func() { src.Close() })
	defer stop()
	messages := ssm.NewMessages(batchMessages)
	loss := in.cfg.Loss
	loss.Seed++
	drop := lossy.New(loss)
	for {
		n, err := src.ReadBatch(messages)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				err = nil
			}
			return err
		}
		for i := range messages[:n] {
			for datagram := range messages[i].Segments {
				if !loss.Active() || !drop.Drop(in.cfg.Now()) {
					_ = in.cfg.Gate.Push(datagram, seal.Multicast) // counted by the gate
				}
			}
		}
	}
}

// Push feeds one datagram, for sources that are not sockets.
func (in *Ingress) Push(src netip.AddrPort, packet []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.cfg.Now()
	in.lastPacket = now
	in.rate.Add(now, len(packet))
	_ = in.rx.Push(now, src, packet)
	in.settle(now)
}

func (in *Ingress) timers(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		in.mu.Lock()
		now := in.cfg.Now()
		next := in.rx.NextTimeout()
		if !next.IsZero() && !next.After(now) {
			in.rx.HandleTimeout(now)
			in.settle(now)
			next = in.rx.NextTimeout()
		}
		for _, t := range []time.Time{in.review(now), in.tell(now)} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
		in.mu.Unlock()
		wait := time.Hour
		if !next.IsZero() {
			wait = max(time.Millisecond, next.Sub(now))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-in.wake:
		case <-timer.C:
		}
	}
}

func (in *Ingress) compute(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-in.works:
			w.Run()
			in.mu.Lock()
			now := in.cfg.Now()
			in.rx.Finish(now, w)
			in.settle(now)
			in.mu.Unlock()
		}
	}
}

// settle handles what the receiver has to say. It is called with mu held after each input.
func (in *Ingress) settle(now time.Time) {
	for {
		in.events(now)
		w, ok := in.rx.PollWork()
		if !ok {
			break
		}
		select {
		case in.works <- w:
			continue
		default:
		}
		// The workers are behind: rather late packets than unbounded memory.
		w.Run()
		in.rx.Finish(now, w)
	}
	select {
	case in.wake <- struct{}{}:
	default:
	}
}
