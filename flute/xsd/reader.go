package xsd

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A ValueError is a value that cannot be what its attribute, or the content of
// its element, has to be.
type ValueError struct {
	// Document says which document it is, such as "sls: S-TSID".
	Document string
	// Attribute is empty for the content of Element.
	Element, Attribute string
	// Value is the value found, cut off after 64 octets; empty if there is none.
	Value string
}

func (e *ValueError) Error() string {
	what := e.Element
	if e.Attribute != "" {
		what += ": " + e.Attribute
	}
	if e.Value == "" {
		return fmt.Sprintf("%s: %s is missing", e.Document, what)
	}
	return fmt.Sprintf("%s: %s is %q", e.Document, what, e.Value)
}

// A Reader turns strings into values and remembers the first that it could not.
type Reader struct {
	// Document is that of the errors.
	Document string
	// Err is the first error, a *ValueError.
	Err error
}

// Fail reports a value as wrong.
func (r *Reader) Fail(element, attribute, value string) {
	if r.Err == nil {
		r.Err = &ValueError{Document: r.Document, Element: element, Attribute: attribute, Value: value[:min(len(value), 64)]}
	}
}

// Required reports a value that is absent.
func (r *Reader) Required(element, attribute, value string) string {
	if strings.TrimSpace(value) == "" {
		r.Fail(element, attribute, "")
	}
	return value
}

// Uint reads a decimal number of at most that many bits, 0 if it is absent.
func (r *Reader) Uint(element, attribute, value string, bits int) uint64 {
	if value == "" {
		return 0
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(value), "+"), 10, bits)
	if err != nil {
		r.Fail(element, attribute, value)
	}
	return v
}

// Int is Uint for numbers that may be negative.
func (r *Reader) Int(element, attribute, value string, bits int) int64 {
	if value == "" {
		return 0
	}
	v, err := strconv.ParseInt(strings.TrimSpace(value), 10, bits)
	if err != nil {
		r.Fail(element, attribute, value)
	}
	return v
}

// Addr reads an IP address of either family, the zero Addr if it is absent. The
// schemas of ATSC know only IPv4.
func (r *Reader) Addr(element, attribute, value string) netip.Addr {
	if value = strings.TrimSpace(value); value == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" {
		r.Fail(element, attribute, value)
		return netip.Addr{}
	}
	return a.Unmap()
}

// Hex reads an xs:hexBinary, nil if it is absent.
func (r *Reader) Hex(element, attribute, value string) []byte {
	if value = strings.TrimSpace(value); value == "" {
		return nil
	}
	b, err := hex.DecodeString(value)
	if err != nil {
		r.Fail(element, attribute, value)
		return nil
	}
	return b
}

// Base64 reads an xs:base64Binary, nil if it is absent.
func (r *Reader) Base64(element, attribute, value string) []byte {
	if value = strings.Join(strings.Fields(value), ""); value == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		r.Fail(element, attribute, value)
		return nil
	}
	return b
}

// Each converts a list.
func Each[X, V any](list []X, convert func(*X) V) (out []V) {
	for i := range list {
		out = append(out, convert(&list[i]))
	}
	return out
}

// Texts trims the blanks that surround the contents of elements, and leaves out
// those that consist of nothing else.
func Texts(list []string) (out []string) {
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// List splits an xs:list, nil if it is empty.
func List(s string) []string {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return nil
	}
	return fields
}

// Uints reads an xs:list of numbers. Malformed ones are left out.
func Uints[T uint8 | uint16 | uint32 | uint64](s string) (values []T) {
	for _, field := range strings.Fields(s) {
		if v, err := strconv.ParseUint(field, 10, 64); err == nil && uint64(T(v)) == v {
			values = append(values, T(v))
		}
	}
	return values
}

// Bool reads an xs:boolean. Absent is for what is absent; what is malformed is
// false.
func Bool(s string, absent bool) bool {
	switch strings.TrimSpace(s) {
	case "":
		return absent
	case "true", "1":
		return true
	}
	return false
}
