// Package xsd reads and writes the values of XML Schema that the signalling of
// FLUTE, ROUTE, MBMS and DVB-MABR is made of: numbers, booleans, times,
// durations, addresses, and documents of them.
//
// A document is read by encoding/xml, behind the guard of package xmllimit, into
// structs whose attributes are all strings, so that a malformed one does not
// lose the rest. A [Reader] turns the strings into values and remembers the first
// that it could not, with the place where it stands. What is no more than advice
// is read by [DateTime], [Duration] and [Bool], for which a malformed value is as
// none.
//
// A [Writer] appends a document and remembers the first value that XML, or the
// standard behind the document, cannot hold.
//
// The standard is W3C XML Schema part 2, second edition. Read are only the
// types that those protocols use.
package xsd
