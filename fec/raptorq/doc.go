// Package raptorq implements the RaptorQ code of RFC 6330 for one source block.
//
// A block of K source symbols of T octets becomes a practically endless row of
// encoding symbols: the source symbols themselves, with encoding symbol IDs
// (ESI) 0 to K-1, and repair symbols from ESI K on. Any K of them recover the
// block in all but about 6 of 1000 cases, K+1 in all but about 4 of 100000, and
// with each further symbol failures become more than a hundred times rarer.
//
//	enc, err := raptorq.NewEncoder(source, 1344)
//	...
//	packet = enc.AppendSymbol(packet, esi)
//
//	dec, err := raptorq.NewDecoder(k, 1344)
//	...
//	dec.Add(esi, symbol) // as symbols arrive
//	if dec.Need() == 0 && dec.Decode() {
//		use(dec.Symbol(0), dec.Symbol(1))
//	}
//
// The package knows nothing of objects, packets and sockets: how an object is cut
// into blocks and symbols, and how identifiers travel, is the business of
// package fec. Sub-blocking (N > 1) is too, because coding is done octet column
// by octet column.
//
// # Cost
//
// Encoding computes K+S+H intermediate symbols once, then any repair symbol is a
// sum of about seven of them. What has to be added to what depends on K alone;
// a [Codec] remembers it. Decoding makes such a plan for the symbols that
// arrived, unless nothing is missing. The symbols in memory are the source and
// the intermediate ones, twice the block in all.
//
// # Trust
//
// Symbols come from the network. No symbol, whatever its ESI, length or content,
// makes the decoder panic or take more memory than [Codec.NewDecoder] says, and
// no set of ESIs makes planning take more than a fraction of a second. The size
// of a block comes from the network as well: bound K and T before making a
// decoder. A wrong symbol gives a wrong block without notice, which is why
// RFC 6330 section 6 asks for authentic packets or a digest over the object.
//
// # Standard
//
// RFC 6330 sections 5.3 to 5.7 in full, with the published errata that matter:
// the table of K' starts at 10, and P1 is P itself when P is prime. The padding
// symbols between K and K' are never sent.
package raptorq
