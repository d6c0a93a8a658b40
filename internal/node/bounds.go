package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/telemetry"
)

// Limits bound what the clients of a server may take. Zero fields mean the defaults.
type Limits struct {
	config.Limits
	// Stall is how long a client may take to read a piece of what it is sent. Default 30 s.
	Stall time.Duration
	// Body is how long a client may take for a body that nobody wants. Default 10 s.
	Body time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Limits = l.Limits.WithDefaults()
	l.Stall = cmp.Or(l.Stall, 30*time.Second)
	l.Body = cmp.Or(l.Body, 10*time.Second)
	return l
}

const (
	// maxHeader bounds the head of a request in octets.
	maxHeader = 64 << 10
	// maxPiece is how many octets a client has to read within Limits.Stall.
	maxPiece = 64 << 10
)

// bounds keeps the limits of one server, and counts what hit them.
type bounds struct {
	limits                            Limits // its connections are guarded by mu
	refused, crowded, stalled, header atomic.Uint64

	mu    sync.Mutex // guards below
	n     int
	peers map[netip.Addr]int
	fresh map[*boundedConn]struct{} // no request has come on them
	ended bool                      // none is waited for
}

func newBounds(l Limits) *bounds {
	return &bounds{limits: l.withDefaults(), peers: make(map[netip.Addr]int), fresh: make(map[*boundedConn]struct{})}
}

// status returns the limits as a status has them.
func (b *bounds) status() []telemetry.Limit {
	b.mu.Lock()
	n, most, limits := b.n, 0, b.limits.Limits
	for _, k := range b.peers {
		most = max(most, k)
	}
	b.mu.Unlock()
	return []telemetry.Limit{
		{Name: "connections", Used: uint64(n), Max: uint64(limits.Connections), Hits: b.refused.Load()},
		{Name: "connections_per_peer", Used: uint64(most), Max: uint64(limits.ConnectionsPerPeer), Hits: b.crowded.Load()},
		{Name: "stalled_seconds", Max: uint64((b.limits.Stall + time.Second - 1) / time.Second), Hits: b.stalled.Load()},
		{Name: "header_octets", Max: maxHeader, Hits: b.header.Load()},
	}
}

// set changes what is admitted from now on.
func (b *bounds) set(l config.Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits.Limits = l.WithDefaults()
}

// admit takes a connection in, or returns nil.
func (b *bounds) admit(c net.Conn) net.Conn {
	peer := peerOf(c.RemoteAddr())
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.n >= b.limits.Connections:
		b.refused.Add(1)
		return nil
	case b.peers[peer] >= b.limits.ConnectionsPerPeer:
		b.crowded.Add(1)
		return nil
	}
	b.n++
	b.peers[peer]++
	return &boundedConn{Conn: c, bounds: b, peer: peer}
}

// state follows a connection of the server.
func (b *bounds) state(conn net.Conn, state http.ConnState) {
	c := boundedOf(conn)
	if state == http.StateIdle || state == http.StateClosed {
		// An http.Server answers a head beyond its bound itself. With TLS that answer cannot be told from others here, but
		// that so much came and nobody was asked can.
		switch n := c.head.Load(); {
		case n >= headBound(conn):
			b.header.Add(1)
			c.head.Store(0)
		case n < 0:
			c.head.Store(0)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(b.fresh, c)
	case b.ended:
		_ = c.Conn.Close()
	default:
		b.fresh[c] = struct{}{}
	}
}

// end closes the connections on which no request has come, as clients open some in store. An http.Server that shuts down
// waits five seconds for one, and then does not answer it.
func (b *bounds) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for c := range b.fresh {
		_ = c.Conn.Close()
	}
}

// headBound is how many octets, at the least, make a head that was refused. With HTTP/2 a length alone may be reason
// enough; but what is longer than a frame comes in whole frames (RFC 9113 section 4.2).
func headBound(c net.Conn) int64 {
	if t, ok := c.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" {
		return 16 << 10
	}
	return maxHeader
}

// boundedOf finds what bounds has admitted below a connection of the server.
func boundedOf(c net.Conn) *boundedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*boundedConn)
}

func (b *bounds) leave(peer netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n--
	if b.peers[peer]--; b.peers[peer] == 0 {
		delete(b.peers, peer)
	}
}

// peerOf is who counts as one client: whoever has an IPv6 address has as many as there are in its network.
func peerOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

// boundedListener gives out the connections that bounds admits.
type boundedListener struct {
	net.Listener
	bounds *bounds
}

func (l boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if bounded := l.bounds.admit(c); bounded != nil {
			return bounded, nil
		}
		c.Close()
	}
}

// boundedConn is cut off by a client that does not read.
type boundedConn struct {
	net.Conn
	bounds *bounds
	peer   netip.Addr
	left   sync.Once
	head   atomic.Int64 // octets that have come since the last request, far below zero while one is being answered

	mu     sync.Mutex // guards below
	stall  time.Time  // when the piece under way must have gone; zero: none is
	wanted time.Time  // the deadline that the server has set
}

// Read implements net.Conn.
func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.head.Add(int64(n))
	return n, err
}

func (c *boundedConn) Write(p []byte) (n int, err error) {
	for first := true; first || n < len(p); first = false {
		c.begin()
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+maxPiece)])
		n += m
		stalled := c.end()
		if err != nil {
			if stalled && errors.Is(err, os.ErrDeadlineExceeded) {
				c.bounds.stalled.Add(1)
			}
			break
		}
	}
	return n, err
}

// begin gives the client its time for a piece.
func (c *boundedConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stall = time.Now().Add(c.bounds.limits.Stall)
	c.apply()
}

// end tells whether the client has used up its time.
func (c *boundedConn) end() (stalled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stalled = !time.Now().Before(c.stall)
	c.stall = time.Time{}
	return stalled
}

// apply sets the earlier deadline. It is called with mu held.
func (c *boundedConn) apply() {
	at := c.wanted
	if at.IsZero() || !c.stall.IsZero() && c.stall.Before(at) {
		at = c.stall
	}
	_ = c.Conn.SetWriteDeadline(at)
}

// SetWriteDeadline implements net.Conn. A handler's deadline counts if it is the earlier one.
func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = t
	c.apply()
	return nil
}

// SetDeadline implements net.Conn.
func (c *boundedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite lets the client read the last answer before the connection is gone.
func (c *boundedConn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}

func (c *boundedConn) Close() error {
	c.left.Do(func() { c.bounds.leave(c.peer) })
	return c.Conn.Close()
}

type connKey struct{}

// context lets a handler find its connection.
func (b *bounds) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, boundedOf(c))
}

// heard notes that the head of a request has come in whole.
func (b *bounds) heard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(connKey{}).(*boundedConn).head.Store(math.MinInt64 / 2)
		h.ServeHTTP(w, r)
	})
}

// bodiless is for handlers that want no bodies. An http.Server reads what a handler has left of one, however slowly it
// comes.
func (b *bounds) bodiless(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.limits.Body))
		}
		h.ServeHTTP(w, r)
	})
}
