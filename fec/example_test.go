package fec_test

import (
	"fmt"

	"github.com/treedn/treedn/fec"
)

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
