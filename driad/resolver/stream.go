package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// Limits of connections.
const (
	streamTimeout = 5 * time.Second
	idleTime      = 10 * time.Second // RFC 7766 section 6.2.3: on the order of seconds
	maxReconnects = 3                // of one question
)

// streams asks by one connection to each server, which carries many questions at a
// time and is kept for more (RFC 7766 section 6.2).
type streams struct {
	mu    sync.Mutex // guards below
	lanes map[netip.AddrPort]*lane
}

// lane is the way to a server.
type lane struct {
	turn chan struct{} // held by who looks for a connection, or makes one
	pipe *pipe
}

// resolve asks the servers one after the other.
func (s *streams) resolve(ctx context.Context, q dns.Question, servers []netip.AddrPort, pad bool, timeout time.Duration,
	dial func(context.Context, netip.AddrPort) (net.Conn, error),
) ([]byte, netip.AddrPort, error) {
	if timeout <= 0 {
		timeout = streamTimeout
	}
	err := fmt.Errorf("resolver: %w", dns.ErrServers)
	var refused []byte
	var refuser netip.AddrPort
	query := dns.NewQuery(q, false, dns.NewRand())
	query.Pad = pad
	for _, server := range servers {
		msg, e := s.ask(ctx, query, server, timeout, dial)
		if e != nil {
			if ctx.Err() != nil {
				return nil, server, fmt.Errorf("resolver: %s: %w", q, context.Cause(ctx))
			}
			err = fmt.Errorf("resolver: %s: asking %s: %w", q, server, e)
			continue
		}
		var p dns.Parser
		_ = p.Start(msg)
		if r := p.Header.RCode(); r == dns.RCodeSuccess || r == dns.RCodeNameError {
			return msg, server, nil
		}
		refused, refuser = msg, server
	}
	if refused != nil {
		return refused, refuser, nil
	}
	return nil, netip.AddrPort{}, err
}

// ask asks one server, on the connection that is there or a new one. A server may
// close a connection at any time, also with questions on it (RFC 7766 section 6.2.4):
// these are asked again, unless it never answers any.
func (s *streams) ask(ctx context.Context, q dns.Query, server netip.AddrPort, timeout time.Duration,
	dial func(context.Context, netip.AddrPort) (net.Conn, error),
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for try := 0; ; try++ {
		p, err := s.connect(ctx, server, dial)
		if err != nil {
			return nil, err
		}
		msg, again, err := p.ask(ctx, q)
		if err == nil || !again || try == maxReconnects {
			return msg, err
		}
	}
}

// connect returns the connection to a server; the first to need one makes it.
func (s *streams) connect(ctx context.Context, server netip.AddrPort, dial func(context.Context, netip.AddrPort) (net.Conn, error)) (*pipe, error) {
	s.mu.Lock()
	if s.lanes == nil {
		s.lanes = make(map[netip.AddrPort]*lane)
	}
	l := s.lanes[server]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1)}
		s.lanes[server] = l
	}
	s.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.pipe != nil && l.pipe.alive() {
		return l.pipe, nil
	}
	conn, err := dial(ctx, server)
	if err != nil {
		return nil, err
	}
	p := newPipe(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.pipe = p
	return p, nil
}

var errTruncated = errors.New("truncated, although not by UDP")

// close closes the connections. Questions that come later make new ones.
func (s *streams) close() {
	s.mu.Lock()
	var pipes []*pipe
	for _, l := range s.lanes {
		if l.pipe != nil {
			pipes = append(pipes, l.pipe)
		}
	}
	s.mu.Unlock()
	for _, p := range pipes {
		p.fail(net.ErrClosed)
		<-p.done
	}
}
