package object_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
)

// An object in two source blocks, of which every fifth packet is lost.
func Example() {
	source := bytes.Repeat([]byte("TreeDN "), 2000)
	info, err := fec.Derivation{Payload: 400, Memory: 2 << 10}.RaptorQ(uint64(len(source)))
	if err != nil {
		panic(err)
	}
	var codec object.Codec
	enc, err := codec.NewEncoder(info, bytes.NewReader(source))
	if err != nil {
		panic(err)
	}
	target := make(buffer, len(source))
	dec, err := codec.NewDecoder(info, target, object.DecoderConfig{})
	if err != nil {
		panic(err)
	}
	for sbn := range uint32(info.Blocks()) {
		block, err := enc.Block(sbn)
		if err != nil {
			panic(err)
		}
		for i := range block.SourcePackets() * 3 / 2 {
			packet, err := block.AppendPacket(nil, i)
			if err != nil {
				panic(err)
			}
			if i%5 == 0 {
				continue
			}
			if _, err := dec.Packet(packet); err != nil {
				panic(err)
			}
		}
	}
	fmt.Println(info.Blocks(), dec.Done(), bytes.Equal(source, target))
	// Output: 2 true true
}

// buffer is a target in memory.
type buffer []byte

func (b buffer) WriteAt(p []byte, off int64) (int, error) {
	if n := copy(b[off:], p); n < len(p) {
		return n, io.ErrShortWrite
	}
	return len(p), nil
}
