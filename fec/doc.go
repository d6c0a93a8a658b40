// Package fec holds what the forward error correction schemes of multicast have in
// common: code points, the identifiers on packets, what an object's announcement says,
// the way it is cut into blocks, and a planner that says how much repair to send.
//
// The codes are in sub-packages that need nothing of this one: raptorq (RFC 6330),
// raptor (RFC 5053), rs (Reed-Solomon over GF(2^8), RFC 5510) and ldpc (LDPC-Staircase,
// RFC 5170). Others put codes and formats together: object for whole objects, superobject
// for several at once, fecframe and bundle for flows of packets, moqfec for MMTP over
// QUIC.
//
// A sender plans, announces and sends:
//
//	r := fec.Loss{Random: 0.10, Target: 1e-6}.Repair(k)
//	info, err := fec.Derivation{Payload: 1400}.RaptorQ(n)
//	header, err = info.AppendFTI(header)                // or info.Attributes for an FDT
//	packet, err = fec.AppendPayloadID(packet, info.ID, fec.PayloadID{SBN: 0, ESI: esi})
//
// A receiver parses the same, by [ParseObjectFTI] or [Attributes.Info] and by
// [ParsePayloadID], and asks [ObjectInfo.Block] for the size of each block. [OTI] is the
// announcement of RaptorQ alone, in its 12 octets that other protocols carry.
//
// # How much repair
//
// A block of k source packets and r repair packets survives the loss of about r
// of the k+r, no more. Losses scatter, so the average loss must stay well below
// r/(k+r). The often quoted k = 32, r = 8 has 20 percent of overhead in k+r and
// does not survive 20 percent of loss, let alone 30:
//
//	loss                        1 %      2 %      5 %     10 %   15 %   20 %
//	blocks lost, k = 32, r = 8  2.5e-10  8.7e-08  1.3e-4  0.016  0.14   0.41
//
// At 10 percent one block in 60 is lost, at 30 percent nine of ten. What it takes
// to lose one block in a million:
//
//	k      r for 10 % loss    r for 30 % loss
//	32           17                 41
//	64           25                 64
//	256          59                176
//
// Larger blocks need less repair in proportion, at the price of delay. Make r a
// consequence of the loss to survive, by [Loss], and never a constant.
//
// Bursts take more, because they concentrate losses on few blocks: [Loss.Burst] says how
// long they are, and [Loss.Depth] spreads them over blocks that take turns. [Loss.Plan]
// tells what it all means in overhead and delay.
//
// # Standards
//
// The registry has FEC Encoding IDs 0 and 129 (RFC 5445), 1 (RFC 5053), 2 and 5 (RFC
// 5510, with elements of eight bits), 3 (RFC 5170) and 6 (RFC 6330), with partitioning
// by RFC 5052 section 9.1 or by RFC 6330 section 4.4.1.2. The other registered IDs have
// names and no formats. The scheme IDs of FECFRAME (RFC 6363) are another registry, with
// a type of its own in package fecframe.
//
// # Trust
//
// All parsers take octets from the network: they never panic, tell short input
// ([io.ErrUnexpectedEOF]) from wrong input ([ErrInvalid]), and validate all that
// a later division or allocation relies on.
package fec
