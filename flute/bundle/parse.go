package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/treedn/treedn/flute/gunzip"
)

// Errors of Parse. A bundle that ends too early gives an error that matches
// io.ErrUnexpectedEOF.
var (
	// ErrSize: a bundle is too large, or grows too much when it is inflated.
	ErrSize = gunzip.ErrSize
	// ErrHeader: the octets do not begin with header fields.
	ErrHeader = errors.New("bundle: malformed header field")
	// ErrBoundary: multipart without a usable boundary.
	ErrBoundary = errors.New("bundle: no boundary")
	// ErrParts: there are more parts than Limits allows.
	ErrParts = errors.New("bundle: too many parts")
	// ErrEncoding: a part is in base64 or quoted-printable, which nobody sends.
	ErrEncoding = errors.New("bundle: unsupported Content-Transfer-Encoding")
	// ErrRoot: the document is XML, and something else than an envelope.
	ErrRoot = errors.New("bundle: root element is not metadataEnvelope")
)

// maxBoundary is generous: RFC 2046 allows 70 octets.
const maxBoundary = 200

// maxExtra bounds the fields that are kept of a part.
const maxExtra = 16

// Limits bounds what Parse accepts. The zero value has the defaults.
type Limits struct {
	// Octets is the length of the bundle, inflated. Default 4 MiB.
	Octets int
	// Ratio is how many times its length a compressed bundle may inflate to.
	// Up to 64 KiB are allowed anyway. Default 200.
	Ratio int
	// Parts is their number. Default 1024.
	Parts int
	// Header is the length of the header fields before a body, in octets.
	// Default 64 KiB.
	Header int
}

func (l Limits) withDefaults() Limits {
	if l.Octets <= 0 {
		l.Octets = 4 << 20
	}
	if l.Ratio <= 0 {
		l.Ratio = 200
	}
	if l.Parts <= 0 {
		l.Parts = 1024
	}
	if l.Header <= 0 {
		l.Header = 64 << 10
	}
	return l
}

// Parse decodes a bundle, compressed or not, within the default limits.
func Parse(b []byte) (Bundle, error) {
	return Limits{}.Parse(b)
}

// Parse decodes a bundle, compressed or not. Bodies alias b if it is not
// compressed. The envelope is not among the parts.
//
// An object that is not multipart gives a bundle of one part, or of those inside
// the envelope if it is one.
func (l Limits) Parse(b []byte) (Bundle, error) {
	l = l.withDefaults()
	if len(b) > l.Octets {
		return Bundle{}, fmt.Errorf("bundle: %w: %d octets", ErrSize, len(b))
	}
	if gunzip.Is(b) {
		var err error
		if b, err = (gunzip.Limits{Octets: l.Octets, Ratio: l.Ratio}).Inflate(b); err != nil {
			return Bundle{}, fmt.Errorf("bundle: %w", err)
		}
	}
	parts, err := l.parts(b)
	if err != nil {
		return Bundle{}, err
	}
	var out Bundle
	for _, part := range parts {
		if MediaType(part.ContentType) != MediaTypeEnvelope {
			out.Parts = append(out.Parts, part)
			continue
		}
		e, err := ParseEnvelope(part.Body)
		if err != nil || out.Envelope != nil {
			continue // it says nothing; the parts are there nevertheless
		}
		out.Envelope = e
		for i := range e.Items {
			if f := e.Items[i].Fragment; f != nil && len(out.Parts) < l.Parts {
				out.Parts = append(out.Parts, Part{ContentType: e.Items[i].ContentType, Location: e.Items[i].URI, Body: f})
			}
		}
	}
	return out, nil
}

func (l Limits) parts(b []byte) (parts []Part, err error) {
	var boundary string
	if rest, ok := bytes.CutPrefix(b, []byte("--")); ok {
		// The header fields went another way; the first line is the boundary.
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		boundary = strings.TrimRight(string(line[:min(len(line), maxBoundary+1)]), " \t\r")
	} else {
		whole, err := l.part(bytes.TrimLeft(b, "\r\n"), false)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(MediaType(whole.ContentType), "multipart/") {
			return []Part{whole}, nil
		}
		boundary = parameter(whole.ContentType, "boundary")
		b = whole.Body
	}
	if boundary == "" || len(boundary) > maxBoundary {
		return nil, ErrBoundary
	}
	s := splitter{rest: b, delimiter: []byte("--" + boundary)}
	if _, more := s.next(); !more {
		return nil, s.err()
	}
	for {
		octets, more := s.next()
		if s.truncated {
			if len(parts) > 0 && strings.HasSuffix(boundary, "--") && len(bytes.TrimSpace(s.rest)) == 0 {
				return parts, nil // a boundary that looks like its end was taken for it
			}
			return nil, s.err()
		}
		if len(parts) >= l.Parts {
			return nil, ErrParts
		}
		part, err := l.part(octets, true)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		if !more {
			return parts, nil
		}
	}
}

