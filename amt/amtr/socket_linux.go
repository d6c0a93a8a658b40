package amtr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/internal/rawip"
)

// socketSource sees all messages by a packet socket.
type socketSource struct {
	capture *rawip.Capture
	frames  []rawip.Frame
}

func openSocket(ifi *net.Interface) (*socketSource, error) {
	c, err := rawip.Open(ifi, 16<<20)
	if err != nil {
		return nil, fmt.Errorf("amtr: a packet socket needs CAP_NET_RAW: %w", err)
	}
	if err := c.Attach(rawip.Port(amt.Port)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &socketSource{capture: c}, nil
}

func (s *socketSource) read(until time.Time, take func(m *Message)) (err error) {
	if err := s.capture.SetReadDeadline(until); err != nil {
		return net.ErrClosed
	}
	if s.frames, err = s.capture.Read(s.frames[:0]); errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	} else if err != nil {
		return err
	}
	now := time.Now()
	for i := range s.frames {
		if m, ok := parse(s.frames[i].Packet); ok {
			m.Time = now
			take(&m)
		}
	}
	return nil
}

// parse finds the AMT message in an IP packet.
func parse(b []byte) (m Message, ok bool) {
	var source, destination netip.Addr
	header := 40
	switch {
	case len(b) >= 28 && b[0]>>4 == 4 && b[9] == 17:
		header = int(b[0]&0xf) * 4
		source, destination = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 17:
		source, destination = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	default:
		return m, false
	}
	if header < 20 || len(b) < header+8 {
		return m, false
	}
	udp := b[header:]
	length := int(binary.BigEndian.Uint16(udp[4:])) - 8
	if length < 1 {
		return m, false
	}
	m.Payload, m.Length = udp[8:min(8+length, len(udp))], length
	from, to := binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	// Linux gateways have port 2268, too: then the type tells which end is which.
	incoming := to == amt.Port
	if incoming && from == amt.Port && len(m.Payload) > 0 {
		switch amt.Type(m.Payload[0] & 0xf) {
		case amt.TypeAdvertisement, amt.TypeQuery, amt.TypeData:
			incoming = false
		}
	}
	if incoming {
		m.Gateway = netip.AddrPortFrom(source, from)
	} else {
		m.Gateway, m.Outgoing = netip.AddrPortFrom(destination, to), true
	}
	return m, true
}

func (s *socketSource) data(func(netip.AddrPort, uint64, uint64)) {}
func (s *socketSource) lost() uint64                              { return s.capture.Drops() }
func (s *socketSource) interrupt()                                { _ = s.capture.Close() }
func (s *socketSource) close() error                              { return nil }
