package sls

import (
	"math"
	"strconv"

	"github.com/treedn/treedn/flute/xmllimit"
)

const namespaceEnvelope = "urn:3gpp:metadata:2005:MBMS:envelope"

// envelope makes the first part of the package. GPAC ignores an envelope whose
// items have no contentType, and takes version 0 for none. It remembers the
// version of the manifest that it finds here and skips packages whose TOI has
// the same: were the two numbers not equal, it would miss the package that has
// that number by chance.
func (p *Package) envelope() (Part, error) {
	var w writer
	w.raw(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<metadataEnvelope")
	w.attr("xmlns", namespaceEnvelope)
	w.raw(">\n")
	for i := range p.Parts {
		part := &p.Parts[i]
		version := part.Version
		if version == 0 {
			version = uint32(p.Version)
		}
		if version == 0 {
			version = 256 // none that a TOI can have
		}
		w.raw("<item")
		w.attr("metadataURI", part.Location)
		w.uint("version", uint64(version))
		w.attr("contentType", mediaType(part.ContentType))
		w.raw("/>\n")
	}
	w.raw("</metadataEnvelope>\n")
	return Part{
		ContentType: mediaTypeEnvelope,
		Location:    envelopeLocation,
		Body:        w.buf.Bytes(),
	}, w.err
}

// versions reads the versions out of an envelope. One that cannot be read says
// nothing: the parts are there nevertheless.
func versions(body []byte) map[string]uint32 {
	var x struct {
		Items []struct {
			URI     string `xml:"metadataURI,attr"`
			Version string `xml:"version,attr"`
		} `xml:"item"`
	}
	if err := xmllimit.Unmarshal(body, xmllimit.Limits{Elements: math.MaxUint16}, &x); err != nil {
		return nil
	}
	v := make(map[string]uint32, len(x.Items))
	for _, item := range x.Items {
		if n, err := strconv.ParseUint(item.Version, 10, 32); err == nil {
			v[item.URI] = uint32(n)
		}
	}
	return v
}
