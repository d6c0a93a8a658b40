package repair

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrNoSource: the signalling names nobody who could be asked.
var ErrNoSource = errors.New("repair: no source")

// Form is what a [Source] is asked for.
type Form uint8

const (
	// Octets are asked for with Range.
	Octets Form = iota
	// Symbols are asked for with the query of MBMS file repair ([FileRepair]).
	Symbols
)

// Source is a place where one object can be repaired.
type Source struct {
	URL  string
	Form Form
	// Tier is the order: a higher one is asked only when no lower one can be.
	Tier int
	// Weight is the share of a source among those of its tier; 0 counts as 1.
	Weight int
	// Until is when the source ends to have the object. Zero: never.
	Until time.Time
}

// Procedure is how one object is repaired according to the signalling of its service. [PostFileRepair] and [UnicastRepair]
// make it from what the standards say.
type Procedure struct {
	Window  Window
	Sources []Source
	// ETag is the version of the object: a strong entity tag, or empty if not known.
	ETag string
	// Offset is where the object begins in what the sources serve: of a chunk, its place in the segment.
	Offset int64
}

// PostFileRepair is the associated delivery procedure of the same name: of MBMS (3GPP TS 26.346 clause 9.3), where
// serviceURIs are asked for symbols, and of ATSC, whose APD has the times alone (A/331 section 8.3).
type PostFileRepair struct {
	ServiceURIs      []string
	OffsetTime       time.Duration
	RandomTimePeriod time.Duration
}

// File is what the FDT says about a file and its repair.
type File struct {
	ContentLocation string
	ContentMD5      string
	ETag            string // File-ETag
	// Alternate-Content-Location-1 and -2, relative to Base-URL-1 and -2 of the FDT Instance.
	Alternates1, Alternates2 []Alternate
	BaseURL1, BaseURL2       string
}

// Alternate is an Alternate-Content-Location-1 or -2.
type Alternate struct {
	URLs  []string
	Until time.Time // Availability-Time; zero if it has none
}

// Procedure returns how a file is repaired: by octets from one of the first alternate locations, by octets from one of the
// second ones, by symbols from one of the service URIs, each drawn at random.
func (p PostFileRepair) Procedure(f File) (Procedure, error) {
	out := Procedure{Window: Window{p.OffsetTime, p.RandomTimePeriod}, ETag: strongTag(f.ETag)}
	for tier, list := range [][]Alternate{f.Alternates1, f.Alternates2} {
		base := [...]string{f.BaseURL1, f.BaseURL2}[tier]
		for _, a := range list {
			for _, location := range a.URLs {
				if u, ok := resolveURL(base, location); ok {
					out.Sources = append(out.Sources, Source{URL: u, Tier: tier, Until: a.Until})
				}
			}
		}
	}
	for _, service := range p.ServiceURIs {
		u, ok := resolveURL("", service)
		if !ok || f.ContentLocation == "" {
			continue
		}
		separator := "?"
		if strings.Contains(u, "?") {
			separator = "&"
		}
		request := FileRepair{FileURI: f.ContentLocation, ContentMD5: f.ContentMD5}
		out.Sources = append(out.Sources, Source{
			URL: string(request.AppendQuery([]byte(u + separator))), Form: Symbols, Tier: 2,
		})
	}
	if len(out.Sources) == 0 {
		return out, ErrNoSource
	}
	return out, nil
}

// UnicastRepair has the UnicastRepairParameters of a DVB multicast session configuration (ETSI TS 103 769 clause 10.2).
type UnicastRepair struct {
	BaseURLs               []WeightedURL
	TransportObjectBaseURI string
	FixedBackOffPeriod     time.Duration
	RandomBackOffPeriod    time.Duration
}

// WeightedURL is a BaseURL with its relativeWeight, which is 1 if the attribute is absent and 0 if the URL is not to be used.
type WeightedURL struct {
	URL            string
	RelativeWeight int
}

// Procedure returns how the object with a transport object URI, which is the Content-Location in its FDT, is repaired: from
// one of the base URLs drawn by weight, with transportObjectBaseURI replaced by it, or without any from the URI itself. Of a
// chunk, the URI of which is that of the segment and a mark, it is the part of the segment from the chunk on
// ([SplitChunkURI]).
func (u UnicastRepair) Procedure(objectURI, etag string) (Procedure, error) {
	out := Procedure{Window: Window{u.FixedBackOffPeriod, u.RandomBackOffPeriod}, ETag: strongTag(etag)}
	objectURI, out.Offset = SplitChunkURI(objectURI)
	rest, below := strings.CutPrefix(objectURI, u.TransportObjectBaseURI)
	if below && u.TransportObjectBaseURI != "" {
		for _, base := range u.BaseURLs {
			// The standard replaces text by text; it does not resolve a relative reference.
			if to, ok := resolveURL("", base.URL+rest); ok && base.RelativeWeight > 0 {
				out.Sources = append(out.Sources, Source{URL: to, Weight: base.RelativeWeight})
			}
		}
	}
	if len(u.BaseURLs) == 0 {
		if to, ok := resolveURL("", objectURI); ok {
			out.Sources = append(out.Sources, Source{URL: to})
		}
	}
	if len(out.Sources) == 0 {
		return out, fmt.Errorf("%w for %.200q", ErrNoSource, objectURI)
	}
	return out, nil
}

// SplitChunkURI takes the Content-Location of an object of the DVB FLUTE profile apart: the URI of the segment, and the
// offset of the chunk in it, which is the fragment. The queries isLast and hasRandomAccessPoint are marks of the chunk and go
// (ETSI TS 103 769 annex F). Other URIs are returned as they are, with offset 0.
func SplitChunkURI(location string) (uri string, offset int64) {
	uri, fragment, marked := strings.Cut(location, "#")
	if !marked {
		return location, 0
	}
	if n, ok := parsePosition(fragment); ok && n < openEnd {
		offset = n
	}
	path, query, found := strings.Cut(uri, "?")
	if !found {
		return uri, offset
	}
	items := slices.DeleteFunc(strings.Split(query, "&"), func(item string) bool {
		return item == "isLast" || item == "hasRandomAccessPoint"
	})
	if len(items) == 0 {
		return path, offset
	}
	return path + "?" + strings.Join(items, "&"), offset
}

// resolveURL returns an absolute HTTP URL without a fragment.
func resolveURL(base, reference string) (string, bool) {
	u, err := url.Parse(strings.TrimSpace(reference))
	if err != nil || reference == "" {
		return "", false
	}
	if base != "" {
		b, err := url.Parse(strings.TrimSpace(base))
		if err != nil {
			return "", false
		}
		u = b.ResolveReference(u)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", false
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String(), true
}

// strongTag returns an entity tag as If-Range needs it: strong, in quotes, which signalling often leaves out. A weak one does
// not say that octets are the same (RFC 9110 section 13.1.5).
func strongTag(tag string) string {
	tag = strings.TrimSpace(tag)
	switch {
	case tag == "" || strings.HasPrefix(tag, "W/"):
		return ""
	case len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"':
		tag = `"` + tag + `"`
	}
	for _, c := range []byte(tag[1 : len(tag)-1]) {
		if c < 0x21 || c == '"' || c == 0x7f {
			return "" // no entity tag; it would break the header
		}
	}
	return tag
}

// appendURL appends the URL with blocks in the query of a source of symbols.
func appendURL(dst []byte, source string, blocks []BlockSymbols) []byte {
	dst = append(dst, source...)
	if len(blocks) > 0 {
		dst = AppendQuery(append(dst, '&'), blocks)
	}
	return dst
}
