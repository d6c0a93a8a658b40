// Package bundle protects packets of several sessions by common RaptorQ blocks: losses
// of one flow are repaired by what the others do not need, and a burst in one hits the
// block only in part. There are three ways to do so, with one code:
//
//	Explicit   RFC 6681 scheme 2: source packets get a trailer     package fecframe
//	Object     RFC 9223 super-objects of delivery objects          package superobject
//	Mapped     this package: source packets stay as they are
//
// Mapped bundles are for flows whose packets have sequence numbers, such as RTP and
// MMTP. A repair packet tells which packets of which flows its block consists of, and
// their order in the block follows from that alone; the sender sends them as it likes.
// [Decoder] takes Explicit and Mapped bundles alike.
//
//	enc, err := bundle.NewEncoder(descriptor)
//	err = enc.Add(flow, seq, packet)         // each source packet, sent as it is
//	block, err := enc.Close(r)               // at the end of the window
//	packet, err = block.AppendRepair(packet, i)
//
//	dec, err := bundle.NewDecoder(descriptor, bundle.Limits{Window: window})
//	_, err = dec.Source(now, flow, seq, packet)
//	err = dec.Repair(now, packet)
//	for p, ok := dec.Next(); ok; p, ok = dec.Next() { … } // recovered
//
// # What it brings
//
// Eight flows with blocks of 32 packets and 8 of repair each, against one bundle of 256
// and 64. Share of windows in which some flow loses packets, by independent loss:
//
//	loss       5 %      10 %     12 %     15 %
//	separate   1.1e-3   0.12     0.31     0.69
//	bundle     5.6e-22  2.9e-8   1.6e-5   6.3e-3
//
// Against bursts a bundle is as good as interleaving the separate blocks, no better:
// see fec.Loss. And a receiver has to be joined to all flows, since a flow that it does
// not receive counts as lost. Bundle what is consumed together, or what a trunk carries.
//
// # Wire format of mapped bundles
//
// A repair packet is the payload of a datagram, in network byte order:
//
//	 0  version 4 bits, 1; flags 4 bits, of which bit 0 marks the last of its block
//	 1  M, number of flows, 8 bits
//	 2  K, number of source packets, 16 bits
//	 4  bundle ID, 32 bits
//	 8  block number, 32 bits, one more for each block
//	12  zero, 8 bits
//	13  ESI, 24 bits
//	16  M times: flow 8 bits, zero 8 bits, number of packets 16 bits, first sequence
//	    number 32 bits
//	    repair symbol
//
// A source symbol is flow, length in 16 bits, packet, and zeros. Packet j of n packets
// of a flow has key (2j+1)/2n; symbols are in ascending order of keys, and of flows
// where these are equal. The code is RFC 6330 with one source block of K symbols.
//
// # Trust
//
// No packet makes a decoder panic or hold more than [Limits] says. One forged repair
// packet can spoil a block of all flows: authenticate repair packets, and let packets
// be protected together with their own authentication, so that recovered ones are
// verified like others.
package bundle
