package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	// Relays are used if there are any, else what is found as RFC 8777 says. A nil Discovery finds but the anycast
	// address.
	Relays    []amt.Candidate
	Discovery *driad.ClientConfig
	// Interface is where to join natively. Default: the one on the route to the source.
	Interface string
	// Sink takes the payloads. It is not closed.
	Sink Sink
	// Wait is how long the first packet may take; 0 means for ever.
	Wait time.Duration
	// Line takes the live line and what happens. A terminal gets a line that moves, all else one now and then.
	Line     io.Writer
	Terminal bool
}

// ErrNothing is matched by the error of Run if no packet came; its text says why.
var ErrNothing = errors.New("nothing arrived")

// ErrPortOrPrivilege is returned without a port where all ports cannot be had.
var ErrPortOrPrivilege = errors.New("either the UDP port is needed, as in S,G:port, or CAP_NET_RAW to take whatever port there is " +
	"(run as root, or setcap cap_net_raw+ep on the program); through a relay (-relay, -mode tunnel) neither is")

// Run receives until ctx ends, the sink fails, or nothing arrives for too long. That ctx ends is no error once something
// has arrived.
func Run(ctx context.Context, c Config) error {
	r := &receiver{Config: c, report: newReport(c.Line, c.Terminal)}
	defer r.report.end()
	r.relays(ctx)
	defer r.finder.Close()
	var cancel context.CancelFunc = func() {}
	first := ctx
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

	mu      sync.Mutex // guards below
	reasons []string   // why nothing may come, the latest last
}

// because notes why nothing may come.
func (r *receiver) because(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.note(text)
	r.report.say("%s", text)
}

// note is because without saying it now.
func (r *receiver) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, old := range r.reasons {
		if old == text {
			r.reasons = append(r.reasons[:i], r.reasons[i+1:]...)
			break
		}
	}
	r.reasons = append(r.reasons, text)
}

// nothing is the error for a channel of which no packet came.
func (r *receiver) nothing(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	why := "the source does not send, or no multicast route leads here"
	if len(r.reasons) > 0 {
		why = strings.Join(r.reasons, "; ")
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("%w within %v: %s", ErrNothing, r.Wait, why)
	}
	return fmt.Errorf("%w: %s", ErrNothing, why)
}

// relays begins to look for where tunnels may lead.
func (r *receiver) relays(ctx context.Context) {
	list := r.Relays
	discovery := r.Discovery
	switch {
	case r.Mode == amt.ModeNative, len(list) > 0:
		discovery = nil
	case r.Channel.Source.Is6():
		list = []amt.Candidate{{Address: netip.AddrPortFrom(amt.DiscoveryIPv6, amt.Port)}}
	default:
		list = []amt.Candidate{{Address: netip.AddrPortFrom(amt.DiscoveryIPv4, amt.Port)}}
	}
	r.finder = gateway.Find(ctx, r.Channel.Source, list, discovery, r.found)
}

// found says what came of it.
func (r *receiver) found(f gateway.Found) {
	if len(f.Relays) == 0 {
		r.because("no relay was found for %v: %v", r.Channel.Source, f.Err)
		return
	}
	var texts []string
	for _, c := range f.Relays {
		texts = append(texts, fmt.Sprintf("%v (%v)", c.Address, c.Method))
	}
	r.report.say("relays for %v: %s", r.Channel.Source, strings.Join(texts, ", "))
}

// findPort waits for the first packet, whatever port it is for.
func (r *receiver) findPort(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan uint16, 1)
	deliver := func(packets [][]byte) {
		var p amt.Packet
		for _, b := range packets {
			if p.Parse(b) == nil && p.ParseUDP() == nil {
				select {
				case found <- p.Destination.Port():
				default:
				}
				return
			}
		}
	}
	some := false
	if r.Mode != amt.ModeTunnel {
		native, err := amt.NewNative(amt.NativeConfig{Interface: r.Interface})
		if err == nil {
			defer native.Close()
			err = native.Join(r.Channel.Source, r.Channel.Group, deliver)
		}
		switch {
		case err == nil:
			some = true
		case errors.Is(err, amt.ErrPrivilege):
			if r.Mode == amt.ModeNative {
				return ErrPortOrPrivilege
			}
			r.because("not tried natively, for lack of a port or CAP_NET_RAW")
		default:
			r.because("cannot join natively: %v", err)
		}
	}
	if r.Mode != amt.ModeNative {
		chain, err := amt.NewChain(amt.ChainConfig{Gateway: amt.GatewayConfig{Relays: r.finder.Relays()}})
		if err != nil {
			return err
		}
		defer chain.Close()
		defer r.finder.Use(nil)
		r.finder.Use(chain.SetRelays)
		if err := chain.Join(r.Channel.Source, r.Channel.Group, deliver); err != nil {
			return err
		}
		some = true
	}
	if !some {
		return r.nothing(ctx)
	}
	r.report.say("waiting for a packet of %v,%v, whatever its port", r.Channel.Source, r.Channel.Group)
	select {
	case r.Channel.Port = <-found:
		r.report.say("packets are for UDP port %d", r.Channel.Port)
		return nil
	case <-ctx.Done():
		if r.Mode != amt.ModeNative && !some {
			return ErrPortOrPrivilege
		}
		if r.Mode != amt.ModeNative {
			r.because("no relay of %s delivered", gateway.Addresses(r.finder.Relays()))
		}
		return r.nothing(ctx)
	}
}

