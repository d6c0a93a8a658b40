// Package fec holds what the forward error correction schemes of multicast object
// delivery have in common: code points, the identifiers on packets, the way an
// object is cut into blocks, and a planner that says how much repair to send.
// The codes themselves are in the sub-packages raptorq (RFC 6330) and rs
// (Reed-Solomon over GF(2^8), RFC 5510).
//
// A sender plans, announces and sends:
//
//	r := fec.Loss{Random: 0.10, Target: 1e-6}.Repair(k)
//	oti := fec.OTI{TransferLength: n, SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8}
//	header = oti.AppendFTI(header)                      // or in an FDT, or in an S-TSID
//	packet, err = fec.AppendPayloadID(packet, fec.RaptorQ, fec.PayloadID{SBN: 0, ESI: esi})
//
// A receiver parses the same and asks [OTI.Block] for the size of each block.
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
// # Standards
//
// RFC 5052 (framework, partitioning), RFC 5445 (FEC Encoding IDs 0 and 129),
// RFC 5510 (5), RFC 6330 (6). The other registered IDs have names here and no
// formats. FECFRAME (RFC 6363) has other identifiers and is not covered.
//
// # Trust
//
// All parsers take octets from the network: they never panic, tell short input
// ([io.ErrUnexpectedEOF]) from wrong input ([ErrInvalid]), and validate all that
// a later division or allocation relies on.
package fec
