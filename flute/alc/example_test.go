package alc_test

import (
	"fmt"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/lct"
)

func Example() {
	sent := alc.Packet{
		Header:  lct.Header{TSI: 16, TSILen: 2, TOI: 7, HasTOI: true, Codepoint: uint8(fec.RaptorQ)},
		Scheme:  fec.RaptorQ,
		ID:      fec.PayloadID{SBN: 1, ESI: 42},
		HasID:   true,
		Symbols: []byte("symbol"),
	}
	datagram, err := sent.AppendTo(nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	var p alc.Packet
	if err := p.Unmarshal(datagram); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("TOI %d, block %d, symbol %d of %v: %q\n", p.TOI, p.ID.SBN, p.ID.ESI, p.Scheme, p.Symbols)
	// Output:
	// TOI 7, block 1, symbol 42 of RaptorQ: "symbol"
}