// event says in words what happened on the way.
func (r *receiver) event(e amt.ConnEvent) {
	r.finder.Event(e)
	switch e.Type {
	case amt.ConnStarted:
		r.report.say("receiving, %v", e.To)
	case amt.ConnSwitched:
		if e.Planned {
			r.report.say("now %v instead of %v, without a gap", e.To, e.From)
		} else {
			r.report.say("now %v instead of %v, after %v without packets", e.To, e.From, e.Gap.Round(time.Millisecond))
		}
	case amt.ConnNativeFailed:
		r.because("cannot join natively: %v", e.Err)
	case amt.ConnNativeJoined:
		r.report.say("joined natively after all")
	case amt.ConnRelay:
		r.report.say("relay %v has been asked for the channel", e.Relay)
	case amt.ConnRelayLost, amt.ConnRelaySilent:
		r.because("relay %v: %s", e.Relay, gateway.Reason(e.Err))
	case amt.ConnNoRelay:
		r.because("no relay works; tried %s, and goes on trying", gateway.Addresses(r.finder.Relays()))
	}
}

// run receives. The first packet has to come before first ends.
func (r *receiver) run(ctx, first context.Context) error {
	events := make(chan amt.ConnEvent, 64)
	conn, err := amt.Dial(ctx, r.Channel.Source, r.Channel.Destination(), amt.DialConfig{
		Mode: r.Mode, Gateway: amt.GatewayConfig{Relays: r.finder.Relays(), ECN: true}, Interface: r.Interface,
		OnEvent: func(e amt.ConnEvent) {
			select {
			case events <- e:
			default: // the line cannot be written to
			}
		},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if r.Mode != amt.ModeNative {
		defer r.finder.Use(nil)
		r.finder.Use(conn.SetRelays)
	}
	if r.Mode != amt.ModeTunnel {
		r.report.say("joining %v natively", r.Channel)
	}
	var talking sync.WaitGroup
	defer talking.Wait()
	done := make(chan struct{})
	defer close(done)
	talking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case e := <-events:
				r.event(e)
			case now := <-tick.C:
				way, _ := conn.Way()
				r.report.line(now, way.String(), conn.Stats())
			}
		}
	})
	stop := context.AfterFunc(first, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
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
			r.silent(conn)
			return r.nothing(first)
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		default:
			return err
		}
		if !some {
			some = true
			stop()
		}
		for i := range ms[:n] {
			for payload := range ms[i].Segments {
				r.report.add(payload)
				if err := r.Sink.Write(payload); err != nil {
					return fmt.Errorf("writing: %w", err)
				}
			}
		}
	}
}

// silent adds what the counters tell about a channel of which nothing came.
func (r *receiver) silent(conn *amt.Conn) {
	s := conn.Stats()
	switch {
	case s.Native.Rejected > 0:
		r.note(fmt.Sprintf("%d packets to the group came from other sources", s.Native.Rejected))
	case r.Mode == amt.ModeNative:
		r.note("joined natively, and no packet came: the source does not send, no multicast route leads here, or the port is another one")
	case s.Gateway.Queries > 0 && s.Gateway.Packets == 0:
		r.note("the relay " + gateway.Reason(amt.ErrNoData))
	case s.Gateway.Packets > 0:
		r.note(fmt.Sprintf("%d packets came through the tunnel for other UDP ports than %d", s.Gateway.Packets, r.Channel.Port))
	}
}
