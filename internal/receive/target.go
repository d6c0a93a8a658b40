package receive

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/treedn/treedn/amt/ssm"
)

// ParseTarget reads what to receive: "S,G:port", or "S,G" for whatever port there is, which leaves the port 0. The forms
// that players use do as well: "udp://S@G:port", "amt://S@G:port", "(S,G):port". IPv6 addresses before a port stand in
// brackets.
func ParseTarget(text string) (ssm.Channel, error) {
	wrong := func(format string, args ...any) (ssm.Channel, error) {
		return ssm.Channel{}, fmt.Errorf("%q: %s (write it like 198.51.100.10,232.1.1.10:5000)", text, fmt.Sprintf(format, args...))
	}
	s := text
	for _, scheme := range []string{"udp://", "rtp://", "amt://"} {
		s = strings.TrimPrefix(s, scheme)
	}
	s = strings.Replace(strings.TrimPrefix(s, "("), "):", ":", 1)
	s = strings.TrimSuffix(s, ")")
	source, rest, ok := strings.Cut(s, ",")
	if !ok {
		if source, rest, ok = strings.Cut(s, "@"); !ok {
			return wrong("a source and a group are needed")
		}
	}
	var ch ssm.Channel
	var err error
	source = strings.TrimSpace(source)
	if ch.Source, err = netip.ParseAddr(strings.Trim(source, "[]")); err != nil {
		return wrong("%q is no address of a source", source)
	}
	group, port := strings.TrimSpace(rest), ""
	if a, err := netip.ParseAddr(strings.Trim(group, "[]")); err == nil {
		ch.Group = a
	} else {
		i := strings.LastIndexByte(group, ':')
		if i < 0 {
			return wrong("%q is no address of a group", group)
		}
		group, port = group[:i], group[i+1:]
		if ch.Group, err = netip.ParseAddr(strings.Trim(group, "[]")); err != nil {
			return wrong("%q is no address of a group", group)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return wrong("%q is no port", port)
		}
		ch.Port = uint16(n)
	}
	check := ch
	if check.Port == 0 {
		check.Port = 1
	}
	if err := check.Validate(); err != nil {
		return ssm.Channel{}, err
	}
	return ch, nil
}
