package ingest

import (
	"errors"
)

// leave ends the accounting of a transfer.
func (c *channel) leave(t *transfer, cause error) {
	now := c.config.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.transfers, t)
	if errors.Is(cause, ErrBusy) {
		return // it was never one of the channel's objects
	}
	if t.session == c.session {
		t.session.last = now
	}
	if t.media {
		a := c.of(t.epoch)
		if a != nil {
			a.heard, a.ended, a.broken = now, now, cause != nil
			a.streamed = cause == nil && now.Sub(t.opened) > pause
		}
		if t.track != nil {
			t.track.last = now
			if cause != nil {
				t.track.aborted, t.track.broken = t.number, true
			}
		}
	}
	c.status.end(t, cause, now)
	if cause != nil {
		c.config.Logger.Debug("push broke off", "channel", c.name, "name", t.name, "octets", t.total, "error", cause)
	}
	c.signal()
}

// malformed notes an object whose boxes do not add up.
func (c *channel) malformed(t *transfer, err error) {
	c.mu.Lock()
	c.status.malformed++
	first := c.status.malformed == 1
	c.mu.Unlock()
	if first {
		c.config.Logger.Warn("object is not well-formed CMAF; later ones are only counted", "channel", c.name, "name", t.name, "error", err)
	}
}

// remove takes a DELETE.
func (c *channel) remove(who publisher, name string) error {
	now := c.config.Now()
	c.mu.Lock()
	if err := c.closed; err != nil {
		c.mu.Unlock()
		return err
	}
	if s := c.session; s != nil && s.who != who && now.Sub(s.last) < c.hold() && c.ended.IsZero() {
		err := c.refused(who, now, "it deletes objects of another publisher")
		c.mu.Unlock()
		return err
	}
	open := false
	for t := range c.transfers {
		open = open || t.name == name
	}
	if i := c.inits[name]; i != nil {
		i.deleted = true // if it is pushed again, it is wanted again
	}
	c.mu.Unlock()
	if !open { // the DELETE overtook the PUT, which wins
		c.sink.Delete(c.name, name)
	}
	return nil
}
