package bundle

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/flute/xsd"
)

// Names of the envelope.
const (
	NamespaceEnvelope = "urn:3gpp:metadata:2005:MBMS:envelope"
	MediaTypeEnvelope = "application/mbms-envelope+xml"
	// EnvelopeLocation is the Content-Location that Append gives to it.
	EnvelopeLocation = "envelope.xml"

	// namespaceMeta has the attributes that ATSC adds to an item.
	namespaceMeta = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/ATSC-META/1.0/"
)

// An Envelope is a metadataEnvelope: the list of the fragments of a bundle.
type Envelope struct {
	Items []Item
}

// An Item is what the envelope says about one fragment.
type Item struct {
	// URI is the name of the fragment, the Content-Location of its part.
	URI         string
	ContentType string
	// Version counts the changes of the fragment. Fragments without one are
	// told apart by other means.
	Version    uint32
	HasVersion bool
	// ValidFrom and ValidUntil bound the time in which the fragment counts.
	ValidFrom, ValidUntil time.Time
	// NextURL is where the next version of the fragment will be, and
	// AvailableAt since when (A/331, 7.1.6).
	NextURL     string
	AvailableAt time.Time
	// Fragment is the fragment itself, if it is in the envelope.
	Fragment []byte
}

// Valid tells whether the fragment counts at a moment.
func (i *Item) Valid(at time.Time) bool {
	return (i.ValidFrom.IsZero() || !at.Before(i.ValidFrom)) && (i.ValidUntil.IsZero() || at.Before(i.ValidUntil))
}

type (
	xmlEnvelope struct {
		XMLName     xml.Name
		NextURL     string    `xml:"nextURL,attr"`
		AvailableAt string    `xml:"availAt,attr"`
		Items       []xmlItem `xml:"item"`
	}
	xmlItem struct {
		URI         string  `xml:"metadataURI,attr"`
		ContentType string  `xml:"contentType,attr"`
		Version     string  `xml:"version,attr"`
		ValidFrom   string  `xml:"validFrom,attr"`
		ValidUntil  string  `xml:"validUntil,attr"`
		NextURL     string  `xml:"nextURL,attr"`
		AvailableAt string  `xml:"availAt,attr"`
		Fragment    *string `xml:"metadataFragment"`
	}
)

// ParseEnvelope decodes a metadataEnvelope. The result does not alias b.
// Malformed attributes are as absent, since the fragments are there nevertheless.
func ParseEnvelope(b []byte) (*Envelope, error) {
	var x xmlEnvelope
	if err := xmllimit.Unmarshal(b, xmllimit.Limits{Elements: math.MaxUint16}, &x); err != nil {
		return nil, fmt.Errorf("bundle: envelope: %w", err)
	}
	if x.XMLName.Local != "metadataEnvelope" {
		return nil, fmt.Errorf("%w: %.64q", ErrRoot, x.XMLName.Local)
	}
	return &Envelope{Items: xsd.Each(x.Items, func(i *xmlItem) Item {
		item := Item{
			URI: i.URI, ContentType: i.ContentType,
			ValidFrom: xsd.DateTime(i.ValidFrom), ValidUntil: xsd.DateTime(i.ValidUntil),
			NextURL: i.NextURL, AvailableAt: xsd.DateTime(i.AvailableAt),
		}
		// Some put what ATSC adds on the envelope, for all of its items.
		if item.NextURL == "" {
			item.NextURL = x.NextURL
		}
		if item.AvailableAt.IsZero() {
			item.AvailableAt = xsd.DateTime(x.AvailableAt)
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(i.Version), 10, 32); err == nil {
			item.Version, item.HasVersion = uint32(n), true
		}
		if i.Fragment != nil {
			item.Fragment = []byte(strings.TrimSpace(*i.Fragment))
		}
		return item
	})}, nil
}

// Append appends the envelope as an XML document, in the form that refers to the
// fragments.
func (e *Envelope) Append(b []byte) ([]byte, error) {
	w := xsd.NewWriter(ErrIncomplete)
	atsc := false
	for i := range e.Items {
		atsc = atsc || e.Items[i].NextURL != "" || !e.Items[i].AvailableAt.IsZero()
	}
	w.Raw("<metadataEnvelope")
	w.Attr("xmlns", NamespaceEnvelope)
	if atsc {
		w.Attr("xmlns:atsc", namespaceMeta)
	}
	w.Raw(">\n")
	for i := range e.Items {
		item := &e.Items[i]
		w.Require(item.URI != "", "item without metadataURI")
		w.Require(item.Fragment == nil, "item with a fragment")
		w.Raw("<item")
		w.Attr("metadataURI", item.URI)
		if item.HasVersion {
			w.Uint("version", uint64(item.Version))
		}
		w.Optional("contentType", item.ContentType)
		w.Time("validFrom", item.ValidFrom)
		w.Time("validUntil", item.ValidUntil)
		w.Optional("atsc:nextURL", item.NextURL)
		w.Time("atsc:availAt", item.AvailableAt)
		w.Raw("/>\n")
	}
	w.Raw("</metadataEnvelope>\n")
	return w.AppendTo(b)
}
