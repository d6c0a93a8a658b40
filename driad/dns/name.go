package dns

import (
	"errors"
	"fmt"
	"strings"
)

// MaxNameLen is the length of the longest name in wire format, in octets (RFC 1035
// section 2.3.4).
const MaxNameLen = 255

const (
	maxName  = MaxNameLen
	maxLabel = 63
)

// ErrName is matched by errors about names.
var ErrName = errors.New("dns: invalid name")

// Name is an absolute domain name. The zero value is the root. Two names that
// differ in the case of letters alone are different values, see [Name.Equal].
type Name struct {
	n    uint8 // octets used in wire; 0 is the root
	wire [maxName]byte
}

// ParseName reads a name in the format of zone files, with escapes (RFC 1035
// section 5.1). A dot at the end changes nothing: all names are absolute.
func ParseName(s string) (Name, error) {
	var n Name
	if s == "." {
		return n, nil
	}
	if s == "" {
		return n, fmt.Errorf("%w: empty", ErrName)
	}
	at, start := 1, 0 // at: where the next octet goes; start: where the label's length does
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if at == start+1 {
				return Name{}, fmt.Errorf("%w: empty label in %q", ErrName, s)
			}
			n.wire[start] = byte(at - start - 1)
			start, at = at, at+1
			continue
		case c == '\\' && i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]):
			v := int(s[i+1]-'0')*100 + int(s[i+2]-'0')*10 + int(s[i+3]-'0')
			if v > 255 {
				return Name{}, fmt.Errorf("%w: escape above 255 in %q", ErrName, s)
			}
			c = byte(v)
			i += 3
		case c == '\\':
			i++
			if i == len(s) || digit(s[i]) {
				return Name{}, fmt.Errorf("%w: incomplete escape in %q", ErrName, s)
			}
			c = s[i]
		}
		if at-start > maxLabel || at >= maxName-1 {
			return Name{}, fmt.Errorf("%w: %q is too long", ErrName, s)
		}
		n.wire[at] = c
		at++
	}
	if at > start+1 {
		n.wire[start] = byte(at - start - 1)
		start = at
	}
	n.wire[start] = 0
	n.n = uint8(start + 1)
	return n, nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// MustParseName is ParseName for constants; it panics if s is no name.
