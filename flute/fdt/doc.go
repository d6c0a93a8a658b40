// Package fdt encodes and decodes the File Delivery Table: the XML that tells
// what the objects of a FLUTE or ROUTE session are.
//
// An [Instance] is one FDT Instance of FLUTE (RFC 6726, section 3.4.2), one of
// FLUTE version 1 as 3GPP and DVB profile it, or one Extended FDT Instance of
// ROUTE (RFC 9223, section 3.2; A/331, A.3.3.2), alone or inside an S-TSID.
//
//	in, err := fdt.Parse(object)
//	if err != nil {
//		return err
//	}
//	for _, f := range in.Files {
//		f = in.Resolve(f) // what the instance says for all its files
//		length, known := f.Length()
//		...
//	}
//
// Reading is lenient about namespaces, since senders in the field are: names
// count, and the namespace only tells the version. It is strict about values
// which say how to rebuild an object, and ignores other malformed ones.
// Writing is strict.
//
// Read and written are also these extensions: of A/331 efdtVersion,
// maxExpiresDelta, maxTransportSize, fileTemplate, appContextIdList and
// filterCodes; of 3GPP (TS 26.346 7.2.10) Cache-Control, File-ETag, FullFDT,
// Base-URL, Alternate-Content-Location, Group, MBMS-Session-Identity and its
// Expiry, Decryption-KEY-URI, FEC-Redundancy-Level and IndependentUnitPositions;
// of DVB (TS 103 769 annex F) Content-Digest, Repr-Digest and Signature; of ours
// ([NamespaceTreeDN]) generation. Any other attribute or element is skipped, and
// not kept.
//
// A [Database] is what a receiver makes of the instances of a session: which
// files there are, until when, and which of two versions is the newer.
//
// An instance is hostile input until proved otherwise. [Limits] bounds its size.
// A Content-Location is an opaque name: it must never be used as a path of a
// file system.
package fdt
