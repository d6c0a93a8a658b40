// Package memnet is a network in memory for tests: hosts that listen, and connections between them that can be refused,
// lost without a word, or cut in the middle. Under testing/synctest it runs in virtual time.
package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Network is a set of hosts. The zero value is empty and ready.
type Network struct {
	mu    sync.Mutex // guards below
	hosts map[string]*Host
}

// Host is one address of a network.
type Host struct {
	net     *Network
	address string

	mu        sync.Mutex // guards below
	listener  *listener
	conns     map[*conn]struct{}
	reachable chan struct{} // closed while packets pass
	dials     int
}

// Host returns the host at an address, host:port.
func (n *Network) Host(address string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = make(map[string]*Host)
	}
	h := n.hosts[address]
	if h == nil {
		h = &Host{net: n, address: address, conns: make(map[*conn]struct{}), reachable: make(chan struct{})}
		close(h.reachable)
		n.hosts[address] = h
	}
	return h
}

// DialContext connects to a host, as net.Dialer does: at once, or not before ctx ends if it is cut off.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	h := n.Host(address)
	h.mu.Lock()
	h.dials++
	l := h.listener
	select {
	case <-h.reachable:
	default:
		h.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l == nil {
		h.mu.Unlock()
		return nil, errRefused
	}
	a, b := newPair(h)
	h.mu.Unlock()
	select {
	case l.queue <- b:
		return a, nil
	case <-l.done:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errRefused = errors.New("memnet: connection refused")

// Dials counts the attempts to connect.
func (h *Host) Dials() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials
}

// Listen makes the host take connections. It ends with the listener, or with Kill.
func (h *Host) Listen() net.Listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{host: h, queue: make(chan net.Conn), done: make(chan struct{})}
	h.listener = l
	return l
}

// Kill ends the listener and all connections, as the end of a process does.
func (h *Host) Kill() {
	h.mu.Lock()
	l := h.listener
	h.listener = nil
	var all []*conn
	for c := range h.conns {
		all = append(all, c)
	}
	clear(h.conns)
	h.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for _, c := range all {
		c.Close()
		c.peer.Close()
	}
}

// Cut loses everything from and to the host. What was on its way at that moment is never delivered, not even after Heal:
// a TCP that was cut off for long repeats too seldom to be of use.
func (h *Host) Cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reachable = make(chan struct{})
	for c := range h.conns {
		c.stall()
		c.peer.stall()
	}
	clear(h.conns)
}

// Heal ends Cut for new connections.
func (h *Host) Heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.reachable)
}

type listener struct {
	host  *Host
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.host.mu.Lock()
		if l.host.listener == l {
			l.host.listener = nil
		}
		l.host.mu.Unlock()
		close(l.done)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.host.address) }

type addr string

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return string(a) }

// conn is one end of a connection, with a buffer of what was sent to it.
type conn struct {
	host *Host
	peer *conn

	mu       sync.Mutex // guards below
	changed  chan struct{}
	buf      []byte
	eof      bool // the peer has closed
	closed   bool
	stalled  bool
	deadline time.Time
}

// maxBuffer is what is on the way before a writer waits.
const maxBuffer = 64 << 10

func newPair(h *Host) (a, b *conn) {
	a, b = &conn{host: h, changed: make(chan struct{})}, &conn{host: h, changed: make(chan struct{})}
	a.peer, b.peer = b, a
	h.conns[a] = struct{}{}
	return a, b
}

// signal wakes who waits. It is called with mu held.
func (c *conn) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *conn) stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = true
	c.signal()
}

// wait waits for a change, mu held before and after. It returns an error at the deadline.
func (c *conn) wait(deadline time.Time) error {
	changed := c.changed
	var late <-chan time.Time
	if !deadline.IsZero() {
		d := time.Until(deadline)
		if d <= 0 {
			return timeout{}
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		late = timer.C
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
	case <-late:
	}
	return nil
}

func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case !c.stalled && len(c.buf) > 0:
			n := copy(p, c.buf)
			c.buf = c.buf[n:]
			c.signal()
			return n, nil
		case !c.stalled && c.eof:
			return 0, io.EOF
		}
		if err := c.wait(c.deadline); err != nil {
			return 0, err
		}
	}
}

func (c *conn) Write(p []byte) (n int, err error) {
	o := c.peer
	for len(p) > 0 {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		o.mu.Lock()
		switch {
		case closed:
			o.mu.Unlock()
			return n, net.ErrClosed
		case o.closed && !o.stalled:
			o.mu.Unlock()
			return n, io.ErrClosedPipe
		case len(o.buf) < maxBuffer && !o.stalled:
			k := min(len(p), maxBuffer-len(o.buf))
			o.buf = append(o.buf, p[:k]...)
			n, p = n+k, p[k:]
			o.signal()
		default:
			if err := o.wait(time.Time{}); err != nil {
				o.mu.Unlock()
				return n, err
			}
		}
		o.mu.Unlock()
	}
	return n, nil
}

func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.signal()
	c.mu.Unlock()
	c.peer.mu.Lock()
	c.peer.eof = true
	c.peer.signal()
	c.peer.mu.Unlock()
	c.host.mu.Lock()
	delete(c.host.conns, c)
	delete(c.host.conns, c.peer)
	c.host.mu.Unlock()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return addr(c.host.address) }
func (c *conn) RemoteAddr() net.Addr { return addr(c.host.address) }

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.signal()
	return nil
}

// SetWriteDeadline does nothing: a writer waits as long as its reader does.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

type timeout struct{}

func (timeout) Error() string   { return "memnet: time-out" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }
