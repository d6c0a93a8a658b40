package amt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/treedn/treedn/amt/ssm"
)

// Times between two attempts to join natively, and between two looks at the
// interface of a membership by which nothing comes.
const (
	minNativeRetry = time.Second
	maxNativeRetry = 30 * time.Second
)

// native is the native side of a [Conn].
type native struct {
	receiver *ssm.Receiver // nil: the channel is not joined
	name     string        // of the interface
	index    int           // of the interface: another one may get its name
	before   ssm.Stats     // of receivers before
}

func (n *native) stats() ssm.Stats {
	s := n.before
	if n.receiver != nil {
		now := n.receiver.Stats()
		s.Packets += now.Packets
		s.Octets += now.Octets
		s.Rejected += now.Rejected
		s.Truncated += now.Truncated
		s.Dropped += now.Dropped
	}
	return s
}

// useNative starts native reception, or ends it. The mutex is held.
func (c *Conn) useNative(on bool) {
	switch {
	case on == (c.leave != nil) || c.closed:
	case on:
		ctx, cancel := context.WithCancel(c.ctx)
		c.leave = cancel
		c.done.Go(func() {
			m, err := c.joinNative(ctx)
			c.receiveNatively(ctx, m, err)
		})
	default:
		c.leave()
		c.leave, c.failed = nil, nil
		c.native = native{before: c.native.stats()}
	}
}

// joinNative joins the channel on the interface of the configuration, or on the one
// that the route to the source now has.
func (c *Conn) joinNative(ctx context.Context) (native, error) {
	ifi, err := ssm.InterfaceFor(c.config.Interface, c.channel.Source)
	if err != nil {
		return native{}, err
	}
	r, err := c.host.Join(ctx, c.channel, ifi.Name)
	if err != nil {
		return native{}, err
	}
	return native{receiver: r, name: ifi.Name, index: ifi.Index}, nil
}

// receiveNatively reads what comes natively until ctx ends. It begins with what
// a first attempt to join has led to, and tries again for as long as that fails, and
// when the membership has gone with its interface.
func (c *Conn) receiveNatively(ctx context.Context, m native, err error) {
	wait := minNativeRetry
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err == nil {
			c.nativeJoined(ctx, m)
			var rejoin bool
			if rejoin, err = c.readNative(ctx, m); rejoin {
				m, err = c.joinNative(ctx) // on another interface
			}
			wait = minNativeRetry
		}
		if ctx.Err() != nil {
			if err == nil {
				_ = m.receiver.Close()
			}
			return
		}
		if err == nil {
			continue
		}
		c.nativeFailed(ctx, err)
		// Those that fail together do not try again together.
		timer.Reset(wait*3/4 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait = min(2*wait, maxNativeRetry)
		m, err = c.joinNative(ctx)
	}
}

func (c *Conn) nativeJoined(ctx context.Context, m native) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return // what is joined now is another one
	}
	if c.failed != nil {
		c.note(ConnEvent{Type: ConnNativeJoined})
	}
	m.before = c.native.stats()
	c.native, c.failed = m, nil
}

func (c *Conn) nativeFailed(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if c.failed == nil || c.failed.Error() != err.Error() {
		c.note(ConnEvent{Type: ConnNativeFailed, Err: err})
	}
	c.native, c.failed = native{before: c.native.stats()}, err
	c.poke() // a tunnel need not wait any more
}

// readNative reads until the membership is of no use any more, for the reason in
// the error. It is joined again on another interface at once.
func (c *Conn) readNative(ctx context.Context, m native) (rejoin bool, err error) {
	defer func() { _ = m.receiver.Close() }()
	ms := ssm.NewMessages(1)
	look := minNativeRetry
	some := true
	if err := m.receiver.SetReadDeadline(time.Now().Add(look)); err != nil {
		return false, err
	}
	for {
		n, err := m.receiver.ReadBatch(ms)
		now := time.Now()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			look = min(2*look, maxNativeRetry)
			if some {
				look = minNativeRetry
			} else if rejoin, err := c.moved(m); rejoin || err != nil {
				return rejoin, err
			}
			some = false
			if err := m.receiver.SetReadDeadline(now.Add(look)); err != nil {
				return false, err
			}
			continue
		case err != nil:
			return false, err
		}
		some = true
		c.mu.Lock()
		if ctx.Err() != nil { // while this one waited for the mutex
			c.mu.Unlock()
			return false, context.Cause(ctx)
		}
		for i := range ms[:n] {
			m := &ms[i]
			whole := m.N >= wholeRun && c.steady(now)
			for payload := range m.Segments {
				if whole {
					c.merger.remember(now, payload)
				} else {
					c.fromNative(now, payload, m.Source)
				}
			}
			if whole {
				c.deliverRun(m)
			}
		}
		c.flush()
		c.follow(now)
		c.mu.Unlock()
		if n == len(ms) && n < readMessages {
			ms = append(ms, ssm.NewMessages(1)...)
		}
	}
}

// wholeRun is the size of runs whose buffers go to the reader as they are, which saves
// copying them. Smaller ones are put together, for there are not many buffers.
const wholeRun = ssm.MaxDatagram / 4

// deliverRun is deliver for all of a run, of which it takes the buffer for another one.
func (c *Conn) deliverRun(m *ssm.Message) {
	c.flush()
	packets := uint64((m.N + m.SegmentSize - 1) / m.SegmentSize)
	out := c.free.take()
	if out == nil {
		c.stats.Dropped += packets
		return
	}
	out.N, out.SegmentSize, out.Source, out.Destination = m.N, m.SegmentSize, m.Source, c.channel.Group
	out.Buffer, m.Buffer = m.Buffer, out.Buffer
	c.stats.Packets += packets
	c.stats.Octets += uint64(m.N)
	c.out = out
	c.flush()
}

// moved looks whether the interface that the channel is joined on is still the right
// one. The system says nothing when a membership goes with its interface, or when the
// route to the source leads elsewhere.
func (c *Conn) moved(m native) (elsewhere bool, err error) {
	ifi, err := ssm.InterfaceFor(c.config.Interface, c.channel.Source)
	if err != nil {
		return false, fmt.Errorf("no longer joined natively: %w", err)
	}
	return ifi.Index != m.index, nil
}
