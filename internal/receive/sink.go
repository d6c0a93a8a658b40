package receive

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Sink takes the payloads of packets.
type Sink interface {
	io.Closer
	// Write takes the payload of a packet.
	Write(payload []byte) error
}

// ErrReaderGone is returned by a [Sink] if whoever reads what is written has gone, as a player that was closed.
var ErrReaderGone = errors.New("the reader has gone")

// ErrWhere is matched by the error of [OpenSink] for what is no place to write to.
var ErrWhere = errors.New("no output")

// errNotSent is matched if this payload was not sent, and the next one may be.
var errNotSent = errors.New("not sent")

// OpenSink opens where to write to: "udp://host:port", "-" for stdout, or the name of a file; nothing for "". Without a
// host it is this machine. For a multicast group, "udp://group:port?interface=eth0&ttl=4" says where it is sent by, and
// how far: by default as the system likes, and no further than the next network.
func OpenSink(to string, stdout io.Writer) (Sink, error) {
	switch {
	case to == "":
		return discard{}, nil
	case to == "-":
		widen(stdout)
		return &stream{w: stdout}, nil
	case strings.Contains(to, "://"):
		u, err := url.Parse(to)
		if err != nil || u.Scheme != "udp" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("%w: %q is not udp://host:port, a file, or -", ErrWhere, to)
		}
		return openUDP(u)
	}
	f, err := os.Create(to)
	if err != nil {
		return nil, err
	}
	return &stream{w: f, c: f}, nil
}

type discard struct{}

func (discard) Write([]byte) error { return nil }
func (discard) Close() error       { return nil }

// stream writes payloads one behind the other. RTP headers are left out: players that read a file or a pipe want what is
// in the packets.
type stream struct {
	w io.Writer
	c io.Closer
}

func (s *stream) Write(payload []byte) error {
	if n, ok := rtpHeader(payload); ok {
		payload = payload[n:]
	}
	_, err := s.w.Write(payload)
	if errors.Is(err, syscall.EPIPE) {
		return ErrReaderGone
	}
	return err
}

func (s *stream) Close() error {
	if s.c == nil {
		return nil
	}
	return s.c.Close()
}

// udpSink sends each payload as a datagram.
type udpSink struct {
	conn *net.UDPConn
	to   netip.AddrPort
	sent bool // something was, so that it can be
}

func openUDP(u *url.URL) (Sink, error) {
	host := u.Hostname()
	if host == "" { // as players write it: udp://@:1234
		host = "127.0.0.1"
	}
	a, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, u.Port()))
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	network := "udp6"
	if to.Addr().Is4() {
		network = "udp4"
	}
	// It stays unconnected: that nobody listens there yet is no error.
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	if err := multicast(conn, to.Addr(), u.Query()); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w, in %s", err, u)
	}
	_ = conn.SetWriteBuffer(4 << 20)
	return &udpSink{conn: conn, to: to}, nil
}

// multicast sets how a group is sent to.
func multicast(conn *net.UDPConn, to netip.Addr, query url.Values) (err error) {
	ttl := 1
	var ifi *net.Interface
	for key, values := range query {
		switch {
		case !to.IsMulticast():
			return fmt.Errorf("%w: %s is for multicast groups", ErrWhere, key)
		case key == "ttl":
			if ttl, err = strconv.Atoi(values[0]); err != nil || ttl < 0 || ttl > 255 {
				return fmt.Errorf("%w: ttl %q is not 0 to 255", ErrWhere, values[0])
			}
		case key == "interface":
			if ifi, err = net.InterfaceByName(values[0]); err != nil {
				return fmt.Errorf("interface %q: %w", values[0], err)
			}
		default:
			return fmt.Errorf("%w: %q is neither interface nor ttl", ErrWhere, key)
		}
	}
	if !to.IsMulticast() {
		return nil
	}
	if to.Is4() {
		c := ipv4.NewPacketConn(conn)
		if err = c.SetMulticastTTL(ttl); err == nil && ifi != nil {
			err = c.SetMulticastInterface(ifi)
		}
		return err
	}
	c := ipv6.NewPacketConn(conn)
	if err = c.SetMulticastHopLimit(ttl); err == nil && ifi != nil {
		err = c.SetMulticastInterface(ifi)
	}
	return err
}

func (s *udpSink) Write(payload []byte) error {
	_, err := s.conn.WriteToUDPAddrPort(payload, s.to)
	switch {
	case err == nil:
		s.sent = true
	case errors.Is(err, syscall.ECONNREFUSED): // nobody listens there yet
		return nil
	case s.sent: // networks come and go
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return err
}

func (s *udpSink) Close() error { return s.conn.Close() }
