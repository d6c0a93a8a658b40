package lct_test

import (
	"fmt"

	"github.com/treedn/treedn/flute/lct"
)

// The first packet of a media segment, as ROUTE sends it.
func Example() {
	out := lct.Header{
		PSI:       2, // a source packet
		Codepoint: 8, // a media segment in File Mode
		TSI:       10,
		TOI:       1,
		HasTOI:    true,
	}
	var err error
	if out.Extensions, err = out.Extensions.AppendTOL(140354); err != nil {
		fmt.Println(err)
		return
	}
	packet, err := out.AppendTo(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%x\n", packet)
	packet = append(packet, 0, 0, 0, 0) // start_offset
	packet = append(packet, "octets of the segment"...)

	var in lct.Header
	n, err := in.Unmarshal(packet)
	if err != nil {
		fmt.Println(err)
		return
	}
	length, _ := in.Extensions.TOL()
	fmt.Printf("TSI %d, TOI %d, %d octets in all, here: %s\n", in.TSI, in.TOI, length, packet[n+4:])
	// Output:
	// 12a00508000000000000000a00000001c2022442
	// TSI 10, TOI 1, 140354 octets in all, here: octets of the segment
}
