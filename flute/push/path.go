package push

import (
	"fmt"
	"strconv"
	"strings"
)

// PathPrefix begins the paths of objects.
const PathPrefix = "/ingest/v1/"

// ObjectID is the address of an object: what its packets would have carried.
type ObjectID struct {
	// Session names the session at the receiver: 1 to 128 letters, digits and "-", ".", "_", "~", ",", ":", "@", but not "."
	// or "..".
	Session string
	TSI     uint64
	TOI     uint64
}

// AppendPath appends the request path of id.
func (id ObjectID) AppendPath(dst []byte) []byte {
	dst = append(dst, PathPrefix...)
	dst = append(dst, id.Session...)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, id.TSI, 10)
	dst = append(dst, '/')
	return strconv.AppendUint(dst, id.TOI, 10)
}

// String returns the request path.
func (id ObjectID) String() string { return string(id.AppendPath(nil)) }

// ParsePath parses a request path. It accepts only what AppendPath writes, so that an object has one path. The error matches
// [ErrRequest].
func ParsePath(p string) (ObjectID, error) {
	rest, ok := strings.CutPrefix(p, PathPrefix)
	if !ok {
		return ObjectID{}, fmt.Errorf("push: %w: path does not begin with %s", ErrRequest, PathPrefix)
	}
	session, rest, _ := strings.Cut(rest, "/")
	tsi, toi, ok := strings.Cut(rest, "/")
	if !ok {
		return ObjectID{}, fmt.Errorf("push: %w: path has not three fields", ErrRequest)
	}
	id := ObjectID{Session: session}
	if err := checkSession(session); err != nil {
		return ObjectID{}, err
	}
	var err error
	if id.TSI, err = parseNumber(tsi); err != nil {
		return ObjectID{}, err
	}
	id.TOI, err = parseNumber(toi)
	return id, err
}

const maxSession = 128

func checkSession(s string) error {
	bad := s == "" || len(s) > maxSession || s == "." || s == ".."
	for _, c := range []byte(s) {
		alnum := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		bad = bad || !alnum && strings.IndexByte("-._~,:@", c) < 0
	}
	if bad {
		return fmt.Errorf("push: %w: session %.140q", ErrRequest, s)
	}
	return nil
}

// parseNumber takes decimal digits without sign or leading zeros.
func parseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || s[0] == '+' || (s[0] == '0' && len(s) > 1) {
		return 0, fmt.Errorf("push: %w: number %.40q", ErrRequest, s)
	}
	return n, nil
}
