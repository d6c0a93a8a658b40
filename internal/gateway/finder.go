package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad"
)

// Finder keeps the list of the relays that tunnels to one source may lead to, and whoever uses them informed of it. Its
// methods are safe for concurrent use.
type Finder struct {
	discovery *driad.Discovery // nil: the list does not change
	cancel    context.CancelFunc
	looking   sync.WaitGroup

	mu   sync.Mutex // guards below
	list []amt.Candidate
	set  func([]amt.Candidate) // of who uses them now
}

// Found is what came of looking for relays: some, or none and why.
type Found struct {
	Relays []driad.Candidate
	Err    error
}

// Find begins with the relays that are given, and, unless the client is nil, takes what that finds in their place from
// then on. It ends with ctx, Close, or the client. Each list that differs from the one before is told, also an empty one;
// told is called from one goroutine at a time, and may be nil.
func Find(ctx context.Context, source netip.Addr, relays []amt.Candidate, client *driad.Client, told func(Found)) *Finder {
	f := &Finder{list: relays}
	ctx, f.cancel = context.WithCancel(ctx)
	if told == nil {
		told = func(Found) {}
	}
	if client == nil {
		return f
	}
	d := client.Discover(ctx, source)
	f.discovery = d
	f.looking.Go(func() {
		for list := range d.Lists() {
			f.take(d, list, told)
		}
	})
	return f
}

func (f *Finder) take(d *driad.Discovery, list []driad.Candidate, told func(Found)) {
	if len(list) == 0 {
		// What was known before is as good as nothing, and may still work.
		told(Found{Err: d.Err()})
		return
	}
	candidates := driad.As[amt.Candidate](list)
	f.mu.Lock()
	news := !slices.Equal(f.list, candidates)
	if news {
		f.list = candidates
		if f.set != nil {
			f.set(candidates)
		}
	}
	f.mu.Unlock()
	if news {
		told(Found{Relays: list})
	}
}

// Relays returns those that are known now.
func (f *Finder) Relays() []amt.Candidate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list
}

// Use calls set with the relays that are known now, and whenever others are. It takes the place of who used them before;
// nil is nobody. After Use has returned, the one before is not called any more. Neither may call the Finder.
func (f *Finder) Use(set func([]amt.Candidate)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = set
	if set != nil {
		set(f.list)
	}
}

// Event tells discovery what became of a relay, so that it looks on, and avoids the relay for the times of RFC 8777
// section 3.3, and prefers those that are near the next time that it looks for relays.
func (f *Finder) Event(e amt.ConnEvent) {
	if f.discovery == nil {
		return
	}
	var outcome driad.Outcome
	switch {
	case e.Type == amt.ConnRelay:
		outcome = driad.Connected
	case e.Type != amt.ConnRelayLost && e.Type != amt.ConnRelaySilent:
		return
	case errors.Is(e.Err, amt.ErrFull):
		outcome = driad.Overloaded
	case errors.Is(e.Err, amt.ErrNoData):
		outcome = driad.NoTraffic
	default:
		outcome = driad.Unreachable
	}
	candidate := e.Candidate
	if !candidate.IsValid() {
		candidate = e.Relay
	}
	f.discovery.ReportVia(candidate, e.Relay, outcome, e.RTT)
}

// Close ends it and waits until nobody is told anything any more. It may be called more than once.
func (f *Finder) Close() {
	f.cancel()
	f.looking.Wait()
}

// Reason says in words why a relay was left, for [amt.ConnEvent.Err].
func Reason(err error) string {
	switch {
	case errors.Is(err, amt.ErrNoAnswer):
		return "does not answer (is it an AMT relay, and is UDP port 2268 open on the way?)"
	case errors.Is(err, amt.ErrUnreachable):
		return "is unreachable (nothing listens there, or no way leads there)"
	case errors.Is(err, amt.ErrFull):
		return "takes no more gateways"
	case errors.Is(err, amt.ErrNoData):
		return "answers, but sends nothing of the channel (the source does not send, or the relay cannot reach it)"
	}
	return fmt.Sprint(err)
}
