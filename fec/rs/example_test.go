package rs_test

import (
	"fmt"

	"github.com/treedn/treedn/fec/rs"
)

func Example() {
	source := []byte("any four symbols of six do")
	enc, err := rs.NewEncoder(rs.RFC5510, source, 7)
	if err != nil {
		panic(err)
	}
	dec, err := rs.NewDecoder(rs.RFC5510, enc.K(), 7)
	if err != nil {
		panic(err)
	}
	for _, esi := range []uint32{5, 1, 3, 4} { // 0 and 2 are lost
		if _, err := dec.Add(esi, enc.AppendSymbol(nil, esi)); err != nil {
			panic(err)
		}
	}
	fmt.Println(dec.Decode())
	fmt.Printf("%q %q %q %q\n", dec.Symbol(0), dec.Symbol(1), dec.Symbol(2), dec.Symbol(3))
	// Output:
	// true
	// "any fou" "r symbo" "ls of s" "ix do\x00\x00"
}
