// Package lls encodes and decodes Low Level Signalling of ATSC 3.0: the
// datagrams to 224.0.23.60:4937 by which a receiver finds the services of a
// broadcast (A/331, section 6).
//
// Each datagram holds one [Table], or several that are signed together. A
// [Tracker] takes the datagrams of one sender and gives every new version of a
// table once:
//
//	var t lls.Tracker
//	updates, err := t.Push(datagram)
//	for _, u := range updates {
//		switch u.Table.ID {
//		case lls.SLTID:
//			slt, err := lls.ParseSLT(u.Table.Body)
//			...
//		case lls.SystemTimeID:
//			...
//		}
//	}
//
// [SLT] lists the services, [SystemTime] tells the offsets of the clock; both
// are read and written whole. Of [AEAT] (emergency alerts) and [Onscreen]
// (messages of the station) the essentials are read; RRT (ratings),
// CertificationData and tables of private use come out as XML.
//
// Signatures are not checked here: the package hands the octets that are signed,
// and the CMS message over them (A/360, RFC 5652), to a function.
//
// Reading is lenient about namespaces, names that are too long, and addresses of
// IPv6, which the standard does not know; writing is strict. A datagram is
// hostile input: [Limits] bounds what it inflates to.
package lls
