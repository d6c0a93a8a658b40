// Package reassembly keeps the octets of objects that arrive in pieces, in any order, from senders that cannot be
// trusted: what the receivers of FLUTE and ROUTE share.
//
// A [Set] knows which octets are there, a [Buffer] holds them. Memory comes from a [Pool] in slabs, only for octets that
// came and never for a length that was announced. A Pool and all that it serves belong to one goroutine.
package reassembly
