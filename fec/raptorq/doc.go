// Package raptorq implements the RaptorQ code of RFC 6330 for one source block.
//
// A block of K source symbols of T octets becomes a practically endless row of
// encoding symbols: the source symbols themselves, with encoding symbol IDs
// (ESI) 0 to K-1, and repair symbols from ESI K on. Any K of them recover the
// block in all but about 6 of 1000 cases, K+1 in all but about 4 of 100000, and
// with each further symbol failures become more than a hundred times rarer.
//
//	var codec raptorq.Codec // keep it: it remembers how to code each block size
//	enc, err := codec.NewEncoder(source, 1344)
//	...
//	repair = enc.AppendRepair(repair[:0], uint32(enc.K()), 8)
//
//	dec, err := codec.NewDecoder(k, 1344)
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
// There are two ways, the regimes, to the same octets. The sparse one computes
// K+S+H intermediate symbols, of which any encoding symbol is the sum of about
// seven. What has to be added to what is a plan: for encoding it depends on K
// alone, and a [Codec] remembers it; for decoding it depends on the symbols that
// arrived. The dense one takes each repair symbol for what it is, a sum of all
// source symbols with coefficients of GF(2^8): that costs one product per source
// symbol and repair symbol, or lost symbol, and no plan for the loss pattern. It
// is faster for up to about 30 repair symbols and for up to 40 to 500 lost ones,
// depending on K. The codec chooses by measured costs, unless Codec.Regime says
// otherwise. When nothing is lost decoding is a look at what arrived.
//
// Blocks that follow each other use an encoder and a decoder again, by Reset,
// and then allocate nothing. A decoder with a deadline can do most of its work
// while symbols arrive: see [Decoder.Expect].
//
// A decoder holds the symbols received and those decoded, and while it decodes
// one strip of all intermediate symbols: about 1.1 times the block with 5 percent
// of loss. [DecoderMemory] gives the bound that no sender can exceed.
//
// The arithmetic is done by AVX-512 with GFNI, AVX2, NEON or plain Go, whichever
// is best; the build tag purego forces plain Go. All give the same octets.
//
// # Trust
//
// Symbols come from the network. No symbol, whatever its ESI, length or content,
// makes the decoder panic or take more memory than [DecoderMemory] says, and no
// set of ESIs makes planning take more than a fraction of a second. The size of
// a block comes from the network as well: NewDecoder refuses what exceeds the
// codec's MemoryLimit, and takes memory only as symbols arrive. A wrong symbol
// gives a wrong block without notice, which is why RFC 6330 section 6 asks for
// authentic packets or a digest over the object; [Decoder.Consistent] notices it
// if there is a symbol to spare.
//
// # Standard
//
// RFC 6330 sections 5.3 to 5.7 in full, with the published errata that matter:
// the table of K' starts at 10, and P1 is P itself when P is prime. The padding
// symbols between K and K' are never sent.
package raptorq
