package fecframe_test

import (
	"fmt"

	"github.com/treedn/treedn/fec/fecframe"
)

// Two flows in one block, of which the second packet is lost.
func Example() {
	config := fecframe.Config{Scheme: fecframe.RaptorQArbitrary, SymbolSize: 16, MaxBlock: 64}
	enc, err := fecframe.NewEncoder(config)
	if err != nil {
		panic(err)
	}
	const video, audio = 0, 1
	var packets [][]byte
	send := func(flow uint8, adu string) {
		id, err := enc.Add(flow, []byte(adu))
		if err != nil {
			panic(err)
		}
		packets = append(packets, config.AppendSourceID([]byte(adu), id))
	}
	send(video, "a packet of video")
	send(audio, "some audio")
	send(video, "more video")
	block, err := enc.Close(2)
	if err != nil {
		panic(err)
	}

	dec, err := fecframe.NewDecoder(config, fecframe.Limits{})
	if err != nil {
		panic(err)
	}
	for i, flow := range []uint8{video, audio, video} {
		if i == 1 {
			continue
		}
		adu, err := dec.Source(flow, packets[i])
		fmt.Printf("%q %v\n", adu, err)
	}
	for i := range block.Repair() {
		packet, err := block.AppendRepair(nil, i)
		if err != nil {
			panic(err)
		}
		if err := dec.Repair(packet); err != nil {
			panic(err)
		}
	}
	for adu, ok := dec.Next(); ok; adu, ok = dec.Next() {
		fmt.Printf("recovered: flow %d, %q\n", adu.Flow, adu.Data)
	}
	// Output:
	// "a packet of video" <nil>
	// "more video" <nil>
	// recovered: flow 1, "some audio"
}
