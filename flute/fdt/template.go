package fdt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrTemplate matches the errors of ParseTemplate.
var ErrTemplate = errors.New("fdt: malformed fileTemplate")

// maxWidth bounds the padding that a hostile template can ask for. 2^64 has 20
// digits.
const maxWidth = 32

// A Template is a parsed fileTemplate (RFC 9223, section 6.3.1): the names of
// all objects of a track, numbered by TOI. Expand and Match are inverse.
type Template struct {
	Prefix string
	// Width is the least number of digits, filled up with zeros.
	Width  int
	Suffix string
}

// ParseTemplate parses a fileTemplate: `$TOI$` or `$TOI%0<width>d$` stands for
// the TOI, `$$` for one `$`. There must be exactly one TOI, and no other `$`,
// whose meaning the standard leaves open.
func ParseTemplate(s string) (Template, error) {
	t := Template{}
	var literal strings.Builder
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, "$")
		literal.WriteString(before)
		if !found {
			break
		}
		tag, after, found := strings.Cut(after, "$")
		if !found {
			return Template{}, fmt.Errorf("%w: %q: single $", ErrTemplate, s)
		}
		rest = after
		if tag == "" {
			literal.WriteByte('$')
			continue
		}
		if t.Width != 0 {
			return Template{}, fmt.Errorf("%w: %q: more than one tag", ErrTemplate, s)
		}
		width, ok := parseTag(tag)
		if !ok {
			return Template{}, fmt.Errorf("%w: %q: tag %q", ErrTemplate, s, tag)
		}
		t.Width = width
		t.Prefix = literal.String()
		literal.Reset()
	}
	if t.Width == 0 {
		return Template{}, fmt.Errorf("%w: %q: no TOI", ErrTemplate, s)
	}
	t.Suffix = literal.String()
	return t, nil
}

func parseTag(tag string) (width int, ok bool) {
	format, ok := strings.CutPrefix(tag, "TOI")
	if !ok || format == "" {
		return 1, ok
	}
	digits, ok := strings.CutPrefix(format, "%0")
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, "d")
	width, err := strconv.Atoi(digits)
	return width, ok && err == nil && width >= 1 && width <= maxWidth && isDigits(digits)
}

// String returns the fileTemplate.
func (t Template) String() string {
	escape := strings.NewReplacer("$", "$$")
	tag := "$TOI$"
	if t.Width > 1 {
		tag = fmt.Sprintf("$TOI%%0%dd$", t.Width)
	}
	return escape.Replace(t.Prefix) + tag + escape.Replace(t.Suffix)
}

// Expand returns the name of the object.
func (t Template) Expand(toi uint64) string {
	return string(t.Append(nil, toi))
}

// Append appends the name of the object to b.
func (t Template) Append(b []byte, toi uint64) []byte {
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], toi, 10)
	b = append(b, t.Prefix...)
	for range t.Width - len(d) {
		b = append(b, '0')
	}
	b = append(b, d...)
	return append(b, t.Suffix...)
}

// Match returns the TOI of the object with this name. It is false for every
// name that Expand does not make.
func (t Template) Match(name string) (toi uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, t.Prefix)
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, t.Suffix)
	if !ok || len(digits) < max(t.Width, 1) || !isDigits(digits) {
		return 0, false
	}
	if len(digits) > max(t.Width, 1) && digits[0] == '0' {
		return 0, false
	}
	toi, err := strconv.ParseUint(digits, 10, 64)
	return toi, err == nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
