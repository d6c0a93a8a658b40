package reassembly_test

import (
	"fmt"

	"github.com/treedn/treedn/flute/reassembly"
)

func Example() {
	pool := reassembly.NewPool(1 << 20)
	var octets reassembly.Buffer
	var held reassembly.Set

	// The end of an object comes first.
	for _, piece := range []struct {
		off  int64
		data string
	}{{6, "world"}, {0, "hello "}} {
		octets.WriteAt(pool, []byte(piece.data), piece.off)
		held.Add(piece.off, piece.off+int64(len(piece.data)))
		fmt.Printf("prefix %d: %q\n", held.Prefix(), octets.Bytes(0, held.Prefix()))
	}
	// Output:
	// prefix 0: ""
	// prefix 11: "hello world"
}
