package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func uitoa(n uint64) string { return strconv.FormatUint(n, 10) }

// Size is a number of octets, written "256MiB", "64kB" or "1500B".
type Size int64

// Rate is a number of bits per second, written "20Mbit/s" or "800kbit/s".
type Rate int64

type unit struct {
	name   string
	factor float64
}

var sizeUnits = [...]unit{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

var rateUnits = [...]unit{
	{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1},
}

// parseUnit reads a decimal number and one of the units. A number alone is
// refused unless it is 0: whether 20 is bits, octets or millions of them is
// the mistake that units prevent.
func parseUnit(s string, units []unit, example string) (int64, error) {
	num, factor := s, 0.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			num, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	if s == "0" {
		return 0, nil
	}
	if factor == 0 {
		return 0, fmt.Errorf("%q has no known unit (write it like %s)", s, example)
	}
	if num == "" || strings.Trim(num, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a number with a unit (write it like %s)", s, example)
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number with a unit (write it like %s)", s, example)
	}
	if f *= factor; f >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return int64(math.Round(f)), nil
}

// formatUnit uses the largest unit that leaves a whole number.
func formatUnit(n int64, units []unit) string {
	for _, u := range units {
		if f := int64(u.factor); n >= f && n%f == 0 {
			return strconv.FormatInt(n/f, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + units[len(units)-1].name
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := parseUnit(string(b), sizeUnits[:], "256MiB")
	*s = Size(n)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string { return formatUnit(int64(s), sizeUnits[:]) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(b []byte) error {
	n, err := parseUnit(string(b), rateUnits[:], "20Mbit/s")
	*r = Rate(n)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string { return formatUnit(int64(r), rateUnits[:]) }

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration (write it like 2s, 500ms or 1m30s)", s)
	}
	return d, nil
}

// Path is a file or a directory. In a file, a relative path counts from the
// directory of that file; in a flag, from the working directory.
type Path string

func (p *Path) rebase(dir string) {
	if *p != "" && !filepath.IsAbs(string(*p)) {
		*p = Path(filepath.Join(dir, string(*p)))
	}
}

// Listen is the address of a server: "127.0.0.1:8080", "localhost:8080",
// ":8080" for every address of the machine, or "off" for no server. The zero
// value is "not given". Port 0 takes a free port.
type Listen struct {
	addr netip.AddrPort
	off  bool
}

// ListenOn returns the address as a Listen.
func ListenOn(addr netip.AddrPort) Listen { return Listen{addr: addr} }

// ListenOff returns the Listen of a server that is not to be started.
func ListenOff() Listen { return Listen{off: true} }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Listen) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "off" {
		*l = Listen{off: true}
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not an address with a port (write it like 127.0.0.1:8080, :8080 or off)", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%q: the port is not a number up to 65535", s)
	}
	var a netip.Addr
	switch host {
	case "":
		a = netip.IPv6Unspecified()
	case "localhost":
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		// No look-up of names: an address that changes under a running server
		// would be a surprise.
		if a, err = netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: the host is not an IP address", s)
		}
	}
	*l = Listen{addr: netip.AddrPortFrom(a.Unmap(), uint16(n))}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l Listen) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// IsZero says whether no address was given, not even "off".
func (l Listen) IsZero() bool { return l == Listen{} }

// Enabled says whether there is an address to listen on.
func (l Listen) Enabled() bool { return l.addr.IsValid() }

// AddrPort is the address; invalid unless Enabled.
func (l Listen) AddrPort() netip.AddrPort { return l.addr }

// Loopback says that only this machine reaches the server.
func (l Listen) Loopback() bool { return !l.Enabled() || l.addr.Addr().IsLoopback() }

// String is the form that net.Listen takes: every address is ":port", which
// covers IPv4 also where the machine has no IPv6.
func (l Listen) String() string {
	switch {
	case l.off:
		return "off"
	case !l.addr.IsValid():
		return ""
	case l.addr.Addr() == netip.IPv6Unspecified():
		return ":" + uitoa(uint64(l.addr.Port()))
	}
	return l.addr.String()
}

// URL is an absolute http or https URL. It is never changed once parsed.
type URL struct {
	u *url.URL
}

// ParseURL reads an absolute http or https URL. A user or password in it is
// refused: URLs are printed.
func ParseURL(s string) (URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return URL{}, fmt.Errorf("%q is not a URL", redactURL(s))
	}
	switch {
	case u.User != nil:
		return URL{}, fmt.Errorf("%q has a user or a password in it", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "https":
		return URL{}, fmt.Errorf("%q does not begin with http:// or https://", s)
	case u.Hostname() == "":
		return URL{}, fmt.Errorf("%q has no host", s)
	case u.Fragment != "":
		return URL{}, fmt.Errorf("%q has a fragment", s)
	}
	return URL{u}, nil
}

// redactURL hides what may be a password in text that is not a URL.
func redactURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *URL) UnmarshalText(b []byte) (err error) {
	*u, err = ParseURL(string(b))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// IsZero says whether there is no URL.
func (u URL) IsZero() bool { return u.u == nil }

// URL returns a copy as the standard library's type, nil for the zero value.
func (u URL) URL() *url.URL {
	if u.u == nil {
		return nil
	}
	c := *u.u
	return &c
}

func (u URL) String() string {
	if u.u == nil {
		return ""
	}
	return u.u.String()
}
