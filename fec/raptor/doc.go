// Package raptor implements the Raptor code of RFC 5053 for one source block, as
// used by 3GPP MBMS and DVB.
//
// A block of K source symbols of T octets has up to 65536 encoding symbols: the
// source symbols themselves, with encoding symbol IDs (ESI) 0 to K-1, and repair
// symbols from ESI K on. Any set of symbols slightly larger than K recovers the
// block: with K random symbols it fails in four of five cases, and each further
// symbol nearly halves that: 5 % with five more, 0.3 % with ten. RaptorQ, in package raptorq, needs fewer symbols and has neither
// Raptor's lower limit of four source symbols nor its upper one of 8192: prefer
// it where the other side can do it.
//
//	enc, err := raptor.NewEncoder(source, 1344)
//	...
//	packet = enc.AppendSymbol(packet, esi)
//
//	dec, err := raptor.NewDecoder(k, 1344)
//	...
//	dec.Add(esi, symbol) // as symbols arrive
//	if dec.Need() == 0 && dec.Decode() {
//		use(dec.Symbol(0), dec.Symbol(1))
//	}
//
// How an object is cut into blocks, and how identifiers travel, is the business of
// package fec; package object puts both together.
//
// # Trust
//
// No symbol, whatever its ESI, length or content, makes the decoder panic or take
// more memory than [Codec.NewDecoder] says. A wrong symbol gives a wrong block,
// without notice unless [Decoder.Consistent] has surplus symbols to tell by:
// symbols must be authentic, or the object be verified.
//
// # Standard
//
// RFC 5053 sections 5.4 to 5.7 in full. Decoding uses every symbol that arrived
// and succeeds whenever these determine the block.
package raptor
