package raptor_test

import (
	"fmt"

	"github.com/treedn/treedn/fec/raptor"
)

func Example() {
	source := []byte("six source symbols of a few octets each")
	enc, err := raptor.NewEncoder(source, 7)
	if err != nil {
		panic(err)
	}
	dec, err := raptor.NewDecoder(enc.K(), 7)
	if err != nil {
		panic(err)
	}
	// Source symbols 1 and 3 are lost.
	for _, esi := range []uint32{0, 2, 4, 5, 6, 7, 8} {
		if _, err := dec.Add(esi, enc.AppendSymbol(nil, esi)); err != nil {
			panic(err)
		}
	}
	fmt.Println(dec.Decode())
	fmt.Printf("%q %q\n", dec.Symbol(1), dec.Symbol(3))
	// Output:
	// true
	// "rce sym" " a few "
}
