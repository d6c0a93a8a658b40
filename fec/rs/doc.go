// Package rs implements the systematic Reed-Solomon erasure code over GF(2^8) of
// RFC 5510 section 8, for one source block, and its two relatives in the field.
//
// A block of k source symbols has up to 255 encoding symbols; any k of them
// recover it, without exception. The price is the limit of 255 symbols, and work
// that grows with k for each symbol. Beyond a few dozen symbols package raptorq
// is the faster code.
//
//	enc, err := rs.NewEncoder(rs.RFC5510, source, 1344)
//	...
//	packet = enc.AppendSymbol(packet, esi)
//
//	dec, err := rs.NewDecoder(rs.RFC5510, k, 1344)
//	...
//	dec.Add(esi, symbol) // as symbols arrive
//	if dec.Decode() {
//		use(dec.Symbol(0), dec.Symbol(1))
//	}
//
// # Three codes under one name
//
// A block is read as the values of a polynomial of degree below k at the points
// x_0 to x_(k-1), and repair symbol j is its value at x_j. The RFC and the
// libraries in use take different points, and so their repair symbols differ:
//
//	RFC5510     a^0, a^1, a^2, ...   the text of RFC 5510 section 8.2.1
//	Rizzo       0, a^0, a^1, ...     OpenFEC and zfec, after Rizzo's fec.c
//	Backblaze   0, 1, 2, 3, ...      klauspost/reedsolomon and its ports
//
// OpenFEC comes from the authors of RFC 5510 and yet does not follow its text. A
// session must name its [Matrix], because no identifier on the wire tells.
//
// # Trust
//
// Any symbol, whatever its ESI, length or content, is safe to add. A wrong symbol
// gives a wrong block without notice: symbols must be authentic, or the object be
// verified.
package rs
