// Package chunked is C2SP chunked-encryption, "Cobblestone": authenticated
// encryption of long messages in chunks of 16 KiB, with random access, with an
// authenticated length and with key commitment, from the standard library
// alone.
//
// A sealed message is
//
//	 0  24  salt, random, never used twice under one input key
//	24  32  commitment
//	56      chunks: AES-GCM of 16384 octets of plaintext each, tag of 16 octets
//	        behind; the last chunk is shorter, and empty if need be
//
// Key, base nonce and commitment come from HKDF-Expand with SHA-512 over the
// input key, salt and a context, by which the caller binds the message to its
// place: a message opened under another context fails before its first chunk.
// Chunk k has the base nonce XOR k. Input keys of 32 octets select
// Cobblestone-256 (AES-256-GCM), 16 octets Cobblestone-128.
//
// Writer seals a stream; ReaderAt opens any part of a message without opening
// the rest, after it checked commitment and last chunk, so that the length is
// authentic too. Seal and Open are for short messages. Nothing is handed out
// that is not authentic.
//
// Hostile input: the sealed message. The work for it is bounded by its length,
// the memory by a chunk.
//
// Specification: https://c2sp.org/chunked-encryption. Left out: ChaCha20-
// Poly1305 and other suites.
package chunked
