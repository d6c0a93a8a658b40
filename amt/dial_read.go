package amt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
)

// ReadBatch waits for packets and fills at least one and at most len(ms)
// messages, whose Buffers it may exchange for others of the same size. What does not
// fit a Buffer comes with the next message; the end of a packet that is larger than
// a whole Buffer is lost, and the message is marked as Truncated. It returns an error that matches
// [os.ErrDeadlineExceeded] after the time set by SetReadDeadline, see also
// [Conn.Reason], the cause of the context given to Dial if that has ended, or
// [net.ErrClosed] after Close.
func (c *Conn) ReadBatch(ms []ssm.Message) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.wait(); err != nil {
		return 0, err
	}
	for n := range ms {
		if c.rest == nil {
			select {
			case c.rest = <-c.queue:
			default:
				return n, nil
			}
		}
		c.take(&ms[n])
	}
	return len(ms), nil
}

// Receive is ReadBatch without a copy: it waits for packets and calls handle with a
// run of them, whose octets are valid until handle returns. It has the form of
// [ssm.Receiver.Receive], so that what takes the one takes the other.
func (c *Conn) Receive(handle func(at time.Time, from, to netip.AddrPort, run []byte, size int)) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.wait(); err != nil {
		return err
	}
	m := c.rest
	handle(time.Now(), m.Source, c.channel.Destination(), m.Buffer[c.at:m.N], m.SegmentSize)
	c.taken(m.N - c.at)
	return nil
}

// wait waits until there is something to read.
func (c *Conn) wait() error {
	// As package net has it, what waits to be read does not help here.
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	expired := c.read.wait()
	if isClosed(expired) {
		return errDeadline
	}
	if c.rest != nil {
		return nil
	}
	select {
	case c.rest = <-c.queue:
		return nil
	default:
	}
	select {
	case c.rest = <-c.queue:
		return nil
	case <-expired:
		return errDeadline
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// taken: that many octets have been read.
func (c *Conn) taken(octets int) {
	if c.at += octets; c.at >= c.rest.N {
		c.free.give(c.rest)
		c.rest, c.at = nil, 0
	}
}

// take moves as much as fits to a message.
func (c *Conn) take(to *ssm.Message) {
	m := c.rest
	to.Source, to.Destination, to.Truncated = m.Source, m.Destination, false
	if c.at == 0 && len(to.Buffer) >= ssm.MaxDatagram {
		to.Buffer, m.Buffer = m.Buffer, to.Buffer
		to.N, to.SegmentSize = m.N, m.SegmentSize
		c.taken(m.N)
		return
	}
	left := m.Buffer[c.at:m.N]
	size := min(m.SegmentSize, len(left))
	whole := len(left)
	if whole > len(to.Buffer) {
		whole = len(to.Buffer) / size * size
	}
	if whole == 0 {
		c.truncated()
		to.Truncated = true
		whole = size
	}
	to.N = copy(to.Buffer, left[:whole])
	to.SegmentSize = min(size, to.N)
	c.taken(whole)
}

func (c *Conn) truncated() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Truncated++
}

// ReadFrom waits for a packet and copies its payload to b. What does not fit is
// lost, see [ConnStats]. The address is a [*net.UDPAddr].
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.wait(); err != nil {
		return 0, nil, err
	}
	m := c.rest
	size := min(m.SegmentSize, m.N-c.at)
	n := copy(b, m.Buffer[c.at:c.at+size])
	if n < size {
		c.truncated()
	}
	from := net.UDPAddrFromAddrPort(m.Source)
	c.taken(size)
	return n, from, nil
}

// LocalAddr returns group and port.
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.channel.Destination()) }

// WriteTo fails: a channel has one sender, and this is not it.
func (c *Conn) WriteTo([]byte, net.Addr) (int, error) {
	return 0, fmt.Errorf("amt: sending to a channel that is received: %w", errors.ErrUnsupported)
}

// SetDeadline is SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline ends a read that waits now or later at t; the zero time means
// never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	c.read.set(t)
	return nil
}

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// pool keeps messages that are not in use. Those used last go out first, so that no
// more buffers are made than ever were in use together.
type pool struct {
	mu   sync.Mutex // guards below
	free []*ssm.Message
	left int // that may still be made
}

func newPool(size int) pool { return pool{left: size} }

// take returns a message with a buffer; nil if all are in use.
func (p *pool) take() *ssm.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		m := p.free[n-1]
		p.free = p.free[:n-1]
		return m
	}
	if p.left == 0 {
		return nil
	}
	p.left--
	return &ssm.Message{Buffer: make([]byte, ssm.MaxDatagram)}
}

func (p *pool) give(m *ssm.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, m)
}
