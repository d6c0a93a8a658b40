// Package bundle encodes and decodes bundles of metadata fragments: what the
// service announcement of MBMS (TS 26.346, 5.2.4 and 11.1.3) and the service
// layer signalling of ATSC 3.0 (A/331, 7.1.6) send as one object.
//
// A [Bundle] is multipart/related (RFC 2387). Its first part is an [Envelope],
// which lists the fragments with their versions and validity; the others are the
// fragments, each with a Content-Type and a Content-Location.
//
//	b, err := bundle.Parse(object) // compressed or not
//	if err != nil {
//		return err
//	}
//	for _, part := range b.Parts {
//		item, _ := b.Item(part.Location)
//		fmt.Println(part.Location, bundle.MediaType(part.ContentType), item.Version)
//	}
//
// Reading is lenient, as broadcast chains in the field demand: about folded
// header fields, unquoted parameters that have to be quoted, line breaks,
// boundaries that end in hyphens, a missing or malformed envelope. Package
// mime refuses half of them. Writing is strict. An envelope that holds the
// fragments itself, in metadataFragment elements, gives parts like any other.
//
// A bundle is hostile input until proved otherwise. [Limits] bounds its size,
// also when it is compressed. A Content-Location is an opaque name: it must
// never be used as a path of a file system.
package bundle
