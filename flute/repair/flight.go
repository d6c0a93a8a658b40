package repair

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"
)

// target is what requests to several parents have in common.
type target struct {
	id     ObjectID
	name   string // instead of id
	query  string // for symbols
	blocks []BlockSymbols
	etag   string
	via    string
}

// key tells which calls can share a flight. Via is part of it: if a request
// made for another node shared one made for ourselves, two nodes could wait for
// each other, each with a request in which the other does not appear.
func (t *target) key() string {
	return t.url("", "") + "\x00" + t.etag + "\x00" + t.via
}

func (t *target) url(ids, names string) string {
	if t.name != "" {
		return names + escapeName(t.name)
	}
	u := ids + t.id.String()[1:]
	if t.query != "" {
		u += "?" + t.query
	}
	return u
}

// flight is the fetching of one target for one or more calls.
type flight struct {
	client *Client
	target target
	ranges []Range // what it gets; none: all
	hurry  chan struct{}
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Guarded by Client.mu.
	waiters int
	urgent  bool

	// Valid once done is closed.
	gathering
	done    chan struct{}
	symbols *SymbolAnswer
	err     error
}

// board returns flights that together bring what is wanted: those under way,
// and one for the rest.
func (c *Client) board(t target, want []Range, urgent bool) ([]*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	key := t.key()
	rest := want
	var flights []*flight
	for _, f := range c.flights[key] {
		if len(f.ranges) == 0 { // brings all
			flights, rest = []*flight{f}, nil
			break
		}
		if len(want) > 0 && overlap(rest, f.ranges) {
			flights = append(flights, f)
			rest = subtract(rest, f.ranges)
		}
	}
	var fresh *flight
	if len(flights) > 0 && len(rest) == 0 {
		c.coalesced.Add(1)
	} else {
		fresh = &flight{client: c, target: t, ranges: rest, gathering: gathering{limit: c.config.MaxOctets}, hurry: make(chan struct{}), done: make(chan struct{})}
		fresh.ctx, fresh.cancel = context.WithCancelCause(c.base)
		c.flights[key] = append(c.flights[key], fresh)
		flights = append(flights, fresh)
	}
	for _, f := range flights {
		f.waiters++
		if urgent && !f.urgent {
			f.urgent = true
			close(f.hurry)
		}
	}
	if fresh != nil {
		c.wait.Add(1)
		go fresh.run(key)
	}
	return flights, nil
}

// await waits for all flights and returns their first error. A call that gives
// up ends the flights for which nobody else waits.
func (c *Client) await(ctx context.Context, flights []*flight) error {
	defer c.leave(flights)
	var first error
	for _, f := range flights {
		select {
		case <-f.done:
			if first == nil {
				first = f.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return first
}

func (c *Client) leave(flights []*flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range flights {
		if f.waiters--; f.waiters == 0 {
			f.cancel(context.Canceled)
			c.remove(f.target.key(), f) // nobody may board it any more
		}
	}
}

func (c *Client) remove(key string, f *flight) {
	flights := slices.DeleteFunc(c.flights[key], func(g *flight) bool { return g == f })
	if len(flights) == 0 {
		delete(c.flights, key)
	} else {
		c.flights[key] = flights
	}
}

func (f *flight) run(key string) {
	c := f.client
	defer c.wait.Done()
	f.err = f.fetch()
	c.mu.Lock()
	c.remove(key, f)
	c.mu.Unlock()
	f.cancel(nil)
	close(f.done)
}

// fetch asks the parents in turn, in rounds, until nothing is missing.
func (f *flight) fetch() error {
	c := f.client
	if err := f.backOff(); err != nil {
		return err
	}
	retry := Retry{c.config.RoundWait, c.config.RoundWaitMax}
	for round := 1; ; round++ {
		var last error
		var again bool
		var retryAfter time.Duration
		for _, p := range c.order() {
			err := f.ask(p)
			if err == nil {
				return nil
			}
			if f.ctx.Err() != nil {
				return context.Cause(f.ctx)
			}
			again = again || inPassing(err)
			if last == nil || tells(err) {
				last = err
			}
			var pe *ParentError
			if errors.As(err, &pe) {
				retryAfter = max(retryAfter, pe.RetryAfter)
			}
		}
		if !again || round >= c.config.Rounds {
			return last
		}
		if err := c.config.Sleep(f.ctx, retry.Draw(round, retryAfter, c.config.Rand())); err != nil {
			return err
		}
	}
}

// order returns the parents in the order in which they are asked now.
func (c *Client) order() []*parent {
	list := make([]*parent, 0, len(c.parents))
	var rest []*parent
	for i := range c.parents {
		if p := &c.parents[i]; c.config.Usable == nil || c.config.Usable(p.url) {
			list = append(list, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(list, rest...)
}

// backOff waits for a random time, or until somebody is in a hurry.
func (f *flight) backOff() error {
	c := f.client
	d := Window{c.config.BackOff, c.config.BackOffWindow}.Draw(c.config.Rand())
	select {
	case <-f.hurry:
		return nil
	default:
	}
	if d <= 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	asleep := make(chan struct{})
	go func() {
		defer close(asleep)
		_ = c.config.Sleep(ctx, d)
	}()
	select {
	case <-asleep:
	case <-f.hurry:
		cancel()
		<-asleep
	}
	return context.Cause(f.ctx)
}

// inPassing reports whether the same request may succeed later.
func inPassing(err error) bool {
	var status *StatusError
	switch {
	case errors.As(err, &status):
		return status.Status >= 500 || status.Status == 429 || status.Status == 408
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrExpired), errors.Is(err, ErrNoSymbols), errors.Is(err, ErrChanged),
		errors.Is(err, ErrLoop), errors.Is(err, ErrLimit), errors.Is(err, ErrAnswer), errors.Is(err, ErrRequest):
		return false
	}
	return true // ErrNotReady, and failures of the network
}

// tells reports whether err says more about the object than that a parent does
// not have it.
func tells(err error) bool { return !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrLoop) }
