// Package sls encodes and decodes Service Layer Signalling: what a ROUTE sender
// repeats on TSI 0 to tell receivers which objects the service consists of
// (RFC 9223; A/331, section 7.1).
//
// A [Package] holds the fragments: an S-TSID ([STSID]), which describes the LCT
// channels and, by an Extended FDT in each, the objects in them; and the
// manifests, which come through octet by octet.
//
//	p, err := sls.ParsePackage(object) // compressed or not
//	if err != nil {
//		return err
//	}
//	for i := range p.Parts {
//		switch part := &p.Parts[i]; part.Kind() {
//		case sls.KindSTSID:
//			stsid, err := sls.ParseSTSID(part.Body)
//			...
//		case sls.KindManifest:
//			...
//		}
//	}
//
// Reading is lenient, as captures of GPAC and of broadcast chains demand: about
// the syntax of MIME headers, line breaks, a missing metadataEnvelope,
// namespaces, and the forms that the editions of A/331 give to a thing. Writing
// is strict, and keeps to what GPAC can read. A part has one header field of
// our own, X-Treedn-Generation.
//
// The other fragments are [USBD], which names the service; [APD], which says when
// to ask for what got lost; [HELD] and [DWD], which describe applications. Not
// covered are the signatures of packages (see package entity), the RSAT, and the contents of manifests.
// An ATSC receiver finds the service by package lls.
//
// A package is hostile input until proved otherwise. [Limits] bounds its size,
// also when it is compressed. A Content-Location is an opaque name: it must
// never be used as a path of a file system.
package sls
