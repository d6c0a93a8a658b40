package driad

import (
	"context"
	"net/netip"
	"slices"
)

// Find returns the relays for a source in the order of preference, when all is known
// that there is to know, or what is known when ctx ends. The anycast addresses are
// among them unless config.NoAnycast. The error says why there is none.
//
// It is for those who look once, and asks with a client of its own. A gateway that
// lives on, and so should hear of changes, uses [Discover].
func Find(ctx context.Context, source netip.Addr, config ClientConfig) ([]Candidate, error) {
	c, err := NewClient(config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.Find(ctx, source)
}

// Find is the function [Find] with what the client knows.
func (c *Client) Find(ctx context.Context, source netip.Addr) ([]Candidate, error) {
	d := c.Discover(ctx, source)
	defer d.cancel(nil)
	for {
		c.mu.Lock()
		list, err, resolved, changed := d.list, d.err, d.resolved, d.changed
		c.mu.Unlock()
		switch {
		case len(list) > 0 && (resolved || d.ctx.Err() != nil):
			return slices.Clone(list), nil
		case d.ctx.Err() != nil:
			return nil, context.Cause(d.ctx)
		case resolved && err != nil:
			return nil, err
		}
		select {
		case <-d.ctx.Done():
		case <-changed:
		}
	}
}
