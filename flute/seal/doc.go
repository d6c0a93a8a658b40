// Package seal lets those who receive objects over many hops know that every
// octet they read is the one that the root of the tree took in: signed digests
// of the beginnings of objects.
//
// An object of a multicast tree passes FEC, unicast repair, caches and
// multicast anew under other identifiers, and it is read while it still grows.
// What authenticates packets ends at the first hop, and a digest of the whole
// object comes too late. So the root states again and again what an object
// begins with: "the first 48,213 octets of chunk-stream0-00007.m4s, generation
// 1790000000000000, have this SHA-256", many such records to a datagram, signed
// with Ed25519. Datagrams are multicast beside the packets, on a port of their
// own, and every hop passes them on unchanged. A receiver lets an octet be read,
// kept, served and sent on once a record has verified it, whatever way it came.
//
// The package is pure: octets, datagrams and the time go in; datagrams and
// verdicts come out. It has no sockets, no goroutines and no clock.
//
// # Sealing
//
// A [Signer] seals the objects of one service with one key:
//
//	x, err := signer.Begin(now, seal.Outgoing{Name: "chunk-stream0-00007.m4s", Generation: run})
//	x.Append(octets)
//	x.Cut(now) // a chunk ends here
//	x.End(now)
//	for s, ok := signer.Poll(now); ok; s, ok = signer.Poll(now) {
//		conn.Write(s.Bytes())
//	}
//	// then sleep until signer.NextTimeout()
//
// A record goes at once, those of the next 5 ms together at their end; objects
// that follow others, such as audio, wait up to 40 ms for company. The record
// of a longer prefix replaces those of shorter ones. The last record of an
// object, which says that it is whole or that it broke off, is repeated for
// 500 ms, and those of objects marked as current every 5 s for as long as they
// are: from these a late receiver lives. [SignerConfig] bounds the cost.
//
// # Verifying
//
// A [Verifier] is told of datagrams and of octets, in any order:
//
//	verifier.Push(now, datagram, seal.Multicast)
//	for ev, ok := verifier.Poll(); ok; ev, ok = verifier.Poll() {
//		// Sealed: look at ev.Object again; NeedSeal: ask a parent; …
//	}
//
//	o, err := verifier.Open(now, name, generation)
//	verdict := verifier.Advance(now, o, octets)
//	// octets below verdict.Readable are genuine
//	// verdict.Forged: drop those from Readable on, fetch them elsewhere
//
// Each octet is hashed once, and nothing is copied: [Octets] is how the
// Verifier looks at what its caller holds. Octets that were fetched after a
// Forged verdict go through [Verifier.Check], apart from those of multicast, so
// that the parent who gave them is judged by them alone.
//
// [Object.Seal] is the datagram that made an object readable. It goes wherever
// the octets go: to children that ask for them over HTTP ([AppendFrame] puts
// several into one body), into the cache, and, through a [Forwarder], into the
// multicast of the next hop.
//
// # Keys
//
// A content key seals what the root took in. A hop key belongs to whoever sends
// one multicast session and seals its signalling, under names made by
// [SignallingName], and nothing else. Receivers have the public keys as
// [Anchor]s. To replace a key, append the new one to the anchors of all
// receivers, then let the Signer go over to it: its first seal retires the
// earlier keys.
//
// # Time and generations
//
// Of objects with one name the one with the higher generation is the newer; its
// first record ends the older one, and records of older generations are
// refused. Records and octets of different generations have nothing to do with
// each other. The times of a service's seals never fall, and a receiver compares
// them with each other, not with its clock: a datagram from multicast may be
// 60 s behind the newest one, one from a parent as old as what it seals is of
// use. Since a receiver that has just begun does not know the newest one, it
// asks a parent first, or collects for 5 s.
//
// # Layout
//
// A datagram has at most 1200 octets. Integers are big-endian.
//
//	 0  2  label: 0x5ea1
//	 2  4  service: first octets of the SHA-256 of its name
//	 6  2  key id
//	 8  8  time: Unix microseconds
//	16  1  number of records, at least 1
//	17     records
//	   64  Ed25519 signature
//
// What is signed is the string "treedn seal 1", a zero octet, the length of the
// service's name in one octet, the name, and the datagram without its
// signature. A record is
//
//	0  1  flags: 1 final, 2 aborted, 4 named, 8 current; others are 0
//	1  8  generation
//	9     end offset, a variable-length integer (RFC 9000, section 16) in its
//	      shortest form
//	  32  SHA-256 of the octets below the end offset
//	   8  object id, if not named: first octets of the SHA-256 of the service's
//	      name, a zero octet and the object's name
//	   2  length of the name, 1 to 512, if named
//	      name, if named
//
// A record is final or aborted or neither; only then its end offset is not 0.
// Its name goes with the first and the last record of an object and whenever it
// is sealed again. Two names with one object id are not sealed at the same
// time.
//
// # What is hostile
//
// Every datagram is, until its signature verifies. Before that it costs some
// comparisons; signatures are checked for datagrams only that say something new,
// and no more than 300 a second. What a genuine datagram makes the Verifier
// remember is bounded as well, see [VerifierConfig]; what has to go can be had
// again from a parent. Octets are believed when they match and not before. The
// holder of a key is trusted to tell the truth, but contradictions are reported
// ([Conflict]).
//
// Not in here: whether octets arrive. Who drops true datagrams or forges so many
// that true ones go unchecked makes receivers ask their parents, and fails
// there.
package seal
