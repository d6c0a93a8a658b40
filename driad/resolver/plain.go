package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// Dial opens connections, as [net.Dialer.DialContext] does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Plain asks by UDP and TCP, unprotected. It is safe for concurrent use.
type Plain struct {
	// Servers are asked one after the other. A port of 0 is 53.
	Servers []netip.AddrPort
	// Rotate begins with another server for each question, so that all have a share.
	Rotate bool
	// TCPOnly never asks by UDP.
	TCPOnly bool
	// TrustAD believes the AD flag of these servers, although their answers are not
	// protected on the way. It is for servers on this machine that validate; many
	// there only forward what others say.
	TrustAD bool
	// KeepCase sends names as they are. By default letters are of random case, so that
	// forgers have more to guess; a server that does not repeat it is asked by TCP, and
	// with names as they are if it does not speak that.
	KeepCase bool
	// Timeout is when the next server is asked. Default: 1 s, growing with each
	// round (RFC 8777 section 3.5); for TCP: 5 s.
	Timeout time.Duration
	// Rounds is how often each server is asked by UDP. Default: 3.
	Rounds int
	// Dial opens connections. Default: net.Dialer's.
	Dial Dial

	streams streams
	turn    atomic.Uint32
}

// Resolve asks the servers until one answers.
func (p *Plain) Resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	servers := withPort(p.Servers, 53)
	if p.Rotate && len(servers) > 1 {
		first := int((p.turn.Add(1) - 1) % uint32(len(servers)))
		servers = slices.Concat(servers[first:], servers[:first])
	}
	if p.TCPOnly {
		return p.tcp(ctx, q, servers)
	}
	x, err := p.udp(ctx, q, servers, p.KeepCase)
	if err != nil {
		return dns.Response{}, err
	}
	state, msg, server, err := x.Result()
	if state == dns.ExchangeUseTCP {
		r, tcpErr := p.tcp(ctx, q, append([]netip.AddrPort{server}, servers...))
		if tcpErr == nil || !x.CaseDiffers() {
			return r, tcpErr
		}
		// Forwarders in home routers are like that. Another port and another ID
		// have to be guessed.
		if x, err = p.udp(ctx, q, []netip.AddrPort{server}, true); err != nil {
			return dns.Response{}, err
		}
		if state, msg, _, err = x.Result(); state == dns.ExchangeUseTCP {
			return dns.Response{}, tcpErr
		}
	}
	if state != dns.ExchangeAnswered {
		return dns.Response{}, fmt.Errorf("resolver: %w", err)
	}
	return dns.Response{Message: msg, Trusted: p.TrustAD}, nil
}

func (p *Plain) udp(ctx context.Context, q dns.Question, servers []netip.AddrPort, keepCase bool) (*dns.Exchange, error) {
	x := dns.NewExchange(time.Now(), q, dns.ExchangeConfig{Servers: servers, Timeout: p.Timeout, Rounds: p.Rounds, KeepCase: keepCase})
	u := udp{dial: p.dial(), packets: make(chan packet), done: make(chan struct{})}
	defer u.close()
	if err := u.run(ctx, x); err != nil {
		return nil, fmt.Errorf("resolver: %s: %w", q, err)
	}
	return x, nil
}

func (p *Plain) dial() Dial {
	if p.Dial != nil {
		return p.Dial
	}
	return new(net.Dialer).DialContext
}

func (p *Plain) tcp(ctx context.Context, q dns.Question, servers []netip.AddrPort) (dns.Response, error) {
	msg, _, err := p.streams.resolve(ctx, q, servers, false, p.Timeout, func(ctx context.Context, s netip.AddrPort) (net.Conn, error) {
		return p.dial()(ctx, "tcp", s.String())
	})
	return dns.Response{Message: msg, Trusted: p.TrustAD}, err
}

// Close closes the connections by TCP; questions that are on them fail.
func (p *Plain) Close() error {
	p.streams.close()
	return nil
}

func withPort(list []netip.AddrPort, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, len(list))
	for i, a := range list {
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), port)
		}
		out[i] = a
	}
	return out
}

// udp has the sockets of one exchange: one for each server that is asked, connected
// to it, so that its port is random and the kernel takes datagrams from there only.
type udp struct {
	dial    Dial
	conns   map[netip.AddrPort]net.Conn
	packets chan packet
	done    chan struct{}
	once    sync.Once
}

type packet struct {
	from netip.AddrPort
	data []byte // nil: the server cannot be reached
}

func (u *udp) run(ctx context.Context, x *dns.Exchange) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for {
			t, ok := x.PollTransmission()
			if !ok {
				break
			}
			if err := u.send(ctx, t); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				x.HandleUnreachable(time.Now(), t.Server)
			}
		}
		if state, _, _, _ := x.Result(); state != dns.ExchangePending {
			return nil
		}
		timer.Reset(time.Until(x.NextTimeout()))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			x.HandleTimeout(time.Now())
		case p := <-u.packets:
			if p.data == nil {
				x.HandleUnreachable(time.Now(), p.from)
			} else {
				x.HandleDatagram(time.Now(), p.from, p.data)
			}
		}
	}
}

func (u *udp) send(ctx context.Context, t dns.Transmission) error {
	conn := u.conns[t.Server]
	if conn == nil {
		var err error
		if conn, err = u.dial(ctx, "udp", t.Server.String()); err != nil {
			return err
		}
		if u.conns == nil {
			u.conns = make(map[netip.AddrPort]net.Conn)
		}
		u.conns[t.Server] = conn
		go u.read(conn, t.Server)
	}
	_, err := conn.Write(t.Payload)
	return err
}

// read ends when the socket is closed.
func (u *udp) read(conn net.Conn, from netip.AddrPort) {
	b := make([]byte, 4096) // who is told of 1,232 does not send more
	for {
		n, err := conn.Read(b)
		p := packet{from, append([]byte{}, b[:n]...)}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			p.data = nil // refused, by ICMP
		}
		select {
		case u.packets <- p:
		case <-u.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (u *udp) close() {
	u.once.Do(func() {
		close(u.done)
		for _, c := range u.conns {
			_ = c.Close()
		}
	})
}
