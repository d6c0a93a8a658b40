package raptorq

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/treedn/treedn/fec/internal/gf256"
)

const benchSymbol = 1280

// benchCases are blocks of k source symbols with the given number of symbols
// for repair, or lost.
var benchCases = []struct{ k, lost int }{
	{10, 2}, {32, 8}, {100, 5}, {100, 20}, {250, 13}, {1000, 50}, {1000, 200}, {3000, 150}, {10000, 500}, {50000, 2500},
}

// BenchmarkEncode makes the repair symbols of one block after another.
func BenchmarkEncode(b *testing.B) {
	for _, c := range benchCases {
		b.Run(fmt.Sprintf("K=%d/r=%d", c.k, c.lost), func(b *testing.B) {
			benchmarkEncode(b, &Codec{}, c.k, c.lost)
		})
	}
}

func benchmarkEncode(b *testing.B, codec *Codec, k, repair int) {
	source := splitmix(1, k*benchSymbol)
	e, err := codec.NewEncoder(source, benchSymbol)
	if err != nil {
		b.Fatal(err)
	}
	buf := e.AppendRepair(nil, uint32(k), repair)
	b.SetBytes(int64(len(source)))
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Reset(source, benchSymbol); err != nil {
			b.Fatal(err)
		}
		buf = e.AppendRepair(buf[:0], uint32(k), repair)
	}
}

// BenchmarkDecode receives and decodes one block after another; different
// symbols are lost in each.
func BenchmarkDecode(b *testing.B) {
	for _, c := range benchCases {
		b.Run(fmt.Sprintf("K=%d/lost=%d", c.k, c.lost), func(b *testing.B) {
			benchmarkDecode(b, &Codec{}, c.k, c.lost, 0)
		})
	}
}

// BenchmarkDecodeExpected is BenchmarkDecode with residues that are formed while
// symbols arrive.
func BenchmarkDecodeExpected(b *testing.B) {
	for _, c := range benchCases[:6] {
		b.Run(fmt.Sprintf("K=%d/lost=%d", c.k, c.lost), func(b *testing.B) {
			benchmarkDecode(b, &Codec{}, c.k, c.lost, c.lost)
		})
	}
}

func benchmarkDecode(b *testing.B, codec *Codec, k, lost, expect int) {
	const spare = 4
	source := splitmix(1, k*benchSymbol)
	e, err := codec.NewEncoder(source, benchSymbol)
	if err != nil {
		b.Fatal(err)
	}
	repair := e.AppendRepair(nil, uint32(k), lost+spare)
	d, err := codec.NewDecoder(k, benchSymbol)
	if err != nil {
		b.Fatal(err)
	}
	d.Expect(expect)
	rng := rand.New(rand.NewPCG(1, 1))
	patterns := make([][]bool, 16)
	for i := range patterns {
		patterns[i] = make([]bool, k)
		for _, j := range rng.Perm(k)[:lost] {
			patterns[i][j] = true
		}
	}
	b.SetBytes(int64(len(source)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := d.Reset(k, benchSymbol); err != nil {
			b.Fatal(err)
		}
		for i, gone := range patterns[n%len(patterns)] {
			if !gone {
				d.Add(uint32(i), source[i*benchSymbol:(i+1)*benchSymbol])
			}
		}
		for i := range lost + spare {
			d.Add(uint32(k+i), repair[i*benchSymbol:(i+1)*benchSymbol])
			if d.Need() == 0 && d.Decode() {
				break
			}
		}
		if d.Need() > 0 {
			b.Fatal("not decoded")
		}
	}
}

// BenchmarkKernels compares the kernels of this processor.
func BenchmarkKernels(b *testing.B) {
	names := gf256.Kernels()
	defer gf256.Select(names[len(names)-1])
	for _, name := range names {
		for _, c := range []struct{ k, lost int }{{32, 8}, {100, 20}, {1000, 50}} {
			gf256.Select(name)
			b.Run(fmt.Sprintf("%s/K=%d/r=%d", name, c.k, c.lost), func(b *testing.B) {
				benchmarkEncode(b, &Codec{}, c.k, c.lost)
			})
			b.Run(fmt.Sprintf("%s/K=%d/lost=%d", name, c.k, c.lost), func(b *testing.B) {
				benchmarkDecode(b, &Codec{}, c.k, c.lost, 0)
			})
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, k := range []int{10, 32, 100, 250, 1000, 3000, 10000, 50000} {
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

// BenchmarkGenerate computes the coefficients of 64 repair symbols.
func BenchmarkGenerate(b *testing.B) {
	for _, k := range []int{32, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("K=%d", k), func(b *testing.B) {
			p := lookup(k)
			pl := new(Codec).code(&p).plan
			isis := make([]uint32, batch)
			for i := range isis {
				isis[i] = uint32(p.kp + i)
			}
			dst := make([]byte, p.kp*batch)
			var sc scratch
			b.ReportAllocs()
			for b.Loop() {
				pl.generate(dst, isis, &sc)
			}
		})
	}
}

// BenchmarkAppendSymbol makes single repair symbols of one block.
func BenchmarkAppendSymbol(b *testing.B) {
	for _, k := range []int{10, 100, 1000, 10000} {
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
