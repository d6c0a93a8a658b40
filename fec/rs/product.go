package rs

import "github.com/treedn/treedn/fec/internal/gf256"

// product sets out[j] to the sum over i of coef[i*len(out)+j] times in[i]. All
// symbols have one length.
func product(out, in [][]byte, coef []uint8) {
	whole := len(out[0]) &^ (gf256.Unit - 1)
	if whole > 0 {
		pointers := make([]*byte, 0, len(out)+len(in))
		for _, s := range out {
			pointers = append(pointers, &s[0])
		}
		for _, s := range in {
			pointers = append(pointers, &s[0])
		}
		gf256.Product(pointers[:len(out)], pointers[len(out):], coef, len(out), 0, whole, false)
	}
	if whole == len(out[0]) {
		return
	}
	for j, s := range out {
		tail := s[whole:]
		clear(tail)
		for i, x := range in {
			gf256.AddMul(tail, x[whole:], coef[i*len(out)+j])
		}
	}
}
