// Package superobject implements the FEC super-objects of ROUTE (RFC 9223 sections 5.6
// to 5.9, ATSC A/331): RaptorQ blocks that protect several delivery objects at once,
// which may belong to several sessions.
//
// Each delivery object becomes a FEC transport object: its octets, zeros, and its
// length in four octets, filled up to whole symbols. These follow each other in the
// super-object, of which repair packets carry repair symbols. Source packets carry
// octets of the delivery objects alone, and need not be cut along symbols.
//
//	members := []superobject.Member{{TSI: 1, TOI: 7, Length: n}, …}
//	info, err := superobject.Info(members, 1344, 1000)
//	source := superobject.NewSource(members, 1344, readers)
//	// object.Codec encodes it: send the repair packets of its blocks
//
//	a, err := superobject.NewAssembler(info, layout, superobject.Config{})
//	err = a.Source(i, offset, octets) // as source packets arrive
//	err = a.Repair(packet)
//	for piece, ok := a.Next(); ok; piece, ok = a.Next() { … } // what was lost
//
// Pooling pays off: one block of 256 packets with 64 of repair survives what eight
// blocks of 32 with 8 do not. But whoever wants one object needs packets of all of
// them. Protect together what is consumed together.
//
// # Trust
//
// An assembler checks padding and lengths of what it recovers, and delivers nothing of
// a block where these are wrong: [ErrPoisoned]. That finds accidents; against forgery,
// authenticate packets or verify objects. Its memory is bounded by [Config.MaxMemory].
package superobject
