package repair

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// PathPrefix begins the paths of objects addressed by their session.
const PathPrefix = "/repair/v1/"

// Session is the address of a multicast session: the IP source, the group and
// the UDP port.
type Session struct {
	Source, Group netip.Addr
	Port          uint16
}

// ObjectID is the address of an object on the wire.
type ObjectID struct {
	Session Session
	TSI     uint64
	TOI     uint64
}

// AppendPath appends the request path of id.
func (id ObjectID) AppendPath(dst []byte) []byte {
	dst = append(dst, PathPrefix...)
	dst = id.Session.Source.AppendTo(dst)
	dst = append(dst, '/')
	dst = id.Session.Group.AppendTo(dst)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, uint64(id.Session.Port), 10)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, id.TSI, 10)
	dst = append(dst, '/')
	return strconv.AppendUint(dst, id.TOI, 10)
}

// String returns the request path.
func (id ObjectID) String() string { return string(id.AppendPath(nil)) }

// ParsePath parses a request path. It accepts only what AppendPath writes, so
// that caches on the way see one path for an object. The error matches
// [ErrRequest].
func ParsePath(p string) (ObjectID, error) {
	rest, ok := strings.CutPrefix(p, PathPrefix)
	if !ok {
		return ObjectID{}, fmt.Errorf("repair: %w: path does not begin with %s", ErrRequest, PathPrefix)
	}
	var fields [5]string
	for i := range fields {
		var more bool
		fields[i], rest, more = strings.Cut(rest, "/")
		if more != (i < len(fields)-1) {
			return ObjectID{}, fmt.Errorf("repair: %w: path has not five fields", ErrRequest)
		}
	}
	var id ObjectID
	var err error
	if id.Session.Source, err = parseAddr(fields[0]); err != nil {
		return ObjectID{}, err
	}
	if id.Session.Group, err = parseAddr(fields[1]); err != nil {
		return ObjectID{}, err
	}
	port, err := parseNumber(fields[2], 16)
	if err != nil {
		return ObjectID{}, err
	}
	id.Session.Port = uint16(port)
	if id.TSI, err = parseNumber(fields[3], 64); err != nil {
		return ObjectID{}, err
	}
	if id.TOI, err = parseNumber(fields[4], 64); err != nil {
		return ObjectID{}, err
	}
	return id, nil
}

func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" || addr.String() != s {
		return netip.Addr{}, fmt.Errorf("repair: %w: address %q", ErrRequest, s)
	}
	return addr, nil
}

// parseNumber takes decimal digits without sign or leading zeros.
func parseNumber(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || s[0] == '+' || (s[0] == '0' && len(s) > 1) {
		return 0, fmt.Errorf("repair: %w: number %q", ErrRequest, s)
	}
	return n, nil
}

// maxName bounds the names that a server hands to its backend.
const maxName = 1024

// checkName refuses names that are not plain relative paths: a backend may use
// them as paths of files.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxName || name[0] == '/' || path.Clean(name) != name:
	case name == "." || name == ".." || strings.HasPrefix(name, "../"):
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }):
	default:
		return nil
	}
	return fmt.Errorf("repair: %w: name %q", ErrRequest, name)
}

// escapeName returns name as a relative URL path.
func escapeName(name string) string {
	u := url.URL{Path: "/" + name}
	return strings.TrimPrefix(u.EscapedPath(), "/")
}
