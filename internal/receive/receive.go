package receive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/internal/gateway"
)

// Config says what to receive, how, and where to.
type Config struct {
	// Channel is what to receive. Port 0 takes the port of the first packet that comes.
	Channel ssm.Channel
	Mode    amt.Mode
	// Relays are used if there are any; else what Discovery finds.
	Relays    []amt.Candidate
	Discovery *driad.ClientConfig
	// Interface is where to join natively. Default: the one on the route to the source.
	Interface string
	// Sink takes the payloads. It is not closed. It may be used after Run, if it has not taken a payload in time.
	Sink Sink
	// Wait is how long the first packet may take; 0 means for ever.
	Wait time.Duration
	Report
}

// ErrNothing is matched by the error of Run if no packet came; its text says why.
var ErrNothing = errors.New("nothing arrived")

// ErrPortOrPrivilege is returned without a port where all ports cannot be had.
var ErrPortOrPrivilege = errors.New("either the UDP port is needed, as in S,G:port, or CAP_NET_RAW to take whatever port there is " +
	"(run as root, or setcap cap_net_raw+ep on the program); through a relay (-relay, -mode tunnel) neither is")

// nativeTimeout is how long nothing may come natively before a relay is asked.
const nativeTimeout = 3 * time.Second

// queue is how many messages wait for the sink: a player that starts takes nothing for a while.
const queue = 512

// Run receives until ctx ends, the sink fails, or nothing arrives for too long. That ctx ends is no error once something
// has arrived, nor is it that whoever reads the sink has gone.
func Run(ctx context.Context, c Config) error {
	r := &receiver{Config: c, report: newReport(c.Report), why: why{source: c.Channel.Source, group: c.Channel.Group}}
	defer r.report.end()
	if r.Mode == amt.ModeNative {
		r.Relays, r.Discovery = nil, nil
	}
	if len(r.Relays) > 0 {
		r.Discovery = nil
	}
	var client *driad.Client
	if r.Discovery != nil {
		discovery, err := r.why.listen(*r.Discovery)
		var looking *gateway.Client
		if err == nil {
			looking, err = gateway.NewClient(*discovery)
		}
		if err != nil {
			return fmt.Errorf("looking for relays: %w", err)
		}
		defer func() { _ = looking.Close() }()
		client = looking.Client
	}
	r.finder = gateway.Find(ctx, r.Channel.Source, r.Relays, client, r.found)
	defer r.finder.Close()
	first, cancel := context.WithCancel(ctx)
	if c.Wait > 0 {
		first, cancel = context.WithTimeout(ctx, c.Wait)
	}
	defer cancel()
	if r.Channel.Port == 0 {
		if err := r.findPort(first); err != nil {
			return err
		}
	}
	return r.run(ctx, first)
}

type receiver struct {
	Config
	report *report
	finder *gateway.Finder
	why    why
	// relayAt is from when on relays are asked although the channel was joined natively.
	relayAt time.Time
}

// nothing is the error for a channel of which no packet came.
func (r *receiver) nothing(ctx context.Context) error {
	text := r.why.String()
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("%w within %v:\n  %s", ErrNothing, r.Wait, text)
	}
	return fmt.Errorf("%w:\n  %s", ErrNothing, text)
}

// found says what came of looking for relays.
func (r *receiver) found(f gateway.Found) {
	if len(f.Relays) == 0 {
		r.why.noRelay(f.Err)
		r.report.say(eventNoRelay, "no relay was found for %v: %v", r.Channel.Source, f.Err)
		return
	}
	var texts []string
	for _, c := range f.Relays {
		texts = append(texts, fmt.Sprintf("%v (%v)", c.Address, c.Method))
	}
	r.report.say(eventRelays, "relays for %v: %s", r.Channel.Source, strings.Join(texts, ", "))
}

