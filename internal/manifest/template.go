package manifest

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrTemplate is returned for a file template that ROUTE does not define.
var ErrTemplate = errors.New("manifest: bad file template")

// maxWidth bounds the width of a number in a template; wider fields than the
// longest 64-bit number are nobody's.
const maxWidth = 20

// A Template is a family of names that differ in one decimal number: what RFC
// 9223, 6.3.1 writes as "chunk-stream0-$TOI%05d$.m4s". The zero value matches no
// useful name; see [Template.IsZero]. Templates are comparable.
type Template struct {
	Prefix, Suffix string
	// Width is the smallest number of digits; shorter numbers are padded with
	// zeros, longer ones are never cut. 0 and 1 both mean no padding.
	Width int
}

// IsZero reports whether t is the zero value: no template.
func (t Template) IsZero() bool { return t == Template{} }

// Match returns the number that name has in this family. A name with the wrong
// padding is another one and does not match, so that for every match
// t.Name(number) == name.
func (t Template) Match(name string) (number uint32, ok bool) {
	n, ok := t.match(name)
	return uint32(n), ok && n <= math.MaxUint32
}

func (t Template) match(name string) (uint64, bool) {
	if len(name) <= len(t.Prefix)+len(t.Suffix) ||
		!strings.HasPrefix(name, t.Prefix) || !strings.HasSuffix(name, t.Suffix) {
		return 0, false
	}
	return number(name[len(t.Prefix):len(name)-len(t.Suffix)], t.Width)
}

// number reads decimal digits of at least width, padded to exactly width.
func number(digits string, width int) (uint64, bool) {
	width = max(width, 1)
	if len(digits) < width || len(digits) > maxWidth || len(digits) > width && digits[0] == '0' {
		return 0, false
	}
	var n uint64
	for i := range len(digits) {
		c := digits[i]
		if c < '0' || c > '9' || n > (math.MaxUint64-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// Name returns the name with the number n.
func (t Template) Name(n uint32) string {
	return string(t.AppendName(make([]byte, 0, len(t.Prefix)+len(t.Suffix)+maxWidth), n))
}

// AppendName appends the name with the number n to b.
func (t Template) AppendName(b []byte, n uint32) []byte {
	b = append(b, t.Prefix...)
	b = appendNumber(b, uint64(n), t.Width)
	return append(b, t.Suffix...)
}

func appendNumber(b []byte, n uint64, width int) []byte {
	var digits [maxWidth]byte
	d := strconv.AppendUint(digits[:0], n, 10)
	for range width - len(d) {
		b = append(b, '0')
	}
	return append(b, d...)
}

// String returns the template as ROUTE's fileTemplate attribute writes it:
// "$TOI$" or "$TOI%05d$" for the number, "$$" for a dollar sign (RFC 9223,
// 6.3.1). The zero value gives "".
func (t Template) String() string {
	if t.IsZero() {
		return ""
	}
	tag := "$TOI$"
	if t.Width > 1 {
		tag = fmt.Sprintf("$TOI%%0%dd$", t.Width)
	}
	return strings.ReplaceAll(t.Prefix, "$", "$$") + tag + strings.ReplaceAll(t.Suffix, "$", "$$")
}

// ParseTemplate is the inverse of [Template.String]. It refuses identifiers
// other than $TOI$, more than one of them, and a lone dollar sign.
func ParseTemplate(s string) (Template, error) {
	var t Template
	found := false
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			i = len(s)
		}
		literal := s[:i]
		s = s[i:]
		if s != "" {
			end := strings.IndexByte(s[1:], '$')
			if end < 0 {
				return Template{}, fmt.Errorf("%w: a dollar sign without its end", ErrTemplate)
			}
			tag := s[1 : 1+end]
			s = s[2+end:]
			if tag == "" {
				literal += "$"
			} else {
				if found {
					return Template{}, fmt.Errorf("%w: more than one number", ErrTemplate)
				}
				format, isTOI := strings.CutPrefix(tag, "TOI")
				width, ok := parseWidth(format)
				if !isTOI || !ok {
					return Template{}, fmt.Errorf("%w: unknown identifier $%.32s$", ErrTemplate, tag)
				}
				t.Prefix += literal
				t.Width, found = width, true
				continue
			}
		}
		if found {
			t.Suffix += literal
		} else {
			t.Prefix += literal
		}
	}
	if !found {
		return Template{}, fmt.Errorf("%w: no $TOI$", ErrTemplate)
	}
	return t, nil
}

// parseWidth reads the format tag "%0<width>d"; an empty tag means width 1.
func parseWidth(format string) (width int, ok bool) {
	if format == "" {
		return 1, true
	}
	digits, ok := strings.CutPrefix(format, "%0")
	if !ok || !strings.HasSuffix(digits, "d") {
		return 0, false
	}
	width, err := strconv.Atoi(digits[:len(digits)-1])
	if err != nil || width < 1 || width > maxWidth {
		return 0, false
	}
	return width, true
}

// Classify finds the number in a name that no manifest has explained: the last
// run of digits in its file name, the extension apart. stem is the family as a
// ROUTE file template ("chunk-stream0-$TOI%05d$.m4s"), width its padding.
//
// A number without leading zeros shows no padding and gives width 1, even where
// the encoder pads to fewer digits than the number has by now: every later name
// is the same under both templates. Use [Index.TrackOf] where a manifest may
// know better.
func Classify(name string) (stem string, n uint32, width int, ok bool) {
	t, number, ok := classify(name)
	if !ok || number > math.MaxUint32 {
		return "", 0, 0, false
	}
	return t.String(), uint32(number), t.Width, true
}

// ClassifyTemplate is [Classify] with the family as a [Template].
func ClassifyTemplate(name string) (t Template, n uint32, ok bool) {
	t, number, ok := classify(name)
	if !ok || number > math.MaxUint32 {
		return Template{}, 0, false
	}
	return t, uint32(number), true
}

func classify(name string) (Template, uint64, bool) {
	if len(name) > MaxName {
		return Template{}, 0, false
	}
	file := strings.LastIndexByte(name, '/') + 1
	end := len(name) - len(extension(name))
	if end < len(name) && allDigits(name[end+1:]) {
		end = len(name) // "seg.00001": a number, not an extension
	}
	for end > file && !isDigit(name[end-1]) {
		end--
	}
	begin := end
	for begin > file && isDigit(name[begin-1]) {
		begin--
	}
	if begin == end {
		return Template{}, 0, false
	}
	t := Template{Prefix: name[:begin], Suffix: name[end:], Width: 1}
	if name[begin] == '0' {
		t.Width = end - begin
	}
	n, ok := number(name[begin:end], t.Width)
	return t, n, ok
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
