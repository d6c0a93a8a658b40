package sls

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/bundle"
	"github.com/treedn/treedn/flute/gunzip"
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
	// ValidFrom and ValidUntil bound the time in which the fragment counts.
	ValidFrom, ValidUntil time.Time
	// NextURL is where the next version of the fragment will be by HTTP, and
	// AvailableAt since when.
	NextURL     string
	AvailableAt time.Time
	// Generation orders the versions of the fragment: the newer has the higher
	// one. 0 if the sender is not TreeDN. It has a header field of its own,
	// X-Treedn-Generation, since the version above has too few bits.
	Generation uint64
	// Body is the fragment, octet by octet as it was put in.
	Body []byte
}

// Valid tells whether the fragment counts at a moment.
func (p *Part) Valid(at time.Time) bool {
	i := bundle.Item{ValidFrom: p.ValidFrom, ValidUntil: p.ValidUntil}
	return i.Valid(at)
}

const fieldGeneration = "X-Treedn-Generation"

// Append appends the encoded package. Equal packages give equal octets.
//
// Bodies are not changed in any way. A body with a line that begins with two
// hyphens is legal and cut off there by GPAC.
func (p *Package) Append(b []byte) ([]byte, error) {
	out := bundle.Bundle{}
	for i := range p.Parts {
		part := &p.Parts[i]
		q := bundle.Part{ContentType: part.ContentType, Location: part.Location, Body: part.Body}
		if part.Generation != 0 {
			q.Extra = []bundle.Field{{Name: fieldGeneration, Value: strconv.FormatUint(part.Generation, 10)}}
		}
		out.Parts = append(out.Parts, q)
	}
	if !p.NoEnvelope {
		out.Envelope = p.envelope()
	}
	b, err := out.Append(b)
	if errors.Is(err, bundle.ErrIncomplete) {
		return b, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return b, err
}

// envelope makes the first part of the package. GPAC ignores an envelope whose
// items have no contentType, and takes version 0 for none. It remembers the
// version of the manifest that it finds here and skips packages whose TOI has
// the same: were the two numbers not equal, it would miss the package that has
// that number by chance.
func (p *Package) envelope() *bundle.Envelope {
	e := &bundle.Envelope{}
	for i := range p.Parts {
		part := &p.Parts[i]
		version := part.Version
		if version == 0 {
			version = uint32(p.Version)
		}
		if version == 0 {
			version = 256 // none that a TOI can have
		}
		e.Items = append(e.Items, bundle.Item{
			URI: part.Location, ContentType: mediaType(part.ContentType), Version: version, HasVersion: true,
			ValidFrom: part.ValidFrom, ValidUntil: part.ValidUntil, NextURL: part.NextURL, AvailableAt: part.AvailableAt,
		})
	}
	return e
}

// AppendGzip appends the encoded package, compressed as a whole. Its TOI must
// say so.
func (p *Package) AppendGzip(b []byte) ([]byte, error) {
	plain, err := p.Append(nil)
	if err != nil {
		return b, err
	}
	return gunzip.Append(b, plain)
}

// Errors of ParsePackage. A package that ends too early gives an error that
// matches io.ErrUnexpectedEOF.
var (
	// ErrSize: a package is too large, or grows too much when it is inflated.
	ErrSize = bundle.ErrSize
	// ErrHeader: the octets do not begin with header fields.
	ErrHeader = bundle.ErrHeader
	// ErrBoundary: multipart without a usable boundary.
	ErrBoundary = bundle.ErrBoundary
	// ErrParts: there are more parts than Limits allows.
	ErrParts = bundle.ErrParts
	// ErrEncoding: a part is in base64 or quoted-printable, which nobody sends.
	ErrEncoding = bundle.ErrEncoding
	// ErrGeneration: X-Treedn-Generation is not a number.
	ErrGeneration = errors.New("sls: malformed generation")
)

// Limits bounds what ParsePackage accepts. The zero value has the defaults.
type Limits struct {
	// Octets is the length of the package, inflated. Default 4 MiB.
	Octets int
	// Ratio is how many times its length a compressed package may inflate to.
	// Up to 64 KiB are allowed anyway. Default 200.
	Ratio int
	// Parts is their number. Default 1024.
	Parts int
	// Header is the length of the header fields before a body, in octets.
	// Default 64 KiB.
	Header int
}

// ParsePackage decodes a package, compressed or not, within the default limits.
func ParsePackage(b []byte) (Package, error) {
	return Limits{}.ParsePackage(b)
}

// ParsePackage decodes a package, compressed or not. Bodies alias b if it is
// not compressed. The metadataEnvelope, if there is one, is not among the parts:
// their versions are what it says.
//
// An object that is not multipart gives a package of one part.
func (l Limits) ParsePackage(b []byte) (Package, error) {
	in, err := bundle.Limits(l).Parse(b)
	if err != nil {
		return Package{}, fmt.Errorf("sls: %w", err)
	}
	p := Package{NoEnvelope: in.Envelope == nil}
	items := map[string]*bundle.Item{}
	if !p.NoEnvelope {
		for i := range in.Envelope.Items {
			item := &in.Envelope.Items[i]
			items[item.URI] = item
		}
	}
	for _, q := range in.Parts {
		part := Part{ContentType: q.ContentType, Location: q.Location, Body: q.Body}
		if item := items[q.Location]; item != nil {
			part.Version = item.Version
			part.ValidFrom, part.ValidUntil = item.ValidFrom, item.ValidUntil
			part.NextURL, part.AvailableAt = item.NextURL, item.AvailableAt
		}
		for _, f := range q.Extra {
			if !strings.EqualFold(f.Name, fieldGeneration) {
				continue
			}
			if part.Generation, err = strconv.ParseUint(f.Value, 10, 64); err != nil {
				return Package{}, fmt.Errorf("%w: %.32q", ErrGeneration, f.Value)
			}
		}
		p.Parts = append(p.Parts, part)
	}
	return p, nil
}
