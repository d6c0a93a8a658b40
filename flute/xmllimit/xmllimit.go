// Package xmllimit decodes XML that strangers sent: the FDT Instances of FLUTE,
// the service signalling of ROUTE.
//
// It is encoding/xml behind a guard. A document may not be large, deeply
// nested or overloaded with attributes, and may not have a DTD: no document of
// these protocols has one, and entities are the classic way to make a small
// document cost much.
package xmllimit

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// Errors that the guard adds to those of encoding/xml. A document that ends
// too early gives an error that matches io.ErrUnexpectedEOF.
var (
	ErrSize       = errors.New("xml: document is too large")
	ErrDepth      = errors.New("xml: elements are nested too deeply")
	ErrAttributes = errors.New("xml: element has too many attributes")
	ErrElements   = errors.New("xml: document has too many elements")
	ErrDTD        = errors.New("xml: document has a DTD")
)

// Limits bounds a document. The zero value has the defaults.
type Limits struct {
	// Octets is the length of the document. Default 4 MiB.
	Octets int
	// Depth is the nesting of elements, the root being 1. Default 32.
	Depth int
	// Attributes is their number on one element, namespace declarations
	// included. Default 64.
	Attributes int
	// Elements is their number in the document. Default 131072.
	Elements int
}

func (l Limits) withDefaults() Limits {
	if l.Octets <= 0 {
		l.Octets = 4 << 20
	}
	if l.Depth <= 0 {
		l.Depth = 32
	}
	if l.Attributes <= 0 {
		l.Attributes = 64
	}
	if l.Elements <= 0 {
		l.Elements = 1 << 17
	}
	return l
}

// Unmarshal decodes the root element of b into v, as xml.Unmarshal does. What
// follows the root element is not looked at.
func Unmarshal(b []byte, l Limits, v any) error {
	l = l.withDefaults()
	if len(b) > l.Octets {
		return fmt.Errorf("%w: %d octets", ErrSize, len(b))
	}
	err := xml.NewTokenDecoder(&guard{raw: xml.NewDecoder(bytes.NewReader(b)), limits: l}).Decode(v)
	var syntax *xml.SyntaxError
	if errors.Is(err, io.EOF) || errors.As(err, &syntax) && syntax.Msg == "unexpected EOF" {
		return fmt.Errorf("xml: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// guard hands raw tokens to the decoder around it, which matches start and end
// elements and resolves namespaces.
type guard struct {
	raw      *xml.Decoder
	limits   Limits
	depth    int
	elements int
}

func (g *guard) Token() (xml.Token, error) {
	t, err := g.raw.RawToken()
	switch t := t.(type) {
	case xml.StartElement:
		g.depth++
		g.elements++
		if g.depth > g.limits.Depth {
			return nil, ErrDepth
		}
		if len(t.Attr) > g.limits.Attributes {
			return nil, ErrAttributes
		}
		if g.elements > g.limits.Elements {
			return nil, ErrElements
		}
	case xml.EndElement:
		g.depth--
	case xml.Directive:
		return nil, ErrDTD
	}
	return t, err
}
