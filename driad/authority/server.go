package authority

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	Authority *Authority
	// Listen are addresses and ports for UDP and TCP. An unspecified address stands
	// for all addresses of its family that the machine has now, each with a socket of
	// its own, so that answers come from where the questions went to.
	Listen []netip.AddrPort
	// MaxConns bounds the TCP connections. Default: 256.
	MaxConns int
	// MaxConnsPerClient bounds those from one network, /24 or /56. Default: an eighth
	// of MaxConns.
	MaxConnsPerClient int
	// ConnTimeout closes TCP connections on which nothing happens. Default: 10 s.
	ConnTimeout time.Duration
	// Notify are secondaries, which are told when a zone has changed (RFC 1996). A port
	// of 0 is 53. They are told from an address in Listen.
	Notify []netip.AddrPort
	// Logger is told what goes wrong. Default: silent.
	Logger *slog.Logger
}

// Server answers on sockets what its authority knows.
type Server struct {
	config ServerConfig
	log    *slog.Logger
	udp    []*net.UDPConn
	tcp    []*net.TCPListener
	slots  chan struct{}
	once   sync.Once
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex      // guards below
	clients map[[8]byte]int // connections by network
}

const (
	// maxReaders share a socket; one reads and one writes at a time.
	maxReaders = 4
	// maxQuery is longer than what a query by UDP has reason to be, in octets.
	maxQuery = 1536
	// udpBuffer holds bursts, if the system allows it to be so large.
	udpBuffer = 1 << 20
)

// Listen opens the sockets.
func Listen(config ServerConfig) (*Server, error) {
	if config.Authority == nil {
		return nil, fmt.Errorf("%w: Authority is required", ErrConfig)
	}
	if config.MaxConns <= 0 {
		config.MaxConns = 256
	}
	if config.MaxConnsPerClient <= 0 {
		config.MaxConnsPerClient = max(config.MaxConns/8, 1)
	}
	if config.ConnTimeout <= 0 {
		config.ConnTimeout = 10 * time.Second
	}
	s := &Server{config: config, log: config.Logger, slots: make(chan struct{}, config.MaxConns), clients: make(map[[8]byte]int)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	config.Authority.begin(time.Now())
	list, err := expand(config.Listen)
	if err == nil && len(list) == 0 {
		err = errors.New("no addresses to listen on")
	}
	for _, a := range list {
		if err == nil {
			err = s.listen(a)
		}
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("authority: %w", err)
	}
	return s, nil
}

// expand replaces unspecified addresses by those of the machine.
func expand(list []netip.AddrPort) (out []netip.AddrPort, err error) {
	for _, a := range list {
		if !a.Addr().IsUnspecified() {
			out = append(out, a)
			continue
		}
		all, err := net.InterfaceAddrs()
		if err != nil {
			return nil, err
		}
		for _, i := range all {
			n, ok := i.(*net.IPNet)
			if !ok {
				continue
			}
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() == a.Addr().Is4() && !ip.IsLinkLocalUnicast() {
				out = append(out, netip.AddrPortFrom(ip.Unmap(), a.Port()))
			}
		}
	}
	return out, nil
}

// listen opens a TCP and a UDP socket with the same port.
func (s *Server) listen(a netip.AddrPort) error {
	for try := 0; ; try++ {
		t, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
		if err != nil {
			return err
		}
		local := netip.AddrPortFrom(a.Addr(), uint16(t.Addr().(*net.TCPAddr).Port))
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		if err == nil {
			_ = u.SetReadBuffer(udpBuffer)
			s.tcp, s.udp = append(s.tcp, t), append(s.udp, u)
			return nil
		}
		_ = t.Close()
		if a.Port() != 0 || try == 10 {
			return err
		}
	}
}

// Addrs returns the addresses that the server listens on, with the ports that the
// system chose.
func (s *Server) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, u := range s.udp {
		a := u.LocalAddr().(*net.UDPAddr).AddrPort()
		out = append(out, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return out
}

// Serve answers until the context ends, whose cause it returns, or Close is called.
func (s *Server) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	var wg sync.WaitGroup
	for _, u := range s.udp {
		for range min(runtime.GOMAXPROCS(0), maxReaders) {
			wg.Go(func() { s.serveUDP(u) })
		}
	}
	for _, t := range s.tcp {
		wg.Go(func() { s.accept(&wg, t) })
	}
	for _, to := range s.config.Notify {
		if to.Port() == 0 {
			to = netip.AddrPortFrom(to.Addr(), 53)
		}
		wg.Go(func() { s.notify(to) })
	}
	wg.Wait()
	_ = s.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return net.ErrClosed
}

// Close closes the sockets and connections.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.cancel()
		for _, u := range s.udp {
			_ = u.Close()
		}
		for _, t := range s.tcp {
			_ = t.Close()
		}
	})
	return nil
}

func (s *Server) accept(wg *sync.WaitGroup, t *net.TCPListener) {
	for {
		conn, err := t.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("accepting a connection", "err", err)
			select {
			case <-s.ctx.Done():
			case <-time.After(50 * time.Millisecond): // out of files, mostly
			}
			continue
		}
		leave, ok := s.enter(networkOf(conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()))
		if !ok {
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer leave()
			s.serveTCP(conn)
		})
	}
}

// enter takes a place for a connection from a network, if there is one.
func (s *Server) enter(network [8]byte) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[network] >= s.config.MaxConnsPerClient {
		return nil, false
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, false
	}
	s.clients[network]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		<-s.slots
		if s.clients[network]--; s.clients[network] == 0 {
			delete(s.clients, network)
		}
	}, true
}

// serveTCP answers the questions of a connection one after the other (RFC 7766).
func (s *Server) serveTCP(conn *net.TCPConn) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	var length [2]byte
	in := make([]byte, dns.MaxMessage)
	out := make([]byte, 0, 4096)
	for {
		_ = conn.SetDeadline(time.Now().Add(s.config.ConnTimeout))
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		msg := in[:binary.BigEndian.Uint16(length[:])]
		if _, err := io.ReadFull(conn, msg); err != nil {
			return
		}
		messages := s.config.Authority.transfer(client, msg, out)
		if messages == nil {
			answer := s.config.Authority.Respond(time.Now(), client, false, msg, out)
			if answer == nil {
				return
			}
			messages = func(yield func([]byte) bool) { yield(answer) }
		}
		for m := range messages {
			_ = conn.SetWriteDeadline(time.Now().Add(s.config.ConnTimeout))
			b := binary.BigEndian.AppendUint16(make([]byte, 0, len(m)+2), uint16(len(m)))
			if _, err := conn.Write(append(b, m...)); err != nil {
				return
			}
		}
	}
}
