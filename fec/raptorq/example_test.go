package raptorq_test

import (
	"fmt"

	"github.com/treedn/treedn/fec/raptorq"
)

// A sender keeps a Codec, so that blocks of one size are planned once.
func Example() {
	source := []byte("Practically any K of the endlessly many symbols will do.")
	const size = 6
	var codec raptorq.Codec
	enc, err := codec.NewEncoder(source, size)
	if err != nil {
		panic(err)
	}

	// Source symbols 2 and 7 are lost, two repair symbols and one more arrive.
	dec, err := codec.NewDecoder(enc.K(), enc.SymbolSize())
	if err != nil {
		panic(err)
	}
	for esi := range uint32(enc.K() + 3) {
		if esi == 2 || esi == 7 {
			continue
		}
		if _, err := dec.Add(esi, enc.AppendSymbol(nil, esi)); err != nil {
			panic(err)
		}
		if dec.Decode() {
			fmt.Printf("complete with ESI %d of K = %d\n", esi, dec.K())
			break
		}
	}
	fmt.Printf("%q %q\n", dec.Symbol(2), dec.Symbol(7))
	// Output:
	// complete with ESI 11 of K = 10
	// "any K " "mbols "
}
