package ldpc_test

import (
	"fmt"

	"github.com/treedn/treedn/fec/ldpc"
)

func Example() {
	source := []byte("a block of twelve symbols of three octets")
	code, err := ldpc.NewCode(ldpc.Params{K: 14, N: 24, N1: 5, Seed: 1})
	if err != nil {
		panic(err)
	}
	enc, err := code.NewEncoder(source, 3)
	if err != nil {
		panic(err)
	}
	dec, err := code.NewDecoder(3)
	if err != nil {
		panic(err)
	}
	for esi := range uint32(24) {
		if esi == 2 || esi == 5 || esi == 9 { // lost
			continue
		}
		if _, err := dec.Add(esi, enc.AppendSymbol(nil, esi)); err != nil {
			panic(err)
		}
	}
	fmt.Println(dec.Decode())
	fmt.Printf("%q %q %q\n", dec.Symbol(2), dec.Symbol(5), dec.Symbol(9))
	// Output:
	// true
	// "k o" "ve " "f t"
}
