// Package alc encodes and decodes packets of Asynchronous Layered Coding (RFC 5775), which is what FLUTE sends: the
// header of package lct, a FEC Payload ID, and encoding symbols.
//
//	var p alc.Packet // reuse it: Unmarshal allocates nothing
//	if err := p.Unmarshal(datagram); err != nil {
//		return // drop it
//	}
//	if p.HasID {
//		store(p.TSI, p.TOI, p.ID, p.Symbols)
//	}
//
// The layout of the FEC Payload ID, and that of EXT_FTI, depend on the FEC scheme. In FLUTE the codepoint is the FEC
// Encoding ID (RFC 6726 section 5); other protocols over ALC say it elsewhere, see [Packet.UnmarshalScheme]. The schemes
// are those of package fec.
//
// ROUTE is not ALC in this sense: its source packets have an offset where the FEC Payload ID is.
package alc
