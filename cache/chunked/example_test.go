package chunked_test

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/treedn/treedn/cache/chunked"
)

// Seal a stream and read a few octets from its middle.
func Example() {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	context := []byte("movie.mp4")

	var sealed bytes.Buffer
	w, err := chunked.NewWriter(&sealed, key, context)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 5000 {
		fmt.Fprintf(w, "frame %04d\n", i)
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}

	r, err := chunked.NewReaderAt(bytes.NewReader(sealed.Bytes()), int64(sealed.Len()), key, context)
	if err != nil {
		fmt.Println(err)
		return
	}
	p := make([]byte, 10)
	_, err = r.ReadAt(p, 4000*11)
	fmt.Printf("%s of %d octets, %v\n", p, r.Size(), err)
	_, err = chunked.NewReaderAt(bytes.NewReader(sealed.Bytes()), int64(sealed.Len()), key, []byte("other.mp4"))
	fmt.Println(err)
	// Output:
	// frame 4000 of 55000 octets, <nil>
	// chunked: message is not authentic
}
