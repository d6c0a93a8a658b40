// Package fecframe protects flows of packets by the FEC Framework (RFC 6363): it
// collects application data units (ADUs), which are the payloads of packets, into
// source blocks, makes repair packets for each, and recovers lost ADUs on the other
// side. It has no sockets and no clock.
//
//	enc, err := fecframe.NewEncoder(config)
//	id, err := enc.Add(flow, adu)             // send adu with id at its end
//	block, err := enc.Close(r)                // when the block is long enough
//	packet, err = block.AppendRepair(packet, i) // i from 0 to r-1
//
//	dec, err := fecframe.NewDecoder(config, fecframe.Limits{})
//	adu, err := dec.Source(flow, packet)      // deliver adu
//	err = dec.Repair(packet)
//	for adu, ok := dec.Next(); ok; adu, ok = dec.Next() { … } // recovered ones
//
// A block is a delay: its first ADU, if lost, is there again when its last repair
// packet is. How many repair packets it takes is for fec.Loss to say.
//
// # Schemes
//
//	1, 2   Raptor and RaptorQ, any flows             RFC 6681 section 6
//	3, 4   the same with blocks padded to one size   RFC 6681 section 7
//	5, 6   a single flow with sequence numbers,      RFC 6681 section 8
//	       whose packets stay as they are
//	7      LDPC-Staircase                            RFC 6816
//	8      Reed-Solomon over GF(2^8)                 RFC 6865
//
// These numbers are not those of object delivery, which have a type of their own in
// package fec. Scheme 2 with several flows is what cross-session protection is made
// of; see package bundle.
//
// Source packets of schemes 7 and 8 tell the length of their block, so they cannot
// leave before it is known: either the sender holds them until Close, or it decides
// on the length beforehand.
//
// # Trust
//
// All packets come from the network: none makes a decoder panic or hold more than
// [Limits] says. No code tells a forged packet from a good one, and one forged packet
// spoils what is recovered from its block; an ADU that cannot be one is not delivered,
// and reported as [ErrPoisoned]. Authenticate packets.
package fecframe
