package receive

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
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

// OpenSink opens where to write to: "udp://host:port", "-" for stdout, or the name of a file; nothing for "".
func OpenSink(to string, stdout io.Writer) (Sink, error) {
	switch {
	case to == "":
		return discard{}, nil
	case to == "-":
		return &stream{w: stdout}, nil
	case strings.Contains(to, "://"):
		u, err := url.Parse(to)
		if err != nil || u.Scheme != "udp" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("%q is not udp://host:port", to)
		}
		return openUDP(u.Host)
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
}

func openUDP(host string) (Sink, error) {
	a, err := net.ResolveUDPAddr("udp", host)
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
	if to.Addr().IsMulticast() { // on this network, and no further
		if to.Addr().Is4() {
			_ = ipv4.NewPacketConn(conn).SetMulticastTTL(1)
		} else {
			_ = ipv6.NewPacketConn(conn).SetMulticastHopLimit(1)
		}
	}
	_ = conn.SetWriteBuffer(4 << 20)
	return &udpSink{conn, to}, nil
}

func (s *udpSink) Write(payload []byte) error {
	_, err := s.conn.WriteToUDPAddrPort(payload, s.to)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}

func (s *udpSink) Close() error { return s.conn.Close() }
