// Package moqfec implements forward error correction for MMTP packets in Media over QUIC
// (draft-ramadan-moq-fec-00, block profile "iso-ssbg1-v1"): source packets carry a
// running number, SS_ID, and repair packets on tracks of their own carry RaptorQ symbols
// of blocks of consecutive source packets. Source and repair may come over QUIC, by
// multicast and through tunnels; symbols from all ways combine.
//
//	config, err := moqfec.Negotiate(source, tracks)    // from the catalog
//	enc, err := moqfec.NewEncoder(config, firstID)
//	packet, err = enc.AppendSource(dst, mmtp)          // mmtp with its SS_ID behind it
//	block, err := enc.Close()
//	packet, err = block.AppendRepair(dst, header, i)   // i is the RS_ID
//
//	dec, err := moqfec.NewDecoder(config, moqfec.Limits{})
//	mmtp, err := dec.Source(packet)
//	err = dec.Repair(packet)
//	for p, ok := dec.Next(); ok; p, ok = dec.Next() { … } // recovered
//
// The package looks at what the FEC needs of an MMTP packet and nothing else: the first
// twelve octets of repair packets, and the trailer of source packets. It knows neither
// tracks nor clocks: deadlines are the caller's, by [Config.Deadline] and
// [Decoder.Drop].
//
// # Catalog
//
// [Negotiate] decides by the rules of the draft whether a track has FEC that this
// package can use. An error that is [ErrNoFEC] means that the track is consumed without;
// [ErrCatalog] means the same and is to be reported: the catalog contradicts itself.
//
// # Profiles
//
// [LegacySSBG0] is the profile of an older revision, without lengths in source symbols
// and with a fixed number of symbols to a block. The two do not understand each other,
// and only out-of-band knowledge tells which is in use.
//
// # Trust
//
// A block's extent is known from its repair packets alone, and the first that is
// accepted decides: authenticate repair packets. What is recovered is checked for length
// and padding, and [ErrPoisoned] reports a block where these are wrong.
package moqfec