// dial begins to receive, and follows the events until done is called.
func (r *receiver) dial(ctx context.Context, mode amt.Mode, other func(p *amt.Packet)) (conn *amt.Conn, done func(), err error) {
	events := make(chan amt.ConnEvent, 64)
	timeout := nativeTimeout
	if r.Wait > 0 {
		timeout = min(timeout, r.Wait/3) // so that a relay has a chance
	}
	if mode == amt.ModeAuto {
		r.relayAt = time.Now().Add(timeout)
	}
	conn, err = amt.Dial(ctx, r.Channel.Source, r.Channel.Destination(), amt.DialConfig{
		Mode: mode, Gateway: amt.GatewayConfig{Relays: r.finder.Relays(), ECN: true}, Interface: r.Interface,
		RelaysLater: r.Discovery != nil, NativeTimeout: timeout, Other: other, Queue: queue,
		OnEvent: func(e amt.ConnEvent) {
			select {
			case events <- e:
			default: // the line cannot be written to
			}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	if mode != amt.ModeNative {
		r.finder.Use(conn.SetRelays)
	}
	var talking sync.WaitGroup
	stop := make(chan struct{})
	talking.Go(func() { r.talk(ctx, conn, events, stop) })
	return conn, func() {
		r.finder.Use(nil)
		_ = conn.Close()
		close(stop)
		talking.Wait()
	}, nil
}

// talk says what happens until stop is closed.
func (r *receiver) talk(ctx context.Context, conn *amt.Conn, events <-chan amt.ConnEvent, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case e := <-events:
			r.event(e)
		case now := <-tick.C:
			for len(events) > 0 { // what the line shows has begun by one of them
				r.event(<-events)
			}
			way, started := conn.Way()
			stats := conn.Stats()
			switch {
			case ctx.Err() != nil: // the way is gone
			case !started:
				r.report.line(now, "", stats.Native.Dropped)
			default:
				r.report.line(now, way.String(), stats.Dropped+stats.Native.Dropped)
			}
		}
	}
}

// event says in words what happened on the way.
func (r *receiver) event(e amt.ConnEvent) {
	r.finder.Event(e)
	news := r.why.event(e)
	switch e.Type {
	case amt.ConnStarted:
		r.report.say(eventStarted, "receiving, %v", e.To)
	case amt.ConnSwitched:
		if e.Planned {
			r.report.say(eventSwitched, "now %v instead of %v, without a gap", e.To, e.From)
		} else {
			r.report.say(eventSwitched, "now %v instead of %v, after %v without packets", e.To, e.From, e.Gap.Round(time.Millisecond))
		}
	case amt.ConnNativeFailed:
		r.report.say(eventNativeFailed, "cannot join natively: %v", e.Err)
	case amt.ConnNativeJoined:
		r.report.say(eventNativeJoined, "joined natively after all")
	case amt.ConnWorse:
		r.report.say(eventNativeWorse, "packets come natively again, but more of them are lost than by %v", e.From)
	case amt.ConnRelay:
		r.report.say(eventRelayAsked, "relay %v has been asked for the channel", e.Relay)
	case amt.ConnRelayLost, amt.ConnRelaySilent:
		if news { // the same every few seconds is none
			r.report.say(eventRelayFailed, "relay %v %s", e.Relay, reasonFor(e.Err))
		}
	}
}

// run receives. The first packet has to come before first ends.
func (r *receiver) run(ctx, first context.Context) error {
	conn, done, err := r.dial(ctx, r.Mode, func(p *amt.Packet) { r.why.otherPort(p.Destination.Port()) })
	if err != nil {
		return err
	}
	defer done()
	if r.Mode != amt.ModeTunnel {
		r.report.say(eventJoining, "joining %v natively", r.Channel)
	}
	stop := context.AfterFunc(first, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	// The sink may take its time, as a pipe that nobody empties does: the end does not wait for it long.
	ended := make(chan error, 1)
	go func() { ended <- r.copy(ctx, conn, func() bool { return stop() }) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(sinkTime):
			r.report.say(eventOutputStalled, "the output takes nothing")
			return nil
		}
	}
	if errors.Is(err, errSilent) {
		r.why.silent(r.Mode, r.finder.Relays(), conn.Stats(), r.Channel.Port, time.Until(r.relayAt))
		return r.nothing(first)
	}
	return err
}

// errSilent is returned by copy if no packet came.
var errSilent = errors.New("no packet")

// sinkTime is how long the sink may take for what it has when all ends.
const sinkTime = time.Second

// copy gives the sink what comes. Before the first packet it ends when the deadline is over; started says that it came.
func (r *receiver) copy(ctx context.Context, conn *amt.Conn, started func() bool) error {
	ms := ssm.NewMessages(8)
	some := false
	for {
		n, err := conn.ReadBatch(ms)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && some:
			_ = conn.SetReadDeadline(time.Time{}) // the first packet came just in time
			continue
		case !some:
			return errSilent
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		default:
			return err
		}
		if !some {
			some = true
			started()
		}
		for i := range ms[:n] {
			for payload := range ms[i].Segments {
				r.report.add(payload)
				switch err := r.Sink.Write(payload); {
				case errors.Is(err, ErrReaderGone):
					r.report.say(eventReaderGone, "whoever read the output has gone")
					return nil
				case errors.Is(err, errNotSent):
					r.report.unsent(err)
				case err != nil:
					return fmt.Errorf("writing: %w", err)
				}
			}
		}
	}
}
