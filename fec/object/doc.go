// Package object encodes and decodes whole objects under any FEC scheme of package
// fec: it cuts an object into source blocks and symbols, codes each block, and puts
// FEC Payload IDs in front. What it makes and takes is what an ALC, FLUTE or ROUTE
// packet carries after its LCT header.
//
//	var codec object.Codec // keep it: it remembers how to encode each block size
//	enc, err := codec.NewEncoder(info, source)
//	block, err := enc.Block(sbn)
//	packet, err = block.AppendPacket(packet[:0], i) // i counts packets: source, then repair
//
//	dec, err := codec.NewDecoder(info, target, object.DecoderConfig{})
//	done, err := dec.Packet(packet)
//
// Whoever codes single blocks, and knows which code, does better with package
// raptorq, raptor, rs or ldpc alone.
//
// # Memory
//
// A [Decoder] writes each block out once it is complete and forgets it. It reserves
// what a block may take at most when the first symbol of the block arrives, so every
// block that it has begun can be finished within [DecoderConfig.MaxMemory]; symbols
// of blocks for which there is no room are refused with [ErrBudget] until others are
// complete or dropped. An announcement alone costs nothing, whatever it announces.
// Senders that interleave blocks should know the memory of their receivers.
//
// # Trust
//
// OTI and packets come from the network: none makes a decoder panic, and what a
// packet has wrong is reported by an error that is [ErrPacket] and changes nothing.
// No code tells a forged symbol from a good one. [DecoderConfig.Surplus] lets a
// decoder wait for more symbols than it needs and check that they agree, which finds
// accidents; against forgery, authenticate packets or verify the object.
package object
