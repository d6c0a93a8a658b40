package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	maxIdle       = 2                // for each server
)

// streams asks by connections, each of which carries one question at a time and is
// kept for the next (RFC 7766).
type streams struct {
	mu   sync.Mutex // guards below
	idle map[netip.AddrPort][]idleConn
}

type idleConn struct {
	conn  net.Conn
	since time.Time
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
		msg, e := s.ask(ctx, &query, server, timeout, dial)
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

// ask asks one server, on a connection that is there or a new one: one that was
// there may have been closed by the server.
func (s *streams) ask(ctx context.Context, q *dns.Query, server netip.AddrPort, timeout time.Duration,
	dial func(context.Context, netip.AddrPort) (net.Conn, error),
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for conn := s.take(server); conn != nil; conn = s.take(server) {
		if msg, err := s.exchange(ctx, conn, q, server); err == nil {
			return msg, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	conn, err := dial(ctx, server)
	if err != nil {
		return nil, err
	}
	return s.exchange(ctx, conn, q, server)
}

// exchange sends the query and reads the answer. The connection is kept if both
// succeed and closed otherwise.
func (s *streams) exchange(ctx context.Context, conn net.Conn, q *dns.Query, server netip.AddrPort) (msg []byte, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() || err != nil {
			_ = conn.Close()
		} else {
			s.put(server, conn)
		}
		if ctx.Err() != nil && err != nil {
			err = ctx.Err()
		}
	}()
	b := make([]byte, 2, 512)
	b = q.AppendTo(b)
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	msg = make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return nil, err
	}
	if err := q.Check(msg); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint16(msg[2:])&dns.FlagTruncated != 0 {
		return nil, errTruncated
	}
	return msg, nil
}

var errTruncated = errors.New("truncated, although not by UDP")

func (s *streams) take(server netip.AddrPort) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.idle[server]
	for len(list) > 0 {
		c := list[len(list)-1]
		list = list[:len(list)-1]
		s.idle[server] = list
		if time.Since(c.since) < idleTime {
			return c.conn
		}
		_ = c.conn.Close()
	}
	return nil
}

func (s *streams) put(server netip.AddrPort, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = make(map[netip.AddrPort][]idleConn)
	}
	if len(s.idle[server]) >= maxIdle {
		_ = s.idle[server][0].conn.Close()
		s.idle[server] = s.idle[server][1:]
	}
	s.idle[server] = append(s.idle[server], idleConn{conn, time.Now()})
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.idle {
		for _, c := range list {
			_ = c.conn.Close()
		}
	}
	s.idle = nil
}
