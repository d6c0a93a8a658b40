// Package ldpc implements the LDPC-Staircase code of RFC 5170 for one source block,
// as used by FLUTE (FEC Encoding ID 3) and FECFRAME (RFC 6816).
//
// k source symbols become n encoding symbols: the source symbols, with encoding
// symbol IDs (ESI) 0 to k-1, and n-k repair symbols. Both sides draw the parity
// check matrix from a seed. Additions are all it takes, few per symbol, and blocks
// may be huge; the price is that k symbols alone never do for sure: large blocks
// need some percent more if decoded by peeling, and about one percent with the
// elimination that this package adds. RaptorQ needs fewer symbols and is not bound
// to an n.
//
//	code, err := ldpc.NewCode(ldpc.Params{K: 1000, N: 1500, Seed: 1})
//	enc, err := code.NewEncoder(source, 1344)
//	packet = enc.AppendSymbol(packet, esi)
//
//	dec, err := code.NewDecoder(1344)
//	dec.Add(esi, symbol) // as symbols arrive
//	if dec.Need() == 0 && dec.Decode() {
//		use(dec.Symbol(0), dec.Symbol(1))
//	}
//
// Small blocks are not what the code is for: below some hundred symbols it fails
// far more often than Reed-Solomon or RaptorQ.
//
// # Trust
//
// The matrix is as large as n says, which comes from the network: bound it before
// calling [NewCode], by [Params.Memory]. No symbol, whatever its ESI, length or
// content, makes a decoder panic. A wrong symbol gives a wrong block, without notice
// unless [Decoder.Consistent] has surplus symbols to tell by.
//
// # Standard
//
// RFC 5170 sections 5.5 to 5.7 and 6 in full, and the symbol groups of section 5.6.
// LDPC-Triangle (FEC Encoding ID 4) is left out.
package ldpc