// A splitter cuts a multipart body at the lines that consist of the delimiter,
// with CRLF or, as some senders do it, with LF.
type splitter struct {
	rest      []byte
	delimiter []byte
	truncated bool
}

// next returns what comes before the next delimiter line, and whether anything
// comes after it.
func (s *splitter) next() (octets []byte, more bool) {
	for from := 0; ; {
		i := bytes.Index(s.rest[from:], s.delimiter)
		if i < 0 {
			s.truncated = true
			return nil, false
		}
		i += from
		from = i + len(s.delimiter)
		if i > 0 && s.rest[i-1] != '\n' {
			continue
		}
		line, after, ended := bytes.Cut(s.rest[from:], []byte("\n"))
		end := bytes.TrimRight(line, " \t\r")
		last := string(end) == "--"
		if len(end) == 0 && !ended {
			// Where the boundary itself ends like the last one, some take it for that.
			last = bytes.HasSuffix(s.delimiter, []byte("--"))
		}
		if !last && (len(end) > 0 || !ended) {
			continue // the boundary is but the beginning of something else
		}
		octets = s.rest[:i]
		// The line break before the delimiter belongs to it.
		octets = bytes.TrimSuffix(octets, []byte("\n"))
		octets = bytes.TrimSuffix(octets, []byte("\r"))
		s.rest = after
		return octets[:len(octets):len(octets)], !last
	}
}

func (s *splitter) err() error {
	if s.truncated {
		return fmt.Errorf("bundle: no closing boundary: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%w: package without parts", ErrBoundary)
}

// part decodes header fields and the body after them. Inside a package a part
// without a body may lack the blank line, too.
func (l Limits) part(b []byte, inside bool) (p Part, err error) {
	rest := b
	for {
		if len(rest) == 0 && !inside {
			return Part{}, fmt.Errorf("bundle: header: %w", io.ErrUnexpectedEOF)
		}
		var name, value string
		name, value, rest, err = nextField(rest)
		if err != nil {
			return Part{}, err
		}
		if len(b)-len(rest) > l.Header {
			return Part{}, fmt.Errorf("%w: more than %d octets", ErrHeader, l.Header)
		}
		switch strings.ToLower(name) {
		case "":
			p.Body = rest
			return p, nil
		case strings.ToLower(fieldContentType):
			p.ContentType = value
		case strings.ToLower(fieldLocation):
			p.Location = value
		case strings.ToLower(fieldEncoding):
			switch strings.ToLower(value) {
			case "7bit", "8bit", "binary":
			default:
				return Part{}, fmt.Errorf("%w: %.32q", ErrEncoding, value)
			}
		default:
			if len(p.Extra) < maxExtra {
				p.Extra = append(p.Extra, Field{Name: name, Value: value})
			}
		}
	}
}

// nextField cuts off one header field with its continuation lines. The name is
// empty for the blank line at the end of the header.
func nextField(b []byte) (name, value string, rest []byte, err error) {
	line, rest, _ := bytes.Cut(b, []byte("\n"))
	if line = bytes.TrimRight(line, " \t\r"); len(line) == 0 {
		return "", "", rest, nil
	}
	field, content, found := bytes.Cut(line, []byte(":"))
	name = string(bytes.TrimSpace(field))
	if !found || name == "" {
		return "", "", nil, fmt.Errorf("%w: %.64q", ErrHeader, line)
	}
	var s strings.Builder
	s.Write(bytes.TrimSpace(content))
	for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		s.WriteByte(' ')
		s.Write(line)
		rest = after
	}
	return name, strings.TrimSpace(s.String()), rest, nil
}

// parameter returns a parameter of a header field. It puts up with what
// mime.ParseMediaType refuses: characters in unquoted values that should have
// been quoted.
func parameter(value, name string) string {
	_, rest, _ := strings.Cut(value, ";")
	for {
		rest = strings.TrimLeft(rest, "; \t")
		end := strings.IndexAny(rest, "=; \t")
		if end < 0 {
			return ""
		}
		key := rest[:end]
		rest = strings.TrimLeft(rest[end:], " \t")
		if !strings.HasPrefix(rest, "=") {
			continue
		}
		rest = strings.TrimLeft(rest[1:], " \t")
		var val string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			val, rest = unquote(quoted)
		} else {
			end := strings.IndexAny(rest, "; \t")
			if end < 0 {
				end = len(rest)
			}
			val, rest = rest[:end], rest[end:]
		}
		if strings.EqualFold(key, name) {
			return val
		}
	}
}

// unquote reads a quoted string whose first quote is gone.
func unquote(s string) (val, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
