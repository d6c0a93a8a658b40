package amtrelay

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/treedn/treedn/driad/dns"
)

// String returns the data as in a zone file, such as "10 0 1 203.0.113.15" (RFC 8777
// section 4.3.1), or in the generic form for types that have no other.
func (r Record) String() string {
	b, err := r.AppendText(nil)
	if err != nil {
		return "invalid: " + err.Error()
	}
	return string(b)
}

// AppendText appends what String returns.
func (r *Record) AppendText(b []byte) ([]byte, error) {
	if !r.Known() {
		return r.AppendGeneric(b)
	}
	if err := r.valid(); err != nil {
		return b, err
	}
	b = strconv.AppendUint(b, uint64(r.Precedence), 10)
	if r.DiscoveryOptional {
		b = append(b, " 1 "...)
	} else {
		b = append(b, " 0 "...)
	}
	b = strconv.AppendUint(b, uint64(r.Type), 10)
	b = append(b, ' ')
	switch r.Type {
	case IPv4, IPv6:
		b = r.Address.AppendTo(b)
	case Name:
		b = r.Host.AppendText(b)
	default:
		b = append(b, '.')
	}
	return b, nil
}

// AppendGeneric appends the data in the form for servers that do not know the type,
// such as `\# 6 0a01cb00710f` (RFC 3597 section 5).
func (r *Record) AppendGeneric(b []byte) ([]byte, error) {
	data, err := r.AppendTo(nil)
	if err != nil {
		return b, err
	}
	b = append(b, `\# `...)
	b = strconv.AppendInt(b, int64(len(data)), 10)
	b = append(b, ' ')
	return hex.AppendEncode(b, data), nil
}

// MarshalText implements [encoding.TextMarshaler].
func (r Record) MarshalText() ([]byte, error) { return r.AppendText(nil) }

// UnmarshalText implements [encoding.TextUnmarshaler]; names are absolute.
func (r *Record) UnmarshalText(b []byte) (err error) {
	*r, err = Parse(string(b), dns.Name{})
	return err
}

// Parse reads data as in a zone file, in either form. Parentheses, line ends and
// comments are taken as there. The origin completes a relay's name that does not end
// in a dot.
func Parse(s string, origin dns.Name) (Record, error) {
	fields, err := split(s)
	if err != nil {
		return Record{}, err
	}
	if len(fields) > 0 && fields[0] == `\#` {
		return parseGeneric(fields[1:])
	}
	if len(fields) != 4 {
		return Record{}, fmt.Errorf("%w: %q has %d fields; precedence, D bit, type, relay are needed", ErrRecord, s, len(fields))
	}
	var r Record
	number := func(i int, what string, most uint64) uint64 {
		v, e := strconv.ParseUint(fields[i], 10, 16)
		if e != nil || v > most {
			err = fmt.Errorf("%w: %s %q is not 0 to %d", ErrRecord, what, fields[i], most)
		}
		return v
	}
	r.Precedence = uint8(number(0, "precedence", 255))
	r.DiscoveryOptional = number(1, "D bit", 1) == 1
	r.Type = RelayType(number(2, "relay type", maxRelayType))
	if err != nil {
		return Record{}, err
	}
	relay := fields[3]
	switch r.Type {
	case None:
		if relay != "." {
			return Record{}, fmt.Errorf(`%w: relay of type 0 is %q, not "."`, ErrRecord, relay)
		}
	case IPv4, IPv6:
		if r.Address, err = netip.ParseAddr(relay); err != nil {
			return Record{}, fmt.Errorf("%w: relay %q is no address", ErrRecord, relay)
		}
	case Name:
		switch {
		case relay == "@":
			r.Host = origin
		case absolute(relay):
			r.Host, err = dns.ParseName(relay)
		default:
			r.Host, err = origin.Under(relay)
		}
		if err != nil {
			return Record{}, fmt.Errorf("%w: relay: %w", ErrRecord, err)
		}
	default:
		return Record{}, fmt.Errorf(`%w: relay type %d has only the generic form \#`, ErrRecord, r.Type)
	}
	return r, r.valid()
}

// absolute reports whether a name ends in a dot that is not escaped.
func absolute(s string) bool {
	if !strings.HasSuffix(s, ".") {
		return false
	}
	s = s[:len(s)-1]
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 0
}

func parseGeneric(fields []string) (Record, error) {
	if len(fields) == 0 {
		return Record{}, fmt.Errorf(`%w: length after \# is missing`, ErrRecord)
	}
	length, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil {
		return Record{}, fmt.Errorf("%w: length %q", ErrRecord, fields[0])
	}
	data, err := hex.DecodeString(strings.Join(fields[1:], ""))
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if len(data) != int(length) {
		return Record{}, fmt.Errorf("%w: %d octets follow the length %d", ErrRecord, len(data), length)
	}
	var r Record
	return r, r.Unmarshal(data)
}

// split separates fields at white space; it removes comments and, where lines go
// on, parentheses.
func split(s string) (fields []string, err error) {
	depth, start := 0, -1
	end := func(i int) {
		if start >= 0 {
			fields = append(fields, s[start:i])
			start = -1
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\r':
			end(i)
		case '\n':
			end(i)
			if depth == 0 && len(fields) > 0 && strings.TrimSpace(s[i:]) != "" {
				return nil, fmt.Errorf("%w: more than one line without parentheses", ErrRecord)
			}
		case ';':
			end(i)
			for i+1 < len(s) && s[i+1] != '\n' {
				i++
			}
		case '(', ')':
			end(i)
			depth += 1 - 2*int(c-'(')
			if depth < 0 || depth > 1 {
				return nil, fmt.Errorf("%w: parentheses do not match", ErrRecord)
			}
		case '\\':
			if start < 0 {
				start = i
			}
			i++ // what is escaped separates nothing
		default:
			if start < 0 {
				start = i
			}
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("%w: parentheses do not match", ErrRecord)
	}
	end(len(s))
	return fields, nil
}
