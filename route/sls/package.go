package sls

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Package is one object of service signalling: the fragments that describe a
// service, in multipart/related (A/331, 7.1.6).
type Package struct {
	// Version is that of the package. It is carried by the TOI, so
	// ParsePackage leaves it 0.
	Version uint8
	// NoEnvelope leaves the metadataEnvelope out, which A/331 wants as the
	// first part. GPAC needs none, and refuses one that lists no DASH
	// manifest.
	NoEnvelope bool
	Parts      []Part
}

// A Part is one fragment: an S-TSID, a manifest, and so on. Its Kind tells.
type Part struct {
	// ContentType is the media type, with its parameters if there are any.
	ContentType string
	// Location is the Content-Location, the name of the fragment.
	Location string
	// Version is that of the fragment in the metadataEnvelope, 0 without one.
	// When a package is written, 0 stands for the version of the package.
	Version uint32
	// Generation orders the versions of the fragment: the newer has the higher
	// one. 0 if the sender is not TreeDN. It has a header field of its own,
	// X-Treedn-Generation, since the version above has too few bits.
	Generation uint64
	// Body is the fragment, octet by octet as it was put in.
	Body []byte
}

// Names of the header fields, in the case in which GPAC looks for them.
const (
	fieldContentType = "Content-Type"
	fieldLocation    = "Content-Location"
	fieldEncoding    = "Content-Transfer-Encoding"
	fieldGeneration  = "X-Treedn-Generation"

	envelopeLocation = "envelope.xml"
)

// Append appends the encoded package. Equal packages give equal octets.
//
// Bodies are not changed in any way. A body with a line that begins with two
// hyphens is legal and cut off there by GPAC.
func (p *Package) Append(b []byte) ([]byte, error) {
	if err := p.check(); err != nil {
		return b, err
	}
	parts := p.Parts
	if !p.NoEnvelope {
		envelope, err := p.envelope()
		if err != nil {
			return b, err
		}
		parts = append([]Part{envelope}, parts...)
	}
	boundary := boundaryFor(parts)
	b = fmt.Appendf(b, "%s: multipart/related; type=\"%s\"; boundary=\"%s\"\r\n", fieldContentType, mediaType(parts[0].ContentType), boundary)
	for i := range parts {
		part := &parts[i]
		b = fmt.Appendf(b, "\r\n--%s\r\n%s: %s\r\n%s: %s\r\n", boundary, fieldContentType, part.ContentType, fieldLocation, part.Location)
		if part.Generation != 0 {
			b = fmt.Appendf(b, "%s: %d\r\n", fieldGeneration, part.Generation)
		}
		b = append(b, "\r\n"...)
		b = append(b, part.Body...)
	}
	// No line break at the end: GPAC calls the package corrupt for it.
	return fmt.Appendf(b, "\r\n--%s--", boundary), nil
}

func (p *Package) check() error {
	if len(p.Parts) == 0 {
		return fmt.Errorf("%w: package without parts", ErrIncomplete)
	}
	seen := make(map[string]bool, len(p.Parts))
	for i := range p.Parts {
		part := &p.Parts[i]
		switch {
		case !isField(part.ContentType) || mediaType(part.ContentType) == "" || strings.ContainsRune(mediaType(part.ContentType), '"'):
			return fmt.Errorf("%w: part %d: Content-Type %q", ErrIncomplete, i, part.ContentType)
		case mediaType(part.ContentType) == mediaTypeEnvelope:
			return fmt.Errorf("%w: part %d: the envelope is made by Append", ErrIncomplete, i)
		case !isField(part.Location) || !p.NoEnvelope && part.Location == envelopeLocation:
			return fmt.Errorf("%w: part %d: Content-Location %q", ErrIncomplete, i, part.Location)
		case seen[part.Location]:
			return fmt.Errorf("%w: part %d: second %q", ErrIncomplete, i, part.Location)
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
	}
	return false
}
