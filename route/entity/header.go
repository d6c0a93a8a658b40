package entity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MaxHeader bounds a header or trailer, in octets.
const MaxHeader = 64 << 10

// Errors that tell what is wrong with an object. What ends too early gives io.ErrUnexpectedEOF.
var (
	// ErrHeader: a line is no header field.
	ErrHeader = errors.New("entity: malformed header field")
	// ErrTooLong: a header, trailer or chunk line exceeds its bound.
	ErrTooLong = errors.New("entity: header is too long")
	// ErrCoding: a transfer coding other than chunked, or chunked in another place than the last.
	ErrCoding = errors.New("entity: unknown transfer coding")
	// ErrLength: Content-Length is no number, or there are several that differ.
	ErrLength = errors.New("entity: malformed or contradictory Content-Length")
	// ErrChunk: the body is not in chunks although the header says so.
	ErrChunk = errors.New("entity: malformed chunk")
	// ErrSigned: no signed package.
	ErrSigned = errors.New("entity: malformed signed package")
)

// Field is one header field.
type Field struct{ Name, Value string }

// Header is the header of an entity.
type Header struct {
	// Status is that of a status line, 0 if there is none, as the standard has it. Some senders begin with one.
	Status int
	// Fields are all but Transfer-Encoding and Content-Length.
	Fields []Field
	// Chunked tells that the body comes in chunks; Length is that of the body, -1 if Content-Length does not tell or
	// does not count because of chunks (RFC 9112, section 6.3).
	Chunked bool
	Length  int64
}

// Get returns the value of the first field of a name, in whatever case, and an empty string if there is none.
func (h *Header) Get(name string) string { return get(h.Fields, name) }

func get(fields []Field, name string) string {
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// ParseHeader reads the header at the beginning of b and returns how many octets it takes, the blank line included. If
// the blank line has not come yet, the error matches io.ErrUnexpectedEOF.
func ParseHeader(b []byte) (h Header, n int, err error) {
	h.Length = -1
	rest := b
	if bytes.HasPrefix(b, []byte("HTTP/")) {
		line, after, ok := cutLine(rest)
		if !ok {
			return h, 0, short(b)
		}
		_, status, _ := strings.Cut(line, " ")
		status, _, _ = strings.Cut(status, " ")
		if h.Status, err = strconv.Atoi(status); err != nil || len(status) != 3 || h.Status < 100 {
			return h, 0, fmt.Errorf("%w: %.64q", ErrHeader, line)
		}
		rest = after
	}
	if h.Fields, rest, err = parseFields(rest, len(b)-len(rest)); err != nil {
		return h, 0, err
	}
	return h, len(b) - len(rest), h.framing()
}

// framing finds out how the body ends.
func (h *Header) framing() error {
	length, lengths := int64(-1), 0
	fields := h.Fields
	h.Fields = nil
	for _, f := range fields {
		switch {
		case strings.EqualFold(f.Name, "Transfer-Encoding"):
			if h.Chunked || !strings.EqualFold(f.Value, "chunked") {
				return fmt.Errorf("%w: %.64q", ErrCoding, f.Value)
			}
			h.Chunked = true
		case strings.EqualFold(f.Name, "Content-Length"):
			n, err := strconv.ParseUint(f.Value, 10, 63)
			if err != nil || lengths > 0 && int64(n) != length {
				return fmt.Errorf("%w: %.64q", ErrLength, f.Value)
			}
			length, lengths = int64(n), lengths+1
		default:
			h.Fields = append(h.Fields, f)
		}
	}
	if !h.Chunked {
		h.Length = length
	}
	return nil
}

func short(b []byte) error {
	if len(b) > MaxHeader {
		return ErrTooLong
	}
	return fmt.Errorf("entity: header: %w", io.ErrUnexpectedEOF)
}

// cutLine returns the first line without its end, CRLF or, as some senders have it, LF.
func cutLine(b []byte) (line string, rest []byte, ok bool) {
	i := bytes.IndexByte(b[:min(len(b), MaxHeader+1)], '\n')
	if i < 0 {
		return "", b, false
	}
	return string(bytes.TrimSuffix(b[:i], []byte("\r"))), b[i+1:], true
}

// parseFields reads header fields up to the blank line. before is what the header took already.
func parseFields(b []byte, before int) (fields []Field, rest []byte, err error) {
	for rest = b; ; {
		line, after, ok := cutLine(rest)
		if !ok {
			return nil, b, short(b)
		}
		rest = after
		if before+len(b)-len(rest) > MaxHeader {
			return nil, b, ErrTooLong
		}
		if line == "" {
			return fields, rest, nil
		}
		if line[0] == ' ' || line[0] == '\t' { // a folded line (RFC 9112, section 5.2)
			if len(fields) == 0 {
				return nil, b, fmt.Errorf("%w: %.64q", ErrHeader, line)
			}
			f := &fields[len(fields)-1]
			f.Value = strings.TrimSpace(f.Value + " " + strings.TrimSpace(line))
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if name = strings.TrimRight(name, " \t"); !found || !isToken(name) {
			return nil, b, fmt.Errorf("%w: %.64q", ErrHeader, line)
		}
		fields = append(fields, Field{name, strings.TrimSpace(value)})
	}
}

// isToken tells whether s is a name of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// Append appends the header with its blank line. Chunked and Length make the fields that say so.
func (h *Header) Append(b []byte) ([]byte, error) {
	n := len(b)
	var err error
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, "Transfer-Encoding") || strings.EqualFold(f.Name, "Content-Length") {
			return b[:n], fmt.Errorf("%w: %s is made by Append", ErrHeader, f.Name)
		}
		if b, err = appendField(b, f); err != nil {
			return b[:n], err
		}
	}
	switch {
	case h.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case h.Length >= 0:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, h.Length, 10), "\r\n"...)
	}
	if len(b)-n > MaxHeader-2 {
		return b[:n], ErrTooLong
	}
	return append(b, "\r\n"...), nil
}

func appendField(b []byte, f Field) ([]byte, error) {
	if !isToken(f.Name) || strings.TrimSpace(f.Value) != f.Value || strings.ContainsFunc(f.Value, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f
	}) {
		return b, fmt.Errorf("%w: %.64q: %.64q", ErrHeader, f.Name, f.Value)
	}
	b = append(append(b, f.Name...), ": "...)
	return append(append(b, f.Value...), "\r\n"...), nil
}
