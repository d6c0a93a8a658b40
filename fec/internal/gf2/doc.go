// Package gf2 solves sparse systems of linear equations over GF(2) whose unknowns
// are symbols: it is the decoder of Raptor (RFC 5053 section 5.5) and of LDPC
// codes (RFC 5170 section 6.4), and the first step of Raptor's encoder.
//
// Solving happens in two stages. [NewPlan] looks at the matrix alone and finds
// out what to add to what; [Plan.Run] does so with the symbols. Columns are solved
// by peeling, that is by rows of which all other columns are known; where that
// gets stuck, a column is declared inactive and carried along as an unknown. The
// inactive columns are found last, by elimination with rows of bits.
package gf2
