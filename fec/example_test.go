package fec_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
)

// A block of 100 symbols through 10 % loss.
func Example() {
	rng := rand.New(rand.NewPCG(1, 2))
	source := bytes.Repeat([]byte("TreeDN, "), 100*1344/8)
	r := fec.Loss{Random: 0.10}.Repair(100) // one failure in a million

	var codec raptorq.Codec // keep it: it remembers how to encode each block size
	enc, err := codec.NewEncoder(source, 1344)
	if err != nil {
		panic(err)
	}
	dec, err := codec.NewDecoder(enc.K(), 1344)
	if err != nil {
		panic(err)
	}
	for esi := range uint32(enc.K() + r) {
		symbol := enc.AppendSymbol(nil, esi)
		if rng.Float64() < 0.10 {
			continue
		}
		if _, err := dec.Add(esi, symbol); err != nil {
			panic(err)
		}
	}
	fmt.Println(r, dec.Decode(), bytes.Equal(dec.Symbol(7), source[7*1344:8*1344]))
	// Output: 32 true true
}

// What a FLUTE sender announces, in an EXT_FTI and in an FDT.
func ExampleObjectInfo() {
	info := fec.ObjectInfo{ID: fec.ReedSolomonGF256, TransferLength: 100_000, SymbolSize: 1400, MaxBlock: 32, MaxSymbols: 40}
	fti, err := info.AppendFTI(nil)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%x\n", fti)
	a, err := info.Attributes()
	if err != nil {
		panic(err)
	}
	fmt.Println(a.EncodingID, a.EncodingSymbolLength, a.MaxSourceBlockLength, a.MaxEncodingSymbols)
	for sbn := range uint32(info.Blocks()) {
		k, offset, length := info.Block(sbn)
		fmt.Println(k, offset, length, info.EncodingSymbols(k))
	}
	// Output:
	// 0000000186a005782028
	// 5 1400 32 40
	// 24 0 33600 30
	// 24 33600 33600 30
	// 24 67200 32800 30
}

// Bursts of five packets, with and without interleaving, in a flow of 500 packets a
// second.
func ExampleLoss_Plan() {
	for _, depth := range []int{1, 8} {
		p := fec.Loss{Random: 0.02, Burst: 5, Depth: depth}.Plan(32)
		fmt.Printf("depth %d: %d repair packets, %.0f ms\n", depth, p.Repair, p.Window(500).Seconds()*1000)
	}
	p := fec.Loss{Random: 0.02, Burst: 5}.PlanWindow(500, 500*time.Millisecond, 1000)
	fmt.Printf("one block: %d source and %d repair packets\n", p.K, p.Repair)
	// Output:
	// depth 1: 57 repair packets, 64 ms
	// depth 8: 11 repair packets, 502 ms
	// one block: 250 source and 84 repair packets
}

// What 32 source packets need to survive a given loss, but for one block in a
// million.
func ExampleLoss() {
	for _, random := range []float64{0.01, 0.05, 0.10, 0.30} {
		l := fec.Loss{Random: random, Target: 1e-6}
		fmt.Printf("%2.0f %% loss: %d repair packets\n", 100*random, l.Repair(32))
	}
	fmt.Printf("with 8 of them at 10 %% loss, %.1f %% of the blocks are lost\n", 100*fec.Loss{Random: 0.10}.Failure(32, 8))
	// Output:
	//  1 % loss: 6 repair packets
	//  5 % loss: 11 repair packets
	// 10 % loss: 17 repair packets
	// 30 % loss: 41 repair packets
	// with 8 of them at 10 % loss, 1.6 % of the blocks are lost
}

func ExampleOTI() {
	oti := fec.OTI{TransferLength: 41984, SymbolSize: 1312, SourceBlocks: 1, SubBlocks: 1, Alignment: 8}
	fmt.Printf("%x\n", fec.AppendOTI(nil, oti))
	k, offset, length := oti.Block(0)
	fmt.Println(k, offset, length)
	// Output:
	// 000000a40000052001000108
	// 32 0 41984
}

// Packets that are not cut along symbols: a lost one spoils all symbols that it
// has a part in.
func ExampleLoss_RepairWeighted() {
	costs := make([]int, 60)
	for i := range costs {
		costs[i] = 1 + i%2 // every other packet straddles two symbols
	}
	l := fec.Loss{Random: 0.10}
	fmt.Println(l.Repair(60), l.RepairWeighted(costs, 1))
	// Output: 24 36
}
