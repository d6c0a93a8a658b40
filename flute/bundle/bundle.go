package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrIncomplete matches the errors of Append about a bundle that lacks what the
// standards require, or contradicts itself.
var ErrIncomplete = errors.New("bundle: incomplete")

// A Bundle is one object of signalling: the fragments that describe a service.
type Bundle struct {
	// Envelope lists the fragments. Nil if there is none, or one that cannot be
	// read.
	Envelope *Envelope
	Parts    []Part
}

// A Part is one fragment.
type Part struct {
	// ContentType is the media type, with its parameters if there are any.
	ContentType string
	// Location is the Content-Location, the name of the fragment.
	Location string
	// Extra are the other header fields, except Content-Transfer-Encoding.
	Extra []Field
	// Body is the fragment, octet by octet.
	Body []byte
}

// A Field is one header field.
type Field struct{ Name, Value string }

// Names of the header fields, in the case in which GPAC looks for them.
const (
	fieldContentType = "Content-Type"
	fieldLocation    = "Content-Location"
	fieldEncoding    = "Content-Transfer-Encoding"
)

// Item returns what the envelope says about a fragment.
func (b *Bundle) Item(location string) (Item, bool) {
	if b.Envelope == nil {
		return Item{}, false
	}
	for _, item := range b.Envelope.Items {
		if item.URI == location {
			return item, true
		}
	}
	return Item{}, false
}

// Append appends the encoded bundle. Equal bundles give equal octets. Items of
// the envelope that have a Fragment are refused: it goes into a part.
//
// Bodies are not changed in any way. A body with a line that begins with two
// hyphens is legal and cut off there by GPAC.
func (b *Bundle) Append(dst []byte) ([]byte, error) {
	if err := b.check(); err != nil {
		return dst, err
	}
	parts := b.Parts
	if b.Envelope != nil {
		body, err := b.Envelope.Append(nil)
		if err != nil {
			return dst, err
		}
		first := Part{ContentType: MediaTypeEnvelope, Location: EnvelopeLocation, Body: body}
		parts = append([]Part{first}, parts...)
	}
	boundary := boundaryFor(parts)
	dst = fmt.Appendf(dst, "%s: multipart/related; type=\"%s\"; boundary=\"%s\"\r\n",
		fieldContentType, MediaType(parts[0].ContentType), boundary)
	for i := range parts {
		part := &parts[i]
		dst = fmt.Appendf(dst, "\r\n--%s\r\n%s: %s\r\n%s: %s\r\n",
			boundary, fieldContentType, part.ContentType, fieldLocation, part.Location)
		for _, f := range part.Extra {
			dst = fmt.Appendf(dst, "%s: %s\r\n", f.Name, f.Value)
		}
		dst = append(dst, "\r\n"...)
		dst = append(dst, part.Body...)
	}
	// No line break at the end: GPAC calls the package corrupt for it.
	return fmt.Appendf(dst, "\r\n--%s--", boundary), nil
}

func (b *Bundle) check() error {
	if len(b.Parts) == 0 {
		return fmt.Errorf("%w: no parts", ErrIncomplete)
	}
	seen := make(map[string]bool, len(b.Parts))
	for i := range b.Parts {
		part := &b.Parts[i]
		mediaType := MediaType(part.ContentType)
		switch {
		case !isField(part.ContentType) || mediaType == "" || strings.ContainsRune(mediaType, '"'):
			return fmt.Errorf("%w: part %d: Content-Type %q", ErrIncomplete, i, part.ContentType)
		case mediaType == MediaTypeEnvelope:
			return fmt.Errorf("%w: part %d: the envelope is made by Append", ErrIncomplete, i)
		case !isField(part.Location) || b.Envelope != nil && part.Location == EnvelopeLocation:
			return fmt.Errorf("%w: part %d: Content-Location %q", ErrIncomplete, i, part.Location)
		case seen[part.Location]:
			return fmt.Errorf("%w: part %d: second %q", ErrIncomplete, i, part.Location)
		}
		for _, f := range part.Extra {
			if !isField(f.Value) || !isName(f.Name) {
				return fmt.Errorf("%w: part %d: field %q: %q", ErrIncomplete, i, f.Name, f.Value)
			}
		}
		seen[part.Location] = true
	}
	return nil
}

// isField tells whether s is the value of a header field that survives reading.
func isField(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return false
		}
	}
	return s != "" && strings.TrimSpace(s) == s && utf8.ValidString(s)
}

// isName tells whether s is the name of a field that a Part has no member for.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' {
			return false
		}
	}
	return s != "" && !strings.EqualFold(s, fieldContentType) && !strings.EqualFold(s, fieldLocation) && !strings.EqualFold(s, fieldEncoding)
}

// boundaryFor makes a boundary that occurs in none of the parts. It depends on
// nothing but them.
func boundaryFor(parts []Part) string {
	h := fnv.New64a()
	for i := range parts {
		h.Write(parts[i].Body)
	}
	for {
		boundary := "treedn-" + strconv.FormatUint(h.Sum64(), 16)
		if !occurs(boundary, parts) {
			return boundary
		}
		h.Write([]byte{0})
	}
}

func occurs(boundary string, parts []Part) bool {
	for i := range parts {
		if bytes.Contains(parts[i].Body, []byte(boundary)) ||
			strings.Contains(parts[i].ContentType, boundary) || strings.Contains(parts[i].Location, boundary) {
			return true
		}
		for _, f := range parts[i].Extra {
			if strings.Contains(f.Value, boundary) {
				return true
			}
		}
	}
	return false
}

// MediaType returns a Content-Type without its parameters, in lower case.
func MediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}
