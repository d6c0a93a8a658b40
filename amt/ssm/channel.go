package ssm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// ErrChannel is matched by the errors for a channel that cannot exist: no
// multicast group, mixed address families, or no source in the range of
// source-specific groups.
var ErrChannel = errors.New("invalid channel")

// Channel names a multicast channel: (S,G) of RFC 4607 and the UDP port.
//
// The zero Source means any source. It is refused in the source-specific
// ranges 232/8 and FF3x::/32, where RFC 4607 section 1 forbids it, and exists
// for announcements on fixed any-source groups such as 224.0.23.60:4937.
type Channel struct {
	Source netip.Addr
	Group  netip.Addr
	Port   uint16
}

// String returns "source→group:port", "*" standing for any source.
func (c Channel) String() string {
	source := "*"
	if c.Source.IsValid() {
		source = c.Source.String()
	}
	return source + "→" + net.JoinHostPort(c.Group.String(), strconv.Itoa(int(c.Port)))
}

// Destination returns group and port, where [Sender.WriteBatch] sends to.
func (c Channel) Destination() netip.AddrPort { return netip.AddrPortFrom(c.Group, c.Port) }

// Validate reports why c cannot be a channel. The error matches [ErrChannel].
func (c Channel) Validate() error {
	switch {
	case !c.Group.IsMulticast():
		return fmt.Errorf("ssm: %w: group %v is not multicast", ErrChannel, c.Group)
	case c.Group.Is4In6() || c.Source.Is4In6():
		return fmt.Errorf("ssm: %w: %v: IPv4 address in IPv6 form", ErrChannel, c)
	case c.Group.Zone() != "":
		return fmt.Errorf("ssm: %w: group %v has a zone, name the interface instead", ErrChannel, c.Group)
	case c.Port == 0:
		return fmt.Errorf("ssm: %w: %v: no port", ErrChannel, c)
	case !c.Source.IsValid():
		if sourceSpecific(c.Group) {
			return fmt.Errorf("ssm: %w: group %v needs a source", ErrChannel, c.Group)
		}
	case c.Source.Is4() != c.Group.Is4():
		return fmt.Errorf("ssm: %w: %v mixes IPv4 and IPv6", ErrChannel, c)
	case c.Source.IsMulticast() || c.Source.IsUnspecified():
		return fmt.Errorf("ssm: %w: source %v is not a unicast address", ErrChannel, c.Source)
	}
	return nil
}

// sourceSpecific reports whether group lies in 232/8 or FF3x::/32
// (RFC 4607 section 1).
func sourceSpecific(group netip.Addr) bool {
	if group.Is4() {
		return group.As4()[0] == 232
	}
	b := group.As16()
	return b[0] == 0xff && b[1]>>4 == 3 && b[2] == 0 && b[3] == 0
}

// RandomChannel draws a group from the source-specific range and a UDP port
// that nothing on this machine uses, for tests and demonstrations. With 24
// random bits two programs on one machine do not meet, and if they did their
// sources would keep them apart.
func RandomChannel(source netip.Addr) (Channel, error) {
	if !source.IsValid() || source.IsUnspecified() || source.IsMulticast() {
		return Channel{}, fmt.Errorf("ssm: %w: source %v is not a unicast address", ErrChannel, source)
	}
	port, err := randomPort()
	if err != nil {
		return Channel{}, fmt.Errorf("ssm: free port: %w", err)
	}
	return Channel{Source: source, Group: randomGroup(source.Is4()), Port: port}, nil
}

// randomPort draws a port below those that Linux, macOS and Windows give to
// sockets that ask for any (32768 and up), so that it stays free until it is
// used. It is probed on the wildcard address: a program that holds it there
// without SO_REUSEADDR would make every later bind to the group fail.
func randomPort() (uint16, error) {
	const (
		first, count = 10_000, 22_768
		attempts     = 100
	)
	var failed error
	for range attempts {
		port := first + rand.IntN(count)
		probe, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			failed = err
			continue
		}
		return uint16(port), probe.Close()
	}
	return 0, failed
}

func randomGroup(v4 bool) netip.Addr {
	r := rand.Uint32()
	if v4 {
		// 232.0.0.0/24 is reserved (RFC 4607 section 4.3).
		return netip.AddrFrom4([4]byte{232, byte(1 + r%255), byte(r >> 8), byte(r >> 16)})
	}
	// FF3E::8000:0 and up are for dynamic allocation by hosts (section 4.3).
	return netip.AddrFrom16([16]byte{0xff, 0x3e, 12: 0x80 | byte(r>>24), 13: byte(r >> 16), 14: byte(r >> 8), 15: byte(r)})
}