func MustParseName(s string) Name {
	n, err := ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// Len returns the octets of the name in uncompressed wire format, 1 to 255.
func (n *Name) Len() int { return max(int(n.n), 1) }

// IsRoot reports whether the name is the root.
func (n *Name) IsRoot() bool { return n.n == 0 }

// AppendTo appends the name in uncompressed wire format.
func (n *Name) AppendTo(b []byte) []byte {
	if n.n == 0 {
		return append(b, 0)
	}
	return append(b, n.wire[:n.n]...)
}

// Unmarshal reads an uncompressed name at the start of b and returns its length.
func (n *Name) Unmarshal(b []byte) (int, error) {
	end, err := n.unpack(b, 0, false)
	return end, err
}

// unpack reads the name at msg[off:] and returns the offset of what follows.
func (n *Name) unpack(msg []byte, off int, compressed bool) (end int, err error) {
	at, limit := 0, off // pointers lead to before limit, so that they end
	for {
		if off >= len(msg) {
			return 0, fmt.Errorf("%w: ends at octet %d within a label", ErrName, len(msg))
		}
		c := int(msg[off])
		switch {
		case c == 0:
			if end == 0 {
				end = off + 1
			}
			clear(n.wire[at:]) // == compares all of it
			n.n = 0
			if at > 0 {
				n.n = uint8(at + 1)
			}
			return end, nil
		case c <= maxLabel:
			if off+1+c > len(msg) {
				return 0, fmt.Errorf("%w: label at octet %d is longer than the message", ErrName, off)
			}
			if at+1+c > maxName-1 {
				return 0, fmt.Errorf("%w: longer than 255 octets, at octet %d", ErrName, off)
			}
			at += copy(n.wire[at:], msg[off:off+1+c])
			off += 1 + c
		case c >= 0xc0 && compressed:
			if off+2 > len(msg) {
				return 0, fmt.Errorf("%w: ends within a pointer at octet %d", ErrName, off)
			}
			to := c&0x3f<<8 | int(msg[off+1])
			if to >= limit {
				return 0, fmt.Errorf("%w: pointer at octet %d does not lead back", ErrName, off)
			}
			if end == 0 {
				end = off + 2
			}
			off, limit = to, to
		case c >= 0xc0:
			return 0, fmt.Errorf("%w: compressed where that is not allowed, at octet %d", ErrName, off)
		default:
			return 0, fmt.Errorf("%w: label type %#x at octet %d", ErrName, c>>6, off)
		}
	}
}

// String returns the name in the format of zone files, with the dot at its end.
func (n Name) String() string { return string(n.AppendText(nil)) }

// AppendText appends what String returns.
func (n *Name) AppendText(b []byte) []byte {
	if n.n == 0 {
		return append(b, '.')
	}
	for label := range n.Labels {
		for _, c := range label {
			switch {
			case strings.IndexByte(`.\";()@$`, c) >= 0:
				b = append(b, '\\', c)
			case c <= ' ' || c >= 0x7f:
				b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			default:
				b = append(b, c)
			}
		}
		b = append(b, '.')
	}
	return b
}

// MarshalText implements [encoding.TextMarshaler].
func (n Name) MarshalText() ([]byte, error) { return n.AppendText(nil), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *Name) UnmarshalText(b []byte) (err error) {
	*n, err = ParseName(string(b))
	return err
}

// Labels yields the labels from the left, without the empty one of the root. They
// are valid until n changes.
func (n *Name) Labels(yield func([]byte) bool) {
	for at := 0; at < int(n.n) && n.wire[at] != 0; {
		end := at + 1 + int(n.wire[at])
		if !yield(n.wire[at+1 : end]) {
			return
		}
		at = end
	}
}

// NumLabels returns the number of labels without the empty one of the root.
func (n *Name) NumLabels() (count int) {
	for range n.Labels {
		count++
	}
	return count
}

// Equal compares without regard to the case of ASCII letters (RFC 4343).
func (n *Name) Equal(m *Name) bool {
	return n.n == m.n && equalFold(n.wire[:n.n], m.wire[:m.n])
}

// equalFold folds length octets, too, which are below the letters.
func equalFold(a, b []byte) bool {
	for i, c := range a {
		if d := b[i]; c != d && lower(c) != lower(d) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Lower returns the name in lower case, so that == compares such names.
func (n Name) Lower() Name {
	for i, c := range n.wire[:n.n] {
		n.wire[i] = lower(c)
	}
	return n
}

// suffixAt returns where in n the name m begins, if n is m or below it.
func (n *Name) suffixAt(m *Name) (int, bool) {
	if m.n == 0 {
		return n.Len() - 1, true
	}
	at := int(n.n) - int(m.n)
	if at < 0 || !equalFold(n.wire[at:n.n], m.wire[:m.n]) {
		return 0, false
	}
	for i := 0; i <= at; i += 1 + int(n.wire[i]) {
		if i == at {
			return at, true // at a label's border
		}
	}
	return 0, false
}

// In reports whether the name is zone, or below it.
func (n *Name) In(zone *Name) bool {
	_, ok := n.suffixAt(zone)
	return ok
}

// Under returns the name with labels, in the format of zone files, in front of it:
// "b._dns-sd._udp" under example.com. is b._dns-sd._udp.example.com.
func (n *Name) Under(labels string) (Name, error) {
	front, err := ParseName(labels)
	if err != nil {
		return Name{}, err
	}
	return front.join(n)
}

// join replaces the root at the end of n by m.
func (n *Name) join(m *Name) (Name, error) {
	out := *n
	front := n.Len() - 1
	if front+m.Len() > maxName {
		return Name{}, fmt.Errorf("%w: longer than 255 octets", ErrName)
	}
	copy(out.wire[front:], m.wire[:m.n])
	clear(out.wire[front+int(m.n):])
	out.n = 0
	if n := front + m.Len(); n > 1 {
		out.n = uint8(n)
	}
	return out, nil
}

// Substitute replaces the end of n that is owner by target, as a DNAME record of
// owner does (RFC 6672 section 2.2); n must be below owner.
func (n *Name) Substitute(owner, target *Name) (Name, error) {
	at, ok := n.suffixAt(owner)
	if !ok || at == 0 {
		return Name{}, fmt.Errorf("%w: %s is not below %s", ErrName, n.String(), owner.String()) // keeps both off the heap
	}
	var front Name
	copy(front.wire[:], n.wire[:at])
	front.n = uint8(at + 1)
	return front.join(target)
}
