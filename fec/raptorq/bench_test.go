package raptorq

import (
	"fmt"
	"testing"
)

const benchSymbol = 1344

var benchBlocks = []int{10, 32, 100, 250, 1000, 3000, 10000}

func BenchmarkEncode(b *testing.B) {
	for _, k := range benchBlocks {
		b.Run(fmt.Sprintf("K=%d", k), func(b *testing.B) {
			var codec Codec
			source := splitmix(1, k*benchSymbol)
			repairs := (k + 9) / 10
			buf := make([]byte, 0, benchSymbol)
			b.SetBytes(int64(len(source)))
			for b.Loop() {
				e, err := codec.NewEncoder(source, benchSymbol)
				if err != nil {
					b.Fatal(err)
				}
				for i := range repairs {
					buf = e.AppendSymbol(buf[:0], uint32(k+i))
				}
			}
		})
	}
}

// BenchmarkEncodeCold plans each block anew.
func BenchmarkEncodeCold(b *testing.B) {
	for _, k := range benchBlocks {
		b.Run(fmt.Sprintf("K=%d", k), func(b *testing.B) {
			source := splitmix(1, k*benchSymbol)
			b.SetBytes(int64(len(source)))
			for b.Loop() {
				if _, err := NewEncoder(source, benchSymbol); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, k := range append(benchBlocks, MaxK) {
		b.Run(fmt.Sprintf("K=%d", k), func(b *testing.B) {
			p := lookup(k)
			isis := make([]uint32, p.kp)
			for i := range isis {
				isis[i] = uint32(i)
			}
			var plans planner
			b.ReportAllocs()
			for b.Loop() {
				plans.make(&p, isis)
			}
		})
	}
}

func BenchmarkAppendSymbol(b *testing.B) {
	for _, k := range benchBlocks {
		b.Run(fmt.Sprintf("K=%d", k), func(b *testing.B) {
			e, err := NewEncoder(splitmix(1, k*benchSymbol), benchSymbol)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, benchSymbol)
			esi := uint32(k)
			b.SetBytes(benchSymbol)
			b.ReportAllocs()
			for b.Loop() {
				buf = e.AppendSymbol(buf[:0], esi)
				esi++
			}
		})
	}
}

// BenchmarkDecode loses every tenth source symbol.
func BenchmarkDecode(b *testing.B) {
	for _, k := range benchBlocks {
		b.Run(fmt.Sprintf("K=%d", k), func(b *testing.B) {
			var codec Codec
			source := splitmix(1, k*benchSymbol)
			e, err := codec.NewEncoder(source, benchSymbol)
			if err != nil {
				b.Fatal(err)
			}
			var repair [][]byte
			for i := range (k+9)/10 + 2 {
				repair = append(repair, e.AppendSymbol(nil, uint32(k+i)))
			}
			b.SetBytes(int64(len(source)))
			b.ReportAllocs()
			for b.Loop() {
				d, err := codec.NewDecoder(k, benchSymbol)
				if err != nil {
					b.Fatal(err)
				}
				for i := range k {
					if i%10 != 5 {
						d.Add(uint32(i), source[i*benchSymbol:(i+1)*benchSymbol])
					}
				}
				for i, s := range repair {
					d.Add(uint32(k+i), s)
				}
				if !d.Decode() {
					b.Fatal("not decoded")
				}
			}
		})
	}
}
